"""The ranking metrics of many impressions one by one, and their means."""

from __future__ import annotations

import numpy as np

from tfrs_npa.metrics.ranking import ranking_metrics
from tfrs_npa.metrics.table import OF_ALL_USERS

# Impressions that are measured at a time.
_BLOCK = 2048


def impression_values(
    clicked: np.ndarray, scores: np.ndarray, splits: np.ndarray
) -> dict[str, np.ndarray]:
    """Measures the scores of each impression, as `ranking_metrics`, from packed arrays.

    Args:
        clicked: int `[candidates]` of all impressions: 1 clicked, 0 not clicked, -1 unlabelled.
        scores: float `[candidates]`.
        splits: `int64 [impressions + 1]`, of at least one impression; impression `i` has
            `scores[splits[i] : splits[i + 1]]`.

    Returns:
        `auc`, `mrr`, `ndcg_5` and `ndcg_10`, float32 `[impressions]`, and `scored`, bool
        `[impressions]`: whether an impression is in the means.
    """
    parts = []
    for first in range(0, len(splits) - 1, _BLOCK):
        block = splits[first : first + _BLOCK + 1]
        lengths = np.diff(block)
        mask = np.arange(lengths.max(initial=1)) < lengths[:, np.newaxis]
        padded_clicked, padded_scores = (np.zeros(mask.shape, t) for t in (np.int32, np.float32))
        padded_clicked[mask] = clicked[block[0] : block[-1]]
        padded_scores[mask] = scores[block[0] : block[-1]]
        found = ranking_metrics(padded_clicked, padded_scores, mask)
        parts.append({name: value.numpy() for name, value in found.items()})
    return {
        name: np.concatenate([part[name] for part in parts]) for name in (*OF_ALL_USERS, "scored")
    }


def by_users(
    values: dict[str, np.ndarray], known_user: np.ndarray | None = None
) -> dict[str, dict[str, np.ndarray]]:
    """Returns the metrics that means are taken of, for each group of users.

    Args:
        values: As `impression_values` returns them.
        known_user: bool `[impressions]`, true where the user was seen in training; None: only the
            group of all users.

    Returns:
        For each suffix of names, `""`, `"_known_users"` and `"_new_users"`: by suffixed name, the
        values of the impressions that are in the mean.
    """
    scored = values["scored"]
    groups = {"": scored}
    if known_user is not None:
        groups |= {"_known_users": scored & known_user, "_new_users": scored & ~known_user}
    return {
        suffix: {name + suffix: values[name][chosen] for name in OF_ALL_USERS}
        for suffix, chosen in groups.items()
    }


def mean_values(
    values: dict[str, np.ndarray], known_user: np.ndarray | None = None
) -> dict[str, float | None]:
    """Returns the means over impressions, named as those of `ImpressionMetrics`.

    Args:
        values: As `impression_values` returns them.
        known_user: As `by_users` takes it.

    Returns:
        The means by name, in types that JSON has: None where there is nothing to measure.
        `impressions` and `skipped_impressions` are counts.
    """
    means: dict[str, float | None] = {}
    for group in by_users(values, known_user).values():
        for name, column in group.items():
            means[name] = mean_of(column)
    scored = values["scored"]
    return means | {
        "impressions": len(scored),
        "skipped_impressions": int(np.count_nonzero(~scored)),
    }


def mean_of(column: np.ndarray) -> float | None:
    """Returns the mean of a metric `[impressions]`; None if there are none, or one is NaN."""
    mean = np.mean(column, dtype=np.float64) if len(column) else np.nan
    return None if np.isnan(mean) else float(mean)
