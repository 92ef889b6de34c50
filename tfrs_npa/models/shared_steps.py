"""Training and evaluation steps that are traced once for many models."""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from tfrs_npa.config import NPAConfig
from tfrs_npa.models.npa import NPA

FREE_FIELDS = (
    "history_length",
    "history_sampling",
    "history_rows",
    "word_initializer",
    "center_words",
    "user_initializer",
    "filter_bias",
    "logit_scale",
    "uniform_attention",
    "dropout",
    "pooling_dropout",
    "user_dropout",
    "negatives_per_positive",
    "learning_rate",
    "table_learning_rate",
    "user_learning_rate",
    "schedule",
    "warmup_steps",
    "batch_size",
)
"""Fields of `NPAConfig` that are no constants of a shared step.

They are about the data or initial values, or are among its `Numbers`; which of these are zero, and
left out of a graph, does make a difference.
"""
# Graphs that are kept: of training and evaluation, of four shapes.
_MOST = 8
# What compiling and training change.
_COMPILED = (
    "optimizer",
    "loss",
    "compiled_loss",
    "compiled_metrics",
    "train_function",
    "train_tf_function",
    "test_function",
    "predict_function",
    "history",
    "stop_training",
)


class SharedSteps:
    """Steps of `NPA`s that differ in `FREE_FIELDS` at most: each step is traced once for all.

    Tracing takes half of the time of a short training, and graphs of such models differ in nothing
    but the variables, and in constants such as rates of dropout. So a step is traced with both as
    inputs. It is the same graph whichever model it was traced with, to the last bit of the result.

    Example:
        >>> steps = SharedSteps()
        >>> for config in configs:
        ...     model = NPA(config, catalog, users)
        ...     steps.add(model)
        ...     model.compile(optimizer=default_optimizer(config))
        ...     with steps.of(model):
        ...         model.fit(batches)
    """

    def __init__(self) -> None:
        self._traced: dict[Any, tuple[Any, list[int]]] = {}
        self._models: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()

    def add(self, model: tf.keras.Model) -> None:
        """Adds a model that is as its configuration made it."""
        self._models[model] = _attributes(model)

    @contextlib.contextmanager
    def of(self, model: tf.keras.Model) -> Iterator[None]:
        """For a `with` block, Keras's functions of a model run these steps.

        Nothing changes for a model that was not added, whose attributes have been replaced since,
        that runs eagerly, or that is under a strategy of several devices.

        Args:
            model: A compiled model.
        """
        if self._models.get(model) != _attributes(model) or not _has_plain_steps(model):
            yield
            return
        # Inside of what Keras traces for each model, these are single operations.
        model.train_step = functools.partial(self._step, model, "train_step")
        model.test_step = functools.partial(self._step, model, "test_step")
        model.train_function = model.test_function = None
        try:
            with _graphs_as_they_are():
                yield
        finally:
            del model.train_step, model.test_step
            model.train_function = model.test_function = None

    @tf.autograph.experimental.do_not_convert
    def _step(self, model, name, batch):
        """Runs the step `name` of a model on a batch."""
        variables, inputs = _variables(model), _Inputs(model)
        spec = tf.nest.map_structure(tf.type_spec_from_value, batch)
        key = (name, str(spec), _shape(model, variables), tuple(inputs.values))
        if key not in self._traced:
            while len(self._traced) >= _MOST:
                del self._traced[next(iter(self._traced))]
            self._traced[key] = _traced(model, name, spec, variables, inputs)
        traced, positions = self._traced[key]
        traced.set_external_captures([variables[position].handle for position in positions])
        return traced(batch, inputs.values)


@contextlib.contextmanager
def _graphs_as_they_are():
    """For a `with` block, TensorFlow does not optimize graphs.

    It does so whenever it loads one, and no step has become faster by it (benchmarks/README.md).
    """
    options = tf.config.optimizer.get_experimental_options()
    before = options.get("disable_meta_optimizer", False)
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": before})


def _traced(model, name, spec, variables, inputs):
    """Returns the graph of a step, and which of the variables each of its captures is."""

    def step(batch, numbers):
        with inputs.replaced(numbers):
            return getattr(NPA, name)(model, batch)

    specs = {key: tf.TensorSpec([], value.dtype) for key, value in inputs.values.items()}
    # NPA has no branch on tensors for AutoGraph to find.
    traced = tf.function(step, autograph=False).get_concrete_function(spec, specs)
    places = {id(variable.handle): place for place, variable in enumerate(variables)}
    positions = [places[id(captured)] for captured in traced.captured_inputs]
    # Otherwise they could not be deleted before the graph.
    traced.set_variables([])
    return traced, positions


class _Inputs:
    """The numbers of a model as inputs of a graph.

    Attributes:
        values: Scalars by name.
    """

    def __init__(self, model):
        parts = [*model.submodules, model.optimizer]
        self._numbers = [part.numbers for part in parts if hasattr(part, "numbers")]
        self._optimizer = model.optimizer
        self.values = {
            f"{place} {name}": tf.constant(value)
            for place, numbers in enumerate(self._numbers)
            for name, value in numbers.values.items()
            if value
        }
        if _has_schedule(self._optimizer):
            self.values["learning_rate"] = tf.convert_to_tensor(
                self._optimizer._learning_rate(self._optimizer.iterations)
            )

    @contextlib.contextmanager
    def replaced(self, tensors):
        """For a `with` block, the model has tensors in place of its numbers."""
        before = [numbers.values for numbers in self._numbers]
        schedule = self._optimizer._learning_rate
        try:
            for place, numbers in enumerate(self._numbers):
                numbers.values = {
                    name: tensors.get(f"{place} {name}", value)
                    for name, value in numbers.values.items()
                }
            if "learning_rate" in tensors:
                self._optimizer._learning_rate = _Given(tensors["learning_rate"])
            yield
        finally:
            for numbers, values in zip(self._numbers, before, strict=True):
                numbers.values = values
            self._optimizer._learning_rate = schedule


class _Given(tf.keras.optimizers.schedules.LearningRateSchedule):
    """A schedule whose value is given to the graph."""

    def __init__(self, rate):
        super().__init__()
        self._rate = rate

    def __call__(self, step):
        return self._rate


def _has_schedule(optimizer):
    kind = tf.keras.optimizers.schedules.LearningRateSchedule
    return isinstance(optimizer._learning_rate, kind)


def _attributes(model) -> dict[tuple[int, str], int]:
    """Returns which object each public attribute of a model and of its parts is."""
    return {
        (id(part), name): id(value)
        for part in (model, *model.submodules)
        for name, value in vars(part).items()
        if not name.startswith("_") and name not in _COMPILED
    }


def _has_plain_steps(model) -> bool:
    """Whether the steps of a model are those of `NPA`, on one device and in a graph."""
    return (
        type(model) is NPA
        and isinstance(model.optimizer, tf.keras.optimizers.Optimizer)
        and not model.run_eagerly
        and not tf.distribute.has_strategy()
        and not any(
            isinstance(variable, tf.distribute.DistributedValues) for variable in model.weights
        )
    )


def _variables(model) -> list[tf.Variable]:
    """Returns all variables that a step of a model may read or write."""
    optimizer = model.optimizer
    return [
        *model.weights,
        *model.candidate_tower.article_tables,
        *(variable for metric in model.metrics for variable in metric.variables),
        *optimizer.variables,
        *(
            getattr(optimizer, name)
            for name in ("_learning_rate", "_current_learning_rate")
            if isinstance(getattr(optimizer, name, None), tf.Variable)
        ),
    ]


def _shape(model, variables):
    """Returns what models have in common whose graphs differ in variables and numbers only."""
    defaults = NPAConfig()
    config = model.config.replace(**{name: getattr(defaults, name) for name in FREE_FIELDS})
    with tf.init_scope():  # it reads the learning rate
        optimizer = model.optimizer.get_config()
    for name in list(optimizer):
        if name.endswith("learning_rate") or name == "variable_learning_rates":
            del optimizer[name]
    trained = {id(variable) for variable in model.trainable_variables}
    return (
        config,
        type(model.optimizer),
        _has_schedule(model.optimizer),
        repr(sorted(optimizer.items())),
        model.dtype_policy.name,
        tuple((str(v.shape), v.dtype, id(v) in trained) for v in variables),
    )
