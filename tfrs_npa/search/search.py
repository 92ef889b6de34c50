"""Runs a search, alone or as the chief or a worker of many processes."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import time
from typing import Any

import keras_tuner as kt
import tensorflow as tf
from keras_tuner.engine import trial as kt_trial

from tfrs_npa._files import atomic_file, sweep
from tfrs_npa._lock import locked
from tfrs_npa.data.cache import Cache
from tfrs_npa.data.splits import Splits, load_splits
from tfrs_npa.metrics.table import ROWS
from tfrs_npa.runs.baselines import Baselines
from tfrs_npa.runs.evaluation import evaluate_baselines, evaluate_model
from tfrs_npa.search.cluster import (
    CHIEF,
    WORKER,
    announce_chief,
    check_environment,
    role,
    watch_chief,
)
from tfrs_npa.search.folder import SearchFolder
from tfrs_npa.search.hypermodel import NPAHyperModel
from tfrs_npa.search.oracle import OBJECTIVE, planned_trials
from tfrs_npa.search.pictures import plot_hyperparameters, plot_objective
from tfrs_npa.search.trials import (
    FAILED,
    TrialRecord,
    best,
    describe,
    record,
    records,
    write_csv,
)
from tfrs_npa.search.tuner import SearchTuner, fail_deadly_trial
from tfrs_npa.settings import CHIEF_TIMEOUT

logger = logging.getLogger(__name__)


class SearchFailed(RuntimeError):
    """No trial was completed."""


def search(
    folder: str | os.PathLike[str],
    cache: Cache | None = None,
    chief_timeout: float = CHIEF_TIMEOUT,
) -> dict[str, Any] | None:
    """Starts or resumes the search in a folder: there is no difference.

    An interrupted trial is repeated; with Hyperband, from the trial that it continues. KerasTuner's
    variables `KERASTUNER_ORACLE_IP`, `KERASTUNER_ORACLE_PORT` and `KERASTUNER_TUNER_ID` decide what
    this process does: the whole search if they are not set; else it either hands out trials to the
    workers and writes the results, or is a worker. All processes share the folder.

    Args:
        folder: The folder of the search, see `SearchFolder.create`.
        cache: Keeps preprocessed data.
        chief_timeout: Seconds that a worker waits for its chief to start.

    Returns:
        The content of `results.json`: the result of `evaluate_model` for the best checkpoint of the
        best trial, on impressions that no trial saw; plus `parts`, `objective`, with the best
        `baseline` on the impressions that it is measured on, `best` (the trial) and `trials` (how
        many were completed and how many failed). None in a worker.

    Raises:
        ValueError: if anything is wrong with the settings, the space or the data; if a search is
            resumed and the data has changed, or another process runs it.
        SearchFailed: if no trial was completed; says why they failed.
        ChiefGone: if a worker's chief does not start. If it goes away later, the process ends.
    """
    check_environment()
    if role() != WORKER:
        found = SearchFolder(folder)
        with locked(folder, found.kind):
            sweep(folder)
            return _search(found, cache)
    with watch_chief(folder, chief_timeout) as has_chief:
        if has_chief:
            _search(SearchFolder(folder), cache)
    return None


def _search(folder: SearchFolder, cache: Cache | None) -> dict[str, Any] | None:
    settings = folder.settings
    catalog, splits = load_splits(settings, cache)
    fingerprint = splits.fingerprint(catalog)
    folder.require_same_data(splits.data.name, fingerprint)
    hypermodel = NPAHyperModel(
        catalog, splits.train, splits.validation, folder.space, users=splits.users
    )
    tuner = SearchTuner(folder, hypermodel)
    if role() == WORKER:
        fail_deadly_trial(tuner)
    else:
        folder.save_data_fingerprint(fingerprint)
        dim = hypermodel.space.base.word_embedding_dim
        baselines = Baselines.of_training(splits.train, catalog, dim)
        _report_baselines(baselines, folder, hypermodel)
        _report_trials(tuner.oracle, folder)
    tensorboard = tf.keras.callbacks.TensorBoard(folder.tensorboard, write_graph=False)
    with announce_chief(folder.path) if role() == CHIEF else contextlib.nullcontext():
        tuner.search(epochs=settings.epochs, callbacks=[tensorboard], verbose=0)
    return None if role() == WORKER else _results(folder, tuner, splits, baselines)


def _report_baselines(
    baselines: Baselines, folder: SearchFolder, hypermodel: NPAHyperModel
) -> None:
    """Writes `baselines.json`, and logs the AUCs that a trial has to beat."""
    found = folder.baselines
    if found is None:
        found = evaluate_baselines(baselines, hypermodel.validation, hypermodel.catalog)
        folder.baselines = found
    aucs = {ROWS[name]: row["auc"] for name, row in found["metrics"].items()}
    shown = [f"{title} {auc:.4f}" for title, auc in aucs.items() if auc is not None]
    logger.info("%s without training: %s", OBJECTIVE, ", ".join(shown))


def _report_trials(oracle: kt.Oracle, folder: SearchFolder) -> None:
    """Writes `trials.csv` and logs a line whenever a trial ends."""
    planned = planned_trials(oracle)
    oracle.on_end = functools.partial(_report_trial, oracle, folder, planned)
    ended, started = len(oracle.end_order), len(oracle.start_order)
    if started:
        logger.info("resuming; trials so far: %d ended, %d interrupted", ended, started - ended)
    elif planned is not None:
        logger.info("trials planned: %d", planned)


def _report_trial(
    oracle: kt.Oracle, folder: SearchFolder, planned: int | None, trial: kt_trial.Trial
) -> None:
    trials = records(oracle, folder)
    write_csv(folder.path / "trials.csv", trials)
    ended = record(trial, folder)
    defaults = {hp.name: hp.default for hp in oracle.get_space().space}
    level = logging.WARNING if ended.status == FAILED else logging.INFO
    logger.log(level, describe(ended, best(trials), len(oracle.end_order), planned, defaults))


def _results(
    folder: SearchFolder, tuner: SearchTuner, splits: Splits, baselines: Baselines
) -> dict[str, Any]:
    """Writes the results of a search that has ended."""
    trials = records(tuner.oracle, folder)
    write_csv(folder.path / "trials.csv", trials)
    winner = best(trials)
    if winner is None:
        raise SearchFailed(_why_none(folder, trials))
    logarithmic = {
        hp.name
        for hp in tuner.oracle.get_space().space
        if getattr(hp, "sampling", None) in ("log", "reverse_log")
    }
    plot_objective(folder.path / "objective.png", trials)
    plot_hyperparameters(folder.path / "hyperparameters.png", trials, logarithmic)
    trial = tuner.oracle.get_trial(winner.trial)
    config = tuner.hypermodel.space.config(trial.hyperparameters)
    with atomic_file(folder.path / "config.yaml") as temporary:
        temporary.write_text(config.to_yaml(), encoding="utf-8")
    started = time.monotonic()
    evaluation = evaluate_model(
        tuner.load_model(trial),
        splits.data,
        splits.test_split,
        splits.test,
        baselines,
    )
    evaluation_seconds = time.monotonic() - started
    seconds = [trial.seconds for trial in trials if trial.seconds is not None]
    results = evaluation | {
        "parts": splits.names,
        "objective": {
            "name": OBJECTIVE,
            "value": winner.score,
            "baseline": _best_baseline(folder),
        },
        "best": {
            "trial": winner.trial,
            "epoch": winner.best_epoch,
            "hyperparameters": winner.values,
        },
        "trials": {
            "completed": sum(trial.score is not None for trial in trials),
            "failed": sum(trial.status == FAILED for trial in trials),
        },
        "seconds": {"trials": sum(seconds), "evaluation": evaluation_seconds},
    }
    with atomic_file(folder.path / "results.json") as temporary:
        temporary.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return results


def _best_baseline(folder: SearchFolder) -> dict[str, Any] | None:
    found = folder.baselines
    if found is None or found["best"] is None:
        return None
    return {"name": found["best"], "value": found["metrics"][found["best"]]["auc"]}


def _why_none(folder: SearchFolder, trials: list[TrialRecord]) -> str:
    counts: dict[str | None, int] = {}
    for trial in trials:
        counts[trial.reason] = counts.get(trial.reason, 0) + 1
    reasons = "; ".join(f"{reason} ({count} of {len(trials)})" for reason, count in counts.items())
    return (
        f"no trial was completed: {reasons or 'none was started'}; details are in "
        f"{folder.trials}/trial_*/failure.txt"
    )
