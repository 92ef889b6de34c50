from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tfrs_npa.metrics.significance import compare, intervals_of, mean_interval, within_noise


@pytest.fixture
def skewed():
    return np.random.default_rng(1).exponential(size=400)


def test_the_same_as_scipy(skewed):
    expected = stats.bootstrap(
        (skewed,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    # Quantiles of 20,000 draws vary by about 1 % of the width.
    width = expected.high - expected.low
    np.testing.assert_allclose(mean_interval(skewed, resamples=20_000), expected, atol=0.03 * width)


@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_of_many_impressions_the_normal_approximation(confidence):
    values = np.random.default_rng(0).beta(2, 3, size=20_000)
    error = values.std(ddof=1) / np.sqrt(len(values))
    expected = stats.norm.interval(confidence, values.mean(), error)
    found = mean_interval(values, confidence=confidence)
    np.testing.assert_allclose(found, expected, atol=0.1 * error)


def test_the_share_of_intervals_that_hold_the_mean():
    generator = np.random.default_rng(3)
    samples = generator.normal(size=(300, 200))
    bounds = np.array([mean_interval(sample, resamples=300) for sample in samples])
    holds = (bounds[:, 0] <= 0) & (0 <= bounds[:, 1])
    assert 0.91 <= holds.mean() <= 0.98


VALUES = st.lists(st.floats(-3, 3, width=32), min_size=2, max_size=30)


@settings(deadline=None, max_examples=50)
@given(VALUES)
def test_an_interval_lies_among_the_values_and_is_the_same_again(values):
    low, high = mean_interval(np.array(values), resamples=64)
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
    np.testing.assert_array_equal(mean_interval(np.array(values), resamples=64), [low, high])
    # As one of several columns.
    columns = np.stack([np.ones(len(values)), values], axis=1)
    bounds = mean_interval(columns, resamples=64)
    np.testing.assert_array_equal(bounds[0], [1, 1])
    np.testing.assert_allclose(bounds[1], [low, high], atol=1e-12)


def test_what_cannot_be_measured():
    assert np.isnan(mean_interval(np.ones(1))).all()
    columns = {"diverged": np.full(5, np.nan), "auc": np.arange(5.0)}
    found = intervals_of(columns)
    assert (
        found["diverged"] is None and found["auc"] == intervals_of({"auc": np.arange(5.0)})["auc"]
    )
    assert intervals_of({}) == {}
    assert intervals_of({"auc": np.zeros(0)}) == {"auc": None}


def values_of(aucs, scored=None):
    scored = np.ones(len(aucs), bool) if scored is None else np.array(scored)
    return {"auc": np.where(scored, aucs, np.nan), "scored": scored}


def test_pairs_are_told_apart_where_means_are_not():
    """An impression that is hard for one is hard for the other."""
    generator = np.random.default_rng(4)
    hardness, noise = generator.uniform(size=(2, 500))
    ours, theirs = values_of(hardness + 0.01 + 0.05 * noise), values_of(hardness + 0.05 * noise**2)
    found = compare(ours, theirs, ["auc"])
    difference = ours["auc"] - theirs["auc"]
    assert found["difference"]["auc"] == pytest.approx(difference.mean())
    error = difference.std(ddof=1) / np.sqrt(500)
    low, high = found["intervals"]["auc"]
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert not within_noise([low, high])
    # Intervals of the two means overlap all the same.
    assert mean_interval(ours["auc"])[0] < mean_interval(theirs["auc"])[1]


def test_chance_is_within_noise():
    generator = np.random.default_rng(5)
    ours, theirs = (values_of(generator.uniform(size=300)) for _ in range(2))
    assert within_noise(compare(ours, theirs, ["auc"])["intervals"]["auc"])
    assert not within_noise([0.001, 0.2]) and not within_noise([-0.2, -0.001])
    assert within_noise(None)


def test_skipped_impressions_are_left_out():
    scored = [True, False, True, True]
    ours, theirs = values_of([0.5, 9, 0.75, 1], scored), values_of([0.25, 7, 0.5, 0.75], scored)
    found = compare(ours, theirs, ["auc"])
    assert found == {"difference": {"auc": 0.25}, "intervals": {"auc": [0.25, 0.25]}}
    nothing = compare(values_of([1], [False]), values_of([1], [False]), ["auc"])
    assert nothing == {"difference": {"auc": None}, "intervals": {"auc": None}}


@pytest.mark.parametrize("scored", [[True, True], [True, True, False]])
def test_other_impressions_cannot_be_compared(scored):
    others = values_of([0.5] * len(scored), scored)
    with pytest.raises(ValueError, match="only metrics of the same impressions"):
        compare(values_of([0.5] * 3), others, ["auc"])
