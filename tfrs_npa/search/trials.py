"""The trials of a search as a table."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
from collections.abc import Sequence
from typing import Any

import keras_tuner as kt

from tfrs_npa.data.files import replacing
from tfrs_npa.search.folder import SearchFolder
from tfrs_npa.search.oracle import OBJECTIVE

COMPLETED, FAILED, CUT_OFF = "completed", "failed", "cut off"
# Of Hyperband's own, beside the hyper-parameters.
_INTERNAL = "tuner/"


@dataclasses.dataclass(frozen=True)
class TrialRecord:
    """What is known of a trial.

    Attributes:
        trial: its id.
        status: `completed`, `failed`, or `cut off`: begun and not ended.
        score: the best `val_auc` of its epochs; None unless it is completed.
        first_epoch: the epoch it began with; above 1 where Hyperband went on with another trial.
        epochs: the epoch it was to end with.
        best_epoch: the epoch of the best `val_auc`, counted from 1.
        seconds: how long it took.
        values: the hyper-parameters that the tuner chose, by name.
        reason: why it failed, in a line.
    """

    trial: str
    status: str
    score: float | None
    first_epoch: int
    epochs: int
    best_epoch: int | None
    seconds: float | None
    values: dict[str, Any]
    reason: str | None


def record(trial: kt.engine.trial.Trial, folder: SearchFolder) -> TrialRecord:
    """Returns what is known of a trial.

    Args:
        trial: KerasTuner's.
        folder: of the search.
    """
    status = {"COMPLETED": COMPLETED, "FAILED": FAILED}.get(trial.status, CUT_OFF)
    values = trial.hyperparameters.values
    begun = values.get(f"{_INTERNAL}initial_epoch", 0)
    noted = {}
    note = folder.trials / f"trial_{trial.trial_id}" / "run.json"
    if status != CUT_OFF and note.exists():
        noted = json.loads(note.read_text(encoding="utf-8"))
    reason = noted.get("reason")
    if status == FAILED and reason is None:
        reason = f"{OBJECTIVE} is not a number: the training has diverged"
    completed = status == COMPLETED
    return TrialRecord(
        trial=trial.trial_id,
        status=status,
        score=float(trial.score) if completed else None,
        first_epoch=begun + 1,
        epochs=values.get(f"{_INTERNAL}epochs", folder.settings.epochs),
        best_epoch=begun + trial.best_step + 1 if completed else None,
        seconds=noted.get("seconds"),
        values={name: value for name, value in values.items() if not name.startswith(_INTERNAL)},
        reason=reason,
    )


def records(oracle: kt.Oracle, folder: SearchFolder) -> list[TrialRecord]:
    """Returns what is known of each trial, in the order in which they were begun."""
    return [record(oracle.trials[trial], folder) for trial in oracle.start_order]


def best(trials: Sequence[TrialRecord]) -> TrialRecord | None:
    """The completed trial with the best score; None if there is none."""
    completed = [trial for trial in trials if trial.status == COMPLETED]
    return max(completed, key=lambda trial: trial.score, default=None)


def searched(trials: Sequence[TrialRecord]) -> list[str]:
    """The hyper-parameters that have more than one value in the trials."""
    names = dict.fromkeys(name for trial in trials for name in trial.values)
    return [
        name
        for name in names
        if len({trial.values[name] for trial in trials if name in trial.values}) > 1
    ]


def write_csv(path: str | os.PathLike, trials: Sequence[TrialRecord]) -> None:
    """Writes a row for each trial: what is known of it, and its hyper-parameters."""
    names = [field.name for field in dataclasses.fields(TrialRecord) if field.name != "values"]
    columns = [{"score": OBJECTIVE}.get(name, name) for name in names[:-1]]
    values = list(dict.fromkeys(name for trial in trials for name in trial.values))
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, *values, names[-1]])
        for trial in trials:
            *known, reason = (getattr(trial, name) for name in names)
            writer.writerow([*known, *(trial.values.get(name) for name in values), reason])
