from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfrs_npa.layers.byte_dropout import ByteDropout


def drop(layer, inputs):
    return layer(inputs, training=True).numpy()


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.5, 0.9, 0.999])
def test_share_dropped_and_mean_kept(rate):
    out = drop(ByteDropout(rate, seed=1), tf.ones([1000, 1003]))
    share = min(round(256 * rate), 255) / 256
    # Five standard deviations.
    error = 5 * np.sqrt(share * (1 - share) / out.size)
    assert np.mean(out == 0) == pytest.approx(share, abs=error)
    assert set(np.unique(out)) == {0.0, np.float32(1 / (1 - share))}
    assert out.mean() == pytest.approx(1, abs=error / (1 - share))


def test_every_place_is_drawn_by_itself():
    """No row, no column and no byte of the eight that are drawn together is like another."""
    out = drop(ByteDropout(0.5, seed=1), tf.ones([4000, 16])) == 0
    np.testing.assert_allclose(out.mean(axis=0), 0.5, atol=0.05)
    correlations = np.corrcoef(out.T) - np.eye(16)
    assert np.abs(correlations).max() < 0.1
    assert len(np.unique(out, axis=0)) > 3000


def test_rate_zero_and_not_training():
    inputs = tf.random.normal([7, 5])
    np.testing.assert_array_equal(drop(ByteDropout(0.0), inputs), inputs)
    layer = ByteDropout(0.5)
    np.testing.assert_array_equal(layer(inputs), inputs)
    np.testing.assert_array_equal(layer(inputs, training=False), inputs)


def test_tiny_rate_drops_something():
    out = drop(ByteDropout(1e-9, seed=1), tf.ones([1000, 1000]))
    assert np.mean(out == 0) == pytest.approx(1 / 256, rel=0.1)
    assert out.mean() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5, float("nan")])
def test_rate_out_of_range(rate):
    with pytest.raises(ValueError, match=rf"rate is {rate}; it has to be in \[0, 1\)"):
        ByteDropout(rate)


@pytest.mark.parametrize("shape", [[0], [1], [7], [9], [3, 5], [2, 0, 3], [2, 3, 5], []])
def test_any_shape(shape):
    """Draws are made eight at a time."""
    out = drop(ByteDropout(0.5, seed=1), tf.ones(shape))
    assert out.shape == tuple(shape)
    assert set(np.unique(out)) <= {0.0, 2.0}
    step = tf.function(
        lambda x: ByteDropout(0.5)(x, training=True),
        input_signature=[tf.TensorSpec([None] * len(shape))],
    )
    assert step(tf.ones(shape)).shape == tuple(shape)


@pytest.mark.parametrize("dtype", [tf.float64, tf.float32, tf.bfloat16])
def test_gradient_is_the_mask(dtype):
    inputs = tf.cast(tf.random.stateless_normal([40, 9], [1, 2]), dtype)
    layer = ByteDropout(0.25, seed=1, dtype=dtype.name)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        out = layer(inputs, training=True)
    gradient = tape.gradient(out, inputs)
    assert out.dtype == gradient.dtype == dtype
    assert {float(x) for x in np.unique(gradient)} == {0.0, float(tf.constant(4 / 3, dtype))}
    np.testing.assert_array_equal(inputs * gradient, out)


def steps(layer, number=3):
    """The masks of some steps of a new graph."""
    step = tf.function(lambda: layer(tf.ones([50]), training=True))
    return np.stack([step() for _ in range(number)])


def test_seed_makes_it_reproducible():
    first = steps(ByteDropout(0.5, seed=1))
    np.testing.assert_array_equal(first, steps(ByteDropout(0.5, seed=1)))
    assert np.any(first != steps(ByteDropout(0.5, seed=2)))
    assert len(np.unique(first, axis=0)) == 3


def test_configuration():
    layer = ByteDropout(0.3, seed=4, name="words")
    config = layer.get_config()
    assert (config["rate"], config["seed"], config["name"]) == (0.3, 4, "words")
    copy = tf.keras.layers.deserialize(tf.keras.layers.serialize(layer))
    assert type(copy) is ByteDropout and copy.get_config() == config
    np.testing.assert_array_equal(steps(copy), steps(layer))
