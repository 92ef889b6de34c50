"""Trains a model into a run folder, and resumes a training that was interrupted."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import platform
import time
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import tensorflow as tf

from tfrs_npa.config import NPAConfig
from tfrs_npa.data.batches import impression_batches, row_batches
from tfrs_npa.data.cache import Cache
from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.data.loading import MindData, load_mind
from tfrs_npa.data.sampling import TrainingRows
from tfrs_npa.data.splits import Splits, load_splits, split_impressions
from tfrs_npa.models.npa import NPA
from tfrs_npa.optimizers import default_optimizer
from tfrs_npa.runs.baselines import Baselines, popularity_counts
from tfrs_npa.runs.callbacks import (
    best_epoch,
    callbacks,
    has_stopped,
    last_epoch,
    record_untrained,
)
from tfrs_npa.runs.cluster import Cluster
from tfrs_npa.runs.evaluation import evaluate_model
from tfrs_npa.runs.last_seen import LastSeen
from tfrs_npa.runs.pictures import plot_run
from tfrs_npa.runs.precision import computing_in
from tfrs_npa.runs.run import Run
from tfrs_npa.runs.source import Source
from tfrs_npa.runs.strategies import joined, own_folder
from tfrs_npa.runs.tensorboard import write_projector
from tfrs_npa.settings import CHECKPOINT_EVERY, TrainingSettings

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
    folder: str | os.PathLike[str],
    settings: TrainingSettings,
    config: NPAConfig,
    overwrite: bool = False,
    verbose: int = 0,
    cache: Cache | None = None,
    start_from: str | os.PathLike[str] | None = None,
    drop_unseen: int | None = None,
    strategy: str | Cluster | None = None,
    checkpoint_every: float = CHECKPOINT_EVERY,
) -> dict[str, Any]:
    """Trains a model, keeps the best checkpoint, and evaluates it next to the baselines.

    With `start_from`, the training continues from the best model of another run, on data of a later
    day: weights and moments of the optimizer, words, articles and users are that run's, matched by
    their strings, and what is new in the data is added. The schedule of the learning rate starts
    again. The model before its first step is epoch 0 then too.

    The untrained model is evaluated too and counts as epoch 0: it is the best checkpoint until an
    epoch beats it. Two trainings with the same arguments on the same machine give the same model.

    Args:
        folder: The folder of the run that this creates.
        settings: Data and course of the training.
        config: Hyper-parameters.
        overwrite: Whether to replace an existing run.
        verbose: 1 shows Keras's progress bars; 0 logs a line for each epoch.
        cache: Keeps preprocessed data.
        start_from: Folder of the other run; `config` has to have its shapes.
        drop_unseen: Leaves out words, articles and users of the other run that none of the last
            `drop_unseen` trainings before this one saw. None: keeps all.
        strategy: How to train on more than one device, see `strategies.joined`. All processes of a
            cluster make the same call, and one of them writes the folder.
        checkpoint_every: Minutes after which a checkpoint is saved within an epoch, where one
            process trains.

    Returns:
        The evaluation, which is also written to `metrics.json`.

    Raises:
        ValueError: if anything is wrong with the arguments, the files or the course of the
            training; says what.
        TaskGone: as `strategies.joined`.
    """
    Run.check_free(folder, overwrite)
    with joined(strategy) as joint, own_folder(folder, joint) as own:
        return _start(
            joint,
            own,
            settings,
            config,
            overwrite,
            verbose,
            cache,
            start_from,
            drop_unseen,
            checkpoint_every,
        )


def _start(
    strategy: tf.distribute.Strategy,
    folder: str | os.PathLike[str],
    settings: TrainingSettings,
    config: NPAConfig,
    overwrite: bool,
    verbose: int,
    cache: Cache | None,
    start_from: str | os.PathLike[str] | None,
    drop_unseen: int | None,
    checkpoint_every: float,
) -> dict[str, Any]:
    tf.keras.utils.set_random_seed(config.seed)
    source = None if start_from is None else Source(Run(start_from))
    inherited = None if source is None else source.inherited(drop_unseen)
    catalog, splits = load_splits(settings, cache, inherited)
    settings = dataclasses.replace(settings, data=splits.data.name)
    if source is not None:
        # Its words started from those vectors, if any.
        had = source.settings
        settings = dataclasses.replace(
            settings, word_vectors=had.word_vectors, word_list=had.word_list
        )
    first_step = 0 if source is None else source.first_step
    with strategy.scope(), computing_in(settings.precision):
        model = NPA(config, catalog, splits.users)
        rows = TrainingRows(splits.train, config)
        _compile(model, rows.steps * settings.epochs, first_step)
    run = Run.create(
        folder,
        model,
        settings,
        Baselines.of_training(splits.train, catalog, config.word_embedding_dim),
        overwrite,
        splits.fingerprint(catalog),
        LastSeen.of_training(
            catalog, splits, None if source is None else (source.model, source.last_seen)
        ),
        None if source is None else source.give_to(model),
    )
    return _train(run, model, splits, rows, {"epoch": 0, "step": 0}, verbose, checkpoint_every)


def resume(
    folder: str | os.PathLike[str],
    verbose: int = 0,
    cache: Cache | None = None,
    strategy: str | Cluster | None = None,
    checkpoint_every: float = CHECKPOINT_EVERY,
) -> dict[str, Any]:
    """Resumes an interrupted training as if it had not been interrupted.

    The strategy may be another one than before. All processes of a cluster read the folder.

    Args, Returns: as `train`.

    Raises:
        ValueError: as `train`, and if the data has changed since the training was started; says
            what differs; or if users were removed from the run.
        TaskGone: as `train`.
    """
    Run(folder)  # raises at once if it is none
    with joined(strategy) as joint, own_folder(folder, joint, is_resumed=True) as own:
        return _resume(joint, Run(own), verbose, cache, checkpoint_every)


def _resume(
    strategy: tf.distribute.Strategy,
    run: Run,
    verbose: int,
    cache: Cache | None,
    checkpoint_every: float,
) -> dict[str, Any]:
    if run.forgotten:
        raise ValueError(
            f"{run.path} cannot be resumed: {run.forgotten:,} of its users were forgotten, whose "
            f"clicks its data has. Start another run from it, with --from {run.path}, on data "
            "without them"
        )
    config, settings = run.config, run.settings
    tf.keras.utils.set_random_seed(config.seed)
    data = load_mind(settings.data, settings.data_dir, settings.manual_dir, cache, settings.news)
    catalog, splits = _same_splits(run, data)
    first_step = run.warm_start["first_step"] if run.warm_start else 0
    with strategy.scope(), computing_in(settings.precision):
        model = NPA(config, catalog, splits.users)
        rows = TrainingRows(splits.train, config)
        _compile(model, rows.steps * settings.epochs, first_step)
    state = run.load_last(model)
    if state is None:
        state = _earlier_state(run, int(model.optimizer.iterations) - first_step, rows)
    within = f" and {state['step']:,} steps" if state["step"] else ""
    logger.info("resuming after epoch %d of %d%s", state["epoch"], settings.epochs, within)
    # Without epochs whose checkpoint was not completed, and whole even if the file is not.
    run.history = state["history"]
    return _train(run, model, splits, rows, state, verbose, checkpoint_every)


def _earlier_state(run: Run, steps: int, rows: TrainingRows) -> dict[str, Any]:
    """Returns the state at the last checkpoint of version 0.1, which does not hold it."""
    history = run.history
    epoch = steps // rows.steps
    if epoch > last_epoch(history):
        raise ValueError(
            f"{run.path} cannot be resumed: its last checkpoint was saved after {steps:,} steps, "
            f"but its history.csv has {last_epoch(history)} epochs. Restore the files from a "
            "backup, or start over with --overwrite"
        )
    history = [row for row in history if row["epoch"] <= epoch]
    return {"epoch": epoch, "step": 0, "history": history}


def _same_splits(run: Run, data: MindData) -> tuple[NewsCatalog, Splits]:
    """Returns the catalogue and the impressions of a run, if they have not changed since."""
    saved = run.catalog
    if run.warm_start is None:
        catalog = NewsCatalog(vocabulary=saved.vocabulary, article_vectors=saved.article_vectors)
        users = None
    else:  # it has articles and users of other days too
        catalog = run.catalog
        users = run.users
    settings = run.settings
    splits = split_impressions(
        data, data.add_articles(catalog), settings.holdout, users, settings.user_buckets
    )
    others = []
    if run.data_fingerprint is None:  # a run of an older version
        checks = {
            "other articles or titles": catalog == saved,
            "other users": splits.users == run.users,
            "other train impressions": popularity_counts(splits.train, catalog)
            == run.baselines.popularity,
        }
        others = [difference for difference, is_same in checks.items() if not is_same]
    run.require_same_data(data.name, splits.fingerprint(catalog), others)
    return saved, splits


def _train(
    run: Run,
    model: NPA,
    splits: Splits,
    rows: TrainingRows,
    state: Mapping[str, Any],
    verbose: int,
    checkpoint_every: float,
) -> dict[str, Any]:
    """Trains from a state on, if it is not the end, then evaluates the best checkpoint."""
    config, settings, epoch = model.config, run.settings, state["epoch"]
    validation, shown = None, splits.train
    if splits.validation is not None:
        shown = splits.validation
        validation = impression_batches(splits.validation, model.catalog, model.users, config)
        if epoch == 0 and not run.history:
            started = time.monotonic()
            metrics = model.evaluate(validation, verbose=verbose, return_dict=True)
            record_untrained(run, model, metrics, time.monotonic() - started)
    # The rest of an epoch by itself: Keras has as many steps in each as in the first.
    ends = [*([epoch + 1] if state["step"] else []), settings.epochs]
    for end in ends:
        if epoch < end and not has_stopped(run.history, settings.patience):
            model.fit(
                row_batches(rows, epoch, state["step"]),
                initial_epoch=epoch,
                epochs=end,
                validation_data=validation,
                callbacks=callbacks(run, verbose, rows, shown, state, checkpoint_every),
                verbose=verbose,
            )
        epoch, state = end, {"step": 0}
    run.load_checkpoint(model, "best")
    baselines = run.baselines
    views = {news_id: shown for news_id, (_, shown) in baselines.popularity.items()}
    write_projector(run.tensorboard, model, views, splits.data.topics())
    started = time.monotonic()
    evaluation = evaluate_model(model, splits.data, splits.test_split, splits.test, baselines)
    seconds = time.monotonic() - started
    history = run.history
    run.metrics = evaluation | {
        "parts": splits.names,
        "impressions_trained_on": len(splits.train),
        "epochs": last_epoch(history),
        "best_epoch": best_epoch(history),
        "seconds": {
            "training": sum(row["seconds"] for row in history if row["epoch"]),
            "evaluation": seconds,
        },
        "seed": config.seed,
        "versions": {"python": platform.python_version()} | _versions(),
    }
    plot_run(run, evaluation)
    return evaluation


def _compile(model: NPA, total_steps: int, first_step: int) -> None:
    model.compile(optimizer=default_optimizer(model.config, total_steps, first_step))
    # A checkpoint restores the state of an optimizer only if its variables exist.
    model.optimizer.build(model.trainable_variables)


def _versions() -> dict[str, str]:
    versions = {}
    for package in _PACKAGES:
        # Not installed: a checkout that is on the path.
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions
