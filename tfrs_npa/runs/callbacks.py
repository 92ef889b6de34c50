"""Callbacks of a training: history, checkpoints, early stopping, logging.

What they decide depends on the history in the run folder alone, so that a resumed training goes on
as if it had not been interrupted.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfrs_npa.config import NPAConfig
from tfrs_npa.data.batches import row_batches
from tfrs_npa.data.impressions import Impressions
from tfrs_npa.data.sampling import TrainingRows
from tfrs_npa.models.replicas import has_parameter_servers
from tfrs_npa.runs.run import Run
from tfrs_npa.runs.tensorboard import Attention, TensorBoard

# Rows after which TensorFlow is seeded again, about: that takes a second, and the recipe takes nine
# minutes for so many on two cores.
ROWS_OF_DRAWS = 1 << 17
# How many times the loss of equal scores is far above it, and how many impressions a message names.
_FAR, _SHOWN = 10, 8

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


def constant_loss(config: NPAConfig) -> float:
    """Returns the loss of equal scores."""
    return math.log(1 + config.negatives_per_positive)


def has_diverged(loss: float, config: NPAConfig) -> bool:
    """Whether a loss is not a number, or far above that of equal scores."""
    return not loss <= _FAR * constant_loss(config)


def steps_of_draws(batch_size: int) -> int:
    """Returns the steps after which TensorFlow is seeded again within an epoch.

    Args:
        batch_size: Rows of a step.
    """
    return max(1, ROWS_OF_DRAWS // batch_size)


def callbacks(
    run: Run,
    verbose: int,
    rows: TrainingRows | None = None,
    shown: Impressions | None = None,
    state: Mapping[str, Any] | None = None,
    checkpoint_every: float = math.inf,
) -> list[tf.keras.callbacks.Callback]:
    """Makes the callbacks of a training, which continue from its history.

    Args:
        run: The run, with its history so far.
        verbose: 0 logs a line for each epoch.
        rows: What is trained on. None: neither the throughput is logged, nor is a training that
            diverges stopped.
        shown: Impressions, of which TensorBoard shows the attention weights of a few. None: of
            none.
        state: The state of the checkpoint from which the first epoch continues. None: it starts.
        checkpoint_every: Minutes after which a checkpoint is saved within an epoch.
    """
    state = state or {"step": 0}
    count = None if rows is None else len(rows) - state["step"] * rows.config.batch_size
    chosen = [
        SameDraws(run.config, state["step"]),
        _Seconds(),
        TensorBoard(run.tensorboard, count),
        _Records(run),
    ]
    if rows is not None:
        chosen[-1:-1] = [
            _Divergence(run, rows, state["step"]),
            WithinEpoch(run, state, rows.steps, checkpoint_every),
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
    uninterrupted one would have drawn, if it continues at a multiple of `steps_of_draws`. Each such
    part of an epoch has the same draws.

    Args:
        config: The hyper-parameters, of which `seed` and `batch_size` matter; see `steps_of_draws`.
        first_step: The step at which the first epoch continues.
    """

    def __init__(self, config: NPAConfig, first_step: int = 0):
        super().__init__()
        self._supports_tf_logs = True
        self._seed, self._every = config.seed, steps_of_draws(config.batch_size)
        self._first_step = first_step

    def on_epoch_begin(self, epoch, logs=None):
        """Seeds TensorFlow."""
        tf.random.set_seed(self._seed)

    def on_train_batch_end(self, batch, logs=None):
        """Seeds TensorFlow again after many steps."""
        # The same seed starts the draws of traced functions again. Another would not reach them.
        if (self._first_step + batch + 1) % self._every == 0:
            tf.random.set_seed(self._seed)

    def on_epoch_end(self, epoch, logs=None):
        """Has the next epoch start at its first step."""
        self._first_step = 0


class WithinEpoch(tf.keras.callbacks.Callback):
    """Saves the last checkpoint within an epoch, from which it continues after an interruption.

    It does so at a step at which TensorFlow is seeded, see `SameDraws`, and where one process
    trains: many would have to do it at the same step.

    Args:
        run: The run, with its history so far.
        state: The state of the checkpoint from which the first epoch continues: `step` and, if
            that is not 0, `metrics`.
        steps: How many an epoch has. After the last one there is nothing to continue.
        minutes: How often.
    """

    def __init__(self, run: Run, state: Mapping[str, Any], steps: int, minutes: float):
        super().__init__()
        self._supports_tf_logs = True
        self._run, self._steps, self._minutes = run, steps, minutes
        self._every = steps_of_draws(run.config.batch_size)
        self._first_step, self._metrics = state["step"], state.get("metrics", [])
        self._epoch, self._saved = 0, time.monotonic()

    def on_epoch_begin(self, epoch, logs=None):
        """Gives the metrics what they had at the checkpoint."""
        self._epoch = epoch
        if self._metrics:
            for metric, values in zip(self.model.training_metrics(), self._metrics, strict=True):
                for variable, value in zip(metric.variables, values, strict=True):
                    variable.assign(value)
        self._metrics = []

    def on_train_batch_end(self, batch, logs=None):
        """Saves a checkpoint if it is time."""
        steps = self._first_step + batch + 1
        is_late = time.monotonic() - self._saved >= 60 * self._minutes
        strategy = self.model.distribute_strategy
        if steps % self._every or steps == self._steps or not is_late:
            return
        if has_parameter_servers(strategy) or isinstance(
            strategy, tf.distribute.MultiWorkerMirroredStrategy
        ):
            return
        state = {
            "epoch": self._epoch,
            "step": steps,
            "history": self._run.history,
            "metrics": [
                [variable.numpy().tolist() for variable in metric.variables]
                for metric in self.model.training_metrics()
            ],
        }
        self._run.save_checkpoint(self.model, "last", state)
        logger.info("saved step %s of epoch %d", f"{steps:,}", self._epoch + 1)
        self._saved = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        """Has the next epoch start at its first step."""
        self._first_step, self._saved = 0, time.monotonic()


class _Divergence(tf.keras.callbacks.Callback):
    """Stops a training whose loss is not a number, or far above that of a constant score."""

    def __init__(self, run, rows, first_step):
        super().__init__()
        self._supports_tf_logs = True
        self._run, self._rows = run, rows
        self._epoch, self._first_step = 0, first_step

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if has_parameter_servers(self.model.distribute_strategy):
            return  # workers are ahead: the loss is not that of this step
        loss = float(logs["loss"])
        # The mean of the epoch so far: NaN stays NaN.
        if has_diverged(loss, self._run.config):
            self._stop(loss, self._first_step + batch)

    def on_epoch_end(self, epoch, logs=None):
        self._first_step = 0

    def _stop(self, loss, step):
        config = self._run.config
        (batch,) = row_batches(self._rows, self._epoch, step).take(1)
        ids = batch["impression_id"].numpy().tolist()
        shown = ", ".join(map(str, ids[:_SHOWN])) + (", ..." if len(ids) > _SHOWN else "")
        best = ""
        if self._run.has_checkpoint("best"):
            epoch = best_epoch(self._run.history)
            best = f"; the best model so far is kept, that of epoch {epoch}"
        raise ValueError(
            f"the training has diverged in step {step + 1:,} of epoch {self._epoch + 1}: the mean "
            f"loss so far is {loss:.4g}, where equal scores have {constant_loss(config):.4g}. "
            f"Impressions of that batch: {shown}. Start another run with a learning_rate lower "
            f"than {config.learning_rate:g}{best}"
        )


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
    numbers = {name: float(value) for name, value in logs.items()}
    history = [*run.history, {"epoch": epoch, **numbers}]
    # In this order: what is in the history has a checkpoint, and an epoch of which the last
    # checkpoint is missing is trained again, with the same result.
    state = {"epoch": epoch, "step": 0, "history": history}
    if best_epoch(history) == epoch:
        run.save_checkpoint(model, "best", state)
    run.history = history
    run.save_checkpoint(model, "last", state)


def _log(epoch: int, epochs: int, logs: Mapping[str, float]) -> None:
    shown = [f"{name} {logs[name]:.4f}" for name in ("loss", "val_loss", "val_auc") if name in logs]
    untrained = "" if epoch else " (untrained)"
    logger.info(
        "epoch %d of %d%s: %s, %.0f s", epoch, epochs, untrained, ", ".join(shown), logs["seconds"]
    )
