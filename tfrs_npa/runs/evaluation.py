"""Evaluates a model on a split, next to baselines that need no training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfrs_npa.data.article_values import ArticleValues, category_indices
from tfrs_npa.data.batches import impression_batches
from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.data.impressions import Impressions
from tfrs_npa.data.loading import MindData
from tfrs_npa.data.users import UNKNOWN_USER
from tfrs_npa.metrics.impression_values import by_users, impression_values, mean_values
from tfrs_npa.metrics.off_policy import off_policy_values, propensities_of
from tfrs_npa.metrics.reliability import log_softmax, reliability
from tfrs_npa.metrics.significance import compare, intervals_of
from tfrs_npa.metrics.table import OF_ALL_USERS
from tfrs_npa.models.npa import NPA
from tfrs_npa.runs.baselines import Baselines
from tfrs_npa.runs.list_evaluation import ListArticles, evaluate_lists
from tfrs_npa.runs.slices import slice_metrics, slices_of

NPA_NAME = "npa"


def model_logits(model: NPA, impressions: Impressions) -> np.ndarray:
    """Scores the candidates of impressions.

    Args:
        model: The model, with whose catalogue and users the impressions were converted.
        impressions: The impressions.

    Returns:
        float32 `[candidates]` of all impressions, packed.
    """
    batches = impression_batches(impressions, model.catalog, model.users, model.config)
    with tqdm(total=len(batches), desc="Evaluating", unit=" batches", delay=2, disable=None) as bar:
        progress = tf.keras.callbacks.LambdaCallback(
            on_predict_batch_end=lambda batch, logs: bar.update()
        )
        return model.predict(batches, verbose=0, callbacks=[progress]).values.numpy()


def model_values(model: NPA, impressions: Impressions) -> dict[str, np.ndarray]:
    """Measures the scores of a model, as `impression_values`.

    Args:
        model: As `model_logits` takes it.
        impressions: The labelled impressions.
    """
    packed = impressions.take(slice(None))
    logits = model_logits(model, packed)
    return impression_values(packed.clicked, logits, packed.candidate_splits)


def baseline_values(
    baselines: Baselines, impressions: Impressions, catalog: NewsCatalog
) -> dict[str, dict[str, np.ndarray]]:
    """Measures the scores of baselines, as `impression_values`, by name.

    Args:
        baselines: The baselines.
        impressions: The labelled impressions.
        catalog: Their articles.
    """
    packed = impressions.take(slice(None))
    return _values(dict(baselines.scores(packed, catalog)), packed)


def _values(scores: Mapping[str, np.ndarray], packed: Impressions):
    return {
        name: impression_values(packed.clicked, column, packed.candidate_splits)
        for name, column in scores.items()
    }


def evaluate_baselines(
    baselines: Baselines, impressions: Impressions, catalog: NewsCatalog
) -> dict[str, Any]:
    """Evaluates baselines alone.

    Args:
        baselines: The baselines.
        impressions: The labelled impressions.
        catalog: Their articles.

    Returns:
        `metrics` and `intervals` as in the result of `evaluate_model`, and `best`, the name of the
        baseline with the best AUC; None if there is nothing to measure.
    """
    values = baseline_values(baselines, impressions, catalog)
    known_user = impressions.user_id != UNKNOWN_USER
    metrics = {name: mean_values(found, known_user) for name, found in values.items()}
    return {
        "metrics": metrics,
        "intervals": _intervals(values, known_user),
        "best": _best(metrics),
    }


def evaluate_model(
    model: NPA,
    data: MindData,
    split: str,
    impressions: Impressions,
    baselines: Baselines,
    against: Mapping[str, np.ndarray] | None = None,
    lists: bool = False,
    article_values: ArticleValues | None = None,
    off_policy: np.ndarray | bool = False,
) -> dict[str, Any]:
    """Evaluates a model on a split, next to the baselines.

    Args:
        model: The model, whose catalogue holds the articles of the split.
        data: The data set that the impressions come from.
        split: Their split.
        impressions: The labelled impressions.
        baselines: The baselines of the training impressions.
        against: Values of another model to compare with, from `model_values`.
        lists: Whether to measure the lists that the model and the baselines would show.
        article_values: For the lists, flags and scores of articles.
        off_policy: Whether to estimate what the rankings would have been worth had they been shown;
            an array: with these propensities of positions; true: with those of the impressions.
            Their candidates have to be in the order in which they were shown.

    Returns:
        A dict that JSON can hold: `data`, `split`; `metrics`, by `npa` and by name of the baseline,
        and then by name; `intervals`, 95 % confidence intervals of the same, see
        `tfrs_npa.metrics.significance`; `best_baseline`: `name` of the baseline with the best AUC,
        and `difference` and `interval` of the model's AUC less its (None if there is nothing to
        measure); `reference_auc`, by `history_only` and `true_preferences` and then by `all`,
        `known_users` and `new_users` (empty where it is not known); `share_of_optimum`, how much of
        the way from AUC 0.5 to that of `history_only` the model covers, by group; `impressions`:
        `all`, `known_users`, `new_users` and `skipped`, those in no mean; `slices`, see
        `tfrs_npa.runs.slices.slice_metrics`; `reliability`: whether articles are clicked as often
        as the model expects, see `tfrs_npa.metrics.reliability`. With `lists`, also `lists`, see
        `tfrs_npa.runs.list_evaluation.evaluate_lists`. With `off_policy`, also `off_policy`: the
        `propensities`, None for a position of which nothing is known; whether they are `estimated`;
        and what `tfrs_npa.metrics.off_policy.off_policy_values` returns. With `against`, also
        `against`: `metrics` of the other model, and `difference` and `intervals` of this model's
        metrics less the other's, by name.
    """
    packed, catalog = impressions.take(slice(None)), model.catalog
    logits = model_logits(model, packed)
    scores = dict(baselines.scores(packed, catalog)) | {NPA_NAME: logits}
    values = _values(scores, packed)
    found = values[NPA_NAME]
    category, names = category_indices(data.topics(), catalog)
    slices = slices_of(packed, catalog, baselines.popularity, category, names)
    known_user = packed.user_id != UNKNOWN_USER
    metrics = {name: mean_values(column, known_user) for name, column in values.items()}
    # As the loss has them.
    tempered = packed.clicked, logits / model.config.temperature, packed.candidate_splits
    metrics[NPA_NAME]["loss"] = _cross_entropy(*tempered)
    reference = dict(data.reference_auc.get(split, {}))
    known = int(np.count_nonzero(known_user))
    result: dict[str, Any] = {
        "data": data.name,
        "split": split,
        "metrics": metrics,
        "intervals": _intervals(values, known_user),
        "best_baseline": _above_baselines(metrics, values),
        "reference_auc": reference,
        "share_of_optimum": _share_of_optimum(metrics[NPA_NAME], reference),
        "impressions": {
            "all": len(impressions),
            "known_users": known,
            "new_users": len(impressions) - known,
            "skipped": metrics[NPA_NAME]["skipped_impressions"],
        },
        "slices": slice_metrics(slices, values, NPA_NAME),
        "reliability": reliability(*tempered),
    }
    if lists:
        articles = ListArticles.of(catalog, category, baselines, article_values)
        result["lists"] = evaluate_lists(scores, packed, articles)
    if off_policy is not False:
        result["off_policy"] = _off_policy(scores, packed, off_policy)
    if against is not None:
        result["against"] = {
            "metrics": mean_values(dict(against)),
            **compare(found, against, OF_ALL_USERS),
        }
    return result


def _off_policy(scores, packed: Impressions, given: np.ndarray | bool) -> dict[str, Any]:
    estimated = isinstance(given, bool)
    splits = packed.candidate_splits
    propensity = np.asarray(given)
    if estimated:
        propensity = propensities_of(packed.clicked, packed.candidate_values, splits)
    numbers = [None if np.isnan(number) else number for number in propensity.tolist()]
    values = off_policy_values(scores, packed.clicked, splits, propensity)
    return {"propensities": numbers, "estimated": estimated, **values}


def _cross_entropy(clicked, scores, splits) -> float | None:
    """Returns the loss of `NPA.evaluate`; None if no impression has a click, or a score is NaN."""
    rows = np.flatnonzero(np.diff(splits))  # others have nothing to sum
    is_click = clicked == 1
    logs = np.where(is_click, log_softmax(scores, splits), 0)
    clicks = np.add.reduceat(is_click, splits[rows], dtype=np.float64)
    has_click = clicks > 0
    losses = -np.add.reduceat(logs, splits[rows])[has_click] / clicks[has_click]
    loss = np.mean(losses) if len(losses) else np.nan
    return None if np.isnan(loss) else float(loss)


def _intervals(values, known_user) -> dict[str, dict[str, Any]]:
    """Returns the intervals of all metrics of each of `values`."""
    intervals: dict[str, dict[str, Any]] = {name: {} for name in values}
    groups = {name: by_users(found, known_user) for name, found in values.items()}
    for suffix in next(iter(groups.values())):
        # Together, because they are of the same impressions.
        columns = {
            (name, metric): column
            for name, group in groups.items()
            for metric, column in group[suffix].items()
        }
        for (name, metric), interval in intervals_of(columns).items():
            intervals[name][metric] = interval
    return intervals


def _best(metrics) -> str | None:
    """Returns the name of the baseline with the best AUC."""
    aucs = {
        name: found["auc"]
        for name, found in metrics.items()
        if name != NPA_NAME and found["auc"] is not None
    }
    return max(aucs, key=lambda name: aucs[name], default=None)


def _above_baselines(metrics, values) -> dict[str, Any] | None:
    best = _best(metrics)
    if best is None or metrics[NPA_NAME]["auc"] is None:
        return None
    found = compare(values[NPA_NAME], values[best], ["auc"])
    return {
        "name": best,
        "difference": found["difference"]["auc"],
        "interval": found["intervals"]["auc"],
    }


def _share_of_optimum(metrics, reference) -> dict[str, float | None]:
    if "history_only" not in reference:
        return {}
    shares: dict[str, float | None] = {}
    for group, optimum in reference["history_only"].items():
        auc = metrics["auc" if group == "all" else f"auc_{group}"]
        shares[group] = None if auc is None else (auc - 0.5) / (optimum - 0.5)
    return shares
