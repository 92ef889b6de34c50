"""NPA as a `HyperModel` for KerasTuner's tuners."""

from __future__ import annotations

import dataclasses
import math
import os
from typing import Any

import keras_tuner
import numpy as np
import tensorflow as tf

from tfrs_npa.config import NPAConfig
from tfrs_npa.data.batches import impression_batches, row_batches
from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.data.impressions import Impressions
from tfrs_npa.data.sampling import TrainingRows
from tfrs_npa.data.users import UserIndex
from tfrs_npa.models.npa import NPA
from tfrs_npa.models.shared_steps import SharedSteps
from tfrs_npa.optimizers import default_optimizer
from tfrs_npa.runs.callbacks import SameDraws, constant_loss, has_diverged
from tfrs_npa.search.space import SearchSpace

_OWN_ARGUMENTS = (
    "x",
    "y",
    "batch_size",
    "sample_weight",
    "steps_per_epoch",
    "validation_batch_size",
    "validation_data",
    "validation_split",
)


class NPAHyperModel(keras_tuner.HyperModel):
    """NPA with a search space and the data to try it on, for any of KerasTuner's tuners.

    >>> hypermodel = tfrs_npa.NPAHyperModel(catalog, train, valid, "space.yaml")
    >>> objective = keras_tuner.Objective("val_auc", "max")
    >>> tuner = keras_tuner.Hyperband(hypermodel, objective, max_epochs=9, directory="search")
    >>> tuner.search()
    >>> model = tuner.get_best_models()[0]
    >>> config = hypermodel.space.config(tuner.get_best_hyperparameters()[0])

    Articles, users and impressions are read when it is made, once for all trials. A trial makes its
    batches itself, because title and history length, negatives and batch size are among what is
    searched; so `tuner.search` takes `epochs`, `callbacks` and `verbose`, but no data.

    A trial depends on its hyper-parameters alone and not on what the process did before. That
    includes `seed`: with `executions_per_trial` a tuner repeats the same training, whereas a search
    over several values of `seed` tells chance from merit.

    A decaying schedule ends with the trial: the learning rate is zero after its last epoch. When
    Hyperband continues a trial, it resumes from the best epoch of the earlier one, whose checkpoint
    KerasTuner keeps: with its weights, the state of its optimizer and the next epoch of the
    sampler, and with the schedule of a training of its own length.

    Args:
        news: A news data set, for `NewsCatalog.adapt`; or a `NewsCatalog`.
        train: The training impressions, a behaviors data set or `Impressions`.
        validation: The impressions that `val_auc` is measured on, likewise.
        space: The search space; a path is read by `SearchSpace.from_yaml`. None: the default space.
        users: The users of the user table. None: those of the data set `train`.

    Attributes:
        space: The `SearchSpace`.
        catalog: The `NewsCatalog`.
        users: The `UserIndex`.
        train: The `Impressions` that are trained on.
        validation: The `Impressions` that `val_auc` is measured on.

    Raises:
        TypeError: if `train` or `validation` is neither, or `Impressions` come without the
            catalogue and the users that they were converted with.
        ValueError: if the data or the space is malformed; if there is nothing to train on or to
            measure.
    """

    def __init__(
        self,
        news: tf.data.Dataset | NewsCatalog,
        train: tf.data.Dataset | Impressions,
        validation: tf.data.Dataset | Impressions,
        space: SearchSpace | str | os.PathLike[str] | None = None,
        *,
        users: UserIndex | None = None,
    ):
        super().__init__(name="npa")
        self._steps = SharedSteps()
        if space is None:
            space = SearchSpace()
        self.space = space if isinstance(space, SearchSpace) else SearchSpace.from_yaml(space)
        converted = isinstance(train, Impressions) or isinstance(validation, Impressions)
        if converted and (users is None or not isinstance(news, NewsCatalog)):
            raise TypeError(
                "Impressions hold indices instead of ids: pass the NewsCatalog they were converted "
                "with as news, and the UserIndex as users"
            )
        self.catalog = news if isinstance(news, NewsCatalog) else NewsCatalog().adapt(news)
        self.users = UserIndex().adapt(train) if users is None else users
        self.train, self.validation = (
            behaviors
            if isinstance(behaviors, Impressions)
            else Impressions.from_dataset(behaviors, self.catalog, self.users)
            for behaviors in (train, validation)
        )
        # Anything wrong here would fail every trial.
        for impressions in (self.train, self.validation):
            impression_batches(impressions, self.catalog, self.users, self.space.base)
        TrainingRows(self.train, self.space.base)
        clicked = self.validation.take(slice(None)).clicked
        if not np.any(clicked == 1) or not np.any(clicked == 0):
            raise ValueError(
                "validation has nothing to measure by: it needs candidates that were clicked and "
                "candidates that were not"
            )

    def build(self, hp: keras_tuner.HyperParameters) -> NPA:
        """Makes a model, compiled with the optimizer of its configuration at a constant rate.

        Args:
            hp: The hyper-parameters; the searched ones are declared there.
        """
        config = self.space.config(hp)
        model = NPA(config, self.catalog, self.users)
        self._steps.add(model)
        model.compile(optimizer=default_optimizer(config))
        # A checkpoint restores the state of an optimizer only if its variables exist.
        model.optimizer.build(model.trainable_variables)
        return model

    def fit(
        self,
        hp: keras_tuner.HyperParameters,
        model: tf.keras.Model,
        *args: Any,
        epochs: int = 1,
        initial_epoch: int = 0,
        callbacks: list[tf.keras.callbacks.Callback] | None = None,
        **kwargs: Any,
    ) -> tf.keras.callbacks.History:
        """Trains a model on batches of the configuration that `hp` stands for.

        If the model was compiled with a different optimizer than in `build`, that optimizer is left
        untouched.

        Args:
            hp: The hyper-parameters.
            model: A model that takes the batches of `training_batches` and `impression_batches`.
            *args: None; they would be data.
            epochs: The last epoch.
            initial_epoch: How many epochs were trained before. The sampler continues with the epoch
                after those that the optimizer's iterations amount to, if it has any.
            callbacks: As `Model.fit` takes them.
            **kwargs: As `Model.fit` takes them, but for those that make batches.

        Returns:
            The history that `Model.fit` returns.

        Raises:
            keras_tuner.errors.FatalTypeError: for data or a batch size, which ends the search.
            keras_tuner.errors.FailedTrialError: if the training diverges.
        """
        unwanted = [name for name in _OWN_ARGUMENTS if kwargs.get(name) is not None]
        if args or unwanted:
            raise keras_tuner.errors.FatalTypeError(
                f"search() got {', '.join(unwanted) or 'positional arguments'}; NPAHyperModel has "
                "its data already and makes batches as each trial needs them: leave them out, and "
                "put batch_size into the search space"
            )
        config = self.space.config(hp)
        rows = TrainingRows(dataclasses.replace(self.train, features={}), config)
        iterations = int(model.optimizer.iterations.numpy())
        # The checkpoint that a trial continues is that of its best epoch.
        trained = iterations // rows.steps if initial_epoch and iterations else initial_epoch
        _set_schedule(model, config, rows.steps * (epochs - initial_epoch))
        with self._steps.of(model):
            return model.fit(
                row_batches(rows, trained),
                validation_data=impression_batches(
                    self.validation, self.catalog, self.users, config
                ),
                epochs=epochs,
                initial_epoch=initial_epoch,
                callbacks=[SameDraws(config), _Diverged(config), *(callbacks or ())],
                **kwargs,
            )


def _set_schedule(model: tf.keras.Model, config: NPAConfig, steps: int) -> None:
    """Makes the learning rate decay to zero within `steps`, if the optimizer is that of `build`.

    `build` does not know how many epochs the tuner will ask for, and whoever wraps the hypermodel
    may have compiled the model with another optimizer since.
    """
    built = model.optimizer
    if config.schedule == "constant" or (
        built.get_config() != default_optimizer(config).get_config()
    ):
        return
    with model.distribute_strategy.scope():
        optimizer = default_optimizer(config, int(built.iterations.numpy()) + steps)
        optimizer.build(model.trainable_variables)
    # Otherwise it gets into checkpoints, and TensorFlow warns when `build` has no variable for it.
    optimizer._delete_tracking("_current_learning_rate")
    state: dict[str, Any] = {}
    built.save_own_variables(state)
    optimizer.load_own_variables(state)
    # Not compile, which would forget the other arguments of the first.
    model.optimizer = optimizer
    model.make_train_function(force=True)


class _Diverged(tf.keras.callbacks.Callback):
    """Fails a trial that has diverged; KerasTuner would not say why it failed."""

    def __init__(self, config: NPAConfig):
        super().__init__()
        self._config = config

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        loss = logs["loss"]
        # A model that contains NPA may add losses of any size.
        is_far = isinstance(self.model, NPA) and has_diverged(loss, self._config)
        if is_far or not math.isfinite(loss) or math.isnan(logs.get("val_auc", 0)):
            raise keras_tuner.errors.FailedTrialError(
                f"the training has diverged: the loss of epoch {epoch + 1} is {loss:.4g}, where "
                f"equal scores have {constant_loss(self._config):.4g}; narrow learning_rate and "
                "table_learning_rate in the search space"
            )
