"""Oracles, which choose the trials: KerasTuner's, made crash-safe."""

from __future__ import annotations

import json
import logging
import pathlib
import shutil
from collections.abc import Callable

import keras_tuner as kt
import numpy as np
from keras_tuner.engine import trial as kt_trial

from tfrs_npa._files import atomic_file
from tfrs_npa.settings import DEFAULT_TRIALS, SearchSettings

OBJECTIVE = "val_auc"
# Trials that fail in a row before the search ends: the next would fail too.
_FAILURES = 3

logger = logging.getLogger(__name__)


class _CrashSafe(kt.Oracle):
    """Mixin that makes an oracle crash-safe.

    Attributes:
        on_end: Called with a trial when it has ended.
    """

    on_end: Callable[[kt_trial.Trial], None] | None = None
    _failed_in_a_row = 0
    _retry_queue: list[str]  # KerasTuner's own

    # KerasTuner writes in place: interrupted, it could not read its own file again.
    def save(self) -> None:
        _write_whole(self._get_oracle_fname(), self)

    def _save_trial(self, trial: kt_trial.Trial) -> None:
        _write_whole(pathlib.Path(self._get_trial_dir(trial.trial_id), "trial.json"), trial)

    def reload(self) -> None:
        self._remove_unknown_trials()
        super().reload()
        # The end of a trial is written before the trial leaves the list of ongoing ones.
        ended = set(self.end_order)
        self._retry_queue = [i for i in dict.fromkeys(self._retry_queue) if i not in ended]
        for trial_id in self._retry_queue:
            trial = self.trials[trial_id]
            # Metrics from before the interruption would count twice.
            trial.metrics = type(trial.metrics)()
            trial.score, trial.message = None, None

    def _remove_unknown_trials(self) -> None:
        """Removes trials that were written after the oracle, which would reuse their ids."""
        with open(self._get_oracle_fname(), encoding="utf-8") as file:
            known = set(json.load(file)["start_order"])
        for folder in pathlib.Path(self._project_dir).glob("trial_*"):
            if folder.name.removeprefix("trial_") not in known:
                shutil.rmtree(folder)

    # KerasTuner's own check for failures raises: in a chief inside the server, which then hangs.
    @kt.synchronized
    def create_trial(self, tuner_id: str) -> kt_trial.Trial:
        if self._failed_in_a_row >= _FAILURES and tuner_id not in self.ongoing_trials:
            self.tuner_ids.discard(tuner_id)
            stopped = kt_trial.TrialStatus.STOPPED
            return kt_trial.Trial(self.get_space(), trial_id="none", status=stopped)
        return super().create_trial(tuner_id)

    @kt.synchronized
    def end_trial(self, trial: kt_trial.Trial) -> None:
        super().end_trial(trial)
        trial = self.trials[trial.trial_id]
        failed = trial.status == kt_trial.TrialStatus.FAILED
        self._failed_in_a_row = self._failed_in_a_row + 1 if failed else 0
        if self._failed_in_a_row == _FAILURES:
            logger.warning("%d trials in a row failed: no more are started", _FAILURES)
        if self.on_end is not None:
            self.on_end(trial)


class RandomSearch(_CrashSafe, kt.oracles.RandomSearchOracle):
    """Draws each trial independently."""


class Bayesian(_CrashSafe, kt.oracles.BayesianOptimizationOracle):
    """Chooses a trial by a Gaussian process over those that ended."""


class Hyperband(_CrashSafe, kt.oracles.HyperbandOracle):
    """Gives many trials few epochs, and continues the best."""


class Grid(_CrashSafe, kt.oracles.GridSearchOracle):
    """Tries all combinations."""

    def reload(self) -> None:
        """Resumes an interrupted search."""
        super().reload()
        # KerasTuner does not save its position. Combinations are started in order.
        for before, trial_id in zip([None, *self.start_order], self.start_order):
            self._ordered_ids.insert(trial_id, before)
        self._populate_next = list(self.end_order)


def make_oracle(settings: SearchSettings) -> kt.Oracle:
    """Returns the oracle of the tuner that the settings name, with `val_auc` to maximize."""
    # KerasTuner counts up from its seed, draw by draw: adjacent seeds would draw nearly the same.
    # It takes 0 for no seed.
    seed = int(np.random.default_rng(settings.seed).integers(1, 2**31))
    common = {
        "objective": kt.Objective(OBJECTIVE, "max"),
        "seed": seed,
        "max_consecutive_failed_trials": None,
    }
    if settings.tuner == "hyperband":
        oracle = Hyperband(max_epochs=settings.epochs, **common)
        oracle.max_trials = settings.max_trials
        return oracle
    if settings.tuner == "grid":
        return Grid(max_trials=settings.max_trials, **common)
    kind = {"random": RandomSearch, "bayesian": Bayesian}[settings.tuner]
    return kind(max_trials=settings.max_trials or DEFAULT_TRIALS, **common)


def planned_trials(oracle: kt.Oracle) -> int | None:
    """Returns the most trials that an oracle will choose; None if it does not know."""
    counts = [] if oracle.max_trials is None else [oracle.max_trials]
    if isinstance(oracle, Hyperband):
        counts.append(
            oracle.hyperband_iterations
            * sum(
                oracle._get_size(bracket, round_)
                for bracket in range(oracle._get_num_brackets())
                for round_ in range(oracle._get_num_rounds(bracket))
            )
        )
    return min(counts, default=None)


def _write_whole(path: str | pathlib.Path, stateful: kt.engine.stateful.Stateful) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(stateful.get_state()), encoding="utf-8")
