"""The formulas, against a model in NumPy that counts each of its products."""

import numpy as np
import pytest

from tfrs_npa import NPAConfig


@pytest.fixture
def training_flops(benchmark):
    return benchmark("against_recommenders.training_flops")


class CountingModel:
    """The forward pass of NPA with made-up weights; softmaxes and activations are left out."""

    def __init__(self, config):
        self.config = config
        self.flops = 0

    def product(self, a, *shape):
        self.flops += 2 * np.prod(a.shape[:-1], dtype=int) * a.shape[-1] * shape[-1]
        return np.zeros((*a.shape[:-1], shape[-1]))

    def query(self):
        query = self.product(
            np.zeros((1, self.config.user_embedding_dim)), self.config.attention_dim
        )
        if self.config.attention == "paper":
            query = self.product(query, self.config.num_filters)
        return query

    def keys(self, values):
        if self.config.attention == "paper":
            return values
        return self.product(values, self.config.attention_dim)

    def pool(self, values, keys, query):
        """Weights `[n]`, then the weighted sum `[F]`."""
        weights = self.product(keys, query.shape[-1], 1)
        return self.product(weights.T, self.config.num_filters)

    def convolve(self, words):
        window = self.config.window_size * self.config.word_embedding_dim
        return self.product(np.zeros((words, window)), self.config.num_filters)

    def score(self, article):
        return self.product(article, 1)

    def news_level(self, clicks):
        values = np.zeros((clicks, self.config.num_filters))
        return self.pool(values, self.keys(values), self.query())


CONFIG = NPAConfig.preset("recommenders").replace(
    title_length=4,
    history_length=3,
    word_embedding_dim=5,
    num_filters=7,
    attention_dim=6,
    user_embedding_dim=2,
    negatives_per_positive=2,
)


@pytest.mark.parametrize("attention", ["recommenders", "paper"])
def test_padded(training_flops, attention):
    config = CONFIG.replace(attention=attention)
    model = CountingModel(config)
    for _ in range(8):
        for article in range(3 + 3):
            values = model.convolve(words=4)
            pooled = model.pool(values, model.keys(values), model.query())
            if article >= 3:
                model.score(pooled)
        model.news_level(clicks=3)
    assert training_flops.padded(config, batch_size=8) == 3 * model.flops


TOKENS = np.array([[0, 0, 0, 0], [0, 0, 0, 0], [2, 3, 0, 0], [3, 4, 5, 6], [2, 2, 2, 0]])
BATCH = {
    "history": np.array([[2, 3, 0], [2, 2, 4]]),
    "candidates": np.array([[3, 4, 0], [1, 2, 3]]),
}


@pytest.mark.parametrize("attention", ["recommenders", "paper"])
def test_packed_with_masking(training_flops, attention):
    config = CONFIG.replace(attention=attention, mask_padding=True)
    model = CountingModel(config)
    model.convolve(words=5)  # words 2 to 6
    encoded = {}
    for article, words in {1: 0, 2: 2, 3: 4, 4: 3}.items():
        values = np.zeros((words, config.num_filters))
        encoded[article] = values, model.keys(values)
    for history, candidates in (([2, 3], [3, 4]), ([2, 2, 4], [1, 2, 3])):
        query = model.query()
        for article in history:
            model.pool(*encoded[article], query)
        for article in candidates:
            model.score(model.pool(*encoded[article], query))
        model.news_level(len(history))
    assert training_flops.packed(config, BATCH, TOKENS) == 3 * model.flops


def test_packed_without_masking(training_flops):
    model = CountingModel(CONFIG)
    model.convolve(words=6)  # padding is a word here
    encoded = {}
    for article in range(5):
        values = np.zeros((4, CONFIG.num_filters))
        encoded[article] = values, model.keys(values)
    for history, candidates in (([2, 3, 0], [3, 4]), ([2, 2, 4], [1, 2, 3])):
        query = model.query()
        for article in history:
            model.pool(*encoded[article], query)
        for article in candidates:
            model.score(model.pool(*encoded[article], query))
        model.news_level(len(history))
    assert training_flops.packed(CONFIG, BATCH, TOKENS) == 3 * model.flops
