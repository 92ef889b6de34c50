"""A small site with equal titles, empty ones and unknown words, and plain scores of articles."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf

import tfrs_npa
from tfrs_npa.data.catalog import UNKNOWN_ARTICLE

WORDS = "rain sun north team wins final vote poll bank rate".split()
USERS = ["U1", "U2", "U3"]


def _news(seed, number, prefix="N"):
    """Articles whose titles have 0 to 7 words, some of them unheard of; every fifth repeats one."""
    generator = np.random.default_rng(seed)
    titles = []
    for article in range(number):
        words = generator.choice([*WORDS, "unheard"], generator.integers(0, 8))
        titles.append(titles[article // 2] if article % 5 == 4 else " ".join(words))
    return {"news_id": [f"{prefix}{i}" for i in range(number)], "title": titles}


def _make_model(articles=40, **changes):
    fields = {
        "title_length": 6,
        "history_length": 4,
        "word_embedding_dim": 5,
        "user_embedding_dim": 3,
        "num_filters": 7,
        "attention_dim": 6,
        "word_initializer": "normal",
    }
    vocabulary = tfrs_npa.Vocabulary.from_words(WORDS)
    catalog = tfrs_npa.NewsCatalog(vocabulary=vocabulary).extend(_news(0, articles))
    users = tfrs_npa.UserIndex().adapt({"user_id": USERS})
    model = tfrs_npa.NPA(tfrs_npa.NPAConfig(**fields | changes), catalog, users)
    generator = np.random.default_rng(3)
    model.set_weights([generator.normal(0, 0.6, w.shape) for w in model.get_weights()])
    return model


def _plain_scores(model, queries, numbers=None):
    """Scores `[batch, articles]` by the towers, for each pair of user and article."""
    config, catalog = model.config, model.catalog
    numbers = np.arange(2, len(catalog)) if numbers is None else np.asarray(numbers)
    users = model.users.index(queries["user_id"])
    histories = []
    for row in queries["history"]:
        clicks = catalog.index([id for id in row if id])
        if config.unknown_articles == "left_out":
            clicks = clicks[clicks != UNKNOWN_ARTICLE]
        clicks = clicks[-config.history_length :]
        histories.append(np.pad(clicks, [0, config.history_length - len(clicks)]))
    vectors = model.query_tower({"user_id": users, "history": np.array(histories)})
    pairs = {
        "user_id": np.repeat(users, len(numbers)),
        "news_id": np.tile(numbers, len(users)),
    }
    articles = tf.reshape(model.candidate_tower(pairs), [len(users), len(numbers), -1])
    return model.query_tower.scores(vectors, articles).numpy()


@pytest.fixture(scope="session")
def make_news():
    """Makes articles as columns, given a seed, their number and how their ids begin."""
    return _news


@pytest.fixture(scope="session")
def make_model():
    """Makes a model with random weights, given the number of articles and configuration changes."""
    return _make_model


@pytest.fixture(scope="session")
def model_of():
    """Makes such a model once, for tests that do not change it."""
    return functools.cache(_make_model)


@pytest.fixture(scope="session")
def plain_scores():
    """Scores articles for users by calls of the towers."""
    return _plain_scores


@pytest.fixture(scope="session")
def queries():
    """All sorts of users: known, unknown, anonymous; long, short, empty and unknown histories."""
    return {
        "user_id": ["U1", "U2", "nobody", "", "U3", "U3"],
        "history": [
            ["N3", "N4"],
            [f"N{i}" for i in range(9)],
            ["N7", "never seen", "N7"],
            [],
            [],
            ["never seen"],
        ],
    }


def _strings(ids):
    return [[id.decode() for id in row] for row in ids.numpy()]


def _sorted_scores(plain, k, allowed=None):
    """The k best of plain scores, and -1e9 where fewer are allowed."""
    if allowed is not None:
        plain = np.where(allowed, plain, -1e9)
    return -np.sort(-plain, axis=1)[:, :k]


def _assert_best(found, plain, k, allowed=None, ids=None, **tolerance):
    """Asserts that these are the k best, by their scores, and that ids belong to scores."""
    scores, names = found[0].numpy(), _strings(found[1])
    tolerance = {"rtol": 1e-5, "atol": 1e-5} | tolerance
    assert scores.shape == (len(plain), k) and scores.dtype == np.float32
    np.testing.assert_allclose(scores, _sorted_scores(plain, k, allowed), **tolerance)
    ids = [f"N{i}" for i in range(40)] if ids is None else ids
    place = {id: number for number, id in enumerate(ids)}
    for row, (row_scores, row_names) in enumerate(zip(scores, names)):
        real = [name for name in row_names if name]
        assert len(set(real)) == len(real)
        assert row_names == [*real, *[""] * (k - len(real))]
        own = [plain[row, place[name]] for name in real]
        np.testing.assert_allclose(row_scores[: len(real)], own, **tolerance)
        assert np.all(row_scores[len(real) :] == -1e9)
        if allowed is not None:
            assert all(allowed[row, place[name]] for name in real)
            assert len(real) == min(k, allowed[row].sum())


@pytest.fixture(scope="session")
def strings():
    """Decodes rows of article ids."""
    return _strings


@pytest.fixture(scope="session")
def assert_best():
    """Compares an answer with plain scores."""
    return _assert_best
