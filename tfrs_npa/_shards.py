"""Variables that a `tf.distribute` strategy has cut into shards, as the whole ones they are."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

# Whatever Keras saves; its methods, which the mixins extend, have no types.
_Saved: Any = object
_SHARD = re.compile(r"/part_(\d+)(:\d+)?$")


def whole_variables(variables: Sequence[tf.Variable]) -> list[list[tf.Variable]]:
    """Groups variables: those that are shards of the same one are together, in order.

    Args:
        variables: Shards of one variable come in order, but others may be between them, as the two
            moments of a table are in an optimizer.
    """
    groups = []
    # Two layers may have a variable of the same name.
    latest: dict[str | None, list[tf.Variable]] = {}
    for variable in variables:
        shard = _SHARD.search(variable.name)
        name = variable.name[: shard.start()] if shard else None
        if shard is None or shard[1] == "0":
            groups.append([variable])
            latest[name] = groups[-1]
        else:
            latest[name].append(variable)
    return groups


def read_whole(shards: Sequence[tf.Variable]) -> tf.Tensor:
    """Returns the value of a variable, given its shards, of which there may be one."""
    return shards[0].read_value() if len(shards) == 1 else tf.concat(list(shards), axis=0)


def assign_whole(shards: Sequence[tf.Variable], value: np.ndarray | tf.Tensor) -> None:
    """Assigns a value to a variable, given its shards, of which there may be one."""
    first = 0
    for shard in shards:
        rows = len(shards) > 1 and shard.shape[0]
        shard.assign(value[first : first + rows] if rows else value)
        first += rows


def lookup(table: tf.Variable, rows: tf.Tensor) -> tf.Tensor:
    """Returns rows of a table, like `tf.gather`.

    Given a table in shards, `tf.gather` in a graph, and `tf.nn.embedding_lookup` outside of one,
    fetch all of it; and `tf.gather` returns the rows in another order (TensorFlow 2.21).

    Args:
        table: A variable `[number, ...]`, or a `ShardedVariable`.
        rows: `[rows]` integers.
    """
    shards = table if isinstance(table, tf.Variable) else table.variables
    return tf.nn.embedding_lookup(shards, rows)


class SavedWhole(_Saved):
    """Part of a layer or an optimizer: `.weights.h5` and `.keras` have its variables whole.

    So a training with parameter servers goes on without them, and the other way round. TensorFlow's
    own checkpoints do that anyway.
    """

    def save_own_variables(self, store: Any) -> None:
        """Saves the variables of this object alone, as Keras asks."""
        groups = whole_variables(self._saved_variables())
        if all(len(group) == 1 for group in groups):
            super().save_own_variables(store)
            return
        for number, group in enumerate(groups):
            store[str(number)] = read_whole(group).numpy()

    def load_own_variables(self, store: Any) -> None:
        """Loads what `save_own_variables` saved, as Keras asks."""
        groups = whole_variables(self._saved_variables())
        if all(len(group) == 1 for group in groups) or len(groups) != len(store.keys()):
            super().load_own_variables(store)
            return
        for number, group in enumerate(groups):
            assign_whole(group, np.asarray(store[str(number)]))

    def _saved_variables(self) -> list[tf.Variable]:
        return self.variables


class WholeWeights(SavedWhole):
    """Part of a layer whose weights start, and are saved, alike in shards and whole."""

    def add_weight(self, *args: Any, initializer: Any, **kwargs: Any) -> tf.Variable:
        """Adds a weight, as `tf.keras.layers.Layer.add_weight`."""
        initializer = _OfShards(tf.keras.initializers.get(initializer))
        return super().add_weight(*args, initializer=initializer, **kwargs)

    def _saved_variables(self) -> list[tf.Variable]:
        return self._trainable_weights + self._non_trainable_weights


class _OfShards(tf.keras.initializers.Initializer):
    """Gives a shard the rows that it would have in the whole, where Keras draws each by itself."""

    def __init__(self, whole: tf.keras.initializers.Initializer):
        self._whole = whole

    def __call__(
        self, shape: Sequence[int], dtype: tf.DType | None = None, **kwargs: Any
    ) -> tf.Tensor:
        part = kwargs.pop("partition_shape", None)
        offset = kwargs.pop("partition_offset", None)
        if part is None:
            return self._whole(shape, dtype, **kwargs)
        # The first two, without the memory of the whole.
        kind, settings = type(self._whole), self._whole.get_config()
        if kind is tf.keras.initializers.Zeros:
            return self._whole(part, dtype)
        if kind in _SCALED and settings["seed"] is not None and dtype == tf.float32:
            draw, scaled = _SCALED[kind]
            return scaled(_drawn(draw, settings["seed"], offset, part), **settings)
        return tf.slice(self._whole(shape, dtype), offset, part)


# For kinds of initializers, the operation that draws, and what becomes of the draws.
_SCALED: dict[Any, tuple[Any, Callable[..., Any]]] = {
    tf.keras.initializers.RandomUniform: (
        tf.raw_ops.StatelessRandomUniformV2,
        lambda draws, minval, maxval, seed: draws * (maxval - minval) + minval,
    ),
    tf.keras.initializers.RandomNormal: (
        tf.raw_ops.StatelessRandomNormalV2,
        lambda draws, mean, stddev, seed: draws * stddev + mean,
    ),
}
_PHILOX, _BLOCK = 1, 4  # the generator, whose counter counts blocks of 4 numbers


def _drawn(
    draw: Callable[..., tf.Tensor], seed: int, offset: Sequence[int], shape: Sequence[int]
) -> tf.Tensor:
    """Returns rows of what Keras draws from a seed, without those before and after.

    Args:
        draw: The operation.
        seed: The seed of an initializer.
        offset: Where the rows start; all 0 but the first.
        shape: Their shape.
    """
    width = math.prod(shape[1:])
    blocks, rest = divmod(offset[0] * width, _BLOCK)
    key, counter = tf.raw_ops.StatelessRandomGetKeyCounter(seed=[seed, 0])
    draws = draw(
        shape=tf.constant([rest + shape[0] * width], tf.int64),
        key=key,
        counter=counter + tf.constant([blocks, 0], tf.uint64),
        alg=_PHILOX,
        dtype=tf.float32,
    )
    return tf.reshape(draws[rest:], shape)
