"""What users of Keras expect of a model: weights count, and what cannot be honoured is refused."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import tfrs_npa


@pytest.fixture(scope="module")
def batch(make_world):
    """A batch of three impressions with a click."""
    world = make_world(without_dropout=True)
    batch = next(iter(world.impression_batches(batch_size=3)))
    assert np.all(np.any(batch["clicked"] == 1, axis=1))
    return batch


@pytest.fixture(scope="module")
def model(make_world):
    return make_world(without_dropout=True).model


def rows(batch, chosen):
    return {name: tf.gather(value, chosen) for name, value in batch.items()}


def weighted(batch, *weights):
    return batch | {"sample_weight": tf.constant(weights)}


def test_an_impression_of_weight_two_counts_twice(model, batch):
    twice = model.compute_loss(rows(batch, [0, 1, 1]))
    np.testing.assert_allclose(model.compute_loss(weighted(batch, 1, 2, 0)), twice, rtol=1e-5)
    np.testing.assert_allclose(
        model.compute_loss(weighted(batch, 0.5, 1, 0), training=True), twice, rtol=1e-5
    )


def metrics_of(model, data):
    data = tf.data.Dataset.from_tensors(data)
    return model.evaluate(data, verbose=0, return_dict=True)


def test_metrics_are_weighted(model, batch):
    expected = metrics_of(model, rows(batch, [0, 1, 1]))
    found = metrics_of(model, weighted(batch, 1.0, 2.0, 0.0))
    for name in ("loss", "auc", "mrr", "ndcg_5", "ndcg_10"):
        assert found[name] == pytest.approx(expected[name], rel=1e-5)
    assert found["auc"] != pytest.approx(metrics_of(model, batch)["auc"])


def test_labels_and_weights_beside_the_features(model, batch):
    """As Keras has them: inputs, targets, weights."""
    features = {name: value for name, value in batch.items() if name != "clicked"}
    weights = [1.0, 2.0, 0.0]
    beside = metrics_of(model, (features, batch["clicked"], tf.constant(weights)))
    assert beside == pytest.approx(metrics_of(model, weighted(batch, *weights)), nan_ok=True)


def test_weights_pass_through_the_batches_and_train(make_world):
    """Impressions of weight zero are as good as absent."""
    world, other = (make_world(without_dropout=True, batch_size=100) for _ in range(2))
    impressions = tfrs_npa.Impressions.from_dataset(
        world.train_behaviors, world.catalog, world.users
    )
    weights = np.arange(len(impressions)) % 2
    impressions.features["sample_weight"] = weights.astype(np.float32)

    def fit(world, impressions, **kwargs):
        batches = tfrs_npa.training_batches(
            impressions, world.catalog, world.users, world.config, **kwargs
        )
        return world.model.fit(batches, verbose=0).history["loss"]

    loss = fit(world, impressions, features=["sample_weight"])
    assert loss == pytest.approx([_weighted_loss(other, impressions, weights)], rel=1e-5)


def _weighted_loss(world, impressions, weights):
    """The mean loss of the rows of impressions of weight one, before any step."""
    batches = tfrs_npa.training_batches(impressions, world.catalog, world.users, world.config)
    batch = next(iter(batches))
    kept = np.isin(batch["impression_id"], impressions.impression_id[weights == 1])
    return float(world.model.compute_loss(rows(batch, np.flatnonzero(kept)), training=True))


def test_a_weight_for_each_candidate_is_refused(model, batch):
    weights = tf.ones_like(batch["clicked"], tf.float32)
    with pytest.raises(ValueError, match="has to be .batch., a weight for each impression"):
        model.compute_loss(batch | {"sample_weight": weights})


@pytest.mark.parametrize(
    "arguments",
    [
        {"loss": "mse"},
        {"metrics": ["accuracy"]},
        {"weighted_metrics": ["accuracy"]},
        {"loss_weights": [1.0]},
    ],
    ids=lambda arguments: next(iter(arguments)),
)
def test_losses_and_metrics_of_compile_are_refused(arguments, model):
    name = next(iter(arguments))
    with pytest.raises(ValueError, match=rf"compile\({name}=...\) would have no effect"):
        model.compile(optimizer="adam", **arguments)


def test_what_keras_tuner_gives_back_is_no_loss(make_world):
    model = make_world().model
    model.compile("adam", loss={}, metrics=model.metrics)
    model.compile("adam", loss=None, metrics=[])
    with pytest.raises(ValueError, match="metrics=.... would have no effect"):
        model.compile("adam", metrics=[*model.metrics, tf.keras.metrics.Mean()])


def test_a_loaded_model_goes_on_training(make_world, tmp_path):
    world = make_world()
    world.fit()
    world.model.save(tmp_path / "model.keras")
    loaded = tf.keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.optimizer) is tfrs_npa.LazyAdam
    before = int(world.model.optimizer.iterations)
    assert int(loaded.optimizer.iterations) == before
    loaded.fit(world.training_batches().take(1), verbose=0)
    assert int(loaded.optimizer.iterations) == before + 1


def test_weights_of_unknown_shape(model, batch):
    step = tf.function(
        lambda features, weights: model.compute_loss(features | {"sample_weight": weights}),
        input_signature=[
            {
                name: tf.TensorSpec([None, *value.shape[1:]], value.dtype)
                for name, value in batch.items()
            },
            tf.TensorSpec(None, tf.float32),
        ],
    )
    weights = tf.constant([1.0, 2.0, 0.0])
    expected = model.compute_loss(batch | {"sample_weight": weights})
    np.testing.assert_allclose(step(batch, weights), expected, rtol=1e-5)
    with pytest.raises(ValueError, match="has to be .batch."):
        model.compute_loss(batch | {"sample_weight": tf.constant([1.0])})


def test_xla_is_refused(model):
    with pytest.raises(ValueError, match="cannot be compiled with XLA"):
        model.compile(optimizer="adam", jit_compile=True)


def test_class_weights_are_refused(model, batch):
    with pytest.raises(ValueError, match="class_weight has no meaning for NPA"):
        model.fit(tf.data.Dataset.from_tensors(batch), class_weight={0: 1, 1: 2})
    with pytest.raises(ValueError, match="class_weight has no meaning for NPA"):
        model.train_on_batch(batch, class_weight={0: 1, 1: 2})
    model.train_on_batch(batch)


def test_float16_is_refused(make_world):
    tf.keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        with pytest.raises(ValueError, match="mixed_bfloat16 needs no scaling"):
            make_world()
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")
