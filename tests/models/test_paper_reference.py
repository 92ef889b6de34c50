"""The `paper` preset against a forward pass written from the paper's equations, with loops.

Wu et al., NPA: Neural News Recommendation with Personalized Attention, KDD 2019, section 3.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

import tfrs_npa

TITLES = [
    "rain in the north",
    "team wins",
    "",
    "a b c d e f g h",
    "rain rain rain",
    "wins the a b c",
]


def make_model(**changes):
    config = tfrs_npa.NPAConfig.preset("paper").replace(
        title_length=6,
        history_length=4,
        word_embedding_dim=5,
        user_embedding_dim=3,
        num_filters=4,
        attention_dim=7,
        **changes,
    )
    news = {"news_id": [f"N{i}" for i in range(len(TITLES))], "title": TITLES}
    users = tfrs_npa.UserIndex().adapt({"user_id": ["U1", "U2"]})
    model = tfrs_npa.NPA(config, tfrs_npa.NewsCatalog().adapt(news), users)
    generator = np.random.default_rng(1)
    model.set_weights([generator.normal(0, 0.7, w.shape) for w in model.get_weights()])
    return model


def dot(left, right):
    return sum(float(x) * float(y) for x, y in zip(left, right, strict=True))


def dense(matrix, bias, vector):
    """`matrix` is `[inputs, outputs]`, as Keras keeps it; the paper writes its transpose."""
    return [dot(matrix[:, j], vector) + float(bias[j]) for j in range(matrix.shape[1])]


def personalized_attention(values, user, layer):
    """Equations of sections 3.1 and 3.2: preference query, weights, weighted sum."""
    hidden = [max(0.0, x) for x in dense(layer["V"], layer["v"], user)]
    query = [math.tanh(x) for x in dense(layer["P"], layer["b"], hidden)]
    scores = [math.exp(dot(query, value)) for value in values]
    weights = [score / sum(scores) for score in scores]
    return [dot(weights, [value[f] for value in values]) for f in range(len(values[0]))], weights


class Paper:
    def __init__(self, model):
        news, user = model.candidate_tower, model.query_tower
        self.tokens = news.tokens.numpy()
        self.words = news.word_table.numpy()
        self.users = model.user_embedding.table.numpy()
        self.kernel, self.bias = news.convolution_kernel.numpy(), news.convolution_bias.numpy()
        self.word_attention, self.news_attention = (
            {
                "V": layer.query_kernel.numpy(),
                "v": layer.query_bias.numpy(),
                "P": layer.preference_kernel.numpy(),
                "b": layer.preference_bias.numpy(),
            }
            for layer in (news.attention, user.attention)
        )

    def contextual_words(self, news):
        """c_i = ReLU(F_t * e_(i-M):(i+M) + b_t), with zeros beyond the ends of the title."""
        words = [self.words[token] for token in self.tokens[news]]
        half = self.kernel.shape[0] // 2
        contextual = []
        for i in range(len(words)):
            c = [float(b) for b in self.bias]
            for offset in range(-half, half + 1):
                if 0 <= i + offset < len(words):
                    for f in range(len(c)):
                        c[f] += dot(self.kernel[offset + half, :, f], words[i + offset])
            contextual.append([max(0.0, x) for x in c])
        return contextual

    def news(self, news, user):
        return personalized_attention(
            self.contextual_words(news), self.users[user], self.word_attention
        )

    def user(self, history, user):
        clicked = [self.news(news, user)[0] for news in history]
        return personalized_attention(clicked, self.users[user], self.news_attention)

    def scores(self, user, history, candidates):
        return [dot(self.user(history, user)[0], self.news(c, user)[0]) for c in candidates]


USER = np.array([1, 0, 2])
HISTORY = np.array([[2, 3, 0, 0], [0, 0, 0, 0], [5, 6, 7, 5]])
CANDIDATES = np.array([[4, 2], [1, 3], [7, 5]])


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def paper(model):
    return Paper(model)


def assert_close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_scores(model, paper):
    features = {"user_id": USER, "history": HISTORY, "candidates": CANDIDATES}
    expected = [paper.scores(*row) for row in zip(USER, HISTORY, CANDIDATES)]
    assert np.ptp(expected) > 0.1
    assert_close(model(features), expected)


def test_news_encoder(model, paper):
    for news in range(len(model.catalog)):
        ours = model.candidate_tower({"user_id": USER, "news_id": np.full_like(USER, news)})
        assert_close(ours, [paper.news(news, user)[0] for user in USER])


def test_user_encoder(model, paper):
    ours = model.query_tower({"user_id": USER, "history": HISTORY})
    assert_close(ours, [paper.user(history, user)[0] for user, history in zip(USER, HISTORY)])


def test_attention_weights(model, paper):
    users = model.user_embedding(USER)
    attention = model.candidate_tower.attention

    def weights(news):
        features = model.candidate_tower.title_features(news)
        values, keys = (tf.reshape(x, [3, 6, -1]) for x in (features.values, features.keys))
        return attention.pool(values, keys, attention.query(users))["attention"].numpy()

    expected = [paper.news(news, user)[1] for user, news in zip(USER, CANDIDATES[:, 0])]
    assert_close(weights(CANDIDATES[:, 0]), expected)
    # The form is not uniform by construction: the same title, other users, other weights.
    assert np.ptp(weights(np.full(3, 5)), axis=0).max() > 0.01


@pytest.mark.parametrize("window_size", [1, 5])
def test_other_windows(window_size):
    model = make_model(window_size=window_size)
    features = {"user_id": USER, "history": HISTORY, "candidates": CANDIDATES}
    paper = Paper(model)
    assert_close(model(features), [paper.scores(*row) for row in zip(USER, HISTORY, CANDIDATES)])
