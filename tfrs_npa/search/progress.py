"""What a search says and writes while it runs."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from typing import Any

from tfrs_npa.search.folder import SearchFolder
from tfrs_npa.search.oracle import OBJECTIVE, planned_trials
from tfrs_npa.search.trials import FAILED, TrialRecord, best, record, records, write_csv

logger = logging.getLogger(__name__)


def follow(oracle, folder: SearchFolder) -> None:
    """Has `trials.csv` written, and a line logged, whenever a trial ends.

    Args:
        oracle: of `make_oracle`, in this process.
        folder: of the search.
    """
    planned = planned_trials(oracle)
    oracle.on_end = functools.partial(_on_end, oracle, folder, planned)
    ended, begun = len(oracle.end_order), len(oracle.start_order)
    if begun:
        logger.info("going on: %d trials have ended, %d were cut off", ended, begun - ended)
    elif planned is not None:
        logger.info("%d trials are planned", planned)


def line(
    trial: TrialRecord,
    top: TrialRecord | None,
    number: int,
    planned: int | None,
    defaults: Mapping[str, Any],
) -> str:
    """Says of a trial how good it is and which hyper-parameters it has that are not the default.

    Args:
        trial: a trial that has ended.
        top: the best trial so far; None if there is none.
        number: how many trials have ended with it.
        planned: how many there will be, if that is known.
        defaults: the value of each hyper-parameter where the search starts.
    """
    count = f"{number} of {planned}" if planned else str(number)
    values = [
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in trial.values.items()
        if value != defaults.get(name)
    ]
    what = ", ".join([*values, f"epochs {trial.first_epoch} to {trial.epochs}"])
    took = "" if trial.seconds is None else f"; {trial.seconds:.0f} s"
    if trial.status == FAILED:
        return f"trial {trial.trial} ({count}) failed: {trial.reason}; {what}{took}"
    so_far = "the best so far" if trial == top else f"best {top.score:.4f}"
    return f"trial {trial.trial} ({count}): {OBJECTIVE} {trial.score:.4f}, {so_far}; {what}{took}"


def _on_end(oracle, folder, planned, trial):
    trials = records(oracle, folder)
    write_csv(folder.path / "trials.csv", trials)
    ended = record(trial, folder)
    defaults = {hp.name: hp.default for hp in oracle.get_space().space}
    level = logging.WARNING if ended.status == FAILED else logging.INFO
    logger.log(level, line(ended, best(trials), len(oracle.end_order), planned, defaults))
