"""The tuner, which runs the trials that an oracle chooses."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import pathlib
import shutil
import time
from collections.abc import Sequence
from typing import Any

import keras_tuner as kt
import tensorflow as tf
from keras_tuner.engine import trial as kt_trial
from tqdm import tqdm

from tfrs_npa._files import atomic_file
from tfrs_npa.search.cluster import WORKER, role
from tfrs_npa.search.folder import SearchFolder
from tfrs_npa.search.oracle import OBJECTIVE, make_oracle
from tfrs_npa.search.supervisor import DIED

_Logs = dict[str, float] | None

logger = logging.getLogger(__name__)


# Hyperband's tuner is the plain one, except with trials that Hyperband's oracle chose.
class SearchTuner(kt.Hyperband):
    """Runs the trials of a search.

    Args:
        folder: The folder of the search; a search that was started there is resumed.
        hypermodel: Makes and trains the models.
    """

    def __init__(self, folder: SearchFolder, hypermodel: kt.HyperModel):
        self._folder = folder
        self._waits = False
        # KerasTuner reads this file of the tuner, and with it the state of the oracle, if it
        # exists; it does not if the search was interrupted in its first trial, or in another role.
        own = folder.trials / f"{os.environ.get('KERASTUNER_TUNER_ID', 'tuner0')}.json"
        if (folder.trials / "oracle.json").exists() and role() != WORKER and not own.exists():
            with atomic_file(own) as temporary:
                temporary.write_text("{}", encoding="utf-8")
        with contextlib.redirect_stdout(io.StringIO()):
            kt.Tuner.__init__(
                self,
                oracle=make_oracle(folder.settings),
                hypermodel=hypermodel,
                directory=str(folder.path),
                project_name=folder.trials.name,
            )

    def pre_create_trial(self) -> None:
        """Waits a second if there was no trial to run."""
        if self._waits:
            time.sleep(1)
        self._waits = True

    def on_trial_begin(self, trial: kt_trial.Trial) -> None:
        """Starts without traces of an earlier attempt."""
        super().on_trial_begin(trial)
        self._waits = False
        self._started = time.monotonic()
        self._reason: str | None = None
        shutil.rmtree(self._folder.tensorboard / trial.trial_id, ignore_errors=True)

    def run_trial(
        self,
        trial: kt_trial.Trial,
        *args: Any,
        callbacks: Sequence[tf.keras.callbacks.Callback] = (),
        **kwargs: Any,
    ) -> Any:
        """Shows the progress of a trial, and remembers why it failed."""
        try:
            bar = _Bar(f"trial {trial.trial_id}")
            return super().run_trial(trial, *args, callbacks=[*callbacks, bar], **kwargs)
        except Exception as error:
            message = str(error).strip().partition("\n")[0]
            self._reason = f"{type(error).__name__}: {message}"
            raise

    def on_trial_end(self, trial: kt_trial.Trial) -> None:
        """Writes what KerasTuner does not tell a chief: how long it took, and why it failed."""
        folder = pathlib.Path(self.get_trial_dir(trial.trial_id))
        seconds = time.monotonic() - self._started
        if trial.message is not None:
            self._reason = self._reason or trial.message.strip().splitlines()[-1]
            with atomic_file(folder / "failure.txt") as temporary:
                temporary.write_text(trial.message, encoding="utf-8")
        with atomic_file(folder / "run.json") as temporary:
            measured = {"seconds": seconds, "reason": self._reason}
            temporary.write_text(json.dumps(measured), encoding="utf-8")
        super().on_trial_end(trial)
        if role() == WORKER:
            score = self.oracle.get_trial(trial.trial_id).score
            result = f"failed: {self._reason}" if score is None else f"{OBJECTIVE} {score:.4f}"
            logger.info("trial %s: %s; %.0f s", trial.trial_id, result, seconds)


class _Bar(tf.keras.callbacks.Callback):
    """Shows the progress of a trial on a terminal, and removes it in the end."""

    def __init__(self, title: str):
        super().__init__()
        self._title = title

    def on_epoch_begin(self, epoch: int, logs: _Logs = None) -> None:
        title = f"{self._title}, epoch {epoch + 1} of {self.params['epochs']}"
        # Of a terminal only (disable=None).
        self._bar = tqdm(desc=title, total=self.params["steps"], leave=False, disable=None)

    def on_train_batch_end(self, batch: int, logs: _Logs = None) -> None:
        self._bar.update()

    def on_epoch_end(self, epoch: int, logs: _Logs = None) -> None:
        self._bar.close()


def fail_deadly_trial(tuner: SearchTuner) -> None:
    """Ends the open trial of a worker as failed if the worker has died of it too often.

    Args:
        tuner: The tuner of the worker, whose supervisor says so in the environment.
    """
    reason = os.environ.pop(DIED, None)
    if reason is None:
        return
    trial = tuner.oracle.create_trial(tuner.tuner_id)  # the open one, if there is one
    if trial.status == kt_trial.TrialStatus.RUNNING:
        tuner.on_trial_begin(trial)
        trial.status, trial.message = kt_trial.TrialStatus.FAILED, reason
        tuner.on_trial_end(trial)
