"""The plain model and the fast one: the same weights, scores, gradients and training."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import tfrs_npa

KINDS = ("personalized", "vanilla", "mean")
TITLES = ["rain in the north", "team wins", "", "a b c d e f g h", "rain rain rain", "wins the a b"]
NEWS = {"news_id": [f"N{number}" for number in range(len(TITLES))], "title": TITLES}
# An empty history, the unknown user, the unknown article, a title without words, repeated articles,
# two clicks, none, padding at the end and in between.
BATCH = {
    "user_id": np.array([1, 0, 3, 2]),
    "history": np.array([[2, 3, 0, 0], [0, 0, 0, 0], [5, 0, 5, 1], [4, 7, 6, 2]]),
    "candidates": np.array([[2, 5, 0], [6, 1, 4], [3, 0, 3], [7, 5, 2]]),
    "clicked": np.array([[1, 0, 0], [0, 1, 1], [0, 0, 1], [0, 0, 0]]),
}
BATCH = {name: array.astype(np.int32) for name, array in BATCH.items()}


@pytest.fixture
def plain_npa(benchmark):
    return benchmark("plain_model").PlainNPA


@pytest.fixture
def make_models(plain_npa):
    """Makes a plain and a fast model with the same random weights, given the configuration."""

    def make(**changes):
        dimensions = {"word_embedding_dim": 5, "user_embedding_dim": 3, "num_filters": 4}
        dimensions |= {"attention_dim": 6, "title_length": 5, "history_length": 4}
        config = tfrs_npa.NPAConfig(**dimensions | {"dropout": 0.0, "user_dropout": 0.0} | changes)
        catalog = tfrs_npa.NewsCatalog().adapt(NEWS)
        users = tfrs_npa.UserIndex().adapt({"user_id": ["U1", "U2", "U3"]})
        models = [cls(config, catalog, users) for cls in (plain_npa, tfrs_npa.NPA)]
        generator = np.random.default_rng(3)
        weights = [generator.normal(0, 0.6, w.shape) for w in models[1].get_weights()]
        for model in models:
            model.set_weights(weights)
        return models

    return make


def assert_close(ours, theirs, **kwargs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5, **kwargs)


def loss_and_gradients(model):
    with tf.GradientTape() as tape:
        loss = model.compute_loss(BATCH, training=True)
    gradients = tape.gradient(loss, model.trainable_variables)
    return loss, [
        # None: the loss does not depend on it, as on user embeddings without personalisation.
        np.zeros(weight.shape) if gradient is None else tf.convert_to_tensor(gradient).numpy()
        for weight, gradient in zip(model.trainable_variables, gradients)
    ]


@pytest.mark.parametrize("mask_padding", [True, False], ids=["masked", "unmasked"])
@pytest.mark.parametrize("attention", ["recommenders", "paper"])
@pytest.mark.parametrize("word_attention", KINDS)
@pytest.mark.parametrize("news_attention", KINDS)
def test_scores_and_gradients(make_models, attention, word_attention, news_attention, mask_padding):
    plain, fast = make_models(
        attention=attention,
        word_attention=word_attention,
        news_attention=news_attention,
        mask_padding=mask_padding,
    )
    scores = plain(BATCH).numpy()
    assert scores.dtype == np.float32
    assert np.all((scores == -1e9) == (BATCH["candidates"] == 0))
    assert_close(scores, fast(BATCH))
    (loss, gradients), (fast_loss, fast_gradients) = map(loss_and_gradients, (plain, fast))
    assert_close(loss, fast_loss)
    for weight, ours, theirs in zip(plain.trainable_variables, gradients, fast_gradients):
        assert_close(ours, theirs, err_msg=weight.name)


@pytest.mark.parametrize("mask_padding", [True, False], ids=["masked", "unmasked"])
@pytest.mark.parametrize("attention", ["recommenders", "paper"])
def test_scores_of_an_evaluation_at_full_dimensions(make_models, attention, mask_padding):
    """300 numbers per word, 400 filters, titles of 30 words; the catalogue is encoded once."""
    full = tfrs_npa.NPAConfig(attention=attention, mask_padding=mask_padding)
    dimensions = ("word_embedding_dim", "user_embedding_dim", "num_filters", "attention_dim")
    dimensions += ("title_length", "history_length")
    plain, fast = make_models(
        attention=attention,
        mask_padding=mask_padding,
        **{name: getattr(full, name) for name in dimensions},
    )
    generator = np.random.default_rng(4)
    # Small enough that softmax does not settle on one word.
    weights = [generator.normal(0, 0.05, weight.shape) for weight in fast.get_weights()]
    for model in (plain, fast):
        model.set_weights(weights)
    batch = {
        "user_id": generator.integers(0, 4, 8),
        "history": generator.integers(0, 8, [8, full.history_length]),
        "candidates": generator.integers(1, 8, [8, 20]),
        "clicked": np.zeros([8, 20]),
    }
    batch = {name: array.astype(np.int32) for name, array in batch.items()}
    expected = plain(batch).numpy()
    assert expected.std() > 1e-3
    scores = fast.predict(tf.data.Dataset.from_tensor_slices(batch).batch(3), verbose=0)
    assert_close(scores.to_tensor(), expected)


def test_weights_are_the_same(make_models):
    plain, fast = make_models(pooling_dropout=0.1, dropout=0.1)
    for name in ("variables", "trainable_variables"):
        ours, theirs = ([v.shape for v in getattr(model, name)] for model in (plain, fast))
        assert ours == theirs


def test_nothing_is_shared(make_models):
    """Whichever the dropout, an article shown twice gets two masks; without, two equal scores."""
    batch = {"user_id": [1], "history": [[2, 3]], "candidates": [[5, 5, 5, 5, 5, 5]]}
    for changes in ({"dropout": 0.5}, {"pooling_dropout": 0.5}):
        plain, _ = make_models(**changes)
        assert np.ptp(plain(batch)) == 0
        assert np.ptp(plain(batch, training=True)) > 0


def test_dropout_of_histories(make_models):
    """Vectors of the clicked articles drop too: in the mean of one, where they are everything."""
    means = {"word_attention": "mean", "news_attention": "mean", "user_interest": "mean"}
    plain, _ = make_models(pooling_dropout=0.5, **means)
    plain.title_dropout.rate = 0.0
    batch = {"user_id": [1] * 8, "history": [[2]] * 8, "candidates": [[5]] * 8}
    assert np.ptp(plain(batch)) == 0
    assert np.ptp(plain(batch, training=True)) > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "make_optimizer",
    [
        lambda config: tf.keras.optimizers.Adam(0.01),
        lambda config: tfrs_npa.default_optimizer(config, total_steps=30),
    ],
    ids=["Adam", "default"],
)
def test_training_and_evaluation(make_models, make_optimizer, eager_functions):
    """Ten steps, users replaced at random by the unknown one: the same ones in both models."""
    histories = []
    # No article twice in a list: the plain path does not make their scores equal to the last bit.
    candidates = np.array([[2, 5, 0], [6, 1, 4], [3, 0, 6], [7, 5, 2]], np.int32)
    for model in make_models(user_dropout=0.5):
        tf.keras.utils.set_random_seed(1)
        model.compile(optimizer=make_optimizer(model.config))
        batches = tf.data.Dataset.from_tensors(BATCH | {"candidates": candidates}).repeat(10)
        history = model.fit(batches, verbose=0).history
        histories.append(history | model.evaluate(batches.take(1), verbose=0, return_dict=True))
    plain, fast = histories
    assert plain.keys() == fast.keys()
    for name, value in plain.items():
        np.testing.assert_allclose(value, fast[name], rtol=1e-3, atol=1e-3, err_msg=name)
