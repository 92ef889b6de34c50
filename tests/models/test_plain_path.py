"""The model against a plain twin.

The model packs words, encodes each distinct title once and projects each distinct word once. The
twin does none of that: it goes through impressions, articles and words one at a time.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf

KINDS = ("personalized", "vanilla", "mean")


OFF = {"residual": False, "unit_vectors": False, "user_interest": "mean", "item_bias": False}


class Twin:
    """NPA by its definition, on the weights of `model`.

    Users, articles and histories are given by their indices; what is asked of them again under the
    same tape is not computed again.
    """

    def __init__(self, model):
        self.model, self.config = model, model.config
        self.tokens = model.catalog.tokens(self.config.title_length)
        self.article = functools.cache(self.article)
        self.clicks = functools.cache(self.clicks)

    def attend(self, layer, values, user):
        """Pools `[length, features]`, all of which takes part; returns the weights too."""
        if len(values) == 0:
            return tf.zeros(self.config.num_filters), tf.zeros(0)
        if layer.kind == "mean":
            return tf.reduce_mean(values, axis=0), tf.fill([len(values)], 1 / len(values))
        keys = values
        if layer.form == "recommenders":
            keys = tf.tanh(values @ layer.key_kernel + layer.key_bias)
        if layer.kind == "vanilla":
            query = layer.learned_query
        else:
            row = self.model.user_embedding.table[user]
            query = row[None] @ layer.query_kernel + layer.query_bias
            if layer.form == "paper":
                query = tf.nn.relu(query)
                query = tf.tanh(query @ layer.preference_kernel + layer.preference_bias)
        weights = tf.nn.softmax(tf.reduce_sum(keys * query, axis=1))
        return tf.reduce_sum(weights[:, None] * values, axis=0), weights

    def article(self, news, user):
        tower = self.model.candidate_tower
        tokens = self.tokens[news]
        words = tf.gather(tower.word_table, tokens)
        if self.config.mask_padding:
            words *= (tokens != 0)[:, None].astype(np.float32)
        values = tf.nn.conv1d(words[None], tower.convolution_kernel, 1, "SAME")[0]
        values = tf.nn.relu(values + tower.convolution_bias)
        if self.config.residual:
            width = self.config.num_filters
            own = tf.pad(words, [[0, 0], [0, width]])[:, :width]
            values = own + tower.convolution_scale * values
        if self.config.mask_padding:
            values = values[: np.count_nonzero(tokens)]
        vector, _ = self.attend(tower.attention, values, user)
        if self.config.unit_vectors and np.any(vector != 0):
            vector /= tf.norm(vector)
        return vector

    def appeal(self, news):
        """What the title alone adds to a score."""
        if not self.config.item_bias:
            return tf.constant(0.0)
        vector = self.article(news, 0)
        return tf.reduce_sum(vector * self.model.candidate_tower.item_bias)

    def density(self, vector, places, weights):
        """The density at `vector` of kernels at `places`."""
        kernels = tf.exp(self.model.candidate_tower.logit_scale * tf.linalg.matvec(places, vector))
        return tf.reduce_sum(weights * kernels)

    def clicks(self, history, user):
        """The vectors of a history, and their weights."""
        masked = self.config.mask_padding
        values = [self.article(news, user) for news in history if news != 0 or not masked]
        if not values:
            return None, None
        _, weights = self.attend(self.model.query_tower.attention, tf.stack(values), user)
        return tf.stack(values), weights

    def score(self, history, candidate, user):
        tower, query_tower = self.model.candidate_tower, self.model.query_tower
        vector, (places, weights) = self.article(candidate, user), self.clicks(history, user)
        if self.config.user_interest == "density":
            prior = tf.exp(query_tower.log_prior_clicks)
            if places is None:
                return self.appeal(candidate)
            shown = self.article(candidate, 0)
            everyone = tf.nn.softmax(tower.background_logits)
            ratio = self.density(vector, places, weights)
            ratio /= self.density(shown, tower.background, everyone)
            number = float(len(places))
            ratio = (number * ratio + prior) / (number + prior)
            score = tf.math.log(ratio) + self.appeal(candidate)
            if self.config.mean_weight:
                mean = tf.linalg.matvec(places, weights, transpose_a=True)
                likeness = tower.logit_scale * tf.reduce_sum(vector * mean)
                score += query_tower.mean_weight * likeness
            return score
        if places is None:
            own = query_tower.default_history + 0.0
        else:
            own = tf.linalg.matvec(places, weights, transpose_a=True)
        scale = tower.logit_scale if self.config.unit_vectors else 1.0
        return scale * tf.reduce_sum(vector * own) + self.appeal(candidate)

    def scores(self, batch):
        """A list of lists: the scores of the real candidates of each impression."""
        rows = []
        for user_id, history, candidates in zip(
            batch["user_id"], batch["history"], batch["candidates"]
        ):
            history = tuple(history)
            rows.append([self.score(history, c, user_id) for c in candidates if c != 0])
        return rows

    def loss(self, batch, rows):
        """The mean loss, given the scores of the real candidates."""
        losses = []
        for scores, clicked, candidates in zip(rows, batch["clicked"], batch["candidates"]):
            clicked = [label for label, c in zip(clicked, candidates) if c != 0]
            clicks = sum(label == 1 for label in clicked)
            scores = [score / self.config.temperature for score in scores]
            if clicks:
                total = tf.math.log(sum(tf.exp(score) for score in scores))
                chosen = [s for s, label in zip(scores, clicked) if label == 1]
                losses.append(sum(total - score for score in chosen) / clicks)
        return sum(losses) / len(losses)


def real_scores(model, batch):
    """The model's scores without padding, a list of arrays."""
    logits = model(batch).numpy()
    return [row[np.asarray(c) != 0] for row, c in zip(logits, batch["candidates"])]


def assert_close(ours, theirs, **kwargs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5, **kwargs)


@pytest.mark.parametrize("mask_padding", [True, False], ids=["masked", "unmasked"])
@pytest.mark.parametrize("attention", ["recommenders", "paper"])
@pytest.mark.parametrize("word_attention", KINDS)
@pytest.mark.parametrize("news_attention", KINDS)
def test_scores_loss_and_gradients(
    attention, word_attention, news_attention, mask_padding, random_model, odd_batch
):
    model = random_model(
        attention=attention,
        word_attention=word_attention,
        news_attention=news_attention,
        mask_padding=mask_padding,
    )
    check_against_twin(model, odd_batch)


@pytest.mark.parametrize("mask_padding", [True, False], ids=["masked", "unmasked"])
@pytest.mark.parametrize("attention", ["recommenders", "paper"])
@pytest.mark.parametrize(
    "changes",
    [
        OFF,
        OFF | {"residual": True},
        OFF | {"residual": True, "num_filters": 7},
        OFF | {"unit_vectors": True},
        OFF | {"item_bias": True},
        {"user_interest": "mean"},
        {"residual": False},
        {"item_bias": False},
        {"mean_weight": 0.0},
        {"temperature": 0.7},
        {"word_attention": "vanilla", "user_interest": "mean"},
    ],
    ids=lambda changes: "-".join(f"{name}={value}" for name, value in changes.items()),
)
def test_each_field_alone(changes, attention, mask_padding, random_model, odd_batch):
    fields = {"attention": attention, "mask_padding": mask_padding, **changes}
    check_against_twin(random_model(**fields), odd_batch)


@pytest.mark.parametrize("window_size", [1, 2, 4, 5])
@pytest.mark.parametrize("mask_padding", [True, False], ids=["masked", "unmasked"])
def test_other_windows(window_size, mask_padding, random_model, odd_batch):
    model = random_model(window_size=window_size, mask_padding=mask_padding)
    check_against_twin(model, odd_batch)


def test_no_clicks_at_all(random_model, odd_batch):
    """A batch without a single real history slot packs nothing."""
    batch = odd_batch | {"history": np.zeros([4, 1], np.int64)}
    check_against_twin(random_model(), batch)
    check_against_twin(random_model(user_interest="mean"), batch)


def check_against_twin(model, batch):
    twin = Twin(model)
    weights = model.trainable_variables
    with tf.GradientTape() as tape:
        ours = model.compute_loss(batch, training=True)
    our_gradients = tape.gradient(ours, weights)
    with tf.GradientTape() as tape:
        scores = twin.scores(batch)
        theirs = twin.loss(batch, scores)
    their_gradients = tape.gradient(theirs, weights)
    for our, their in zip(real_scores(model, batch), scores, strict=True):
        assert_close(our, [score.numpy() for score in their])
    assert_close(ours, theirs)
    for weight, our, their in zip(weights, our_gradients, their_gradients, strict=True):
        # None: the loss does not depend on it, as on user embeddings without personalisation.
        our, their = (
            np.zeros(weight.shape) if gradient is None else tf.convert_to_tensor(gradient).numpy()
            for gradient in (our, their)
        )
        assert_close(our, their, err_msg=weight.name)
