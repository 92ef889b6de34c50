from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfrs_npa._shards import WholeWeights, assign_whole, lookup, read_whole, whole_variables


def variable(name, rows=2):
    return tf.Variable(np.arange(3.0 * rows).reshape(rows, 3), name=name, dtype=tf.float32)


@pytest.fixture
def table():
    """A table of five rows in two shards."""
    shards = [variable("table/part_0", 3), variable("table/part_1", 2)]
    assign_whole(shards, np.arange(15.0).reshape(5, 3))
    return tf.__internal__.distribute.ShardedVariable(shards, name="table")


def test_whole_variables():
    names = "m/a/part_0 v/a/part_0 m/a/part_1 v/a/part_1 m/b v/b m/a/part_0 v/a/part_0 m/a/part_1"
    groups = whole_variables([variable(name) for name in names.split()])
    assert [[v.name for v in group] for group in groups] == [
        ["m/a/part_0:0", "m/a/part_1:0"],
        ["v/a/part_0:0", "v/a/part_1:0"],
        ["m/b:0"],
        ["v/b:0"],
        ["m/a/part_0:0", "m/a/part_1:0"],
        ["v/a/part_0:0"],
    ]


@pytest.mark.parametrize("traced", [False, True])
def test_lookup_keeps_the_order_of_rows(table, traced):
    def function(rows):
        return lookup(table, rows)

    function = tf.function(function) if traced else function
    whole, rows = read_whole(table.variables).numpy(), np.array([4, 0, 3, 3, 1])
    np.testing.assert_array_equal(function(tf.constant(rows)), whole[rows])
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(function(tf.constant(rows)))
    for gradient in tape.gradient(total, table.variables):
        assert isinstance(gradient, tf.IndexedSlices)


class Layer(WholeWeights, tf.keras.layers.Layer):
    def __init__(self, initializer, shards):
        super().__init__()
        self.added = self.add_weight(name="table", shape=(5, 3), initializer=initializer)
        if shards:
            sizes, first = [3, 2], [0, 3]
            start = self._initial
            self._trainable_weights = [
                tf.Variable(
                    start([5, 3], tf.float32, partition_shape=[n, 3], partition_offset=[at, 0]),
                    name=f"table/part_{number}",
                )
                for number, (n, at) in enumerate(zip(sizes, first, strict=True))
            ]

    def _add_variable_with_custom_getter(self, *args, initializer=None, **kwargs):
        # What a strategy with a partitioner calls for each shard.
        self._initial = initializer
        return super()._add_variable_with_custom_getter(*args, initializer=initializer, **kwargs)


INITIALIZERS = tf.keras.initializers


@pytest.mark.parametrize(
    "initializer",
    [
        INITIALIZERS.Zeros(),
        INITIALIZERS.RandomUniform(-0.3, 0.1, seed=5),
        INITIALIZERS.RandomNormal(0.2, 0.7, seed=3),
        INITIALIZERS.TruncatedNormal(seed=3),
        INITIALIZERS.Constant(np.arange(15.0).reshape(5, 3)),
    ],
)
def test_shards_start_and_are_saved_as_the_whole(initializer):
    whole, shards = Layer(initializer, shards=False), Layer(initializer, shards=True)
    np.testing.assert_array_equal(read_whole(shards._trainable_weights), whole.added)
    assign_whole(shards._trainable_weights, np.arange(15.0).reshape(5, 3))
    store = {}
    shards.save_own_variables(store)
    whole.load_own_variables(store)
    np.testing.assert_array_equal(whole.added, np.arange(15.0).reshape(5, 3))
    back = Layer("ones", shards=True)
    back.load_own_variables(store)
    np.testing.assert_array_equal(read_whole(back._trainable_weights), whole.added)


@pytest.mark.parametrize(
    "initializer",
    [
        INITIALIZERS.Zeros(),
        INITIALIZERS.RandomUniform(seed=5),
        INITIALIZERS.RandomNormal(seed=3),
    ],
)
def test_a_shard_needs_no_memory_for_the_whole(initializer):
    start = Layer(initializer, shards=True)._initial
    part = {"partition_shape": [2, 3], "partition_offset": [10**13, 0]}
    assert start([10**14, 3], tf.float32, **part).shape == (2, 3)
