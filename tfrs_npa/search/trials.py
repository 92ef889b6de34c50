"""The trials of a search as a table."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras_tuner as kt

from tfrs_npa._files import atomic_file
from tfrs_npa.search.folder import SearchFolder
from tfrs_npa.search.oracle import OBJECTIVE

COMPLETED, FAILED, INTERRUPTED = "completed", "failed", "interrupted"
# Prefix of values that are Hyperband's own.
_INTERNAL = "tuner/"


@dataclasses.dataclass(frozen=True)
class TrialRecord:
    """A row of the table of trials.

    Attributes:
        trial: Its id.
        status: `completed`, `failed` or `interrupted`.
        score: The best `val_auc` of its epochs; None unless it is completed.
        first_epoch: Its first epoch; above 1 if it continues another trial of Hyperband's.
        epochs: Its last epoch, as planned.
        best_epoch: The epoch of the best `val_auc`, counted from 1.
        seconds: How long it took.
        values: The hyper-parameters that the tuner chose, by name.
        reason: Why it failed, in a line.
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
    """Returns the record of a trial.

    Args:
        trial: KerasTuner's trial.
        folder: The folder of the search.
    """
    status = {"COMPLETED": COMPLETED, "FAILED": FAILED}.get(trial.status, INTERRUPTED)
    values = trial.hyperparameters.values
    trained = values.get(f"{_INTERNAL}initial_epoch", 0)
    noted = {}
    note = folder.trials / f"trial_{trial.trial_id}" / "run.json"
    if status != INTERRUPTED and note.exists():
        noted = json.loads(note.read_text(encoding="utf-8"))
    reason = noted.get("reason")
    if status == FAILED and reason is None:
        reason = f"{OBJECTIVE} is not a number: the training has diverged"
    completed = status == COMPLETED
    return TrialRecord(
        trial=trial.trial_id,
        status=status,
        score=float(trial.score) if completed else None,
        first_epoch=trained + 1,
        epochs=values.get(f"{_INTERNAL}epochs", folder.settings.epochs),
        best_epoch=trained + trial.best_step + 1 if completed else None,
        seconds=noted.get("seconds"),
        values={name: value for name, value in values.items() if not name.startswith(_INTERNAL)},
        reason=reason,
    )


def records(oracle: kt.Oracle, folder: SearchFolder) -> list[TrialRecord]:
    """Returns the records of all trials, in the order in which they were started."""
    return [record(oracle.trials[trial], folder) for trial in oracle.start_order]


def best(trials: Sequence[TrialRecord]) -> TrialRecord | None:
    """Returns the completed trial with the best score; None if there is none."""
    scored = [(trial.score, trial) for trial in trials if trial.score is not None]
    return max(scored, key=lambda pair: pair[0], default=(None, None))[1]


def describe(
    trial: TrialRecord,
    top: TrialRecord | None,
    number: int,
    planned: int | None,
    defaults: Mapping[str, Any],
) -> str:
    """Describes a trial in a line: its score, and hyper-parameters that differ from the defaults.

    Args:
        trial: A trial that has ended.
        top: The best trial so far; None if there is none.
        number: How many trials have ended, this one included.
        planned: How many there will be, if known.
        defaults: The value of each hyper-parameter that the search starts from.
    """
    count = f"{number} of {planned}" if planned else str(number)
    values = [
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in trial.values.items()
        if value != defaults.get(name)
    ]
    details = ", ".join([*values, f"epochs {trial.first_epoch} to {trial.epochs}"])
    took = "" if trial.seconds is None else f"; {trial.seconds:.0f} s"
    if trial.status == FAILED:
        return f"trial {trial.trial} ({count}) failed: {trial.reason}; {details}{took}"
    so_far = "the best so far"
    if top is not None and trial != top:
        so_far = f"best {top.score:.4f}"
    return (
        f"trial {trial.trial} ({count}): {OBJECTIVE} {trial.score:.4f}, {so_far}; {details}{took}"
    )


def searched(trials: Sequence[TrialRecord]) -> list[str]:
    """Returns the hyper-parameters that have more than one value in the trials."""
    names = dict.fromkeys(name for trial in trials for name in trial.values)
    return [
        name
        for name in names
        if len({trial.values[name] for trial in trials if name in trial.values}) > 1
    ]


def write_csv(path: str | os.PathLike[str], trials: Sequence[TrialRecord]) -> None:
    """Writes a row for each trial: its record, and its hyper-parameters."""
    names = [field.name for field in dataclasses.fields(TrialRecord) if field.name != "values"]
    columns = [{"score": OBJECTIVE}.get(name, name) for name in names[:-1]]
    values = list(dict.fromkeys(name for trial in trials for name in trial.values))
    with atomic_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, *values, names[-1]])
        for trial in trials:
            *known, reason = (getattr(trial, name) for name in names)
            writer.writerow([*known, *(trial.values.get(name) for name in values), reason])
