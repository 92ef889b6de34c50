"""The metrics of a model on parts of the impressions: where it is good, and where it is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.data.impressions import Impressions
from tfrs_npa.data.users import UNKNOWN_USER
from tfrs_npa.metrics.impression_values import mean_of
from tfrs_npa.metrics.significance import intervals_of
from tfrs_npa.metrics.table import OF_ALL_USERS

HISTORY_LENGTHS = (0, 1, 5, 20, 50)
"""Where the slices by number of clicks in the history start."""
NUMBERS_OF_CANDIDATES = (1, 10, 30, 100)
"""Where the slices by number of candidates start."""
MOST_CATEGORIES = 20
"""Categories that have a slice of their own, those with most impressions; the others share one."""
OTHER_CATEGORIES = "all other categories"
# Half of what the metrics of all impressions get: there are many slices.
_RESAMPLES = 1_000


def slices_of(
    impressions: Impressions,
    catalog: NewsCatalog,
    shown_in_training: Mapping[str, Any],
    category: np.ndarray,
    categories: list[str],
) -> dict[str, dict[str, np.ndarray]]:
    """Divides impressions, in several ways.

    Args:
        impressions: The impressions, packed.
        catalog: Their articles.
        shown_in_training: A mapping whose keys are the ids of the articles that were shown in
            training, such as `Baselines.popularity`.
        category: int `[articles]`, 0 where an article has none.
        categories: Names of the categories.

    Returns:
        For `history_length`, `candidates`, `category`, `users` and `article`: by name of the slice,
        bool `[impressions]`. Of the last but one, a user is `known` or `new`. Slices by category
        and by article are of the articles that were clicked, so an impression with several clicks
        may be in several: an article is `old` if it was shown in training, `fresh` if not.
    """
    clicked = impressions.clicked == 1
    articles = impressions.candidate_values[clicked]
    lengths = np.diff(impressions.candidate_splits)
    rows = np.repeat(np.arange(len(impressions)), lengths)[clicked]
    is_old = np.zeros(len(catalog), bool)
    is_old[catalog.index(list(shown_in_training))] = True
    is_known = impressions.user_id != UNKNOWN_USER

    def with_click(chosen: np.ndarray) -> np.ndarray:
        mask = np.zeros(len(impressions), bool)
        mask[rows[chosen]] = True
        return mask

    by_category = {
        name: with_click(category[articles] == number)
        for number, name in enumerate(categories)
        if number
    }
    return {
        "history_length": _ranges(np.diff(impressions.history_splits), HISTORY_LENGTHS),
        "candidates": _ranges(lengths, NUMBERS_OF_CANDIDATES),
        "category": _largest(by_category),
        "users": {"known": is_known, "new": ~is_known},
        "article": {"old": with_click(is_old[articles]), "fresh": with_click(~is_old[articles])},
    }


def slice_metrics(
    slices: Mapping[str, Mapping[str, np.ndarray]],
    values: Mapping[str, Mapping[str, np.ndarray]],
    model: str,
) -> dict[str, dict[str, dict[str, Any]]]:
    """Measures each slice that has an impression with both labels.

    Args:
        slices: As `slices_of` returns them.
        values: Metrics by name of the ranking, as `impression_values` returns them.
        model: The name of the model; the others are baselines.

    Returns:
        In types that JSON has, for each way to divide and each slice: `impressions`, those with
        both labels; `metrics` and `intervals`, by name of the metric; `baseline_auc`, by name.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for way, masks in slices.items():
        found[way] = {}
        for name, mask in masks.items():
            chosen = values[model]["scored"] & mask
            if not chosen.any():
                continue
            columns = {metric: values[model][metric][chosen] for metric in OF_ALL_USERS}
            found[way][name] = {
                "impressions": int(np.count_nonzero(chosen)),
                "metrics": {metric: mean_of(column) for metric, column in columns.items()},
                "intervals": intervals_of(columns, _RESAMPLES),
                "baseline_auc": {
                    other: mean_of(theirs["auc"][chosen])
                    for other, theirs in values.items()
                    if other != model
                },
            }
    return found


def _ranges(numbers: np.ndarray, starts: tuple[int, ...]) -> dict[str, np.ndarray]:
    slices = {}
    for start, end in zip(starts, (*starts[1:], None), strict=True):
        if end is None:
            slices[f"{start} and more"] = numbers >= start
        else:
            name = str(start) if end == start + 1 else f"{start} to {end - 1}"
            slices[name] = (numbers >= start) & (numbers < end)
    return slices


def _largest(masks: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the categories with most impressions, the largest first, and one of all others."""
    names = sorted(masks, key=lambda name: -np.count_nonzero(masks[name]))
    largest = {name: masks[name] for name in names[:MOST_CATEGORIES]}
    rest = [masks[name] for name in names[MOST_CATEGORIES:]]
    return largest | ({OTHER_CATEGORIES: np.any(rest, axis=0)} if rest else {})
