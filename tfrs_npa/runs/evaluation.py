"""Evaluates a model on a split, next to model-free baselines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tfrs_npa.data import ragged
from tfrs_npa.data.batches import impression_batches
from tfrs_npa.data.catalog import FIRST_ARTICLE, PADDING, UNKNOWN_ARTICLE, NewsCatalog
from tfrs_npa.data.impressions import Impressions
from tfrs_npa.data.loading import MindData
from tfrs_npa.data.users import UNKNOWN_USER
from tfrs_npa.metrics.impression_metrics import ImpressionMetrics
from tfrs_npa.metrics.table import as_numbers
from tfrs_npa.models.npa import NPA

_BATCH = 1024
_CHUNK = 16384


def popularity_counts(impressions: Impressions, catalog: NewsCatalog) -> dict[str, tuple[int, int]]:
    """Counts how often each article was clicked and shown.

    Args:
        impressions: Labelled impressions, such as those of training.
        catalog: Their articles.

    Returns:
        `(clicked, shown)` by id, for the known articles that were shown.
    """
    shown, clicked = np.zeros((2, len(catalog)), np.int64)
    for first in range(0, len(impressions), _CHUNK):
        rows = np.arange(first, min(first + _CHUNK, len(impressions)))
        positions = ragged.positions(impressions.candidate_splits, rows)
        articles = impressions.candidate_values[positions]
        is_click = impressions.clicked[positions] == 1
        shown += np.bincount(articles, minlength=len(catalog))
        clicked += np.bincount(articles[is_click], minlength=len(catalog))
    ids = catalog.ids
    return {
        ids[index]: (int(clicked[index]), int(shown[index]))
        for index in np.flatnonzero(shown)
        if index >= FIRST_ARTICLE
    }


def evaluate_scores(
    score: Callable[[dict[str, np.ndarray]], np.ndarray],
    impressions: Impressions,
    model: NPA,
) -> dict[str, float | None]:
    """Evaluates any scores by `tfrs_npa.ImpressionMetrics`.

    Args:
        score: Returns `[batch, candidates]` scores for a batch of `impression_batches`.
        impressions: Labelled impressions.
        model: The model whose catalogue, users and configuration the batches are made with.

    Returns:
        The metrics by name; None where there is nothing to measure.
    """
    metrics = ImpressionMetrics()
    batches = impression_batches(
        impressions, model.catalog, model.users, model.config, batch_size=_BATCH
    )
    for batch in batches.as_numpy_iterator():
        metrics.update(
            batch["clicked"],
            score(batch),
            mask=batch["candidates"] != PADDING,
            known_user=batch["user_id"] != UNKNOWN_USER,
        )
    return as_numbers(metrics.result())


def evaluate_model(
    model: NPA,
    data: MindData,
    split: str,
    impressions: Impressions,
    popularity: Mapping[str, tuple[int, int]],
    verbose: int = 0,
) -> dict[str, Any]:
    """Evaluates a model on a split, next to random scores and popularity.

    Args:
        model: The compiled model, whose catalogue holds the articles of the split.
        data: The data set that the impressions come from.
        split: Their split.
        impressions: The labelled impressions.
        popularity: Clicks and views of articles in training, as from `popularity_counts`; the score
            of an article is its click-through rate, 0 if it was never shown.
        verbose: As `Model.evaluate` takes it.

    Returns:
        A dict that JSON can hold: `data`, `split`; `metrics`, by `random`, `popularity` and `npa`
        and then by name; `reference_auc`, by `history_only` and `true_preferences` and then by
        `all`, `known_users` and `new_users` (empty where it is not known); `share_of_optimum`,
        how much of the way from AUC 0.5 to that of `history_only` the model covers, by group;
        `impressions`: `all`, `known_users`, `new_users` and `skipped`, those in no mean.
    """
    config = model.config
    rates = np.zeros(len(model.catalog), np.float32)
    articles = model.catalog.index(list(popularity))
    for article, (clicked, shown) in zip(articles, popularity.values(), strict=True):
        rates[article] = clicked / shown
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
        "npa": as_numbers(model.evaluate(batches, verbose=verbose, return_dict=True)),
    }
    reference = dict(data.reference_auc.get(split, {}))
    known = int(np.count_nonzero(impressions.user_id != UNKNOWN_USER))
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
            "skipped": int(metrics["npa"]["skipped_impressions"] or 0),
        },
    }


def _share_of_optimum(metrics, reference) -> dict[str, float | None]:
    if "history_only" not in reference:
        return {}
    shares: dict[str, float | None] = {}
    for group, optimum in reference["history_only"].items():
        auc = metrics["auc" if group == "all" else f"auc_{group}"]
        shares[group] = None if auc is None else (auc - 0.5) / (optimum - 0.5)
    return shares
