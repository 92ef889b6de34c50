"""How good a model is on a split, beside what takes no model at all."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from tabulate import tabulate

from tfrs_npa.data.batches import impression_batches
from tfrs_npa.data.catalog import FIRST_ARTICLE, UNKNOWN_ARTICLE, NewsCatalog
from tfrs_npa.data.impressions import Impressions
from tfrs_npa.data.mind import MindData
from tfrs_npa.metrics.impression_metrics import ImpressionMetrics
from tfrs_npa.models.npa import NPA

_BATCH = 1024
_COLUMNS = {
    "auc": "AUC",
    "auc_known_users": "AUC known users",
    "auc_new_users": "AUC new users",
    "mrr": "MRR",
    "ndcg_5": "nDCG@5",
    "ndcg_10": "nDCG@10",
}
_ROWS = {
    "random": "random",
    "popularity": "popularity",
    "npa": "NPA",
    "history_only": "best from history alone",
    "true_preferences": "true preferences",
}


def popularity_counts(impressions: Impressions, catalog: NewsCatalog) -> dict[str, tuple[int, int]]:
    """Counts how often each article was clicked and shown.

    Args:
        impressions: labelled impressions, such as those of training.
        catalog: their articles.

    Returns:
        `(clicked, shown)` by id, for the known articles that were shown.
    """
    articles = impressions.candidate_values
    shown = np.bincount(articles, minlength=len(catalog))
    clicked = np.bincount(articles[impressions.clicked == 1], minlength=len(catalog))
    ids = catalog.ids
    return {
        ids[number]: (int(clicked[number]), int(shown[number]))
        for number in np.flatnonzero(shown)
        if number >= FIRST_ARTICLE
    }


def evaluate_scores(
    score: Callable[[dict[str, np.ndarray]], np.ndarray],
    impressions: Impressions,
    model: NPA,
) -> dict[str, float | None]:
    """Measures any scores by `tfrs_npa.metrics.ImpressionMetrics`.

    Args:
        score: gives `[batch, candidates]` scores for a batch of `impression_batches`.
        impressions: labelled impressions.
        model: whose catalogue, users and configuration the batches are made with.

    Returns:
        The metrics by name; None where there is nothing to measure.
    """
    ranking = ImpressionMetrics()
    batches = impression_batches(
        impressions, model.catalog, model.users, model.config, batch_size=_BATCH
    )
    for batch in batches.as_numpy_iterator():
        ranking.update(
            batch["clicked"],
            score(batch),
            mask=batch["candidates"] != 0,
            known_user=batch["user_id"] != 0,
        )
    return _numbers({metric.name: metric.result() for metric in ranking.metrics})


def evaluate_model(
    model: NPA,
    data: MindData,
    split: str,
    impressions: Impressions,
    popularity: Mapping[str, tuple[int, int]],
    verbose: int = 0,
) -> dict[str, Any]:
    """Measures a model on a split, beside random scores and popularity.

    Args:
        model: compiled, and its catalogue holds the articles of the split.
        data: where the impressions come from.
        split: their split.
        impressions: the impressions, labelled.
        popularity: clicks and views of articles in training, as of `popularity_counts`; an
            article's score is its click-through rate, 0 if it was never shown.
        verbose: as `Model.evaluate` takes it.

    Returns:
        A dict that JSON can hold: `data`, `split`; `metrics`, by `random`, `popularity` and `npa`
        and then by name; `reference_auc`, by `history_only` and `true_preferences` and then by
        `all`, `known_users` and `new_users` (empty where it is not known); `share_of_optimum`,
        how much of the way from AUC 0.5 to that of `history_only` the model covers, by group;
        `impressions`: `all`, `known_users`, `new_users` and `skipped`, those in no mean.
    """
    config = model.config
    rates = np.zeros(len(model.catalog), np.float32)
    numbers = model.catalog.index(list(popularity)) if popularity else []
    for number, (clicked, shown) in zip(numbers, popularity.values(), strict=True):
        rates[number] = clicked / shown
    rates[UNKNOWN_ARTICLE] = 0
    generator = np.random.default_rng(config.seed)
    batches = impression_batches(impressions, model.catalog, model.users, config)
    metrics = {
        "random": evaluate_scores(
            lambda batch: generator.random(batch["candidates"].shape, np.float32),
            impressions,
            model,
        ),
        "popularity": evaluate_scores(lambda batch: rates[batch["candidates"]], impressions, model),
        "npa": _numbers(model.evaluate(batches, verbose=verbose, return_dict=True)),
    }
    reference = dict(data.reference_auc.get(split, {}))
    known = int(np.count_nonzero(impressions.user_id))
    return {
        "data": data.name,
        "split": split,
        "metrics": metrics,
        "reference_auc": reference,
        "share_of_optimum": _share_of_optimum(metrics["npa"], reference),
        "impressions": {
            "all": len(impressions),
            "known_users": known,
            "new_users": len(impressions) - known,
            "skipped": int(metrics["npa"]["skipped_impressions"]),
        },
    }


def report(figures: Mapping[str, Any]) -> str:
    """Formats what `evaluate_model` returns for people: a table, and lines below it."""
    rows = {name: dict(metrics) for name, metrics in figures["metrics"].items()}
    for name, aucs in figures["reference_auc"].items():
        rows[name] = {
            "auc" if group == "all" else f"auc_{group}": auc for group, auc in aucs.items()
        }
    table = tabulate(
        [
            [title, *(rows[name].get(column) for column in _COLUMNS)]
            for name, title in _ROWS.items()
            if name in rows
        ],
        headers=["", *_COLUMNS.values()],
        floatfmt=".4f",
        missingval="-",
    )
    counts = figures["impressions"]
    lines = [
        f"{figures['data']}, split {figures['split']}: {counts['all']:,} impressions, "
        f"{counts['known_users']:,} of known users, {counts['new_users']:,} of new users, "
        f"{counts['skipped']:,} skipped (no click, or nothing but clicks)"
    ]
    shares = figures["share_of_optimum"]
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


def _share_of_optimum(metrics, reference) -> dict[str, float | None]:
    if "history_only" not in reference:
        return {}
    shares = {}
    for group, optimum in reference["history_only"].items():
        auc = metrics["auc" if group == "all" else f"auc_{group}"]
        shares[group] = None if auc is None else (auc - 0.5) / (optimum - 0.5)
    return shares


def _numbers(metrics) -> dict[str, float | None]:
    """Plain numbers, because JSON has no NaN."""
    values = {name: float(value) for name, value in metrics.items()}
    return {name: None if math.isnan(value) else value for name, value in values.items()}
