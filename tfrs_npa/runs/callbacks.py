"""Callbacks of a training: checkpoints, early stopping, logging."""

from __future__ import annotations

import logging
import math
import time

import tensorflow as tf

from tfrs_npa.runs.run import Run

logger = logging.getLogger(__name__)


def best_epoch(history: list[dict[str, float]]) -> int:
    """Returns the epoch, from 1 on, of the best checkpoint; 0 before the first."""
    if not history or "val_auc" not in history[0]:
        return len(history)
    aucs = [row["val_auc"] for row in history]
    return aucs.index(max(aucs)) + 1


def callbacks(run: Run, stops: bool, verbose: int) -> list[tf.keras.callbacks.Callback]:
    """Makes the callbacks of a training, which continue from its history.

    Args:
        run: The run, with its history so far.
        stops: Whether there is a `val_auc` to stop on.
        verbose: 0 logs a line for each epoch.
    """
    history = run.history
    chosen = [
        SameDraws(run.config.seed),
        _Seconds(),
        tf.keras.callbacks.TensorBoard(run.path / "tensorboard", write_graph=False),
        _History(run.history_file, append=True),
    ]
    if stops:
        chosen.append(_EarlyStopping(history, run.settings.patience))
    chosen.append(_Checkpoints(run, history))
    if not verbose:
        chosen.append(_Lines(run.settings.epochs))
    return chosen


class SameDraws(tf.keras.callbacks.Callback):
    """Makes draws, such as those of dropout, depend on the seed and the step of an epoch alone.

    They do not depend on what the process did before: a resumed training draws what an
    uninterrupted one would have drawn.

    Args:
        seed: Seed of TensorFlow's draws in each epoch.
    """

    def __init__(self, seed: int):
        super().__init__()
        self._seed = seed

    def on_epoch_begin(self, epoch, logs=None):
        """Seeds TensorFlow."""
        tf.random.set_seed(self._seed)


class _Seconds(tf.keras.callbacks.Callback):
    """Adds the duration of an epoch to the logs, for the callbacks after it."""

    def on_epoch_begin(self, epoch, logs=None):
        self._started = time.monotonic()

    def on_epoch_end(self, epoch, logs):
        logs["seconds"] = time.monotonic() - self._started


class _History(tf.keras.callbacks.CSVLogger):
    """Writes the metrics; Keras's own logger adds validation columns even without validation."""

    def on_epoch_end(self, epoch, logs):
        self.keys = sorted(logs)
        super().on_epoch_end(epoch, logs)


class _EarlyStopping(tf.keras.callbacks.EarlyStopping):
    """Stops on `val_auc`, with the epochs before an interruption taken into account."""

    def __init__(self, history, patience):
        super().__init__(monitor="val_auc", mode="max", patience=patience)
        self._history = history

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        for epoch, past in enumerate(self._history):
            self.on_epoch_end(epoch, past)


class _Checkpoints(tf.keras.callbacks.Callback):
    """Keeps the best model and the last one.

    Keras's own ModelCheckpoint writes in place: interrupted, it leaves neither the old checkpoint
    nor the new one.
    """

    def __init__(self, run, history):
        super().__init__()
        self._run = run
        self._best = max((row.get("val_auc", -math.inf) for row in history), default=-math.inf)

    def on_epoch_end(self, epoch, logs):
        for name in ("loss", "val_auc"):
            if math.isnan(logs.get(name, 0)):
                raise ValueError(
                    f"{name} of epoch {epoch + 1} is not a number: either the training has "
                    "diverged and needs a lower learning_rate, or no validation impression has "
                    "both a click and a candidate without one, and --holdout none is needed"
                )
        if logs.get("val_auc", math.inf) > self._best:
            self._best = logs.get("val_auc", -math.inf)
            self._run.save_checkpoint(self.model, "best")
        self._run.save_checkpoint(self.model, "last")


class _Lines(tf.keras.callbacks.Callback):
    """Logs a line for each epoch."""

    def __init__(self, epochs):
        super().__init__()
        self._epochs = epochs

    def on_epoch_end(self, epoch, logs):
        shown = [
            f"{name} {logs[name]:.4f}" for name in ("loss", "val_loss", "val_auc") if name in logs
        ]
        logger.info(
            "epoch %d of %d: %s, %.0f s",
            epoch + 1,
            self._epochs,
            ", ".join(shown),
            logs["seconds"],
        )
