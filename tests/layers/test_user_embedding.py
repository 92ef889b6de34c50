from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfrs_npa.layers import UserEmbedding


@pytest.mark.parametrize("initializer", ["uniform", "zeros", "normal", "glorot_uniform"])
def test_is_a_layer(check_layer, initializer):
    arguments = {
        "num_users": 5,
        "embedding_dim": 3,
        "dropout": 0.4,
        "initializer": initializer,
        "seed": 1,
    }
    layer = check_layer(UserEmbedding, arguments, tf.constant([0, 4, 2, 4]), [(5, 3)])
    np.testing.assert_array_equal(layer(tf.constant([4])), layer.table[4:5])


def test_initial_values():
    for initializer, zero in (("zeros", True), ("uniform", False)):
        layer = UserEmbedding(50, 4, initializer=initializer, seed=1)
        layer.build((None,))
        assert np.all(layer.table.numpy() == 0) == zero
    others = [UserEmbedding(50, 4, seed=seed) for seed in (1, 1, 2)]
    tables = []
    for layer in others:
        layer.build((None,))
        tables.append(layer.table.numpy())
    np.testing.assert_array_equal(tables[0], tables[1])
    assert np.any(tables[0] != tables[2])


def replaced(layer, users, **kwargs):
    """Share of users who get the row of the unknown user; the others get their own."""
    out, table = layer(users, **kwargs).numpy(), layer.table.numpy()
    unknown = np.all(out == table[0], axis=1)
    np.testing.assert_array_equal(out[~unknown], table[users.numpy()][~unknown])
    return unknown.mean()


@pytest.mark.parametrize("dropout", [0.0, 0.2, 0.7])
def test_dropout_replaces_a_share_of_the_users_in_training(dropout):
    layer = UserEmbedding(20, 3, dropout=dropout, seed=3)
    users = tf.constant(np.random.default_rng(0).integers(1, 20, 4000))
    layer(users)
    assert replaced(layer, users) == 0
    assert replaced(layer, users, training=False) == 0
    assert replaced(layer, users, training=True) == pytest.approx(dropout, abs=0.03)


def test_dropout_is_drawn_anew_at_each_step():
    layer = UserEmbedding(20, 3, dropout=0.5, seed=3)
    users = tf.range(1, 20)
    layer(users)
    step = tf.function(lambda: layer(users, training=True))
    assert np.any(step().numpy() != step().numpy())


def test_unknown_row_is_trained_by_dropout_only():
    users = tf.range(1, 20)
    for dropout, trained in ((0.0, False), (0.5, True)):
        layer = UserEmbedding(20, 3, dropout=dropout, seed=3)
        layer(users)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(users, training=True))
        gradient = tape.gradient(loss, layer.table)
        # Sparse, so that a step's cost does not grow with the table.
        assert isinstance(gradient, tf.IndexedSlices)
        assert np.any(tf.convert_to_tensor(gradient)[0] != 0) == trained
