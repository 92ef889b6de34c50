"""Training a model into a run folder, and going on with one that was cut off."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import platform
import time
from importlib import metadata
from typing import Any

import tensorflow as tf

from tfrs_npa.callbacks import best_epoch, callbacks
from tfrs_npa.config import NPAConfig
from tfrs_npa.data.batches import impression_batches, training_batches
from tfrs_npa.data.cache import Cache
from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.data.files import replacing
from tfrs_npa.data.mind import load_mind
from tfrs_npa.data.parts import Parts, read_data, read_parts
from tfrs_npa.data.users import UserIndex
from tfrs_npa.evaluation import evaluate_model, popularity_counts
from tfrs_npa.models.npa import NPA
from tfrs_npa.optimizers import default_optimizer
from tfrs_npa.run import Run
from tfrs_npa.training_settings import TrainingSettings

_PACKAGES = (
    "tfrs-npa",
    "tensorflow",
    "tf_keras",
    "tensorflow-recommenders",
    "tensorflow-datasets",
    "numpy",
)

logger = logging.getLogger(__name__)


def train(
    folder: str | os.PathLike,
    settings: TrainingSettings,
    config: NPAConfig,
    overwrite: bool = False,
    verbose: int = 0,
    cache: Cache | None = None,
) -> dict[str, Any]:
    """Trains a model, keeps the best, and measures it.

    Two trainings with the same arguments on the same machine give the same model.

    Args:
        folder: of the run that this makes.
        settings: data and course of the training.
        config: hyper-parameters.
        overwrite: replace a run that is there.
        verbose: 1 shows Keras's progress bars; 0 logs a line for each epoch.
        cache: where preprocessed data is kept.

    Returns:
        The figures, which `metrics.json` then holds too.

    Raises:
        ValueError: if anything about the arguments, the files or the course of the training is not
            as it should be; says what.
    """
    Run.check_free(folder, overwrite)
    tf.keras.utils.set_random_seed(config.seed)
    catalog, parts = read_data(settings, cache)
    settings = dataclasses.replace(settings, data=parts.data.name)
    model = NPA(config, catalog, parts.users)
    batches = training_batches(parts.train, catalog, parts.users, config)
    _compile(model, len(batches) * settings.epochs)
    popularity = popularity_counts(parts.train, catalog)
    run = Run.create(folder, model, settings, popularity, overwrite)
    return _train(run, model, parts, batches, 0, verbose)


def resume(
    folder: str | os.PathLike, verbose: int = 0, cache: Cache | None = None
) -> dict[str, Any]:
    """Goes on with a training that was cut off, as if it had not been.

    Args, Returns: as `train`.

    Raises:
        ValueError: as `train`, and if the data has changed since.
    """
    run = Run(folder)
    config, settings = run.config, run.settings
    tf.keras.utils.set_random_seed(config.seed)
    data = load_mind(settings.data, settings.data_dir, settings.manual_dir, cache)
    catalog = NewsCatalog.load(run.path / "catalog")
    articles = len(catalog)
    parts = read_parts(data, data.add_articles(catalog), settings.holdout)
    if len(catalog) != articles or parts.users != UserIndex.load(run.path / "users.txt"):
        raise ValueError(f"{data.name} has changed since {run.path} was begun; use --overwrite")
    model = NPA(config, catalog, parts.users)
    steps = len(training_batches(parts.train, catalog, parts.users, config))
    _compile(model, steps * settings.epochs)
    run.load_checkpoint(model, "last")
    epoch = int(model.optimizer.iterations) // steps
    logger.info("going on after epoch %d of %d", epoch, settings.epochs)
    _keep_history(run, epoch)
    batches = training_batches(parts.train, catalog, parts.users, config, initial_epoch=epoch)
    return _train(run, model, parts, batches, epoch, verbose)


def _train(
    run: Run, model: NPA, parts: Parts, batches: tf.data.Dataset, epoch: int, verbose: int
) -> dict[str, Any]:
    """Trains from `epoch` on, if it is not the end, then measures the best checkpoint."""
    config, settings = model.config, run.settings
    stopping = None
    if parts.stopping is not None:
        stopping = impression_batches(parts.stopping, model.catalog, model.users, config)
    best = best_epoch(run.history)
    if epoch < settings.epochs and (stopping is None or epoch - best < settings.patience):
        model.fit(
            batches,
            initial_epoch=epoch,
            epochs=settings.epochs,
            validation_data=stopping,
            callbacks=callbacks(run, stopping is not None, verbose),
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
        "best_epoch": best_epoch(history),
        "seconds": {
            "training": sum(row["seconds"] for row in history),
            "evaluation": evaluation,
        },
        "seed": config.seed,
        "versions": {"python": platform.python_version()} | _versions(),
    }
    return figures


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


def _versions() -> dict[str, str]:
    versions = {}
    for package in _PACKAGES:
        # Not installed: a checkout that is on the path.
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions
