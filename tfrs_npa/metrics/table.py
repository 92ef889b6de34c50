"""Metrics for people to read: as plain numbers, and as tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

from tfrs_npa.metrics.significance import within_noise

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

ROWS = {
    "random": "random",
    "popularity": "popularity",
    "cosine": "cosine",
    "density_ratio": "density ratio",
    "npa": "NPA",
    "history_only": "best from history alone",
    "true_preferences": "true preferences",
}
"""What is evaluated, in the order of tables, with its titles."""

SLICES = {
    "history_length": "clicks in the history",
    "candidates": "candidates",
    "category": "category clicked",
    "users": "users",
    "article": "article clicked",
}
"""Ways to divide impressions, with their titles."""
MEASURES = {
    "coverage": "coverage of the catalogue",
    "gini": "Gini of exposure",
    "novelty": "novelty (bits)",
    "category_diversity": "diversity of categories",
    "title_diversity": "diversity of titles",
    "miscalibration": "miscalibration (KL)",
    "personalisation": "personalisation",
    "radio_calibration": "RADio calibration",
    "radio_fragmentation": "RADio fragmentation",
    "radio_representation": "RADio representation",
    "radio_alternative_voices": "RADio alternative voices",
    "radio_activation": "RADio activation",
}
"""Measures of lists, with their titles."""

_INTERVAL = "± 95 %"
_MOST_SLICES = 8
_MISSING = "-"


def as_numbers(metrics: Mapping[str, Any]) -> dict[str, float | None]:
    """Returns metrics as numbers that JSON can hold: None where one is NaN.

    Args:
        metrics: Scalars by name.
    """
    values = {name: float(value) for name, value in metrics.items()}
    return {name: None if math.isnan(value) else value for name, value in values.items()}


def metrics_table(
    rows: Mapping[str, Mapping[str, float | None]],
    columns: Sequence[str] = OF_ALL_USERS,
    intervals: Mapping[str, Mapping[str, Sequence[float] | None]] | None = None,
) -> str:
    """Formats metrics as a table.

    Args:
        rows: Metrics by title of the row, and then by name; `-` is shown for a metric that is
            absent or None.
        columns: Names of the metrics, keys of `TITLES`.
        intervals: Confidence intervals, as `rows`; half the width of each is shown in a row below.
    """
    lines = []
    for title, metrics in rows.items():
        lines.append([title, *(_number(metrics.get(name)) for name in columns)])
        if intervals and title in intervals:
            widths = (_half_width(intervals[title].get(name)) for name in columns)
            lines.append([_INTERVAL, *(_number(width) for width in widths)])
    return _table(lines, columns)


def comparison_table(
    names: Sequence[str],
    metrics: Sequence[Mapping[str, float | None]],
    comparison: Mapping[str, Any],
    columns: Sequence[str] = OF_ALL_USERS,
) -> str:
    """Formats the comparison of two rankings of the same impressions: a table, and a line below.

    Args:
        names: What they are called, two names.
        metrics: The metrics of both by name.
        comparison: The result of `tfrs_npa.metrics.significance.compare`.
        columns: Names of the metrics, keys of `TITLES`.
    """
    differences, intervals = comparison["difference"], comparison["intervals"]
    lines = [
        [name, *(_number(found.get(column)) for column in columns)]
        for name, found in zip(names, metrics, strict=True)
    ]
    lines += [
        ["difference", *(_number(differences[name], "+.4f") for name in columns)],
        [_INTERVAL, *(_number(_half_width(intervals[name])) for name in columns)],
        ["verdict", *(_verdict(differences[name], intervals[name]) for name in columns)],
    ]
    table = _table(lines, columns)
    if differences["auc"] is None:
        return table
    difference = _difference(differences["auc"], intervals["auc"], f"that of {names[1]}")
    return f"{table}\n\nThe AUC of {names[0]} is {difference}"


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
        {title: rows[name] for name, title in ROWS.items() if name in rows},
        tuple(TITLES),
        {ROWS["npa"]: result["intervals"]["npa"]},
    )
    counts = result["impressions"]
    lines = [
        f"{result['data']}, split {result['split']}: {counts['all']:,} impressions, "
        f"{counts['known_users']:,} of known users, {counts['new_users']:,} of new users, "
        f"{counts['skipped']:,} skipped (no click, or nothing but clicks)"
    ]
    best = result["best_baseline"]
    if best is not None:
        other = f"that of the best baseline, {ROWS[best['name']]}"
        lines.append(f"NPA's AUC is {_difference(best['difference'], best['interval'], other)}")
    if "density_ratio" not in rows:
        lines.append("Without word vectors in the run: no cosine and no density ratio of titles")
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


def slices_table(result: Mapping[str, Any]) -> str:
    """Formats the slices of an evaluation; of many categories, those with most impressions.

    Args:
        result: The result of `tfrs_npa.runs.evaluation.evaluate_model`.
    """
    best = result["best_baseline"]
    headers = ["impressions", "AUC", _INTERVAL, "MRR", "nDCG@10"]
    if best is not None:
        headers.append(f"AUC {ROWS[best['name']]}")
    lines = []
    for way, title in SLICES.items():
        for name, found in [*result["slices"][way].items()][:_MOST_SLICES]:
            metrics = found["metrics"]
            line = [f"{title}: {name}", f"{found['impressions']:,}", _number(metrics["auc"])]
            line.append(_number(_half_width(found["intervals"]["auc"])))
            line += [_number(metrics[metric]) for metric in ("mrr", "ndcg_10")]
            if best is not None:
                line.append(_number(found["baseline_auc"][best["name"]]))
            lines.append(line)
    return _aligned(lines, headers)


def lists_table(result: Mapping[str, Any]) -> str:
    """Formats the measures of lists: a table for each length.

    Args:
        result: The result of `tfrs_npa.runs.list_evaluation.evaluate_lists`.
    """
    tables = []
    for length, rankings in result["measures"].items():
        names = [name for name in ROWS if name in rankings]
        lines = [
            [title, *(_number(rankings[name][measure]) for name in names)]
            for measure, title in MEASURES.items()
            if any(rankings[name].get(measure) is not None for name in names)
        ]
        table = _aligned(lines, [ROWS[name] for name in names])
        tables.append(
            f"Top {length} of {result['impressions']:,} impressions, of "
            f"{result['catalogue']:,} articles that could be shown\n\n{table}"
        )
    return "\n\n".join(tables)


def off_policy_table(result: Mapping[str, Any]) -> str:
    """Formats what rankings would have been worth: a table, and lines below.

    Args:
        result: `off_policy` of the result of `tfrs_npa.runs.evaluation.evaluate_model`.
    """
    rows = {"logged": "as it was shown"} | ROWS
    headers, lines = [], []
    for title in ("clicks", "DCG@10"):
        headers += [f"{title} (IPS)", _INTERVAL, f"{title} (SNIPS)", _INTERVAL]
    for name, title in rows.items():
        if name in result["values"]:
            line = [title]
            for worth in result["values"][name].values():
                for estimate in ("ips", "snips"):
                    line.append(_number(worth[estimate]))
                    line.append(_number(_half_width(worth[f"{estimate}_interval"])))
            lines.append(line)
    shown = ", ".join(_number(number, ".2f") for number in result["propensities"][:10])
    kind = "estimated from this log" if result["estimated"] else "as given"
    text = [
        "What each ranking would have been worth had it been shown, by inverse propensity scoring:",
        "",
        _aligned(lines, headers),
        "",
        f"Propensities of the first positions, {kind}: {shown}",
        f"{result['clicks']:,} clicks count as {result['effective_clicks']:,.0f}",
    ]
    if result["warning"] is not None:
        text.append(f"Warning: {result['warning']}")
    return "\n".join(text)


def _table(lines: Sequence[Sequence[str]], columns: Sequence[str]) -> str:
    return _aligned(lines, [TITLES[name] for name in columns])


def _aligned(lines: Sequence[Sequence[str]], headers: Sequence[str]) -> str:
    return tabulate(
        lines,
        headers=["", *headers],
        # Numbers are text here, so that some of them can have signs.
        disable_numparse=True,
        colalign=["left", *["right"] * len(headers)],
    )


def _number(value: float | None, form: str = ".4f") -> str:
    return _MISSING if value is None else format(value, form)


def _half_width(interval: Sequence[float] | None) -> float | None:
    return None if interval is None else (interval[1] - interval[0]) / 2


def _verdict(difference: float | None, interval: Sequence[float] | None) -> str:
    if difference is None:
        return _MISSING
    if within_noise(interval):
        return "within noise"
    return "better" if difference > 0 else "worse"


def _difference(difference: float, interval: Sequence[float] | None, other: str) -> str:
    """Says how far above or below another AUC is."""
    words = f"{abs(difference):.4f} {'below' if difference < 0 else 'above'} {other}"
    if interval is None:
        return f"{words}: within noise"
    low, high = interval
    words += f" (95 % interval of the difference: {low:+.4f} to {high:+.4f})"
    return f"{words}: within noise" if within_noise(interval) else words
