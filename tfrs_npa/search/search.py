"""Running a search, in a process of its own or as one of many."""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import Any

import tensorflow as tf

from tfrs_npa.data.cache import Cache
from tfrs_npa.data.files import replacing
from tfrs_npa.data.parts import Parts, read_data
from tfrs_npa.evaluation import evaluate_model, popularity_counts
from tfrs_npa.hypermodel import NPAHyperModel
from tfrs_npa.search.folder import SearchFolder
from tfrs_npa.search.oracle import OBJECTIVE
from tfrs_npa.search.pictures import plot_hyperparameters, plot_objective
from tfrs_npa.search.processes import (
    PATIENCE,
    check_environment,
    fail_deadly_trial,
    following,
    leading,
)
from tfrs_npa.search.progress import follow
from tfrs_npa.search.trials import FAILED, TrialRecord, best, records, write_csv
from tfrs_npa.search.tuner import CHIEF, WORKER, SearchTuner, role


class SearchFailed(RuntimeError):
    """No trial was completed."""


def search(
    folder: str | os.PathLike,
    cache: Cache | None = None,
    verbose: int = 0,
    patience: float = PATIENCE,
) -> dict[str, Any] | None:
    """Runs a search whose folder is there, or goes on with it: there is no difference.

    A trial that was cut off begins again, with Hyperband from the trial that it continues. What
    this process does is KerasTuner's choice, by `KERASTUNER_ORACLE_IP`, `KERASTUNER_ORACLE_PORT`
    and `KERASTUNER_TUNER_ID`: all of the search where they are not set; else it hands out trials
    to the workers and writes the results, or it is a worker. All of them share the folder.

    Args:
        folder: of the search, see `SearchFolder.create`.
        cache: where preprocessed data is kept.
        verbose: 1 shows Keras's progress bar of the final evaluation.
        patience: seconds that a worker waits for its chief to come up.

    Returns:
        What `results.json` then holds: the figures of `evaluate_model` for the best checkpoint of
        the best trial, on impressions that no trial saw; beside them `parts`, `objective`, `best`
        (the trial) and `trials` (how many were completed and how many failed). None in a worker.

    Raises:
        ValueError: if anything about the settings, the space or the data is not as it should be.
        SearchFailed: if no trial was completed; says why they failed.
        ChiefGone: if a worker's chief does not come up. When it goes later, the process ends.
    """
    check_environment()
    if role() != WORKER:
        return _search(SearchFolder(folder), cache, verbose)
    with following(folder, patience) as goes_on:
        if goes_on:
            _search(SearchFolder(folder), cache, verbose)
    return None


def _search(folder: SearchFolder, cache: Cache | None, verbose: int) -> dict[str, Any] | None:
    settings = folder.settings
    catalog, parts = read_data(settings, cache)
    hypermodel = NPAHyperModel(
        catalog, parts.train, parts.stopping, folder.space_file, users=parts.users
    )
    tuner = SearchTuner(folder, hypermodel)
    if role() == WORKER:
        fail_deadly_trial(tuner)
    else:
        follow(tuner.oracle, folder)
    log = tf.keras.callbacks.TensorBoard(folder.tensorboard, write_graph=False)
    with leading(folder.path) if role() == CHIEF else contextlib.nullcontext():
        tuner.search(epochs=settings.epochs, callbacks=[log], verbose=0)
    return None if role() == WORKER else _results(folder, tuner, parts, verbose)


def _results(
    folder: SearchFolder, tuner: SearchTuner, parts: Parts, verbose: int
) -> dict[str, Any]:
    """Writes what came out of a search that has ended."""
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
    with replacing(folder.path / "config.yaml") as temporary:
        temporary.write_text(config.to_yaml(), encoding="utf-8")
    started = time.monotonic()
    figures = evaluate_model(
        tuner.load_model(trial),
        parts.data,
        parts.names["report"],
        parts.report,
        popularity_counts(parts.train, tuner.hypermodel.catalog),
        verbose,
    )
    evaluation = time.monotonic() - started
    seconds = [trial.seconds for trial in trials if trial.seconds is not None]
    results = figures | {
        "parts": parts.names,
        "objective": {"name": OBJECTIVE, "value": winner.score},
        "best": {
            "trial": winner.trial,
            "epoch": winner.best_epoch,
            "hyperparameters": winner.values,
        },
        "trials": {
            "completed": sum(trial.score is not None for trial in trials),
            "failed": sum(trial.status == FAILED for trial in trials),
        },
        "seconds": {"trials": sum(seconds), "evaluation": evaluation},
    }
    with replacing(folder.path / "results.json") as temporary:
        temporary.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return results


def _why_none(folder: SearchFolder, trials: list[TrialRecord]) -> str:
    counts: dict[str | None, int] = {}
    for trial in trials:
        counts[trial.reason] = counts.get(trial.reason, 0) + 1
    reasons = "; ".join(f"{count} times {reason}" for reason, count in counts.items())
    return (
        f"none of {len(trials)} trials was completed: {reasons or 'none was begun'} (all of it is "
        f"in {folder.trials}/trial_*/failure.txt)"
    )
