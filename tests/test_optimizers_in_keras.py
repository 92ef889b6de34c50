"""LazyAdam with what Keras does to an optimizer: callbacks, precision, strategies, saving."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

from tfrs_npa.optimizers import LazyAdam

schedules = tf.keras.optimizers.schedules


def random(*shape, seed):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def model_of(optimizer, **compile_options):
    """A table of 40 rows, of which the data below use 20, and a dense layer."""
    model = tf.keras.Sequential(
        [
            tf.keras.layers.Embedding(40, 4, input_length=3),
            tf.keras.layers.Flatten(),
            tf.keras.layers.Dense(1, dtype="float32"),
        ]
    )
    model.compile(optimizer, "mse", **compile_options)
    model.set_weights([random(*w.shape, seed=i) for i, w in enumerate(model.get_weights())])
    return model


X = np.random.default_rng(1).integers(0, 20, [32, 3])
Y = random(32, 1, seed=2)


def fit(model, epochs, initial_epoch=0, callbacks=()):
    model.fit(
        X,
        Y,
        batch_size=8,
        shuffle=False,
        epochs=epochs,
        initial_epoch=initial_epoch,
        callbacks=list(callbacks),
        verbose=0,
    )


def state(model):
    return [v.numpy() for v in (*model.variables, *model.optimizer.variables)]


def assert_same_state(model, other):
    for value, expected in zip(state(model), state(other), strict=True):
        np.testing.assert_array_equal(value, expected)


def test_table_learning_rate_follows_callbacks():
    def moved(learning_rate, table_learning_rate, *callbacks):
        optimizer = LazyAdam(learning_rate, table_learning_rate=table_learning_rate)
        model = model_of(optimizer)
        fit(model, 1, callbacks=callbacks)
        return state(model), float(optimizer.table_learning_rate)

    tenth = tf.keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 10)
    values, rate = moved(0.1, 0.5, tenth)
    expected, expected_rate = moved(0.01, 0.05)
    assert rate == pytest.approx(0.05) == expected_rate
    for value, other in zip(values, expected, strict=True):
        np.testing.assert_allclose(value, other, rtol=1e-5, atol=1e-6)

    worse = tf.keras.callbacks.ReduceLROnPlateau("loss", 0.1, patience=0, min_delta=1e9)
    optimizer = LazyAdam(0.1, table_learning_rate=0.5)
    fit(model_of(optimizer), 2, callbacks=[worse])
    assert float(optimizer.learning_rate) == pytest.approx(0.01)
    assert float(optimizer.table_learning_rate) == pytest.approx(0.05)


def test_mixed_bfloat16():
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = model_of(LazyAdam(0.01))
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")
    table = model.layers[0].embeddings
    before = table.numpy()
    twin, optimizer_of_twin = tf.Variable(before), LazyAdam(0.01)
    for batch in (slice(0, 8), slice(8, 16)):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(X[batch]) - Y[batch]))
        gradients = tape.gradient(loss, model.trainable_variables)
        model.optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        exact = tf.IndexedSlices(tf.cast(gradients[0].values, tf.float32), gradients[0].indices)
        optimizer_of_twin.apply_gradients([(exact, twin)])
    assert {v.dtype for v in model.optimizer.variables[1:]} == {tf.float32}
    np.testing.assert_allclose(table, twin, rtol=0, atol=1e-6)

    fit(model, 1)
    np.testing.assert_array_equal(table.numpy()[20:], before[20:])
    assert (table.numpy()[np.unique(X)] != before[np.unique(X)]).all()


@pytest.mark.slow
def test_jit_compiled_model_and_mirrored_strategy_train_alike():
    plain = model_of(LazyAdam(0.01, table_learning_rate=0.1, clipnorm=1.0))
    compiled = model_of(LazyAdam(0.01, table_learning_rate=0.1, clipnorm=1.0), jit_compile=True)
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        mirrored = model_of(LazyAdam(0.01, table_learning_rate=0.1, clipnorm=1.0))
    for model in (plain, compiled, mirrored):
        fit(model, 2)
    for other in (compiled, mirrored):
        for value, expected in zip(state(other), state(plain), strict=True):
            np.testing.assert_allclose(value, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("saved_as", ["model.weights.h5", "checkpoint", "model.keras"])
def test_training_goes_on_where_it_was_saved(saved_as, tmp_path):
    path = str(tmp_path / saved_as)
    uninterrupted = model_of(LazyAdam(0.01, table_learning_rate=0.1))
    fit(uninterrupted, 2)
    if saved_as != "model.weights.h5":  # Which holds no learning rate.
        uninterrupted.optimizer.learning_rate = 0.005
    if saved_as == "model.keras":
        uninterrupted.save(path)
        restored = tf.keras.models.load_model(path)
    else:
        uninterrupted.save_weights(path)
        restored = model_of(LazyAdam(0.01, table_learning_rate=0.1))
        restored.optimizer.build(restored.trainable_variables)
        restored.load_weights(path)
    assert restored.optimizer.iterations == 8

    fit(uninterrupted, 3, initial_epoch=2)
    fit(restored, 3, initial_epoch=2)
    assert_same_state(restored, uninterrupted)
    rates = [float(model.optimizer.table_learning_rate) for model in (restored, uninterrupted)]
    assert rates[0] == rates[1]


def test_backup_and_restore(tmp_path):
    class Interruption(tf.keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def model():
        return model_of(LazyAdam(schedules.CosineDecay(0.01, 16), table_learning_rate=0.1))

    uninterrupted, restored = model(), model()
    fit(uninterrupted, 4)
    with pytest.raises(KeyboardInterrupt):
        backup = tf.keras.callbacks.BackupAndRestore(tmp_path)
        fit(model(), 4, callbacks=[backup, Interruption()])
    fit(restored, 4, callbacks=[tf.keras.callbacks.BackupAndRestore(tmp_path)])
    assert_same_state(restored, uninterrupted)


@pytest.mark.parametrize("rate", [0.1, schedules.CosineDecay(0.1, 10)], ids=["float", "schedule"])
def test_config_round_trip(rate):
    optimizer = LazyAdam(
        rate, table_learning_rate=0.7, beta_1=0.8, amsgrad=True, adaptive_epsilon=True, clipnorm=2.0
    )
    config = tf.keras.optimizers.serialize(optimizer)
    assert config["registered_name"] == "tfrs_npa>LazyAdam"
    restored = tf.keras.optimizers.deserialize(json.loads(json.dumps(config, default=float)))
    assert isinstance(restored, LazyAdam)
    assert restored.get_config() == optimizer.get_config()
    assert restored.get_config()["table_learning_rate"] == 0.7
    assert float(restored.table_learning_rate) == float(optimizer.table_learning_rate)


def test_config_round_trip_keeps_the_proportion_after_the_rate_reached_zero():
    optimizer = LazyAdam(0.1, table_learning_rate=0.5)
    optimizer.learning_rate = 0.0
    restored = LazyAdam.from_config(optimizer.get_config())
    restored.learning_rate = 0.2
    assert float(restored.table_learning_rate) == pytest.approx(1.0)
