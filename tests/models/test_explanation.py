"""Attention weights, against the layers called on padded titles one at a time."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfrs_npa.models.explanation import explain


def plain_pool(attention, values, embedding, is_real, mask_padding):
    """The vector and the weights of one padded sequence."""
    mask = tf.constant([is_real]) if mask_padding else None
    out = attention((values[tf.newaxis], embedding[tf.newaxis]), mask=mask)
    return out["output"][0], out["attention"][0].numpy()


def plain_title(model, article, embedding):
    tower, mask_padding = model.candidate_tower, model.config.mask_padding
    tokens = tower.tokens[article].numpy()
    x = tf.gather(tower.word_table, tokens)
    if mask_padding:
        x *= (tokens != 0)[:, np.newaxis]
    c = tf.nn.conv1d(x[tf.newaxis], tower.convolution_kernel, 1, "SAME")[0]
    c = tf.nn.relu(c + tower.convolution_bias)
    return plain_pool(tower.attention, c, embedding, tokens != 0, mask_padding)


def plain_history(model, history, embedding):
    titles = [plain_title(model, article, embedding) for article in history]
    vectors = tf.stack([vector for vector, _ in titles])
    mask_padding = model.config.mask_padding
    attention = model.query_tower.attention
    user, weights = plain_pool(attention, vectors, embedding, history != 0, mask_padding)
    if mask_padding and not history.any():
        user = model.query_tower.default_history
    return user, weights, [words for _, words in titles]


def inputs(batch):
    return batch["user_id"], batch["history"], batch["candidates"]


def assert_close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mask_padding", [True, False], ids=["masked", "unmasked"])
@pytest.mark.parametrize("attention", ["recommenders", "paper"])
@pytest.mark.parametrize("kind", ["personalized", "vanilla", "mean"])
def test_same_as_one_at_a_time(kind, attention, mask_padding, random_model, odd_batch):
    users, histories, candidates = inputs(odd_batch)
    fields = {"attention": attention, "mask_padding": mask_padding}
    model = random_model(True, word_attention=kind, news_attention=kind, **fields)
    found = explain(model, users, histories, candidates)
    for row, user in enumerate(users):
        embedding = model.user_embedding.table[user]
        vector, clicks, words = plain_history(model, histories[row], embedding)
        real = histories[row] != 0
        assert_close(found.history_weights[row], np.where(real, clicks, 0))
        assert_close(
            found.history_word_weights[row], np.where(real[:, np.newaxis], np.stack(words), 0)
        )
        for column, article in enumerate(candidates[row]):
            shown, words = plain_title(model, article, embedding)
            score = tf.tensordot(shown, vector, 1)
            if article == 0:
                score, words = 0, 0
            assert_close(found.scores[row, column], score)
            assert_close(found.candidate_word_weights[row, column], words)


def test_scores_are_those_of_the_model(random_model, odd_batch):
    model = random_model()
    scores = explain(model, *inputs(odd_batch)).scores
    assert_close(scores, np.where(odd_batch["candidates"] == 0, 0, model(odd_batch).numpy()))


FORMS = {
    "published": {"published": True},
    "masked": {"published": True, "mask_padding": True},
    "one vector": {"user_interest": "mean", "mean_weight": 0.0},
    "density": {"mean_weight": 0.0},
    "tilted density": {},
    "density with padding": {"mask_padding": False},
    "left out": {"unknown_articles": "left_out"},
}


@pytest.mark.parametrize("form", FORMS)
def test_contributions_add_up_to_the_score(form, random_model, odd_batch):
    model = random_model(**FORMS[form])
    found = model.explain(odd_batch)
    real = odd_batch["candidates"] != 0
    scores = np.where(real, model(odd_batch).numpy(), 0)
    assert_close(found.scores, scores)
    assert_close(found.base_scores + tf.reduce_sum(found.contributions, axis=2), scores)
    of_nothing = (odd_batch["history"] == 0)[:, np.newaxis] | ~real[:, :, np.newaxis]
    assert not np.any(np.where(of_nothing, found.contributions, 0))
    assert np.count_nonzero(found.contributions) >= 10


def path_integral(weights, ratios, prior):
    """Integrated gradients of log(prior + sum_j weights_j ratios_j), from ratios of 1."""
    steps = 4000
    gradients = np.zeros_like(weights)
    for step in range(steps):
        at = 1 + (step + 0.5) / steps * (ratios - 1)
        gradients += weights / (prior + weights @ at) / steps
    return gradients * (ratios - 1)


@pytest.mark.slow
@pytest.mark.parametrize("mean_weight", [0.0, 1.0], ids=["density", "tilted density"])
def test_contributions_to_a_density_are_integrated_gradients(mean_weight, random_model, odd_batch):
    model = random_model(mean_weight=mean_weight)
    found = model.explain(odd_batch)
    tower, config = model.candidate_tower, model.config
    prior_clicks = np.exp(model.query_tower.log_prior_clicks.numpy())
    scale = tower.logit_scale.numpy()

    def encoded(row, articles):
        users = np.full(len(articles), odd_batch["user_id"][row])
        return tower({"user_id": users, "news_id": articles}).numpy()

    for row, history in enumerate(odd_batch["history"]):
        clicked = history[history != 0]
        attention = found.history_weights[row].numpy()[history != 0]
        vectors = encoded(row, clicked)[:, : config.num_filters]
        weights = attention * len(clicked) / (len(clicked) + prior_clicks)
        for column, article in enumerate(odd_batch["candidates"][row]):
            if article == 0 or not len(clicked):
                continue
            shown = encoded(row, np.array([article]))[0]
            products = scale * vectors @ shown[: config.num_filters]
            ratios = np.exp(products + shown[config.num_filters + 1])
            expected = path_integral(weights, ratios, 1 - weights.sum())
            if mean_weight:
                expected += model.query_tower.mean_weight.numpy() * attention * products
            contributions = found.contributions[row, column].numpy()[history != 0]
            np.testing.assert_allclose(contributions, expected, rtol=1e-3, atol=1e-4)
            # Without clicks, there is the term of the title left.
            assert_close(found.base_scores[row, column], shown[-1])


@pytest.mark.parametrize("users", [0, 2])
def test_nobody_and_nothing(users, random_model):
    model = random_model()
    nothing = np.zeros([users, 0], np.int32)
    found = explain(model, np.zeros(users, np.int32), nothing, nothing)
    assert found.scores.shape == found.history_weights.shape == (users, 0)
    assert found.contributions.shape == (users, 0, 0)
    assert found.candidate_word_weights.shape == (users, 0, 5)


@pytest.mark.parametrize("unknown_articles", ["left_out", "untitled"])
def test_histories_wider_than_are_read(unknown_articles, random_model):
    """As in the model, every click counts that is given."""
    model = random_model(unknown_articles=unknown_articles)
    batch = {"user_id": [1], "history": [[2, 1, 3, 5, 6, 7]], "candidates": [[2, 3]]}
    found = explain(model, **batch)
    np.testing.assert_allclose(found.scores, model(batch), rtol=1e-5, atol=1e-6)
    weights = found.history_weights.numpy()[0]
    assert weights.sum() == pytest.approx(1, rel=1e-5)
    assert (weights[1] == 0) == (unknown_articles == "left_out")
