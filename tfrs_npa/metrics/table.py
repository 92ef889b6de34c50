"""Metrics for people to read: as plain numbers, and as tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

TITLES = {
    "auc": "AUC",
    "auc_known_users": "AUC known users",
    "auc_new_users": "AUC new users",
    "mrr": "MRR",
    "ndcg_5": "nDCG@5",
    "ndcg_10": "nDCG@10",
}
"""Metrics shown in tables, in order, with their titles."""
OF_ALL_USERS = ("auc", "mrr", "ndcg_5", "ndcg_10")
"""Metrics over all users."""

_ROWS = {
    "random": "random",
    "popularity": "popularity",
    "npa": "NPA",
    "history_only": "best from history alone",
    "true_preferences": "true preferences",
}


def as_numbers(metrics: Mapping[str, Any]) -> dict[str, float | None]:
    """Returns metrics as numbers that JSON can hold: None where one is NaN.

    Args:
        metrics: Scalars by name.
    """
    values = {name: float(value) for name, value in metrics.items()}
    return {name: None if math.isnan(value) else value for name, value in values.items()}


def metrics_table(
    rows: Mapping[str, Mapping[str, float | None]], columns: Sequence[str] = OF_ALL_USERS
) -> str:
    """Formats metrics as a table.

    Args:
        rows: Metrics by title of the row, and then by name; `-` is shown for a metric that is
            absent or None.
        columns: Names of the metrics, keys of `TITLES`.
    """
    return tabulate(
        [[title, *(metrics.get(name) for name in columns)] for title, metrics in rows.items()],
        headers=["", *(TITLES[name] for name in columns)],
        floatfmt=".4f",
        missingval="-",
    )


def evaluation_table(result: Mapping[str, Any]) -> str:
    """Formats the result of `tfrs_npa.runs.evaluation.evaluate_model`: a table, and lines below.

    Args:
        result: The evaluation.
    """
    rows = {name: dict(metrics) for name, metrics in result["metrics"].items()}
    for name, aucs in result["reference_auc"].items():
        rows[name] = {
            "auc" if group == "all" else f"auc_{group}": auc for group, auc in aucs.items()
        }
    table = metrics_table(
        {title: rows[name] for name, title in _ROWS.items() if name in rows}, tuple(TITLES)
    )
    counts = result["impressions"]
    lines = [
        f"{result['data']}, split {result['split']}: {counts['all']:,} impressions, "
        f"{counts['known_users']:,} of known users, {counts['new_users']:,} of new users, "
        f"{counts['skipped']:,} skipped (no click, or nothing but clicks)"
    ]
    shares = result["share_of_optimum"]
    if shares:
        parts = [
            f"{shares[group]:.0%} for {title}"
            for group, title in (("known_users", "known users"), ("new_users", "new users"))
            if shares[group] is not None
        ]
        lines.append(
            "Of the distance from AUC 0.5 to the best from history alone, NPA closes "
            + " and ".join(parts)
        )
    return "\n".join([table, "", *lines])
