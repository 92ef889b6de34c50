"""`ranking_metrics` against scikit-learn and the definitions of MIND's official `evaluate.py`."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from tfrs_npa.metrics import ranking_metrics

NAMES = ("auc", "mrr", "ndcg_5", "ndcg_10")


def official(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """The four metrics of one impression, one formula after the other."""
    by_score = labels[np.argsort(-scores, kind="stable")]
    positions = np.arange(1, len(labels) + 1)

    def dcg(ranked, k):
        return np.sum((2.0 ** ranked[:k] - 1) / np.log2(positions[:k] + 1))

    best = np.sort(labels)[::-1]
    # scikit-learn refuses infinite scores; their dense ranks have the same order and ties.
    ranks = np.unique(scores, return_inverse=True)[1]
    return {
        "auc": roc_auc_score(labels, ranks),
        "mrr": np.sum(by_score / positions) / np.sum(labels),
        "ndcg_5": dcg(by_score, 5) / dcg(best, 5),
        "ndcg_10": dcg(by_score, 10) / dcg(best, 10),
    }


def measure(clicked, scores, mask=None) -> dict[str, np.ndarray]:
    scores = np.asarray(scores, np.float32)
    mask = np.ones(scores.shape, bool) if mask is None else mask
    return {name: value.numpy() for name, value in ranking_metrics(clicked, scores, mask).items()}


def check_batch(clicked: np.ndarray, scores: np.ndarray, mask: np.ndarray) -> None:
    actual = measure(clicked, scores, mask)
    for row, real in enumerate(mask):
        labels = clicked[row, real]
        assert actual["scored"][row] == (set(labels) == {0, 1})
        if not actual["scored"][row]:
            assert all(np.isnan(actual[name][row]) for name in NAMES)
            continue
        expected = official(labels, scores[row, real])
        for name in NAMES:
            assert actual[name][row] == pytest.approx(expected[name], rel=1e-6), name


def float32s(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, width=32, allow_subnormal=False)


TIED = st.sampled_from([0.0, -0.0, 1.0, float(np.nextafter(np.float32(1), 2)), -1e9, 2.5])
INFINITE = st.sampled_from([np.inf, -np.inf, 0.0])
LARGEST = float(np.finfo(np.float32).max)


@st.composite
def batches(draw):
    """Impressions with padding anywhere; padding has a label and a score too, to be ignored."""
    num_rows, width = draw(st.integers(1, 4)), draw(st.integers(1, 14))
    size = num_rows * width

    def matrix(elements, dtype):
        values = draw(st.lists(elements, min_size=size, max_size=size))
        return np.array(values, dtype).reshape(num_rows, width)

    label = draw(st.sampled_from([(0, 1), (0, 1), (0, 0, 0, 1), (1,), (0,), (-1,), (0, 1, -1)]))
    score = draw(st.sampled_from([TIED, INFINITE, float32s(-10, 10), float32s(-LARGEST, LARGEST)]))
    return (
        matrix(st.sampled_from(label), np.int32),
        matrix(score, np.float32),
        matrix(st.sampled_from([True, True, False]), bool),
    )


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(batches())
def test_agrees_with_official_definitions(batch):
    check_batch(*batch)


@pytest.mark.parametrize("click_rate", [0.004, 0.04, 0.5, 0.99])
@pytest.mark.parametrize("decimals", [0, 1, 7])
def test_agrees_on_300_candidates(click_rate, decimals):
    rng = np.random.default_rng(0)
    clicked = rng.random((50, 300)) < click_rate
    scores = rng.normal(size=(50, 300)).round(decimals).astype(np.float32)
    check_batch(clicked.astype(np.int32), scores, rng.random((50, 300)) < 0.9)


@pytest.mark.parametrize(
    "labels", [[1, 1, 1], [0, 0, 0], [1], [0], [], [-1, -1, -1], [1, 0, -1]], ids=str
)
def test_impression_without_both_labels_is_not_scored(labels):
    clicked = np.array([labels], np.int32)
    actual = measure(clicked, np.arange(len(labels))[None])
    assert not actual["scored"][0]
    assert all(np.isnan(actual[name][0]) for name in NAMES)


def test_ties_get_half_credit_in_auc_and_candidate_order_in_the_others():
    actual = measure([[0, 1, 0, 0], [1, 0, 0, 0]], np.full((2, 4), 0.25))
    np.testing.assert_array_equal(actual["auc"], [0.5, 0.5])
    np.testing.assert_allclose(actual["mrr"], [1 / 2, 1])
    np.testing.assert_allclose(actual["ndcg_5"], [1 / np.log2(3), 1], rtol=1e-6)


def test_cuts_at_5_and_10():
    clicked, scores = np.eye(12, dtype=np.int32), np.tile(-np.arange(12.0), (12, 1))
    actual = measure(clicked, scores)
    gains = 1 / np.log2(np.arange(1, 13) + 1)
    np.testing.assert_allclose(actual["ndcg_5"], np.where(np.arange(12) < 5, gains, 0), rtol=1e-6)
    np.testing.assert_allclose(actual["ndcg_10"], np.where(np.arange(12) < 10, gains, 0), rtol=1e-6)
    np.testing.assert_allclose(actual["mrr"], 1 / np.arange(1, 13), rtol=1e-6)
    np.testing.assert_allclose(actual["auc"], 1 - np.arange(12) / 11, rtol=1e-6, atol=1e-7)


def test_padding_has_no_influence_wherever_it_is():
    rng = np.random.default_rng(1)
    clicked, scores = rng.integers(0, 2, (20, 30)), rng.normal(size=(20, 30)).round(1)
    places = np.sort(rng.permuted(np.tile(np.arange(50), (20, 1)), axis=1)[:, :30], axis=1)
    padded_clicked, padded_scores = np.full((20, 50), -1), np.full((20, 50), np.nan)
    mask = np.zeros((20, 50), bool)
    for padded, values in ((padded_clicked, clicked), (padded_scores, scores), (mask, True)):
        np.put_along_axis(padded, places, values, axis=1)
    expected, actual = measure(clicked, scores), measure(padded_clicked, padded_scores, mask)
    for name in (*NAMES, "scored"):
        np.testing.assert_array_equal(actual[name], expected[name])


@pytest.mark.parametrize("nan", [np.nan, -np.nan, "all bits"])
@pytest.mark.parametrize("clicked_is_nan", [True, False])
def test_nan_score_gives_nan_not_a_figure(nan, clicked_is_nan):
    scores = np.array([[0.9, 0.1, 0.2], [0.9, 0.1, 0.2]], np.float32)
    bad = np.array(-1, np.int32).view(np.float32) if nan == "all bits" else nan
    scores[0, 0 if clicked_is_nan else 1] = bad
    actual = measure([[1, 0, 0], [1, 0, 0]], scores)
    np.testing.assert_array_equal(actual["scored"], [True, True])
    for name in NAMES:
        np.testing.assert_array_equal(actual[name], [np.nan, 1])


@settings(max_examples=50, deadline=None)
@given(st.permutations(range(12)), st.integers(1, 2**12 - 2))
def test_permutation_of_tie_free_candidates_changes_nothing(permutation, clicks):
    clicked = np.array([[clicks >> i & 1 for i in range(12)]])
    scores = np.random.default_rng(clicks).permutation(12)[None].astype(np.float32)
    expected, actual = (
        measure(clicked, scores),
        measure(clicked[:, permutation], scores[:, permutation]),
    )
    for name in NAMES:
        np.testing.assert_array_equal(actual[name], expected[name])


def test_one_trace_serves_all_shapes_and_low_precision_scores():
    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None], tf.int64),
            tf.TensorSpec([None, None], tf.bfloat16),
            tf.TensorSpec([None, None], tf.bool),
        ]
    )
    def traced(clicked, scores, mask):
        return ranking_metrics(clicked, scores, mask)

    rng = np.random.default_rng(2)
    for shape in ((3, 7), (1, 40), (5, 1), (0, 4), (4, 0)):
        clicked = rng.integers(0, 2, shape)
        scores = tf.cast(rng.normal(size=shape), tf.bfloat16)
        mask = rng.random(shape) < 0.8
        actual = traced(clicked, scores, mask)
        expected = measure(clicked, tf.cast(scores, tf.float32), mask)
        for name in (*NAMES, "scored"):
            assert actual[name].shape == shape[:1]
            np.testing.assert_array_equal(actual[name], expected[name])


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("scores", [(2, 3), (2, 1), (2, 3)]),
        ("mask", [(2, 3), (2, 3), (3,)]),
        ("clicked", [(3,), (3,), (3,)]),
    ],
)
def test_wrong_shape_is_named(name, shapes):
    clicked, scores, mask = (np.zeros(shape) for shape in shapes)
    with pytest.raises(ValueError, match=rf"\[batch, candidates\]; {name} is"):
        ranking_metrics(clicked.astype(np.int32), scores, mask.astype(bool))


@pytest.mark.parametrize("shapes", [[(2, 3), (2, 4), (2, 3)], [(2, 4), (2, 3), (2, 3)]])
def test_wrong_shape_in_a_graph(shapes):
    """Which is known when it runs."""
    types = tf.int32, tf.float32, tf.bool
    graph = tf.function(ranking_metrics, [tf.TensorSpec([None, None], dtype) for dtype in types])
    clicked, scores, mask = (tf.ones(shape, dtype) for shape, dtype in zip(shapes, types))
    with pytest.raises(tf.errors.InvalidArgumentError, match="reshape"):
        graph(clicked, scores, mask)
