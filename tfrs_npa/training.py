"""Training a model into a run folder, and going on with one that was cut off."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import os
import platform
import time
from importlib import metadata
from typing import Any

import tensorflow as tf

from tfrs_npa.config import NPAConfig
from tfrs_npa.data.batches import impression_batches, training_batches
from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.data.files import replacing
from tfrs_npa.data.holdout import hold_out_last_day
from tfrs_npa.data.impressions import Impressions
from tfrs_npa.data.mind import MindData, load_mind
from tfrs_npa.data.users import UserIndex
from tfrs_npa.data.word_vectors import WordVectors
from tfrs_npa.evaluation import evaluate_model, popularity_counts
from tfrs_npa.models.npa import NPA
from tfrs_npa.optimizers import default_optimizer
from tfrs_npa.run import Run, TrainingSettings, check_free

_PACKAGES = (
    "tfrs-npa",
    "tensorflow",
    "tf_keras",
    "tensorflow-recommenders",
    "tensorflow-datasets",
    "numpy",
)

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class Parts:
    """What a training reads.

    Attributes:
        data: where all of it comes from.
        users: the users of the impressions that are trained on.
        train: the impressions that are trained on.
        stopping: those that early stopping looks at; None if it does not.
        report: those that the figures are of; early stopping never sees them.
        names: what the three are, by name.
    """

    data: MindData
    users: UserIndex
    train: Impressions
    stopping: Impressions | None
    report: Impressions
    names: dict[str, str | None]


def read_parts(data: MindData, catalog: NewsCatalog, holdout: str) -> Parts:
    """Reads the impressions and decides what is trained on, stopped on and reported on.

    Args:
        data: all splits.
        catalog: the articles of all splits.
        holdout: see `TrainingSettings`.

    Raises:
        ValueError: if the last day shall be held out, and there is only one; if the split to
            report or to stop on has no labels.
    """
    report_split = data.report_split
    if not data.is_labelled(report_split):
        raise ValueError(f"the split {report_split} of {data.name} has no labels to measure by")
    if holdout == "auto":
        holdout = "validation" if report_split == "test" else "last-day"
    users = UserIndex().adapt(data.behaviors["train"])
    train = Impressions.from_dataset(data.behaviors["train"], catalog, users, ["time"])
    stopping = None
    names = {"train": "train", "stopping": None, "report": report_split}
    if holdout == "last-day":
        train, stopping, users = hold_out_last_day(train, users)
        names |= {"train": "train without its last day", "stopping": "last day of train"}
    elif holdout == "validation":
        stopping = Impressions.from_dataset(data.behaviors["validation"], catalog, users)
        names |= {"stopping": "validation"}
    reported = Impressions.from_dataset(data.behaviors[report_split], catalog, users)
    return Parts(data, users, train, stopping, reported, names)


def train(
    folder: str | os.PathLike,
    settings: TrainingSettings,
    config: NPAConfig,
    overwrite: bool = False,
    verbose: int = 0,
) -> dict[str, Any]:
    """Trains a model, keeps the best, and measures it.

    Two trainings with the same arguments on the same machine give the same model.

    Args:
        folder: of the run that this makes.
        settings: data and course of the training.
        config: hyper-parameters.
        overwrite: replace a run that is there.
        verbose: 1 shows Keras's progress bars; 0 logs a line for each epoch.

    Returns:
        The figures, which `metrics.json` then holds too.

    Raises:
        ValueError: if anything about the arguments, the files or the course of the training is not
            as it should be; says what.
    """
    check_free(folder, overwrite)
    tf.keras.utils.set_random_seed(config.seed)
    vectors = _word_vectors(settings)
    data = load_mind(settings.data, settings.data_dir, settings.manual_dir)
    catalog = _extended(NewsCatalog(vectors).adapt(data.news["train"]), data)
    parts = read_parts(data, catalog, settings.holdout)
    model = NPA(config, catalog, parts.users)
    batches = training_batches(parts.train, catalog, parts.users, config)
    _compile(model, len(batches) * settings.epochs)
    popularity = popularity_counts(parts.train, catalog)
    run = Run.create(folder, model, settings, popularity, overwrite)
    return _train(run, model, parts, verbose)


def resume(folder: str | os.PathLike, verbose: int = 0) -> dict[str, Any]:
    """Goes on with a training that was cut off, as if it had not been.

    Args, Returns: as `train`.

    Raises:
        ValueError: as `train`, and if the data has changed since.
    """
    run = Run(folder)
    config, settings = run.config, run.settings
    tf.keras.utils.set_random_seed(config.seed)
    data = load_mind(settings.data, settings.data_dir, settings.manual_dir)
    catalog = NewsCatalog.load(run.path / "catalog")
    articles = len(catalog)
    parts = read_parts(data, _extended(catalog, data), settings.holdout)
    if len(catalog) != articles or parts.users != UserIndex.load(run.path / "users.txt"):
        raise ValueError(f"{data.name} has changed since {run.path} was begun; use --overwrite")
    return _train(run, NPA(config, catalog, parts.users), parts, verbose)


def _train(run: Run, model: NPA, parts: Parts, verbose: int) -> dict[str, Any]:
    """Trains from the last checkpoint on, then measures the best one."""
    config, settings = model.config, run.settings
    steps = len(training_batches(parts.train, model.catalog, model.users, config))
    _compile(model, steps * settings.epochs)
    run.load_checkpoint(model, "last")
    epoch = int(model.optimizer.iterations) // steps
    _keep_history(run, epoch)
    if epoch:
        logger.info("going on after epoch %d", epoch)
    stopping = None
    if parts.stopping is not None:
        stopping = impression_batches(parts.stopping, model.catalog, model.users, config)
    best = _best_epoch(run.history)
    if epoch < settings.epochs and (stopping is None or epoch - best <= settings.patience - 1):
        model.fit(
            training_batches(parts.train, model.catalog, model.users, config, initial_epoch=epoch),
            initial_epoch=epoch,
            epochs=settings.epochs,
            validation_data=stopping,
            callbacks=_callbacks(run, config, stopping is not None, verbose),
            verbose=verbose,
        )
    run.load_checkpoint(model, "best")
    started = time.monotonic()
    figures = evaluate_model(
        model, parts.data, parts.names["report"], parts.report, run.popularity, verbose
    )
    evaluation = time.monotonic() - started
    history = run.history
    run.metrics = figures | {
        "parts": parts.names,
        "impressions_trained_on": len(parts.train),
        "epochs": len(history),
        "best_epoch": _best_epoch(history),
        "seconds": {
            "training": sum(row["seconds"] for row in history),
            "evaluation": evaluation,
        },
        "seed": config.seed,
        "versions": {"python": platform.python_version()} | _versions(),
    }
    return figures


def _word_vectors(settings: TrainingSettings) -> WordVectors | None:
    if settings.word_vectors is None:
        return None
    if settings.word_list is not None:
        return WordVectors.from_npy(settings.word_vectors, settings.word_list)
    return WordVectors.from_text(settings.word_vectors)


def _extended(catalog: NewsCatalog, data: MindData) -> NewsCatalog:
    for split, news in data.news.items():
        if split != "train":
            catalog.extend(news)
    return catalog


def _compile(model: NPA, total_steps: int) -> None:
    model.compile(optimizer=default_optimizer(model.config, total_steps))
    # A checkpoint gives back the state of an optimizer that has its variables only.
    model.optimizer.build(model.trainable_variables)


def _keep_history(run: Run, epochs: int) -> None:
    """Forgets epochs that were measured, but cut off before their checkpoint was complete."""
    if run.history_file.exists():
        lines = run.history_file.read_text(encoding="utf-8").splitlines(keepends=True)
        with replacing(run.history_file) as temporary:
            kept = lines[: epochs + 1] if epochs else []
            temporary.write_text("".join(kept), encoding="utf-8")


def _best_epoch(history: list[dict[str, float]]) -> int:
    """The epoch, from 1 on, that the best checkpoint is of; 0 before the first."""
    if not history or "val_auc" not in history[0]:
        return len(history)
    aucs = [row["val_auc"] for row in history]
    return aucs.index(max(aucs)) + 1


def _callbacks(run: Run, config: NPAConfig, stops: bool, verbose: int) -> list:
    history = run.history
    callbacks = [
        # Draws then depend on the seed and the batch alone, not on the epochs since the start of
        # the process: a training that is resumed is the one that was cut off.
        tf.keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: tf.random.set_seed(config.seed)
        ),
        _Seconds(),
        tf.keras.callbacks.TensorBoard(run.path / "tensorboard", write_graph=False),
        tf.keras.callbacks.CSVLogger(run.history_file, append=True),
    ]
    if stops:
        callbacks.append(_EarlyStopping(history, run.settings.patience))
    callbacks.append(_Checkpoints(run, history))
    if not verbose:
        callbacks.append(_Lines(run.settings.epochs))
    return callbacks


class _Seconds(tf.keras.callbacks.Callback):
    """Adds to the logs how long an epoch took, for the callbacks after it."""

    def on_epoch_begin(self, epoch, logs=None):
        self._started = time.monotonic()

    def on_epoch_end(self, epoch, logs):
        logs["seconds"] = time.monotonic() - self._started


class _EarlyStopping(tf.keras.callbacks.EarlyStopping):
    """Stops on `val_auc`, remembering the epochs before the training was cut off."""

    def __init__(self, history, patience):
        super().__init__(monitor="val_auc", mode="max", patience=patience)
        self._history = history

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        for epoch, past in enumerate(self._history):
            self.on_epoch_end(epoch, past)


class _Checkpoints(tf.keras.callbacks.Callback):
    """Keeps the best model and the last one.

    Keras's own ModelCheckpoint writes in place: cut off in the middle, it leaves neither the old
    checkpoint nor the new one.
    """

    def __init__(self, run, history):
        super().__init__()
        self._run = run
        self._best = max((row.get("val_auc", -math.inf) for row in history), default=-math.inf)

    def on_epoch_end(self, epoch, logs):
        for name in ("loss", "val_auc"):
            if math.isnan(logs.get(name, 0)):
                raise ValueError(
                    f"{name} of epoch {epoch + 1} is not a number: the training has diverged, and "
                    "needs a lower learning_rate, or no impression to stop on has both a click "
                    "and a candidate that was not clicked, and --holdout none does without"
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


def _versions() -> dict[str, str]:
    versions = {}
    for package in _PACKAGES:
        # Not installed: a checkout that is on the path.
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions
