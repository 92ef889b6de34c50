import numpy as np
import pytest

from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.data.word_vectors import title_word_vectors
from tfrs_npa.datasets.mind.synthetic import SyntheticWorld


def vectors_of(titles, dim):
    """Vectors of titles given as lists of word numbers."""
    words = ["", "[UNK]", *(f"word{number}" for number in range(2, 1 + max(map(max, titles))))]
    splits = np.concatenate([[0], np.cumsum([len(title) for title in titles])])
    words.append(f"word{len(words)}")
    return title_word_vectors(words, np.concatenate(titles).astype(np.int32), splits, dim)


def information(titles, number):
    """The positive pointwise mutual information of words, pair by pair."""
    together = np.zeros((number, number))
    for title in titles:
        for v in set(title):
            for w in set(title) - {v}:
                together[v, w] += 1
    share = together.sum(axis=1)
    result = np.zeros_like(together)
    for v, w in zip(*np.nonzero(together), strict=True):
        result[v, w] = max(0, np.log(together[v, w] * together.sum() / (share[v] * share[w])))
    return result


@pytest.mark.parametrize("words", [6, 40], ids=["dense", "sparse"])
def test_vectors_factorise_the_information(words):
    generator = np.random.default_rng(0)
    titles = [list(generator.integers(2, 2 + words, 4)) for _ in range(30 * words)]
    titles += [list(range(2, 2 + words))]
    dim = 8
    values, vectors = np.linalg.eigh(information(titles, 2 + words)[2:, 2:])
    expected = vectors[:, -dim:] * np.sqrt(np.maximum(values[-dim:], 0))
    expected -= expected.mean(axis=0)
    found = vectors_of(titles, dim)
    assert found.words == [f"word{number}" for number in range(2, 2 + words)]
    # Equal up to scale and the signs of the axes.
    ours, theirs = found.vectors @ found.vectors.T, expected @ expected.T
    np.testing.assert_allclose(ours / ours.max(), theirs / theirs.max(), atol=2e-3)


def test_words_without_company_have_no_vector():
    found = vectors_of([[2, 3], [4], [5, 5]], dim=4)
    assert found.words == ["word2", "word3"]
    assert vectors_of([[2], [3]], dim=4) is None


def test_words_of_a_topic_are_alike():
    world = SyntheticWorld(seed=1, users=200, articles=2000, impressions=(500, 20, 20))
    catalog = NewsCatalog().adapt(world.news("train"))
    table = catalog.word_embeddings(32, seed=0, from_titles=True)
    assert table.shape == (len(catalog.vocabulary), 32) and not table[0].any()
    assert np.std(table) == pytest.approx(0.4, abs=0.05)
    again = NewsCatalog().adapt(world.news("train")).word_embeddings(32, 0, from_titles=True)
    np.testing.assert_array_equal(table, again)
    # Titles name an article's topics by words of those topics: they are the company of each other.
    normed = table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-9)
    likeness = normed @ normed.T
    together = [
        likeness[title[place], title[place + 1]]
        for title in catalog.tokens(30)[2:]
        for place in range(np.count_nonzero(title) - 1)
    ]
    assert np.mean(together) > likeness[2:, 2:].mean() + 0.1


def test_only_titles_of_adapt_count():
    news = {"news_id": ["N1", "N2"], "title": ["rain today", "sun today"]}
    later = {"news_id": ["N3"], "title": ["rain sun"]}
    catalog = NewsCatalog().adapt(news)
    before = catalog.word_embeddings(4, seed=0, from_titles=True)
    after = catalog.extend(later).word_embeddings(4, seed=0, from_titles=True)
    np.testing.assert_array_equal(before, after)
    assert catalog.word_embeddings(4, seed=0) is None
    without = NewsCatalog(vocabulary=catalog.vocabulary).extend(news)
    assert without.word_embeddings(4, seed=0, from_titles=True) is None
