import numpy as np
import pytest

from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.data.word_vectors import WordVectors
from tfrs_npa.datasets.mind import SyntheticWorld, WorldKnobs
from tfrs_npa.datasets.mind.synthetic_language import bags
from tfrs_npa.datasets.mind.synthetic_vectors import _factor, _information, write_text

SIZES = {"users": 100, "articles": 600, "impressions": (60, 20, 20)}


@pytest.fixture(scope="module")
def vectors(small_world):
    return small_world.word_vectors(64)


def test_form(small_world, vectors):
    words, values = vectors
    assert values.shape == (len(words), 64) and values.dtype == np.float32
    assert len(set(words)) == len(words)
    assert values.std() == pytest.approx(0.4, rel=0.01)
    function_words = small_world._language.words[: small_world.knobs.function_words]
    assert words[0] in function_words[:3] and np.isin(words[:20], function_words).mean() > 0.5


def test_nearly_all_words_have_one_whenever_they_are_coined(small_world, vectors):
    words = {
        word
        for split in ("train", "validation", "test")
        for article in small_world.news(split)
        for word in article["title"].lower().split()
    }
    assert len(words & set(vectors[0])) > 0.97 * len(words)
    language = small_world._language
    late = language.words[language.word_day >= small_world.knobs.training_days]
    assert len(late) and np.isin(late, vectors[0]).mean() > 0.3


def test_they_depend_on_no_click():
    knobs = [
        {},
        {"strength": 3.0, "word_liking": 0.0, "hook_appeal": 0.0, "popularity_sigma": 0.1},
        {"empty_history": 0.5, "new_candidates": 0.1, "categories_of_user": 1},
    ]
    first, *others = (SyntheticWorld(WorldKnobs(**some), **SIZES).word_vectors(8) for some in knobs)
    for words, vectors in others:
        assert words == first[0]
        np.testing.assert_array_equal(vectors, first[1])
    users = SyntheticWorld(**SIZES | {"users": 50, "impressions": (10, 10, 10)}).word_vectors(8)
    np.testing.assert_array_equal(users[1], first[1])
    assert SyntheticWorld(seed=1, **SIZES).word_vectors(8)[0] != first[0]


def topic_likeness(world):
    """The mean cosine of two words of a subject, and of two words of different categories."""
    language = world._language
    words, vectors = world.word_vectors(64)
    rows = {word: row for row, word in enumerate(words)}
    unit = vectors - vectors.mean(axis=0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    pairs = []
    for subject in range(len(language.subject_sizes)):
        start = language._starts[language._of_subject + subject]
        found = [rows[word] for word in language.words[start : start + 4] if word in rows]
        pairs.append(unit[found])
    same = [(v @ v.T)[np.triu_indices(len(v), 1)].mean() for v in pairs if len(v) > 1]
    other = [(v @ w.T).mean() for v, w in zip(pairs, pairs[::-1])]
    return np.mean(same), np.mean(other)


def test_words_of_a_subject_are_alike():
    same, other = topic_likeness(SyntheticWorld(**SIZES))
    assert same > 0.12 and abs(other) < 0.1


@pytest.mark.slow
def test_topics_explain_only_a_share():
    likeness = [
        topic_likeness(SyntheticWorld(WorldKnobs(vector_own=share), **SIZES))[0]
        for share in (0.0, 0.8, 1.0)
    ]
    assert likeness[0] > likeness[1] > likeness[2] and abs(likeness[2]) < 0.15


def test_the_mean_of_titles_is_not_zero(small_world, vectors):
    # As with published vectors: centring matters.
    catalog = NewsCatalog(word_vectors=WordVectors(*vectors)).adapt(small_world.news("train"))
    tokens = catalog.tokens(30)

    def mean_cosine(centered):
        titles = catalog.word_embeddings(64, 0, centered=centered)[tokens].sum(axis=1)
        titles = titles[np.linalg.norm(titles, axis=1) > 0]
        mean = (titles / np.linalg.norm(titles, axis=1, keepdims=True)).mean(axis=0)
        return mean @ mean

    assert mean_cosine(centered=False) > 0.3 > 0.02 > mean_cosine(centered=True)


@pytest.mark.parametrize("dim", [0, 100_000])
def test_dimensions_out_of_range(small_world, dim):
    with pytest.raises(ValueError, match=f"dim is {dim}; expected 1 to"):
        small_world.word_vectors(dim)


def test_information_and_its_factors():
    rng = np.random.default_rng(0)
    sentences = rng.integers(0, 30, (400, 5))
    has = bags(sentences.ravel(), np.arange(401) * 5, 30)
    has.data[:] = 1
    dense = has.toarray()
    together = dense.T @ dense * (1 - np.eye(30))
    share = together.sum(axis=0)
    with np.errstate(divide="ignore"):
        expected = np.log(together * together.sum() / np.outer(share, share)).clip(0)
    information = _information(has)
    np.testing.assert_allclose(information.toarray(), expected, atol=1e-5)
    values, axes = np.linalg.eigh(expected)
    found = _factor(information, 20, rng)
    best = axes[:, -20:] * np.sqrt(values[-20:].clip(0))
    np.testing.assert_allclose(found @ found.T, best @ best.T, atol=1e-3)


def test_written_vectors_can_be_read(tmp_path, vectors):
    write_text(tmp_path / "vectors.txt", *vectors)
    found = WordVectors.read(tmp_path / "vectors.txt")
    assert found.words == vectors[0]
    np.testing.assert_allclose(found.vectors, vectors[1], atol=1e-5)
