"""What another ranking would have been worth, estimated from a log of what one ranking was worth.

Readers click what they see, and see the first places more often than the last. The position-based
model: the click rate of an article at position r is `propensity[r] * relevance`. So a click at r
stands for `1 / propensity[r]` of relevance (inverse propensity scoring; Joachims, Swaminathan &
Schnabel, Unbiased learning-to-rank with biased feedback, WSDM 2017), and what a ranking is worth
follows from where it puts what was clicked. This needs the positions at which articles were shown:
the order of a log whose candidates were shuffled, as those of MIND, says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import stats

from tfrs_npa.metrics.significance import intervals_of

POSITIONS = 50
"""Positions with a propensity of their own; those beyond share that of the last."""
CUTOFF = 10
"""Positions that the discounted cumulative gain counts."""
FEWEST_CLICKS = 100
"""Effective clicks below which support is thin; so it is below a tenth of all clicks."""
# At which the iterations of `propensities_of` have converged, and how many there may be.
_TOLERANCE, _ITERATIONS = 1e-8, 1_000
# A chance at which clicks are taken to depend on positions.
_SIGNIFICANCE = 0.01
# Clicks that are expected, at least, at positions that are tested together.
_FEWEST_EXPECTED = 5


def shown_positions(splits: np.ndarray) -> np.ndarray:
    """Returns the position of each candidate in its impression, from 0, `[candidates]`."""
    splits = np.asarray(splits)
    return np.arange(splits[-1]) - np.repeat(splits[:-1], np.diff(splits))


def ranked_positions(scores: np.ndarray, splits: np.ndarray) -> np.ndarray:
    """Returns the position that scores give each candidate, from 0, `[candidates]`.

    Of equal scores, the earlier comes first.
    """
    rows = np.repeat(np.arange(len(splits) - 1), np.diff(splits))
    positions = np.empty(len(scores), np.int64)
    positions[np.lexsort((-np.asarray(scores), rows))] = shown_positions(splits)
    return positions


def propensities_of(clicked: np.ndarray, articles: np.ndarray, splits: np.ndarray) -> np.ndarray:
    """Estimates how likely each position is to be seen, relative to the first.

    Clicks are fitted by `propensity[position] * relevance[article]`, with the greatest likelihood
    if they are Poisson: both factors in turn, each given the other. So articles that were shown at
    several positions tell propensity from relevance. The model knows no reader and no length of a
    list: where long lists have fewer clicks an article, it takes that for positions hardly seen.

    Args:
        clicked: `[candidates]`: 1 clicked, 0 not clicked.
        articles: int `[candidates]`, indices.
        splits: int `[impressions + 1]`; candidates are in the order in which they were shown.

    Returns:
        `[POSITIONS]` or fewer; the first is 1. NaN where only articles without clicks were shown.

    Raises:
        ValueError: if the first position has no clicks, or clicks depend so little on the position
            that the order of the candidates cannot be that in which they were shown.
    """
    positions = np.minimum(shown_positions(splits), POSITIONS - 1)
    number = int(positions.max(initial=0)) + 1
    is_click = np.asarray(clicked) == 1
    _require_dependence(positions, is_click, np.asarray(splits))
    cells, entries, shown = np.unique(
        articles.astype(np.int64) * number + positions, return_inverse=True, return_counts=True
    )
    clicks = np.bincount(entries, is_click, len(cells))
    _, article = np.unique(cells // number, return_inverse=True)
    position = cells % number
    of_article = np.bincount(article, clicks)
    of_position = np.bincount(position, clicks, number)
    propensity = np.ones(number)
    for _ in range(_ITERATIONS):
        seen = np.bincount(article, shown * propensity[position])
        relevance = np.divide(of_article, seen, out=np.zeros(len(seen)), where=seen > 0)
        expected = np.bincount(position, shown * relevance[article], number)
        found = np.divide(of_position, expected, out=np.full(number, np.nan), where=expected > 0)
        found = found / found[0]
        step = np.nanmax(np.abs(found - propensity))
        # A position of which nothing is known has no say.
        propensity = np.where(np.isnan(found), 1, found)
        if step < _TOLERANCE:
            break
    return found


def off_policy_values(
    scores: Mapping[str, np.ndarray],
    clicked: np.ndarray,
    splits: np.ndarray,
    propensity: np.ndarray,
) -> dict[str, Any]:
    """Estimates what rankings would have been worth.

    Args:
        scores: By name of the ranking, float `[candidates]`.
        clicked: `[candidates]`: 1 clicked, 0 not clicked.
        splits: int `[impressions + 1]`; candidates are in the order in which they were shown.
        propensity: `[positions]`, how likely each position is to be seen, relative to any other;
            those beyond have that of the last.

    Returns:
        In types that JSON has: `clicks` in the log, `effective_clicks` (Kish's effective sample
        size of their weights, `(sum w)^2 / sum w^2`), `warning` if they are few, else None; and
        `values`, by `logged`, the order of the log, and by name of the ranking, and then by worth:
        `clicks`, of an impression; and `dcg_10`, the discounted cumulative gain of the relevant
        articles at the first 10 positions. Each has `ips`, per impression, with `ips_interval`; and
        `snips`, divided by the weights of all clicks instead, with `snips_interval`: the mean
        propensity, or discount, of a relevant article, whose variance is smaller (self-normalised;
        Swaminathan & Joachims, The self-normalized estimator for counterfactual learning, NeurIPS
        2015). Intervals are of 95 %, by the bootstrap over impressions; for `snips`, of its linear
        approximation.

    Raises:
        ValueError: if a propensity that is needed is not positive, or there are no clicks.
    """
    rows = np.repeat(np.arange(len(splits) - 1), np.diff(splits))
    is_click = np.asarray(clicked) == 1
    if not is_click.any():
        raise ValueError("the log has no clicks")
    of_clicks = _at(propensity, shown_positions(splits)[is_click])
    if not np.all(of_clicks > 0):
        raise ValueError("a position that was clicked has no positive propensity")
    weights = 1 / of_clicks
    impressions = len(splits) - 1
    total = np.bincount(rows[is_click], weights, impressions)
    effective = float(weights.sum() ** 2 / np.sum(weights**2))
    columns, ratios = {}, {}
    for name, column in {"logged": -shown_positions(splits), **scores}.items():
        ranks = ranked_positions(column, splits)[is_click]
        worths = {
            "clicks": np.nan_to_num(_at(propensity, ranks)),
            "dcg_10": np.where(ranks < CUTOFF, 1 / np.log2(ranks + 2), 0),
        }
        for worth, gains in worths.items():
            sums = np.bincount(rows[is_click], weights * gains, impressions)
            ratio = ratios[name, worth] = sums.sum() / total.sum()
            columns[name, worth, "ips"] = sums
            columns[name, worth, "snips"] = ratio + (sums - ratio * total) / total.mean()
    intervals = intervals_of(columns)
    values: dict[str, dict[str, Any]] = {}
    for (name, worth), ratio in ratios.items():
        values.setdefault(name, {})[worth] = {
            "ips": float(columns[name, worth, "ips"].mean()),
            "ips_interval": intervals[name, worth, "ips"],
            "snips": float(ratio),
            "snips_interval": intervals[name, worth, "snips"],
        }
    number = len(weights)
    warning = None
    if effective < max(FEWEST_CLICKS, number / 10):
        warning = (
            f"support is thin: {number:,} clicks count as {effective:,.0f}, because a few at "
            "positions that are hardly seen weigh most; take more of the log, or rankings nearer "
            "to that of the log"
        )
    return {
        "clicks": number,
        "effective_clicks": effective,
        "warning": warning,
        "values": values,
    }


def _at(propensity: np.ndarray, positions: np.ndarray) -> np.ndarray:
    return propensity[np.minimum(positions, len(propensity) - 1)]


def _require_dependence(positions: np.ndarray, is_click: np.ndarray, splits: np.ndarray) -> None:
    """Raises a ValueError if the clicks are what shuffled candidates would have."""
    number = int(positions.max(initial=0)) + 1
    rows = np.repeat(np.arange(len(splits) - 1), np.diff(splits))
    clicks = np.bincount(positions, is_click, number)
    if not len(clicks) or not clicks[0]:
        raise ValueError("the first position has no clicks: propensities cannot be estimated")
    # Shuffled, each candidate of an impression is as likely to be clicked; lists differ in length.
    rates = np.bincount(rows, is_click) / np.maximum(np.bincount(rows), 1)
    expected = np.bincount(positions, rates[rows], number)
    # Neighbouring positions are tested together, so that each test expects enough clicks.
    before = np.cumsum(expected) - expected
    groups = max(1, int(expected.sum() / _FEWEST_EXPECTED))
    group = np.minimum((before / _FEWEST_EXPECTED).astype(np.int64), groups - 1)
    observed, expected = (np.bincount(group, column) for column in (clicks, expected))
    observed, expected = observed[expected > 0], expected[expected > 0]
    statistic = np.sum((observed - expected) ** 2 / expected)
    if not stats.chi2.sf(statistic, len(observed) - 1) < _SIGNIFICANCE:
        raise ValueError(
            "clicks do not depend on the position of a candidate: the log must have candidates in "
            "the order in which they were shown, not shuffled as those of MIND are; or give the "
            "propensities"
        )
