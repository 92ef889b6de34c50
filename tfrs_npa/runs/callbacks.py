"""Callbacks of a training: history, checkpoints, early stopping, logging.

What they decide depends on the history in the run folder alone, so that a resumed training goes on
as if it had not been interrupted.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence

import tensorflow as tf

from tfrs_npa.data.impressions import Impressions
from tfrs_npa.runs.run import Run
from tfrs_npa.runs.tensorboard import Attention, TensorBoard

logger = logging.getLogger(__name__)


def best_epoch(history: Sequence[Mapping[str, float]]) -> int:
    """Returns the epoch of the best checkpoint: the best `val_auc`, or the last without any.

    Args:
        history: As `Run.history`.

    Returns:
        The epoch; 0, the untrained model, before the first.
    """
    measured = [row for row in history if "val_auc" in row]
    if measured:
        return int(max(measured, key=lambda row: row["val_auc"])["epoch"])
    return last_epoch(history)


def last_epoch(history: Sequence[Mapping[str, float]]) -> int:
    """Returns how many epochs a history has, other than that of the untrained model."""
    return int(history[-1]["epoch"]) if history else 0


def has_stopped(history: Sequence[Mapping[str, float]], patience: int) -> bool:
    """Whether a training ends because its last `patience` epochs have not improved `val_auc`."""
    return last_epoch(history) - best_epoch(history) >= patience


def callbacks(
    run: Run, verbose: int, rows: int | None = None, shown: Impressions | None = None
) -> list[tf.keras.callbacks.Callback]:
    """Makes the callbacks of a training, which continue from its history.

    Args:
        run: The run, with its history so far.
        verbose: 0 logs a line for each epoch.
        rows: How many rows an epoch has, for the throughput. None: it is not logged.
        shown: Impressions, of which TensorBoard shows the attention weights of a few. None: of
            none.
    """
    chosen = [
        SameDraws(run.config.seed),
        _Seconds(),
        TensorBoard(run.tensorboard, rows),
        _Records(run),
    ]
    if shown is not None:
        # First: its seconds count too.
        chosen.insert(0, Attention(run.tensorboard, shown))
    if not verbose:
        chosen.append(_Lines(run.settings.epochs))
    return chosen


def record_untrained(
    run: Run,
    model: tf.keras.Model,
    metrics: Mapping[str, float],
    seconds: float,
) -> None:
    """Records the model before its first step as epoch 0, which trained epochs have to beat.

    Args:
        run: The run, without any history.
        model: The untrained model.
        metrics: What `evaluate` returns for the impressions that early stopping monitors.
        seconds: How long that took.
    """
    logs = {f"val_{name}": value for name, value in metrics.items()} | {"seconds": seconds}
    _record(run, model, 0, logs)
    _log(0, run.settings.epochs, logs)
    # Keras's names: the steps of epoch 0 come before those of its callback.
    writer = tf.summary.create_file_writer(str(run.tensorboard / "validation"))
    with writer.as_default():
        for name, value in metrics.items():
            tf.summary.scalar(f"epoch_{name}", value, step=0)
    writer.close()


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


class _Records(tf.keras.callbacks.Callback):
    """Keeps the history, the best model and the last one, and stops a training in time."""

    def __init__(self, run):
        super().__init__()
        self._run = run

    def on_epoch_end(self, epoch, logs):
        _record(self._run, self.model, epoch + 1, logs)
        if has_stopped(self._run.history, self._run.settings.patience):
            self.model.stop_training = True


class _Lines(tf.keras.callbacks.Callback):
    """Logs a line for each epoch."""

    def __init__(self, epochs):
        super().__init__()
        self._epochs = epochs

    def on_epoch_end(self, epoch, logs):
        _log(epoch + 1, self._epochs, logs)


def _record(run: Run, model: tf.keras.Model, epoch: int, logs: Mapping[str, float]) -> None:
    """Adds an epoch to the history, and keeps its model as the last, and the best if it is.

    Keras's own ModelCheckpoint writes in place: interrupted, it leaves neither the old checkpoint
    nor the new one.
    """
    for name in ("loss", "val_auc"):
        if math.isnan(logs.get(name, 0)):
            raise ValueError(
                f"{name} of epoch {epoch} is not a number: either the training has diverged and "
                "needs a lower learning_rate, or no validation impression has both a click and a "
                "candidate without one, and --holdout none is needed"
            )
    history = [*run.history, {"epoch": epoch, **logs}]
    # In this order: what is in the history has a checkpoint, and an epoch of which the last
    # checkpoint is missing is trained again, with the same result.
    if best_epoch(history) == epoch:
        run.save_checkpoint(model, "best")
    run.history = history
    run.save_checkpoint(model, "last")


def _log(epoch: int, epochs: int, logs: Mapping[str, float]) -> None:
    shown = [f"{name} {logs[name]:.4f}" for name in ("loss", "val_loss", "val_auc") if name in logs]
    untrained = "" if epoch else " (untrained)"
    logger.info(
        "epoch %d of %d%s: %s, %.0f s", epoch, epochs, untrained, ", ".join(shown), logs["seconds"]
    )
