"""The model against a plain twin, and properties that hold whatever the input.

The model packs words, encodes each distinct title once and projects each distinct word once. The
twin does none of that: it goes through impressions, articles and words one at a time.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tfrs_npa

import tensorflow as tf  # isort: skip

KINDS = ("personalized", "vanilla", "mean")
TITLES = ["rain in the north", "team wins", "", "a b c d e f g h", "rain rain rain", "wins the a b"]
UNKNOWN_ARTICLE, WITHOUT_WORDS = 1, 4


def make_model(**changes):
    """A model with random weights and no dropout; article 1 is unknown, article 4 has no words."""
    fields = {
        "title_length": 5,
        "history_length": 4,
        "word_embedding_dim": 5,
        "user_embedding_dim": 3,
        "num_filters": 4,
        "attention_dim": 6,
        "dropout": 0.0,
        "pooling_dropout": 0.0,
        "user_dropout": 0.0,
    }
    config = tfrs_npa.NPAConfig(**fields | changes)
    news = {"news_id": [f"N{i}" for i in range(len(TITLES))], "title": TITLES}
    users = tfrs_npa.UserIndex().adapt({"user_id": ["U1", "U2", "U3"]})
    model = tfrs_npa.NPA(config, tfrs_npa.NewsCatalog().adapt(news), users)
    generator = np.random.default_rng(3)
    model.set_weights([generator.normal(0, 0.6, w.shape) for w in model.get_weights()])
    return model


class Twin:
    """NPA by its definition, on the weights of `model`."""

    def __init__(self, model):
        self.model, self.config = model, model.config

    def attend(self, layer, values, user):
        """Pools `[length, features]`, all of which takes part."""
        if len(values) == 0:
            return tf.zeros(self.config.num_filters)
        if layer.kind == "mean":
            return tf.reduce_mean(values, axis=0)
        keys = values
        if layer.form == "recommenders":
            keys = tf.tanh(values @ layer.key_kernel + layer.key_bias)
        if layer.kind == "vanilla":
            query = layer.learned_query
        else:
            query = user[None] @ layer.query_kernel + layer.query_bias
            if layer.form == "paper":
                query = tf.nn.relu(query)
                query = tf.tanh(query @ layer.preference_kernel + layer.preference_bias)
        weights = tf.nn.softmax(tf.reduce_sum(keys * query, axis=1))
        return tf.reduce_sum(weights[:, None] * values, axis=0)

    def article(self, news, user):
        tower = self.model.candidate_tower
        tokens = self.model.catalog.tokens(self.config.title_length)[news]
        words = tf.stack([tower.word_table[token] for token in tokens])
        if self.config.mask_padding:
            words *= (tokens != 0)[:, None].astype(np.float32)
        values = tf.nn.conv1d(words[None], tower.convolution_kernel, 1, "SAME")[0]
        values = tf.nn.relu(values + tower.convolution_bias)
        if self.config.mask_padding:
            values = values[: np.count_nonzero(tokens)]
        return self.attend(tower.attention, values, user)

    def user(self, history, user):
        masked = self.config.mask_padding
        if masked and not any(history):
            return self.model.query_tower.default_history + 0.0
        values = [self.article(news, user) for news in history if news != 0 or not masked]
        return self.attend(self.model.query_tower.attention, tf.stack(values), user)

    def scores(self, batch):
        """A list of lists: the scores of the real candidates of each impression."""
        rows = []
        for user_id, history, candidates in zip(
            batch["user_id"], batch["history"], batch["candidates"]
        ):
            embedding = self.model.user_embedding.table[user_id]
            user = self.user(history, embedding)
            rows.append(
                [tf.reduce_sum(self.article(c, embedding) * user) for c in candidates if c != 0]
            )
        return rows

    def loss(self, batch, rows):
        """The mean loss, given the scores of the real candidates."""
        losses = []
        for scores, clicked, candidates in zip(rows, batch["clicked"], batch["candidates"]):
            clicked = [label for label, c in zip(clicked, candidates) if c != 0]
            clicks = sum(label == 1 for label in clicked)
            if clicks:
                total = tf.math.log(sum(tf.exp(score) for score in scores))
                chosen = [s for s, label in zip(scores, clicked) if label == 1]
                losses.append(sum(total - score for score in chosen) / clicks)
        return sum(losses) / len(losses)


# An empty history, the unknown user, the unknown article, a title without words, repeated articles,
# an impression with two clicks, one without, padding at the end and in between.
BATCH = {
    "user_id": np.array([1, 0, 3, 2]),
    "history": np.array([[2, 3, 0, 0], [0, 0, 0, 0], [5, 0, 5, 1], [4, 7, 6, 2]]),
    "candidates": np.array([[2, 5, 0], [6, 1, 4], [3, 0, 3], [7, 5, 2]]),
    "clicked": np.array([[1, 0, 0], [0, 1, 1], [0, 0, 1], [0, 0, 0]]),
}


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
def test_scores_loss_and_gradients(attention, word_attention, news_attention, mask_padding):
    model = make_model(
        attention=attention,
        word_attention=word_attention,
        news_attention=news_attention,
        mask_padding=mask_padding,
    )
    check_against_twin(model, BATCH)


@pytest.mark.parametrize("window_size", [1, 2, 4, 5])
@pytest.mark.parametrize("mask_padding", [True, False], ids=["masked", "unmasked"])
def test_other_windows(window_size, mask_padding):
    check_against_twin(make_model(window_size=window_size, mask_padding=mask_padding), BATCH)


def test_no_clicks_at_all():
    """A batch without a single real history slot packs nothing."""
    batch = BATCH | {"history": np.zeros([4, 1], np.int64)}
    check_against_twin(make_model(), batch)


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


@functools.cache
def cached_model(mask_padding=True, attention="recommenders", title_length=5):
    return make_model(mask_padding=mask_padding, attention=attention, title_length=title_length)


ARTICLES = len(TITLES) + 2
MODELS = st.builds(cached_model, st.booleans(), st.sampled_from(["recommenders", "paper"]))
MASKED = st.builds(cached_model, st.just(True), st.sampled_from(["recommenders", "paper"]))
SEEDS = st.integers(0, 10**6)


@st.composite
def batches(draw):
    """Up to 4 impressions; histories may hold padding anywhere and be empty."""
    rows, clicks, shown = draw(st.integers(1, 4)), draw(st.integers(1, 5)), draw(st.integers(1, 5))

    def matrix(least, columns):
        row = st.lists(st.integers(least, ARTICLES - 1), min_size=columns, max_size=columns)
        return np.array(draw(st.lists(row, min_size=rows, max_size=rows)))

    users = draw(st.lists(st.integers(0, 3), min_size=rows, max_size=rows))
    return {
        "user_id": np.array(users),
        "history": matrix(0, clicks),
        "candidates": matrix(1, shown),
    }


properties = settings(max_examples=12, deadline=None)


@properties
@given(MODELS, batches(), SEEDS)
def test_permuted_candidates_permute_the_scores(model, batch, seed):
    columns = np.random.default_rng(seed).permutation(batch["candidates"].shape[1])
    permuted = batch | {"candidates": batch["candidates"][:, columns]}
    assert_close(model(permuted), model(batch).numpy()[:, columns])


@properties
@given(MODELS, batches())
def test_a_score_does_not_depend_on_the_other_candidates(model, batch):
    together = model(batch).numpy()
    for column in range(together.shape[1]):
        alone = batch | {"candidates": batch["candidates"][:, [column]]}
        assert_close(model(alone), together[:, [column]])


@properties
@given(MODELS, batches())
def test_a_score_does_not_depend_on_the_other_impressions(model, batch):
    together = model(batch).numpy()
    for row in range(len(together)):
        alone = {name: value[[row]] for name, value in batch.items()}
        assert_close(model(alone), together[[row]])


@properties
@given(MODELS, batches(), st.integers(1, 3), SEEDS)
def test_padded_candidates_change_nothing(model, batch, more, seed):
    width = batch["candidates"].shape[1]
    padded = np.pad(batch["candidates"], [(0, 0), (0, more)])
    columns = np.random.default_rng(seed).permutation(width + more)
    logits = model(batch | {"candidates": padded[:, columns]}).numpy()
    assert np.all(logits[padded[:, columns] == 0] == -1e9)
    back = np.argsort(columns)
    assert_close(logits[:, back[:width]], model(batch))


@properties
@given(MASKED, batches(), st.integers(0, 3), SEEDS)
def test_masked_padding_of_histories_changes_nothing(model, batch, more, seed):
    generator = np.random.default_rng(seed)
    history = np.pad(batch["history"], [(0, 0), (0, more)])
    # The attention knows no order, so the clicks may move too.
    moved = np.stack([generator.permutation(row) for row in history])
    assert_close(model(batch | {"history": moved}), model(batch))


@properties
@given(st.sampled_from(["recommenders", "paper"]), batches())
def test_masked_padding_of_titles_changes_nothing(attention, batch):
    long = cached_model(True, attention, title_length=8)  # the longest title has 8 words
    longer = cached_model(True, attention, title_length=13)
    assert_close(longer(batch), long(batch))


@pytest.mark.parametrize("attention", ["recommenders", "paper"])
def test_unmasked_padding_takes_part(attention):
    """As in the published code; were it masked by accident, this would not show in the twin."""
    model = cached_model(False, attention)
    wider = BATCH | {"history": np.pad(BATCH["history"], [(0, 0), (0, 2)])}
    assert np.abs(model(wider).numpy() - model(BATCH).numpy())[0, 0] > 1e-3


@properties
@given(MODELS, batches())
def test_score_is_the_product_of_the_towers(model, batch):
    shape = batch["candidates"].shape
    pairs = {
        "user_id": np.repeat(batch["user_id"], shape[1]),
        "news_id": batch["candidates"].ravel(),
    }
    users = model.query_tower({"user_id": batch["user_id"], "history": batch["history"]})
    articles = tf.reshape(model.candidate_tower(pairs), [*shape, -1])
    assert_close(tf.einsum("bf,bcf->bc", users, articles), model(batch))


@properties
@given(MODELS, batches())
def test_the_graph_computes_what_eager_mode_does(model, batch):
    names = {"user_id": [None], "history": [None, None], "candidates": [None, None]}
    if not hasattr(model, "traced"):
        spec = {name: tf.TensorSpec(shape, tf.int64) for name, shape in names.items()}
        model.traced = tf.function(lambda features: model(features), input_signature=[spec])
    assert_close(model.traced({name: tf.constant(batch[name]) for name in names}), model(batch))


@pytest.mark.parametrize("mask_padding", [True, False], ids=["masked", "unmasked"])
def test_unknown_article_is_scored_as_a_title_without_words(mask_padding):
    model = cached_model(mask_padding)
    both = BATCH | {"candidates": np.array([[UNKNOWN_ARTICLE, WITHOUT_WORDS]] * 4)}
    scores = model(both).numpy()
    assert np.all(scores > -1e8)
    np.testing.assert_array_equal(scores[:, 0], scores[:, 1])


def test_user_without_clicks_gets_the_default_vector():
    model = cached_model(True)
    batch = {"user_id": np.array([0, 2]), "history": np.zeros([2, 3], np.int32)}
    assert_close(model.query_tower(batch), [model.query_tower.default_history.numpy()] * 2)


def test_users_differ():
    """Same clicks, same candidates: only the person differs, and so do the scores."""
    for mask_padding in (True, False):
        rows = {name: np.repeat(value[[3]], 4, axis=0) for name, value in BATCH.items()}
        scores = cached_model(mask_padding)(rows | {"user_id": np.arange(4)}).numpy()
        assert np.ptp(scores, axis=0).min() > 1e-3


def test_gradients_are_finite_with_nothing_real():
    """No clicks, no words, nothing to compare with: everything that could divide by zero."""
    model = cached_model(True)
    batch = {
        "user_id": np.array([0, 1]),
        "history": np.array([[0, 0], [1, 4]]),
        "candidates": np.array([[1, 4], [4, 0]]),
        "clicked": np.array([[1, 0], [0, 0]]),
    }
    with tf.GradientTape() as tape:
        loss = model.compute_loss(batch, training=True)
    assert np.isfinite(loss)
    for gradient in tape.gradient(loss, model.trainable_variables):
        if gradient is not None:
            assert np.all(np.isfinite(tf.convert_to_tensor(gradient)))
