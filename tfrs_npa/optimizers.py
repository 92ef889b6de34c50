"""Adam for models whose embedding tables are far larger than a batch."""

from __future__ import annotations

import functools
import types
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tfrs_npa._numbers import Numbers
from tfrs_npa._shards import SavedWhole, assign_whole, read_whole, whole_variables
from tfrs_npa.config import SCHEDULES

# All tables that have no learning rate of their own, among the names of those that have.
_TABLES = "*"


@tf.keras.utils.register_keras_serializable(package="tfrs_npa")
class LazyAdam(SavedWhole, tf.keras.optimizers.Adam):
    """Adam that, given a sparse gradient, moves only the rows that are in it.

    `tf.keras.optimizers.Adam` decays the moments of every row of an embedding table, and moves
    every row, at each step: its cost grows with the table. Here a row that is not in the gradient
    keeps its value and its moments bit for bit, so the cost grows with the batch alone. This is
    the usual lazy variant, as in PyTorch's `SparseAdam`. Duplicate indices are added up first.

    For a row `w_i` with gradient `g_i` (Kingma & Ba, 2015, algorithm 1 in the order of
    computation given at the end of section 2):

        m_i <- beta_1 m_i + (1 - beta_1) g_i
        v_i <- beta_2 v_i + (1 - beta_2) g_i^2
        w_i <- w_i - rate sqrt(1 - beta_2^t) / (1 - beta_1^t) m_i / (sqrt(v_i) + epsilon)

    The bias correction uses the optimizer's global step, `t = iterations + 1`, and not the number
    of times that the row was seen. A dense gradient gets exactly what Adam gives it. Keras applies
    the `constraint` of a variable, if it has one, to all of it after each step.

    Example:
        model.compile(optimizer=tfrs_npa.LazyAdam(1e-3, table_learning_rate=1e-2))

    Saving: TensorFlow checkpoints and `.keras` files restore everything. `.weights.h5` files hold
    the iteration and the moments but, as for every optimizer of Keras 2, no learning rate, and
    they restore an optimizer only once it is built: call
    `optimizer.build(model.trainable_variables)` before `model.load_weights(path)`.

    Args:
        learning_rate: A float or a `tf.keras.optimizers.schedules.LearningRateSchedule`.
        table_learning_rate: Learning rate of a variable whose gradient is sparse. `None` means
            `learning_rate`. When a schedule or a callback changes `learning_rate`, this one
            changes in proportion.
        variable_learning_rates: Learning rates of some of these variables, by their name, instead
            of `table_learning_rate`: `{"user_table": 1e-3}`.
        base_learning_rate: The value of `learning_rate` that these learning rates go with.
            `None` means its first value; pass another if that is zero, as in a warm-up.
        jit_compile: Whether to compile the update of each variable with XLA where there is a GPU.
            Unlike Adam's, off by default: XLA would compile again for each number of rows.
        name: Name of the optimizer.
        **kwargs: Adam's other arguments, `weight_decay` and `use_ema` excepted.

    Raises:
        ValueError: For `weight_decay` or `use_ema`, which need every row of a table at each step,
            and for a `table_learning_rate` or `variable_learning_rates` with a `base_learning_rate`
            that is not positive.
    """

    def __init__(
        self,
        learning_rate=0.001,
        *,
        table_learning_rate: float | None = None,
        variable_learning_rates: Mapping[str, float] | None = None,
        base_learning_rate: float | None = None,
        jit_compile: bool = False,
        name: str = "LazyAdam",
        **kwargs,
    ):
        super().__init__(learning_rate, jit_compile=jit_compile, name=name, **kwargs)
        if self.weight_decay is not None or self.use_ema:
            raise ValueError(
                f"LazyAdam takes neither weight_decay (got {self.weight_decay}) nor use_ema (got "
                f"{self.use_ema}): they touch every row of every embedding table at each step. "
                "Leave them out, or use tf.keras.optimizers.Adam."
            )
        # Of a type that TensorFlow does not wrap, and so write to checkpoints.
        self._variable_learning_rates = types.MappingProxyType(dict(variable_learning_rates or {}))
        if table_learning_rate is not None or self._variable_learning_rates:
            if base_learning_rate is None:
                first = learning_rate(0) if callable(learning_rate) else learning_rate
                base_learning_rate = float(first)
            if not base_learning_rate > 0:
                raise ValueError(
                    "The learning rates of tables follow learning_rate in proportion, so the value "
                    f"they go with must be positive; got {base_learning_rate}. Pass that value as "
                    "base_learning_rate."
                )
        self._table_learning_rate = table_learning_rate
        self._base_learning_rate = base_learning_rate
        # Ratios, because callbacks and schedules know of one learning rate only.
        rates = {_TABLES: table_learning_rate, **self._variable_learning_rates}
        self.numbers = Numbers(
            **{
                name: rate / base_learning_rate
                for name, rate in rates.items()
                if rate is not None and base_learning_rate is not None
            }
        )

    @property
    def table_learning_rate(self):
        """The current learning rate of variables with a sparse gradient, a scalar.

        Those of `variable_learning_rates` have their own, see `learning_rate_of`.
        """
        return self._in_proportion(_TABLES)

    def learning_rate_of(self, table):
        """Returns the current learning rate of a variable with a sparse gradient, a scalar."""
        own = [name for name in _names(table) if name in self._variable_learning_rates]
        return self._in_proportion(own[0] if own else _TABLES)

    def _in_proportion(self, name):
        if name not in self.numbers.values:
            return self.learning_rate
        return self.learning_rate * self.numbers[name]

    def add_variable_from_reference(
        self, model_variable, variable_name, shape=None, initial_value=None
    ):
        """Adds a variable of zeros like one of the model, as Adam's method.

        With parameter servers, Adam's makes the zeros in the coordinator, which keeps them, and
        sends them to the server. Here each server makes its own.
        """
        if shape is None and initial_value is None and model_variable.shape.is_fully_defined():
            # A policy of mixed precision reports another type than the variable has.
            dtype = getattr(model_variable, "true_dtype", model_variable.dtype)
            initial_value = functools.partial(tf.zeros, model_variable.shape, dtype)
        return super().add_variable_from_reference(
            model_variable, variable_name, shape, initial_value
        )

    def update_step(self, gradient, variable):
        """Updates `variable`: all of it for a dense gradient, else the rows in `gradient`.

        Args:
            gradient: A tensor of the shape of `variable`, or a `tf.IndexedSlices` without
                duplicate indices (`apply_gradients` adds them up before it calls this).
            variable: The model's variable, `[rows, ...]`.
        """
        if not isinstance(gradient, tf.IndexedSlices):
            super().update_step(gradient, variable)
            return
        index = self._index_dict[self._var_key(variable)]
        rows, values = gradient.indices, gradient.values
        m = _move_average(self._momentums[index], rows, values, self.beta_1)
        v = _move_average(self._velocities[index], rows, tf.square(values), self.beta_2)
        if self.amsgrad:
            v_hat = self._velocity_hats[index]
            v = tf.maximum(tf.gather(v_hat, rows), v)
            v_hat.scatter_update(tf.IndexedSlices(v, rows))

        step = tf.cast(self.iterations + 1, variable.dtype)
        correction_1 = 1 - tf.pow(tf.cast(self.beta_1, variable.dtype), step)
        correction_2 = tf.sqrt(1 - tf.pow(tf.cast(self.beta_2, variable.dtype), step))
        rate = tf.cast(self.learning_rate_of(variable), variable.dtype)
        epsilon = self.epsilon * correction_2 if self.adaptive_epsilon else self.epsilon
        change = rate * correction_2 / correction_1 * m / (tf.sqrt(v) + epsilon)
        variable.scatter_sub(tf.IndexedSlices(change, rows))

    def get_config(self):
        """Returns the arguments that make the same optimizer, without its variables."""
        return super().get_config() | {
            "table_learning_rate": self._table_learning_rate,
            "variable_learning_rates": dict(self._variable_learning_rates),
            "base_learning_rate": self._base_learning_rate,
            # Adam leaves this one out.
            "adaptive_epsilon": self.adaptive_epsilon,
        }

    # Keras clips before it adds up duplicates, and so takes the wrong norm of a sparse gradient.
    # Clipping therefore waits until they are added up.
    def _clip_gradients(self, grads):
        return grads

    def _deduplicate_sparse_grad(self, grads):
        return super()._clip_gradients([_sum_duplicates(grad) for grad in grads])


def _names(variable):
    """Returns the parts of a variable's name: a shard of a table is `user_table/part_0`."""
    return variable.name.split(":")[0].split("/")


def _sum_duplicates(gradient):
    """Returns a sparse gradient with each row once; a dense one as it is."""
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    rows, positions = tf.unique(gradient.indices)
    number = tf.size(rows)
    # Compiled by XLA, tf.unique overlooks that a tensor may be shorter than its buffer, as the
    # result of another tf.unique is, and returns rows for what lies beyond its end as well. They
    # become -1, which XLA leaves out of a scatter. Elsewhere there are none.
    real = tf.range(tf.size(positions)) < tf.size(gradient.indices)
    real_indices = tf.math.unsorted_segment_sum(tf.cast(real, tf.int32), positions, number)
    # Mostly each row is there once, since the model looks up distinct words: nothing to add up.
    values = tf.cond(
        tf.reduce_all(real_indices == 1),
        lambda: gradient.values,
        lambda: tf.math.unsorted_segment_sum(gradient.values, positions, number),
    )
    rows = tf.where(real_indices > 0, rows, -1)
    return tf.IndexedSlices(values, rows, gradient.dense_shape)


def _move_average(average, rows, values, decay):
    """Moves `rows` of the variable `average` towards `values` and returns them.

    Gathering and scattering are the only operations here that do not walk the table.
    """
    moved = tf.gather(average, rows)
    moved += (values - moved) * (1 - decay)
    average.scatter_update(tf.IndexedSlices(moved, rows))
    return moved


def copy_variables(source, target, rows: Mapping[str, np.ndarray]) -> None:
    """Copies the variables of a model, or of its optimizer, to those of one with other tables.

    Args:
        source: Variables.
        target: Those of another model in the same order.
        rows: By name of a table, such as `user_table`, the row of the old table for each row of the
            new one. The moments of a table have its name in theirs.
    """
    for old, new in zip(whole_variables(source), whole_variables(target), strict=True):
        table = next((name for name in _names(old[0]) if name in rows), None)
        value = read_whole(old)
        assign_whole(new, value if table is None else tf.gather(value, rows[table]))


class _ScheduleWrapper(tf.keras.optimizers.schedules.LearningRateSchedule):
    """A schedule made of another one and a number of steps."""

    def __init__(self, schedule, steps: int):
        super().__init__()
        self.schedule = schedule
        self.steps = steps

    def get_config(self):
        """Returns the arguments, in types that JSON has."""
        schedule = self.schedule
        if callable(schedule):
            schedule = tf.keras.optimizers.schedules.serialize(schedule)
        return {"schedule": schedule, "steps": self.steps}

    @classmethod
    def from_config(cls, config):
        """Returns a schedule from what `get_config` gave."""
        schedule = config["schedule"]
        if isinstance(schedule, dict):
            schedule = tf.keras.optimizers.schedules.deserialize(schedule)
        return cls(schedule, config["steps"])


@tf.keras.utils.register_keras_serializable(package="tfrs_npa")
class WarmUp(_ScheduleWrapper):
    """A learning rate that rises in proportion to the steps, to that of another schedule.

    Example:
        schedule = WarmUp(tf.keras.optimizers.schedules.CosineDecay(1e-3, 10_000), steps=500)

    Args:
        schedule: The schedule after the warm-up, a `LearningRateSchedule` or a float.
        steps: Steps until the learning rate is that of `schedule`; the first has 1 / `steps` of it.
    """

    def __call__(self, step):
        """Returns the learning rate of a step, a scalar."""
        rate = self.schedule(step) if callable(self.schedule) else self.schedule
        rate = tf.convert_to_tensor(rate)
        share = (tf.cast(step, rate.dtype) + 1) / tf.cast(self.steps, rate.dtype)
        return rate * tf.minimum(share, 1)


@tf.keras.utils.register_keras_serializable(package="tfrs_npa")
class Restarted(_ScheduleWrapper):
    """A schedule that starts when the optimizer has taken some steps already.

    The optimizer goes on counting, since the bias correction of Adam's moments needs all steps.

    Example:
        schedule = Restarted(tf.keras.optimizers.schedules.CosineDecay(1e-3, 10_000), steps=500)

    Args:
        schedule: A `LearningRateSchedule`.
        steps: Steps before the first one of `schedule`.
    """

    def __call__(self, step):
        """Returns the learning rate of a step, a scalar."""
        return self.schedule(tf.maximum(tf.cast(step, tf.int64) - self.steps, 0))


def default_optimizer(
    config, total_steps: int | None = None, first_step: int = 0, **kwargs
) -> LazyAdam:
    """Makes the optimizer that a configuration describes.

    Example:
        batches = tfrs_npa.training_batches(train, catalog, users, config)
        model.compile(optimizer=tfrs_npa.default_optimizer(config, len(batches) * epochs))

    Args:
        config: An `NPAConfig`; its `learning_rate`, `table_learning_rate`, `user_learning_rate`,
            `warmup_steps` and `schedule` are used: `"constant"`, or `"linear"` or `"cosine"` decay
            to zero.
        total_steps: Number of training steps over which the learning rate decays to zero. None:
            the learning rate stays constant, whatever the schedule.
        first_step: The step of the optimizer at which warm-up and decay start; see
            `tfrs_npa.warm_start`.
        **kwargs: Further arguments of `LazyAdam`, such as `clipnorm`.

    Returns:
        A `LazyAdam`. Callbacks can change its learning rate only where it is constant, without
        a warm-up.

    Raises:
        ValueError: If the schedule is unknown, or `total_steps` is not positive.
    """
    schedules = tf.keras.optimizers.schedules
    learning_rate, user_rate = config.learning_rate, config.user_learning_rate
    if config.schedule not in SCHEDULES:
        raise ValueError(
            f'schedule must be "constant", "linear" or "cosine"; got {config.schedule!r}.'
        )
    if total_steps is not None and total_steps < 1:
        raise ValueError(f"total_steps is {total_steps}; pass len(batches) * epochs.")
    if config.schedule != "constant" and total_steps is not None:
        if config.schedule == "linear":
            learning_rate = schedules.PolynomialDecay(learning_rate, total_steps, 0.0)
        else:
            learning_rate = schedules.CosineDecay(learning_rate, total_steps)
    if config.warmup_steps:
        learning_rate = WarmUp(learning_rate, config.warmup_steps)
    if first_step and callable(learning_rate):
        learning_rate = Restarted(learning_rate, first_step)
    return LazyAdam(
        learning_rate,
        table_learning_rate=config.table_learning_rate,
        variable_learning_rates=None if user_rate is None else {"user_table": user_rate},
        base_learning_rate=config.learning_rate,
        **kwargs,
    )
