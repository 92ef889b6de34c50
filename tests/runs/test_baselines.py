from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.data.impressions import Impressions
from tfrs_npa.data.word_vectors import WordVectors
from tfrs_npa.runs import baselines as module
from tfrs_npa.runs.baselines import (
    BASELINES,
    Baselines,
    content_scores,
    popularity_counts,
    title_vectors,
)

TITLES = ["rain rain sun", "sun sea", "team wins", "unheard of", "wins the sea"]
WORDS = ["rain", "sun", "sea", "team", "wins", "the"]
IDS = [f"N{number}" for number in range(1, len(TITLES) + 1)]


def pack(histories, candidates, clicked=None):
    """Impressions of indices of articles, from 2 on; 1 is unknown."""
    values = [np.concatenate([*rows, []]).astype(np.int32) for rows in (histories, candidates)]
    return Impressions(
        impression_id=np.arange(len(histories)),
        user_id=np.zeros(len(histories), np.int32),
        history_values=values[0],
        history_splits=np.cumsum([0, *map(len, histories)]),
        candidate_values=values[1],
        candidate_splits=np.cumsum([0, *map(len, candidates)]),
        clicked=np.concatenate(clicked or [np.zeros(len(values[1]))]).astype(np.int8),
    )


@pytest.fixture(scope="module")
def catalog():
    vectors = WordVectors(WORDS, np.random.default_rng(0).normal(size=(6, 3)))
    return NewsCatalog(vectors).adapt({"news_id": IDS, "title": TITLES})


@pytest.fixture(scope="module")
def word_vectors(catalog):
    return catalog.word_embeddings(3, seed=0, centered=True).astype(np.float16)


def plain_titles(catalog, word_vectors):
    """The unit mean of a title's words, title by title."""
    titles = np.zeros((len(catalog), word_vectors.shape[1]))
    for article, title in enumerate(catalog.titles):
        words = catalog.vocabulary.index(title.split()) if title else []
        if len(words):
            mean = np.mean([word_vectors[word].astype(float) for word in words], axis=0)
            titles[article] = mean / np.linalg.norm(mean) if mean.any() else 0
    return titles


def plain_scores(histories, candidates, titles, background):
    """The two scores of every candidate, pair by pair."""
    cosines, ratios = [], []
    for history, shown in zip(histories, candidates, strict=True):
        clicks = [titles[click] for click in history[-module.HISTORY :] if titles[click].any()]
        for article in shown:
            if not clicks:
                cosines.append(0)
                ratios.append(0)
                continue
            own = [titles[article] @ click for click in clicks]
            everyones = [titles[article] @ titles[other] for other in background]
            cosines.append(np.mean(own))
            ratio = np.log(np.mean([np.exp(4 * cosine) for cosine in own]))
            if everyones:
                ratio -= np.log(np.mean([np.exp(4 * cosine) for cosine in everyones]))
            ratios.append(ratio)
    return {"cosine": cosines, "density_ratio": ratios}


def test_title_vectors(catalog, word_vectors):
    titles = title_vectors(catalog, word_vectors)
    np.testing.assert_allclose(titles, plain_titles(catalog, word_vectors), atol=1e-5)
    # Padding, the unknown article, and a title of which no word has a vector.
    assert titles.any(axis=1).tolist() == [False, False, True, True, True, False, True]
    with pytest.raises(ValueError, match="2 word vectors do not fit 1. words"):
        title_vectors(catalog, word_vectors[:2])


ARTICLES = st.lists(st.integers(1, len(TITLES) + 1), max_size=6)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(ARTICLES, ARTICLES), min_size=1, max_size=5), ARTICLES)
def test_content_scores_are_those_of_a_loop(catalog, word_vectors, impressions, background):
    histories, candidates = zip(*impressions, strict=True)
    titles = plain_titles(catalog, word_vectors).astype(np.float32)
    packed = pack(histories, candidates)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "HISTORY", 4)
        patch.setattr(module, "_CHUNK", 2)
        found = dict(content_scores(packed, titles, np.array(background, np.int32)))
        expected = plain_scores(histories, candidates, titles, background)
    for name, scores in expected.items():
        np.testing.assert_allclose(found[name], scores, atol=1e-5)
        assert found[name].dtype == np.float32


TRAINING = pack([[]] * 3, [[2, 3, 1], [3, 4], [4, 3, 1]], [[0, 1, 1], [1, 0], [0, 1, 0]])
TEST = pack([[2, 3], []], [[6, 4, 5, 1], [2, 3]])


def test_all_of_them(catalog):
    baselines = Baselines.of_training(TRAINING, catalog, dim=9)
    assert baselines.popularity == {"N1": (0, 1), "N2": (3, 3), "N3": (0, 2)}
    assert baselines.word_vectors.dtype == np.float16
    scores = dict(baselines.scores(TEST, catalog))
    assert tuple(scores) == BASELINES
    assert all(values.shape == (6,) for values in scores.values())
    np.testing.assert_array_equal(scores["popularity"], [0, 0, 0, 0, 0, 1])
    # All clicks are of one article; a candidate without a vector, and a user without clicks: 0.
    titles = title_vectors(catalog, baselines.word_vectors)
    expected = plain_scores([[2, 3], []], [[6, 4, 5, 1], [2, 3]], titles, [3])
    np.testing.assert_allclose(scores["density_ratio"], expected["density_ratio"], atol=1e-5)
    assert scores["density_ratio"][2:].tolist() == [0, 0, 0, 0]
    assert scores["cosine"].astype(bool).tolist() == [True, True, False, False, False, False]
    for name, values in baselines.scores(TEST, catalog):
        np.testing.assert_array_equal(values, scores[name])


def test_a_view_of_impressions(catalog):
    baselines = Baselines.of_training(TRAINING, catalog, dim=9)
    scores = dict(baselines.scores(TEST.view([1, 0]), catalog))
    np.testing.assert_array_equal(scores["popularity"], [0, 1, 0, 0, 0, 0])
    assert scores["cosine"][:2].tolist() == [0, 0] and scores["cosine"][2] != 0


def test_of_no_click_the_density_of_everyone_is_left_out(catalog):
    baselines = Baselines({}, Baselines.of_training(TRAINING, catalog, 9).word_vectors)
    scores = dict(baselines.scores(TEST, catalog))
    assert not scores["popularity"].any()
    titles = title_vectors(catalog, baselines.word_vectors)
    expected = plain_scores([[2, 3], []], [[6, 4, 5, 1], [2, 3]], titles, [])
    np.testing.assert_allclose(scores["density_ratio"], expected["density_ratio"], atol=1e-5)


def test_without_vectors(catalog):
    assert [name for name, _ in Baselines({}).scores(TEST, catalog)] == ["random", "popularity"]
    single = NewsCatalog().adapt({"news_id": ["N1", "N2"], "title": ["rain", "sun"]})
    assert Baselines.of_training(pack([[]], [[2, 3]]), single, dim=4).word_vectors is None


def test_without_pretrained_vectors_those_of_titles():
    catalog = NewsCatalog().adapt({"news_id": IDS, "title": TITLES})
    vectors = Baselines.of_training(TRAINING, catalog, dim=4).word_vectors
    expected = catalog.word_embeddings(4, seed=1, from_titles=True, centered=True)
    np.testing.assert_array_equal(vectors, expected.astype(np.float16))


def test_popularity_counts(catalog):
    assert popularity_counts(TRAINING, catalog) == {"N1": (0, 1), "N2": (3, 3), "N3": (0, 2)}
