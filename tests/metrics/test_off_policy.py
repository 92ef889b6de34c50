from __future__ import annotations

import json
import math
import pathlib

import numpy as np
import pytest
from sklearn.linear_model import PoissonRegressor

from tfrs_npa.metrics import off_policy as module
from tfrs_npa.metrics.off_policy import off_policy_values, propensities_of

ORACLE = json.loads((pathlib.Path(__file__).parents[1] / "oracle" / "off_policy.json").read_text())
SEEN = np.array([1, 0.8, 0.6, 0.45, 0.3, 0.2])


def log(impressions, articles=40, seed=0, by_relevance=False):
    """Shows six articles an impression; a reader clicks what is seen and relevant."""
    generator = np.random.default_rng(seed)
    relevance = generator.uniform(0.05, 0.6, articles)
    shown = generator.permuted(np.tile(np.arange(articles), (impressions, 1)), axis=1)[:, :6]
    if by_relevance:
        noise = generator.normal(0, 0.3, shown.shape)
        order = np.argsort(-(relevance[shown] + noise), axis=1)
        shown = np.take_along_axis(shown, order, axis=1)
    clicked = generator.random(shown.shape) < SEEN * relevance[shown]
    splits = np.arange(0, shown.size + 1, 6)
    return clicked.ravel().astype(np.int8), shown.ravel(), splits, relevance


@pytest.mark.parametrize("by_relevance", [False, True])
def test_propensities_are_told_from_relevance(by_relevance):
    """Also where the best articles are shown first."""
    clicked, shown, splits, _ = log(30_000, by_relevance=by_relevance)
    found = propensities_of(clicked, shown, splits)
    np.testing.assert_allclose(found, SEEN, atol=0.05)
    rates = clicked.reshape(-1, 6).mean(axis=0)
    if by_relevance:  # the rates alone are not propensities
        assert (rates / rates[0] < found - 0.04)[1:].all()


def test_propensities_have_the_greatest_likelihood():
    """Those of scikit-learn, with a logarithm of each factor."""
    clicked, shown, splits, _ = log(300, articles=12, by_relevance=True)
    found = propensities_of(clicked, shown, splits)
    features = np.hstack([np.eye(6)[module.shown_positions(splits)], np.eye(12)[shown]])
    theirs = PoissonRegressor(alpha=0, tol=1e-10, max_iter=10_000).fit(features, clicked)
    expected = np.exp(theirs.coef_[:6] - theirs.coef_[0])
    np.testing.assert_allclose(found, expected, rtol=2e-3)


def test_the_worth_of_a_ranking_that_was_never_shown():
    """Estimated from the log, and as its clicks are when it is shown; intervals hold the truth."""
    clicked, shown, splits, relevance = log(6_000)
    best = relevance[shown]
    found = off_policy_values({"best": best, "worst": -best}, clicked, splits, SEEN)
    for name, sign in (("best", -1), ("worst", 1)):
        order = np.argsort(sign * best.reshape(-1, 6), axis=1)
        sorted_relevance = np.take_along_axis(best.reshape(-1, 6), order, axis=1)
        truth = (sorted_relevance * SEEN).sum(axis=1).mean()
        worth = found["values"][name]["clicks"]
        assert worth["ips"] == pytest.approx(truth, rel=0.05)
        low, high = worth["ips_interval"]
        assert low <= truth <= high and high - low < 0.15
        share = truth / best.reshape(-1, 6).sum(axis=1).mean()
        low, high = worth["snips_interval"]
        assert low <= share <= high and low < worth["snips"] < high
    logged = found["values"]["logged"]["clicks"]
    assert logged["ips"] == pytest.approx(clicked.sum() / 6_000)  # what it was
    assert found["warning"] is None
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_as_open_bandit_pipeline():
    clicked, splits = np.array(ORACLE["clicked"]), np.array(ORACLE["splits"])
    scores, propensity = np.array(ORACLE["scores"]), np.array(ORACLE["propensity"])
    found = off_policy_values({"ours": scores}, clicked, splits, propensity)
    for worth, theirs in ORACLE["values"].items():
        ours = found["values"]["ours"][worth]
        assert ours["ips"] == pytest.approx(theirs["ips"])
        assert ours["snips"] == pytest.approx(theirs["snips"])


def test_thin_support():
    clicked, splits = np.tile([1, 0, 0, 0, 0, 0], 300), np.arange(0, 1801, 6)
    clicked[5] = 1
    propensity = np.array([1, 1, 1, 1, 1, 0.001])
    found = off_policy_values({}, clicked, splits, propensity)
    assert found["clicks"] == 301
    assert found["effective_clicks"] == pytest.approx(1300**2 / (300 + 1000**2))
    assert found["warning"].startswith("support is thin: 301 clicks count as 2, because")


def test_positions_by_hand():
    splits = np.array([0, 3, 3, 5])
    assert module.shown_positions(splits).tolist() == [0, 1, 2, 0, 1]
    scores = np.array([0.1, 0.9, 0.1, 0.3, 0.4])
    assert module.ranked_positions(scores, splits).tolist() == [1, 0, 2, 1, 0]
    # One click, at the last position of the first list; positions beyond the given are the last.
    found = off_policy_values({"s": scores}, np.array([0, 0, 1, 0, 0]), splits, np.array([1, 0.5]))
    assert found["values"]["s"]["clicks"]["ips"] == pytest.approx(1 / 3)
    assert found["values"]["s"]["dcg_10"]["ips"] == pytest.approx(2 / math.log2(4) / 3)
    assert found["values"]["s"]["dcg_10"]["snips"] == pytest.approx(1 / math.log2(4))


def test_logs_that_say_nothing():
    clicked, shown, splits, _ = log(2_000)
    shuffled = np.random.default_rng(1).permuted(clicked.reshape(-1, 6), axis=1).ravel()
    with pytest.raises(ValueError, match="clicks do not depend on the position .* shuffled"):
        propensities_of(shuffled, shown, splits)
    # Lists with one click each: the longer, the fewer clicks at each position.
    lengths = np.random.default_rng(2).integers(2, 30, 2_000)
    splits_of_lists = np.concatenate([[0], np.cumsum(lengths)])
    one_click = np.zeros(lengths.sum(), int)
    one_click[splits_of_lists[:-1] + np.random.default_rng(3).integers(0, lengths)] = 1
    with pytest.raises(ValueError, match="clicks do not depend on the position"):
        propensities_of(one_click, np.zeros(len(one_click), int), splits_of_lists)
    with pytest.raises(ValueError, match="the first position has no clicks"):
        propensities_of(np.where(module.shown_positions(splits) == 0, 0, clicked), shown, splits)
    with pytest.raises(ValueError, match="no positive propensity"):
        off_policy_values({}, clicked, splits, np.array([1, 0]))
    with pytest.raises(ValueError, match="the log has no clicks"):
        off_policy_values({}, clicked * 0, splits, SEEN)
