from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_npa.retrieval.personalized_top_k import PersonalizedTopK
from tfrs_npa.retrieval.reranking import Reranker, calibrated, mmr

KINDS = 4


@st.composite
def rows_of_candidates(draw):
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, candidates = draw(st.integers(1, 3)), draw(st.integers(1, 7))
    scores = generator.choice([-3.0, -1.0, 0.0, 0.5, 2.0, -np.inf], (rows, candidates))
    vectors = generator.normal(size=(rows, candidates, 3))
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    vectors[generator.random((rows, candidates)) < 0.2] = 0
    category = generator.integers(0, KINDS, (rows, candidates))
    wanted = generator.integers(0, 3, (rows, KINDS)).astype(float)
    wanted[:, 0] = 0
    wanted /= np.maximum(wanted.sum(axis=1, keepdims=True), 1)
    k = draw(st.integers(1, 8))
    return scores, vectors, category, wanted, k, draw(st.sampled_from([0.0, 0.3, 0.7, 1.0]))


def scaled(row):
    there = [score for score in row if score > -np.inf]
    low, high = min(there, default=0), max(there, default=0)
    return [(score - low) / ((high - low) or 1) for score in row]


def greedy(scores, k, value):
    """Adds the candidate whose addition has the greatest value, the earlier one of equals."""
    chosen, left = [], [place for place, score in enumerate(scores) if score > -np.inf]
    while left and len(chosen) < k:
        values = [value(chosen, place) for place in left]
        best = max(values)
        place = next(p for p, v in zip(left, values) if math.isclose(v, best, abs_tol=1e-12))
        chosen.append(place)
        left.remove(place)
    return chosen


def check(found, expected, values_of):
    """The same choices, or, where two are equal but for rounding, as good ones."""
    assert [place for place in found.tolist() if place >= 0] == expected or np.isclose(
        values_of(found), values_of(np.array(expected))
    )


def test_equal_scores():
    """Only what the articles are like is left to tell them apart."""
    scores, vectors = np.full((1, 3), 2.0), np.array([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])
    assert mmr(scores, vectors, 3, 0.5).tolist() == [[0, 2, 1]]


@settings(deadline=None, max_examples=60)
@given(rows_of_candidates())
def test_mmr_one_by_one(case):
    scores, vectors, _, _, k, trade_off = case
    found = mmr(scores, vectors, k, trade_off)
    assert found.shape == (len(scores), min(k, scores.shape[1]))
    for row, places in enumerate(found):
        relevance = scaled(scores[row])

        def value(chosen, place, row=row, relevance=relevance):
            penalty = max(
                (vectors[row, place] @ vectors[row, other] for other in chosen), default=0
            )
            return (1 - trade_off) * relevance[place] - trade_off * penalty

        def values_of(places, value=value):
            chosen = [int(place) for place in places if place >= 0]
            return [value(chosen[:end], place) for end, place in enumerate(chosen)]

        check(places, greedy(scores[row], k, value), values_of)


@settings(deadline=None, max_examples=60)
@given(rows_of_candidates())
def test_calibration_one_by_one(case):
    scores, _, category, wanted, k, trade_off = case
    found = calibrated(scores, category, wanted, k, trade_off)
    for row, places in enumerate(found):
        relevance = scaled(scores[row])

        def objective(chosen, row=row, relevance=relevance):
            kinds = [category[row, place] for place in chosen if category[row, place]]
            divergence = 0.0
            for kind, p in enumerate(wanted[row]):
                q = kinds.count(kind) / max(len(kinds), 1)
                divergence += p * math.log(p / (0.99 * q + 0.01 * p)) if p else 0
            total = sum(relevance[place] for place in chosen)
            return (1 - trade_off) * total - trade_off * divergence

        def values_of(places, objective=objective):
            return objective([int(place) for place in places if place >= 0])

        expected = greedy(
            scores[row], k, lambda chosen, place, objective=objective: objective([*chosen, place])
        )
        check(places, expected, values_of)


def test_what_trade_offs_do():
    scores = np.array([[3.0, 2.9, 1.0, 0.0]])
    vectors = np.array([[[1.0, 0], [1, 0], [0, 1], [0, -1]]])
    assert mmr(scores, vectors, 3, 0).tolist() == [[0, 1, 2]]
    assert mmr(scores, vectors, 3, 0.5).tolist() == [[0, 2, 3]]
    category, wanted = np.array([[1, 1, 2, 2]]), np.array([[0, 0.5, 0.5]])
    assert calibrated(scores, category, wanted, 2, 0).tolist() == [[0, 1]]
    assert calibrated(scores, category, wanted, 2, 0.5).tolist() == [[0, 2]]
    # Without clicks, the order of the scores stays.
    assert calibrated(scores, category, wanted * 0, 4, 0.9).tolist() == [[0, 1, 2, 3]]


@pytest.fixture(scope="module")
def index(make_model):
    tf.config.run_functions_eagerly(True)
    yield PersonalizedTopK(make_model()).index()
    tf.config.run_functions_eagerly(False)


QUERIES = {"user_id": ["U1", "U9"], "history": [["N1", "N2"], []]}


def test_what_the_layer_returns_in_another_order(index, make_model):
    catalog = make_model().catalog
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(len(catalog) - 3, 4))  # the last articles came later
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    plain_scores, plain_ids = (part.numpy() for part in index(QUERIES, k=12))
    same = Reranker(index, catalog, "mmr", 0, vectors=vectors)(QUERIES, k=12)
    np.testing.assert_array_equal(same[1], plain_ids)
    np.testing.assert_allclose(same[0], plain_scores)
    scores, ids = Reranker(index, catalog, "mmr", 0.6, vectors=vectors, pool=12)(QUERIES, k=5)
    for row in range(2):
        of_id = dict(zip(plain_ids[row], plain_scores[row]))
        assert ids[row, 0] == plain_ids[row, 0] and len({*ids[row]}) == 5
        np.testing.assert_allclose(scores[row], [of_id[id_] for id_ in ids[row]])
    assert ids.tolist() != plain_ids[:, :5].tolist()


def test_calibration_to_the_history(index, make_model):
    """What is clicked is of category 1; a user without clicks keeps the order."""
    catalog = make_model().catalog
    category = np.full(len(catalog), 2)
    category[:2] = 0
    category[catalog.index(["N1", "N2", "N7", "N8", "N9"])] = 1
    reranker = Reranker(index, catalog, "calibrated", 0.99, category=category)
    ids = reranker(QUERIES, k=3, exclude_history=True)[1]
    assert {*ids[0]} == {b"N7", b"N8", b"N9"}
    assert ids[1].tolist() == index(QUERIES, k=3)[1].numpy()[1].tolist()


def test_fewer_than_k(index, make_model):
    catalog = make_model().catalog
    reranker = Reranker(index, catalog, "mmr", 0.5, vectors=np.zeros((len(catalog), 2)))
    scores, ids = reranker(QUERIES, k=4, candidates=["N3", "N5"])
    assert ids[:, 2:].tolist() == [[b"", b""]] * 2 and (scores[:, 2:] == -1e9).all()
    assert {*ids[0, :2]} == {b"N3", b"N5"}


@pytest.mark.parametrize(
    "method, trade_off, options, message",
    [
        ("best", 0.3, {}, "method is 'best'; it has to be one of mmr, calibrated"),
        ("mmr", 1.5, {}, "the trade-off is 1.5; it has to be from 0 to 1"),
        ("mmr", 0.3, {"category": np.zeros(9)}, "mmr needs vectors of the articles"),
        ("calibrated", 0.3, {}, "calibrated needs category of the articles"),
        ("mmr", 0.3, {"vectors": np.zeros((9, 2)), "pool": 0}, "pool is 0"),
    ],
)
def test_arguments_that_are_wrong(index, make_model, method, trade_off, options, message):
    with pytest.raises(ValueError, match=message):
        Reranker(index, make_model().catalog, method, trade_off, **options)
