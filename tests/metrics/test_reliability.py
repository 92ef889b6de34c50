from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from tfrs_npa.metrics.reliability import LAST_BIN, log_softmax, reliability


def test_log_softmax():
    scores = np.array([1.0, 2.0, 3.0, 700.0, -700.0], np.float32)
    splits = np.array([0, 3, 3, 5])
    expected = [special.log_softmax(scores[:3]), special.log_softmax(scores[3:])]
    np.testing.assert_allclose(log_softmax(scores, splits), np.concatenate(expected), rtol=1e-6)
    assert not len(log_softmax(np.zeros(0), np.array([0, 0])))


def test_by_hand():
    """Of two impressions, one with two clicks; two others have nothing to compare."""
    clicked = np.array([1, 0, 1, 1, 0, 0, 1, 1, 0])
    scores = np.log([0.7, 0.3, 0.4, 0.1, 0.4, 0.1, 1.0, 0.5, 0.5])
    splits = np.array([0, 2, 6, 7, 7, 9])
    clicked[7:] = 0, -1
    found = reliability(clicked, scores, splits)
    assert (found["impressions"], found["candidates"]) == (2, 6)
    by_count = [(part["candidates"], part["predicted"], part["clicked"]) for part in found["bins"]]
    # About 1/8, 1/4 and 1/2: 0.1 twice, 0.3, and 0.4 twice and 0.7.
    expected = [(2, 0.1, 0.25), (1, 0.3, 0.0), (3, 0.5, 0.5)]
    assert by_count == [pytest.approx(row) for row in expected]
    assert found["expected_error"] == pytest.approx((2 * 0.15 + 0.3) / 6)
    for part in found["bins"]:
        assert part["from"] < part["predicted"] <= part["to"]
        assert part["interval"][0] <= part["clicked"] <= part["interval"][1]


@pytest.fixture(scope="module")
def world():
    """Impressions whose clicks are drawn with the probabilities of scores, often."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(2, 60, 4_000)
    splits = np.concatenate([[0], np.cumsum(lengths)])
    scores = generator.normal(0, 1.5, splits[-1])
    chances = np.exp(log_softmax(scores, splits))

    def draw():
        clicked = np.zeros(len(scores), np.int8)
        for start, end in zip(splits, splits[1:]):
            clicked[generator.choice(np.arange(start, end), p=chances[start:end])] = 1
        return clicked

    return scores, splits, [draw() for _ in range(20)]


def test_the_true_probabilities_are_calibrated(world):
    """And 95 % of the intervals hold them, where enough articles are clicked."""
    scores, splits, draws = world
    found = [reliability(clicked, scores, splits) for clicked in draws]
    assert max(result["expected_error"] for result in found) < 0.002
    parts = [part for result in found for part in result["bins"]]
    parts = [part for part in parts if part["candidates"] * part["predicted"] > 30]
    holds = [part["interval"][0] <= part["predicted"] <= part["interval"][1] for part in parts]
    assert len(holds) > 100 and 0.9 <= np.mean(holds) <= 0.99


def test_scores_that_are_too_sure(world):
    scores, splits, draws = world
    found = reliability(draws[0], 3 * scores, splits)
    surest = found["bins"][-1]
    assert surest["clicked"] < surest["interval"][1] < surest["predicted"]
    assert found["bins"][0]["from"] == 0 and found["bins"][0]["to"] == 2 ** -(LAST_BIN - 0.5)
    assert found["expected_error"] > reliability(draws[0], scores, splits)["expected_error"]


@pytest.mark.parametrize("clicked", [[0, 0], [1, 1], [-1, -1]])
def test_nothing_to_compare(clicked):
    found = reliability(np.array(clicked), np.zeros(2), np.array([0, 2]))
    assert found == {"impressions": 0, "candidates": 0, "expected_error": None, "bins": []}
    not_a_number = reliability(np.array([1, 0]), np.array([np.nan, 0]), np.array([0, 2]))
    assert not_a_number == found
