"""A small world of articles, users and two logs, and models of it."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf

import tfrs_npa

WORDS = "rain sun north team wins final vote poll bank rate game song film star road".split()
ARTICLES = [f"N{i}" for i in range(30)]
ODD_TITLES = ["rain in the north", "team wins", "", "a b c d e f g h", "rain rain rain"]
ODD_TITLES += ["wins the a b"]


def _behaviors_of(user_ids, histories, candidates, labels):
    return tf.data.Dataset.from_tensor_slices(
        {
            "impression_id": np.arange(100, 100 + len(user_ids)),
            "user_id": user_ids,
            "history": tf.ragged.constant(histories, tf.string),
            "candidates": {
                "news_id": tf.ragged.constant(candidates, tf.string),
                "clicked": tf.ragged.constant(labels, tf.int64),
            },
        }
    )


def _make_behaviors(seed, impressions=23, labelled=True):
    """Impressions with 0 to 6 clicks of history and one or two clicked candidates."""
    generator = np.random.default_rng(seed)
    histories, candidates, labels = [], [], []
    for i in range(impressions):
        histories.append(generator.choice(ARTICLES, i % 7).tolist())
        width = int(generator.integers(2, 9))
        candidates.append(generator.choice(ARTICLES, width, replace=False).tolist())
        clicks = 2 if width > 3 and i % 3 == 0 else 1
        clicked = generator.permutation([1] * clicks + [0] * (width - clicks)).tolist()
        labels.append(clicked if labelled else [-1] * width)
    users = [f"U{i}" for i in generator.integers(0, 12, impressions)]  # four of them unknown
    return _behaviors_of(users, histories, candidates, labels)


def _make_news():
    generator = np.random.default_rng(0)
    lengths = generator.integers(2, 8, len(ARTICLES))
    titles = [" ".join(generator.choice(WORDS, n, replace=False)) for n in lengths]
    return {"news_id": ARTICLES, "title": titles}


@functools.lru_cache
def _impressions(behaviors):
    return tfrs_npa.Impressions.from_dataset(behaviors, World.catalog, World.users)


class World:
    """A model and its batches; `published`: without the fields that the published forms lack.

    Tracing takes longer than all the steps of a test, so steps run eagerly where `graph` is false.
    """

    news = _make_news()
    user_ids = [f"U{i}" for i in range(8)]
    train_behaviors = _make_behaviors(seed=1, impressions=11)
    valid_behaviors = _make_behaviors(seed=2)
    catalog = tfrs_npa.NewsCatalog().adapt(news)
    users = tfrs_npa.UserIndex().adapt({"user_id": user_ids})

    def __init__(self, graph=False, without_dropout=False, published=False, **changes):
        fields = {
            "title_length": 6,
            "history_length": 5,
            "word_embedding_dim": 6,
            "user_embedding_dim": 4,
            "num_filters": 9,
            "filter_bias": 0.0,
            "attention_dim": 4,
            "user_initializer": "uniform",
            "dropout": 0.2,
            "user_dropout": 0.3,
            "negatives_per_positive": 2,
            "batch_size": 6,
            "learning_rate": 0.01,
            "schedule": "constant",
            "warmup_steps": 0,
            "seed": 7,
        }
        if without_dropout:
            fields |= {"dropout": 0.0, "pooling_dropout": 0.0, "user_dropout": 0.0}
        config_of = tfrs_npa.NPAConfig.from_saved if published else tfrs_npa.NPAConfig.from_dict
        self.config = config_of(fields | changes)
        # Its own, since a model may add users.
        self.users = tfrs_npa.UserIndex().adapt({"user_id": self.user_ids})
        self.model = tfrs_npa.NPA(self.config, self.catalog, self.users)
        self.model.compile(
            optimizer=tfrs_npa.default_optimizer(self.config, 100), run_eagerly=not graph
        )

    def training_batches(self, behaviors=train_behaviors, **kwargs):
        return tfrs_npa.training_batches(
            _impressions(behaviors), self.catalog, self.users, self.config, **kwargs
        )

    def impression_batches(self, behaviors=valid_behaviors, **kwargs):
        return tfrs_npa.impression_batches(
            _impressions(behaviors), self.catalog, self.users, self.config, **kwargs
        )

    def fit(self, epochs=1, behaviors=train_behaviors, **kwargs):
        batches = self.training_batches(behaviors)
        return self.model.fit(batches, epochs=epochs, verbose=0, **kwargs).history

    def evaluate(self, behaviors=valid_behaviors, **kwargs):
        batches = self.impression_batches(behaviors, **kwargs)
        return self.model.evaluate(batches, verbose=0, return_dict=True)

    def predict(self, behaviors=valid_behaviors, **kwargs):
        return self.model.predict(self.impression_batches(behaviors, **kwargs), verbose=0)


@functools.cache
def _random_model(published=False, **changes):
    """A model with random weights and no dropout; article 1 is unknown, article 4 has no words.

    Unknown articles are untitled, the one form in which a score is that of one article alone. Only
    for tests that do not change it. `published`: see `World`.
    """
    fields = {
        "title_length": 5,
        "history_length": 4,
        "word_embedding_dim": 5,
        "user_embedding_dim": 3,
        "num_filters": 4,
        "attention_dim": 6,
        "unknown_articles": "untitled",
        "dropout": 0.0,
        "pooling_dropout": 0.0,
        "user_dropout": 0.0,
    }
    config_of = tfrs_npa.NPAConfig.from_saved if published else tfrs_npa.NPAConfig.from_dict
    config = config_of(fields | changes)
    news = {"news_id": [f"N{i}" for i in range(len(ODD_TITLES))], "title": ODD_TITLES}
    users = tfrs_npa.UserIndex().adapt({"user_id": ["U1", "U2", "U3"]})
    model = tfrs_npa.NPA(config, tfrs_npa.NewsCatalog().adapt(news), users)
    generator = np.random.default_rng(3)
    model.set_weights([generator.normal(0, 0.6, w.shape) for w in model.get_weights()])
    return model


@pytest.fixture(scope="session")
def behaviors_of():
    """Makes a behaviors data set of lists: users, histories, candidates, labels."""
    return _behaviors_of


@pytest.fixture(scope="session")
def make_behaviors():
    """Makes a log of random impressions, given a seed."""
    return _make_behaviors


@pytest.fixture(scope="session")
def make_world():
    """Makes a new model and what belongs to it, given changes of the configuration."""
    return World


@pytest.fixture(scope="session")
def trained():
    """A model after two epochs, for tests that do not change it."""
    world = World(graph=True)
    world.history = world.fit(2, validation_data=world.impression_batches())
    return world


@pytest.fixture(scope="session")
def random_model():
    """Makes a model with random weights of six odd titles, given changes of the configuration."""
    return _random_model


@pytest.fixture(scope="session")
def odd_batch():
    """A batch for `random_model` of all that is special.

    An empty history, the unknown user, the unknown article, a title without words, repeated
    articles, an impression with two clicks, one without, padding at the end and in between.
    """
    return {
        "user_id": np.array([1, 0, 3, 2]),
        "history": np.array([[2, 3, 0, 0], [0, 0, 0, 0], [5, 0, 5, 1], [4, 7, 6, 2]]),
        "candidates": np.array([[2, 5, 0], [6, 1, 4], [3, 0, 3], [7, 5, 2]]),
        "clicked": np.array([[1, 0, 0], [0, 1, 1], [0, 0, 1], [0, 0, 0]]),
    }
