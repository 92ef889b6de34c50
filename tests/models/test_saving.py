from __future__ import annotations

import functools
import json

import numpy as np
import pytest
import tensorflow as tf

import tfrs_npa


def test_config_round_trip(trained):
    model = trained.model
    config = json.loads(json.dumps(model.get_config()))
    copy = tfrs_npa.NPA.from_config(config)
    assert copy.config == model.config
    assert copy.catalog == model.catalog
    assert copy.users == model.users
    assert copy.name == model.name
    assert copy.get_config() == model.get_config()
    copy.set_weights(model.get_weights())
    (batch,) = trained.impression_batches().take(1)
    np.testing.assert_array_equal(copy(batch), model(batch))


def test_a_config_that_names_no_tokenizer_is_of_an_earlier_version(trained):
    config = trained.model.get_config()
    assert config.pop("tokenizer") == "unicode"
    assert tfrs_npa.NPA.from_config(config).catalog.vocabulary.tokenizer == "mind"


def test_config_round_trip_without_articles_and_users(trained):
    catalog = tfrs_npa.NewsCatalog(vocabulary=tfrs_npa.Vocabulary.from_words(["rain"]))
    model = tfrs_npa.NPA(trained.config, catalog, tfrs_npa.UserIndex())
    copy = tfrs_npa.NPA.from_config(model.get_config())
    assert copy.catalog == catalog
    assert len(copy.users) == 1


def weights_of(model):
    """All weights but the states of metrics, which are no part of what is saved."""
    return [weight.numpy() for weight in model.trainable_weights]


def assert_weights(model, expected):
    for ours, other in zip(weights_of(model), expected, strict=True):
        np.testing.assert_array_equal(ours, other)


@pytest.fixture(scope="module")
def two_rates(make_world):
    """Makes a model with one learning rate for the tables and one for the rest."""
    return functools.partial(make_world, table_learning_rate=0.02, without_dropout=True)


class Saved:
    """A model after one epoch, its files, and the weights after two more epochs."""

    def __init__(self, world, folder):
        self.world = world
        self.world.fit()
        self.weights, self.scores = weights_of(self.world.model), self.world.predict()
        self.h5 = str(folder / "model.weights.h5")
        self.checkpoint = str(folder / "checkpoint")
        self.keras = str(folder / "model.keras")
        for path in (self.h5, self.checkpoint):
            self.world.model.save_weights(path)
        self.world.model.save(self.keras)
        self.continue_training(self.world.model)

    def continue_training(self, model):
        model.run_eagerly = True
        model.fit(self.world.training_batches(initial_epoch=1), epochs=2, verbose=0)

    def assert_restored(self, model):
        """Asserts that `model` is what was saved and trains on as if it had never been."""
        assert_weights(model, self.weights)
        self.continue_training(model)
        assert_weights(model, weights_of(self.world.model))


@pytest.fixture(scope="module")
def saved(two_rates, tmp_path_factory):
    return Saved(two_rates(), tmp_path_factory.mktemp("saved"))


def test_weights_h5(saved, two_rates):
    model = two_rates(seed=99).model
    model.optimizer.build(model.trainable_variables)
    model.load_weights(saved.h5)
    saved.assert_restored(model)


def test_checkpoint(saved, two_rates):
    model = two_rates(seed=99).model
    model.load_weights(saved.checkpoint)
    saved.assert_restored(model)


def test_checkpoint_holds_every_weight_and_no_titles(saved, two_rates):
    model = two_rates().model
    model.optimizer.build(model.trainable_variables)
    model.load_weights(saved.checkpoint).assert_existing_objects_matched()
    assert not any("tokens" in name for name, _ in tf.train.list_variables(saved.checkpoint))


def test_keras_file(saved):
    model = tf.keras.models.load_model(saved.keras)
    assert isinstance(model, tfrs_npa.NPA)
    assert model.get_config() == saved.world.model.get_config()
    assert type(model.optimizer) is tfrs_npa.LazyAdam
    assert float(model.optimizer.table_learning_rate) == pytest.approx(0.02)
    scores = model.predict(saved.world.impression_batches(), verbose=0)
    np.testing.assert_array_equal(scores.flat_values, saved.scores.flat_values)
    saved.assert_restored(model)


@pytest.mark.parametrize(
    "save",
    [
        lambda model, path: model.save(path, save_format="tf"),
        lambda model, path: model.save(path),
        lambda model, path: tf.saved_model.save(model, path),
    ],
)
def test_no_saved_model_of_keras(save, trained, tmp_path):
    with pytest.raises(ValueError, match="tfrs_npa.export.*model.keras"):
        save(trained.model, str(tmp_path / "model"))
    assert not list(tmp_path.iterdir())


def test_pretrained_vectors_are_saved_as_weights(tmp_path, trained):
    dim = trained.config.word_embedding_dim
    vectors = tfrs_npa.WordVectors(["rain", "sun"], np.random.default_rng(0).normal(size=[2, dim]))
    catalog = tfrs_npa.NewsCatalog(vectors).adapt(trained.news)
    model = tfrs_npa.NPA(trained.config.replace(center_words=False), catalog, tfrs_npa.UserIndex())
    rain = int(catalog.vocabulary.index("rain"))
    np.testing.assert_allclose(
        model.candidate_tower.word_table[rain], vectors.matrix(["rain"], 0)[0], rtol=1e-6
    )
    path = str(tmp_path / "model.keras")
    model.save(path)
    assert_weights(tf.keras.models.load_model(path), weights_of(model))
