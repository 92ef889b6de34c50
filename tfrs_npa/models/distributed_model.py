"""A `tfrs.Model` that is trained and evaluated alike under every `tf.distribute` strategy."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_npa.models.replicas import has_parameter_servers
from tfrs_npa.models.sent_batches import SentBatches, SentSteps


class DistributedModel(tfrs.Model):
    """A model whose `fit` and `evaluate` take the same data sets under every strategy.

    What they report is what a single machine would report of the same steps. Several workers that
    train together make their parts of each batch of `tfrs_npa.data.batches`; of another data set,
    all of them make whole batches, as TensorFlow's auto-sharding does. Under parameter servers, the
    coordinator reads the data sets and sends each batch to a worker.

    A subclass updates metrics in `compute_loss`, and returns the share of a replica in the loss.
    Those of `metrics` that are no `training_metrics` are updated in evaluations only.
    """

    _evaluates = False
    _training_data = _evaluation_data = None
    _distribution_strategy: tf.distribute.Strategy | None
    # Keras's own attributes.
    train_function: Any
    test_function: Any
    predict_function: Any
    # How many steps the evaluation or prediction has at most; None: as many as there are batches.
    _steps: int | None = None

    # No property: Keras would save what it returns a second time.
    def training_metrics(self) -> list[tf.keras.metrics.Metric]:
        """Those of `metrics` that training updates."""
        return self.metrics

    def get_metrics_result(self):
        """Returns the metrics of the evaluation or the epoch of training that ends."""
        metrics = self.metrics if self._evaluates else self.training_metrics()
        return {metric.name: metric.result() for metric in metrics}

    def compile(self, *args, **kwargs):
        """Configures the model for training, as `tf.keras.Model.compile`.

        Raises:
            ValueError: for `steps_per_execution` with parameter servers, which would skip batches.
        """
        servers = has_parameter_servers(self.distribute_strategy)
        if servers and kwargs.get("steps_per_execution") not in (None, 1):
            raise ValueError("steps_per_execution has to be 1 with parameter servers")
        super().compile(*args, **kwargs)
        # Each replica has the metrics of all. Keras would add them up.
        self.distribute_reduction_method = "first"

    def fit(self, *args, **kwargs):
        """Trains the model, as `tf.keras.Model.fit`."""
        given = inspect.signature(super().fit).bind(*args, **kwargs).arguments
        _distribute(self.distribute_strategy, given, "x", "steps_per_epoch")
        _distribute(self.distribute_strategy, given, "validation_data", "validation_steps")
        self._training_data = _sent(given.get("x"))
        try:
            return super().fit(**given)
        finally:
            self._training_data = None
            _release(self.train_function)

    def evaluate(self, *args, **kwargs):
        """Evaluates the model, as `tf.keras.Model.evaluate`."""
        given = inspect.signature(super().evaluate).bind(*args, **kwargs).arguments
        given |= given.pop("kwargs", {})
        _distribute(self.distribute_strategy, given, "x", "steps")
        self._evaluation_data, self._evaluates = _sent(given.get("x")), True
        self._steps = given.get("steps")
        try:
            return super().evaluate(**given)
        finally:
            self._evaluation_data, self._evaluates = None, False
            _release(self.test_function)

    def predict(self, *args, **kwargs):
        """Predicts, as `tf.keras.Model.predict`.

        Where several workers train together, each of them predicts everything, as the coordinator
        does with parameter servers: they could not exchange ragged tensors.
        """
        self._steps = (
            inspect.signature(super().predict).bind(*args, **kwargs).arguments.get("steps")
        )
        if not isinstance(self._distribution_strategy, tf.distribute.MultiWorkerMirroredStrategy):
            return super().predict(*args, **kwargs)
        with self.without_replicas():
            return super().predict(*args, **kwargs)

    @contextlib.contextmanager
    def without_replicas(self) -> Iterator[None]:
        """For a `with` block, this process does all steps, on one device."""
        strategy, self._distribution_strategy = self._distribution_strategy, None
        try:
            yield
        finally:
            self._distribution_strategy = strategy

    def make_train_function(self, force=False):
        """Makes the function of a training step, as `tf.keras.Model.make_train_function`."""
        function = self._sent_steps(self.train_function, self.train_step, self._training_data)
        if function is None:
            return super().make_train_function(force or isinstance(self.train_function, SentSteps))
        self.train_function = function
        return function

    def make_test_function(self, force=False):
        """Makes the function of an evaluation step, as `tf.keras.Model.make_test_function`."""
        function = self._sent_steps(self.test_function, self.test_step, self._evaluation_data)
        if function is None:
            return super().make_test_function(force or isinstance(self.test_function, SentSteps))
        self.test_function = function
        return function

    def _sent_steps(self, function, step, data):
        if data is None:
            return None
        if not isinstance(function, SentSteps):
            function = SentSteps(step, self._cluster_coordinator)
        function.send(data)
        return function


def _distribute(strategy, given, data, steps):
    """Replaces a data set among the arguments of a method by what each process reads of it."""
    batches = given.get(data)
    if not isinstance(batches, tf.data.Dataset):
        return
    if has_parameter_servers(strategy):
        if given.get(steps) is None:
            number = batches.cardinality().numpy()
            if number < 0:
                raise ValueError(f"the data set of {data} does not know its length: give {steps}")
            given[steps] = number
        given[data] = SentBatches(batches)
    elif (
        isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        and hasattr(batches, "of_pipeline")
        and given.get(steps) is None
    ):
        given[steps] = len(batches)
        # Keras takes all epochs from one iterator. Without an end, no step asks all workers for it.
        given[data] = strategy.distribute_datasets_from_function(
            lambda context: batches.of_pipeline(context).repeat()
        )


def _sent(data):
    """Returns the data set that the coordinator sends, if `data` is one."""
    return data.batches if isinstance(data, SentBatches) else None


def _release(function):
    """Frees the data of a train or test function, which is kept for the next call."""
    if isinstance(function, SentSteps):
        function.release()


def check_is_npa(model, name: str) -> None:
    """Raises an error that says what to give instead if `model` is not an `NPA` of this process.

    Args:
        model: What was given.
        name: Who needs it.

    Raises:
        TypeError: if it is no `NPA`.
        ValueError: if its tables are on parameter servers.
    """
    if isinstance(model, DistributedModel):
        require_no_servers(model, name)
        return
    inside = getattr(model, "__dict__", {})
    parts = [part for part, value in inside.items() if isinstance(value, DistributedModel)]
    hint = f": give its part, model.{parts[0]}" if parts else ""
    raise TypeError(f"{name} needs an NPA, not {type(model).__name__}{hint}")


def require_no_servers(model: DistributedModel, name: str) -> None:
    """Raises a ValueError if the tables of a model are on parameter servers.

    Args:
        model: The model.
        name: Who needs them in this process.
    """
    if has_parameter_servers(model.distribute_strategy):
        raise ValueError(
            f"{name} needs the tables in this process, and those of this model are on parameter "
            "servers: save the model, and load it without a strategy"
        )
