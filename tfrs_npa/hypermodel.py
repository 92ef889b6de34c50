"""NPA for KerasTuner."""

from __future__ import annotations

import math
import os
from typing import Any

import keras_tuner
import numpy as np
import tensorflow as tf

from tfrs_npa.callbacks import SameDraws
from tfrs_npa.config import NPAConfig
from tfrs_npa.data.batches import impression_batches, training_batches
from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.data.impressions import Impressions
from tfrs_npa.data.users import UserIndex
from tfrs_npa.models.npa import NPA
from tfrs_npa.optimizers import default_optimizer
from tfrs_npa.search_space import SearchSpace

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

    A decaying schedule ends with the trial: the learning rate is zero after its last epoch. A trial
    that Hyperband continues goes on from the best epoch of the earlier one, of which KerasTuner
    keeps the checkpoint: with its weights, the state of its optimizer and the epoch of the sampler
    that comes next, and with the schedule of a training of its own length.

    Args:
        news: a news data set, for `NewsCatalog.adapt`; or a `NewsCatalog`.
        train: a behaviors data set, or `Impressions`: what is trained on.
        validation: a behaviors data set, or `Impressions`: what `val_auc` is measured on.
        space: what is searched; a path is one for `SearchSpace.from_yaml`. None: the default space.
        users: the users of the user table. None: those of the data set `train`.

    Attributes:
        space: the `SearchSpace`.
        catalog: the `NewsCatalog`.
        users: the `UserIndex`.
        train: the `Impressions` that are trained on.
        validation: the `Impressions` that are measured on.

    Raises:
        TypeError: if `train` or `validation` is neither of both, or `Impressions` come without the
            catalogue and the users that they were converted with.
        ValueError: if the data or the space is not as it should be; if nothing can be trained on or
            measured.
    """

    def __init__(
        self,
        news: tf.data.Dataset | NewsCatalog,
        train: tf.data.Dataset | Impressions,
        validation: tf.data.Dataset | Impressions,
        space: SearchSpace | str | os.PathLike | None = None,
        *,
        users: UserIndex | None = None,
    ):
        super().__init__(name="npa")
        if space is None:
            space = SearchSpace()
        self.space = space if isinstance(space, SearchSpace) else SearchSpace.from_yaml(space)
        converted = isinstance(train, Impressions) or isinstance(validation, Impressions)
        if converted and (users is None or not isinstance(news, NewsCatalog)):
            raise TypeError(
                "Impressions hold numbers instead of ids: pass the NewsCatalog they were converted "
                "with as news, and the UserIndex as users"
            )
        self.catalog = news if isinstance(news, NewsCatalog) else NewsCatalog().adapt(news)
        self.users = UserIndex().adapt(train) if users is None else users
        self.train, self.validation = (
            part
            if isinstance(part, Impressions)
            else Impressions.from_dataset(part, self.catalog, self.users)
            for part in (train, validation)
        )
        # Each would fail every trial.
        self._batches(self.space.base, 0)
        clicked = self.validation.clicked
        if not np.any(clicked == 1) or not np.any(clicked == 0):
            raise ValueError(
                "validation has nothing to measure by: it needs candidates that were clicked and "
                "candidates that were not"
            )

    def build(self, hp: keras_tuner.HyperParameters) -> NPA:
        """Makes a model, compiled with the optimizer of its configuration at a constant rate.

        Args:
            hp: the hyper-parameters; what is searched is declared there.
        """
        config = self.space.config(hp)
        model = NPA(config, self.catalog, self.users)
        model.compile(optimizer=default_optimizer(config))
        # A checkpoint gives back the state of an optimizer that has its variables only.
        model.optimizer.build(model.trainable_variables)
        return model

    def fit(
        self,
        hp: keras_tuner.HyperParameters,
        model: tf.keras.Model,
        *args,
        epochs: int = 1,
        initial_epoch: int = 0,
        callbacks: list[tf.keras.callbacks.Callback] | None = None,
        **kwargs,
    ) -> tf.keras.callbacks.History:
        """Trains a model that `build` made on batches of the configuration that `hp` stands for.

        A model of another optimizer than `build` gave it keeps that one as it is.

        Args:
            hp: the hyper-parameters.
            model: takes the batches of `training_batches` and `impression_batches`.
            *args: none; they would be data.
            epochs: the number of the last epoch.
            initial_epoch: how many epochs were trained before. The sampler goes on with the epoch
                after those that the optimizer's iterations stand for, if it has any.
            callbacks: as `Model.fit` takes them.
            **kwargs: as `Model.fit` takes them, without what makes batches.

        Returns:
            What `Model.fit` returns.

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
        train, validation = self._batches(config, initial_epoch)
        steps, iterations = len(train), int(model.optimizer.iterations)
        if initial_epoch and iterations:
            train, _ = self._batches(config, iterations // steps)
        _set_schedule(model, config, steps * (epochs - initial_epoch))
        return model.fit(
            train,
            validation_data=validation,
            epochs=epochs,
            initial_epoch=initial_epoch,
            callbacks=[SameDraws(config.seed), _Diverged(), *(callbacks or ())],
            **kwargs,
        )

    def _batches(self, config: NPAConfig, epoch: int) -> tuple[tf.data.Dataset, tf.data.Dataset]:
        own = self.catalog, self.users, config
        return (
            training_batches(self.train, *own, initial_epoch=epoch),
            impression_batches(self.validation, *own),
        )


def _set_schedule(model: tf.keras.Model, config: NPAConfig, steps: int) -> None:
    """Lets the learning rate decay to zero within `steps`, if the optimizer is that of `build`.

    `build` does not know how many epochs the tuner will ask for, and whoever wraps the hypermodel
    may have compiled the model with another optimizer since.
    """
    begun = model.optimizer
    if config.schedule == "constant" or (
        begun.get_config() != default_optimizer(config).get_config()
    ):
        return
    with model.distribute_strategy.scope():
        optimizer = default_optimizer(config, int(begun.iterations) + steps)
        optimizer.build(model.trainable_variables)
    # Else it gets into checkpoints, and TensorFlow warns when `build` has no place for it.
    optimizer._delete_tracking("_current_learning_rate")
    state: dict[str, Any] = {}
    begun.save_own_variables(state)
    optimizer.load_own_variables(state)
    # Not compile, which would forget what else the model was compiled with.
    model.optimizer = optimizer
    model.make_train_function(force=True)


class _Diverged(tf.keras.callbacks.Callback):
    """Fails the trial; KerasTuner would count one without a number as failed, but not say why."""

    def on_epoch_end(self, epoch, logs):
        for name in ("loss", "val_auc"):
            if math.isnan(logs.get(name, 0)):
                raise keras_tuner.errors.FailedTrialError(
                    f"{name} of epoch {epoch + 1} is not a number: the training has diverged; "
                    "narrow learning_rate and table_learning_rate in the search space"
                )
