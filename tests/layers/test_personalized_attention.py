from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import tfrs_npa

FORMS = ["recommenders", "paper"]
KINDS = ["personalized", "vanilla", "mean"]
F, A, U = 6, 4, 3


def random(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=shape), tf.float32)


def make(kind="personalized", form="recommenders", **kwargs):
    """A built layer with random weights, biases included."""
    kwargs = {"attention_dim": A, "seed": 5} | kwargs
    layer = tfrs_npa.PersonalizedAttention(kind, form, **kwargs)
    layer.build(((None, None, F), (None, U)))
    generator = np.random.default_rng(2)
    layer.set_weights([generator.normal(size=w.shape) for w in layer.get_weights()])
    return layer


def pool_packed(layer, values, users, lengths):
    query = layer.query(users)
    if layer.kind == "personalized":
        query = tf.repeat(query, lengths, axis=0)
    return layer.pool_packed(values, layer.keys(values), query, lengths)


SHAPES = {
    ("personalized", "recommenders"): [(F, A), (A,), (U, A), (A,)],
    ("personalized", "paper"): [(U, A), (A,), (A, F), (F,)],
    ("vanilla", "recommenders"): [(F, A), (A,), (1, A)],
    ("vanilla", "paper"): [(1, F)],
    ("mean", "recommenders"): [],
    ("mean", "paper"): [],
}


@pytest.mark.parametrize("kind, form", SHAPES)
def test_is_a_layer(check_layer, kind, form):
    arguments = {"kind": kind, "form": form, "attention_dim": A, "dropout": 0.1}
    arguments |= {"uniform_start": True, "seed": 5}
    layer = check_layer(
        tfrs_npa.PersonalizedAttention,
        arguments,
        (random(2, 5, F), random(2, U)),
        SHAPES[kind, form],
    )
    out = layer((random(2, 5, F), random(2, U)))
    assert out["output"].shape == (2, F)
    assert out["attention"].shape == (2, 5)
    np.testing.assert_allclose(tf.reduce_sum(out["attention"], 1), [1, 1], rtol=1e-6)


def test_example_of_the_docstring():
    attention = tfrs_npa.PersonalizedAttention(attention_dim=4)
    out = attention((tf.ones([2, 5, 8]), tf.ones([2, 3])))
    assert (out["output"].shape, out["attention"].shape) == ((2, 8), (2, 5))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_uniform_start(kind, form):
    """Weights start equal where users start at zero, and users have a say at once."""
    layer = tfrs_npa.PersonalizedAttention(kind, form, A, uniform_start=True, seed=5)
    values, users = random(2, 5, F), tf.Variable(tf.zeros([2, U]))
    np.testing.assert_allclose(layer((values, users))["attention"], np.full([2, 5], 0.2), rtol=1e-6)
    optimizer = tf.keras.optimizers.Adam(0.01)
    for _ in range(5):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer((values, users))["output"] * random(2, F, seed=2))
        weights = [*layer.trainable_weights, users]
        gradients = tape.gradient(loss, weights)
        moved = [pair for pair in zip(gradients, weights, strict=True) if pair[0] is not None]
        if moved:
            optimizer.apply_gradients(moved)
    assert (np.ptp(layer((values, users))["attention"], axis=1).min() > 1e-3) == (kind != "mean")
    assert (np.abs(users).max() > 1e-3) == (kind == "personalized")
    random_start = tfrs_npa.PersonalizedAttention(kind, form, A, seed=5)
    weights = random_start((values, random(2, U, seed=1)))["attention"]
    assert (np.ptp(weights) > 1e-3) == (kind != "mean")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_masked_values_get_no_weight(kind, form):
    layer = make(kind, form)
    values, users = random(2, 5, F), random(2, U)
    mask = tf.constant([[True, False, True, True, False], [False, True, False, False, False]])
    out = layer((values, users), mask=mask)
    assert np.all(out["attention"].numpy()[~mask.numpy()] == 0)
    for row in range(2):
        kept = tf.boolean_mask(values[row], mask[row])
        alone = layer((kept[None], users[row : row + 1]))
        np.testing.assert_allclose(out["output"][row], alone["output"][0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_all_masked_gives_zeros_and_finite_gradients(kind, form):
    layer = make(kind, form)
    values, users = random(2, 3, F), random(2, U)
    mask = tf.constant([[False, False, False], [True, False, True]])
    with tf.GradientTape() as tape:
        tape.watch([values, users])
        out = layer((values, users), mask=mask)
        loss = tf.reduce_sum(out["output"] ** 2)
    assert np.all(out["output"].numpy()[0] == 0)
    assert np.all(out["attention"].numpy()[0] == 0)
    gradients = tape.gradient(loss, [values, users, *layer.trainable_weights])
    for gradient in gradients:
        assert gradient is None or np.all(np.isfinite(gradient))
    assert np.all(gradients[0].numpy()[0] == 0)
    assert np.any(gradients[0].numpy()[1] != 0)


LAYERS = st.builds(make, st.sampled_from(KINDS), st.sampled_from(FORMS))


@settings(max_examples=40, deadline=None)
@given(LAYERS, st.lists(st.integers(0, 4), min_size=1, max_size=5))
def test_packed_equals_padded(layer, lengths):
    """Outputs, weights and gradients; lengths may be zero."""
    longest = max(max(lengths), 1)
    mask = tf.sequence_mask(lengths, longest)
    values, users = random(len(lengths), longest, F), random(len(lengths), U, seed=1)
    weights = layer.trainable_weights
    results = []
    for packed in (False, True):
        with tf.GradientTape() as tape:
            tape.watch([values, users])
            if packed:
                out = pool_packed(layer, tf.boolean_mask(values, mask), users, lengths)
                out["attention"] = out["attention"].to_tensor(shape=[None, longest])
            else:
                out = layer.pool(values, layer.keys(values), layer.query(users), mask)
            loss = tf.reduce_sum(tf.sin(out["output"]))
        gradients = tape.gradient(loss, [values, *weights], unconnected_gradients="zero")
        results.append([out["output"], out["attention"], *gradients])
    for padded, packed in zip(*results, strict=True):
        np.testing.assert_allclose(packed, padded, rtol=1e-5, atol=1e-5)


def test_packed_attention_is_ragged():
    layer = make()
    out = pool_packed(layer, random(3, F), random(3, U), [2, 0, 1])
    assert out["attention"].row_lengths().numpy().tolist() == [2, 0, 1]
    assert np.all(out["output"].numpy()[1] == 0)


@pytest.mark.parametrize("form", FORMS)
def test_large_logits_do_not_overflow(form):
    layer = make(form=form)
    values, users = 1e4 * random(2, 3, F), 1e4 * random(2, U)
    padded = layer((values, users))
    packed = pool_packed(layer, tf.reshape(values, [-1, F]), users, [3, 3])
    assert np.all(np.isfinite(padded["output"]))
    np.testing.assert_allclose(packed["output"], padded["output"], rtol=1e-5)


@pytest.mark.parametrize("attention_dim", [U + 1, U + 2])  # only the larger one is folded
@pytest.mark.parametrize("kind, form", SHAPES)
def test_folded_keys_and_queries_have_the_same_products(kind, form, attention_dim):
    layer, users = make(kind, form, attention_dim=attention_dim), random(4, U)
    if kind != "personalized":
        assert layer.folded_dim == 0
        return
    keys, query = layer.keys(random(4, F)), layer.folded_query(users)
    folded = layer.folded_keys(keys)
    assert layer.folded_dim == (U + 1 if form == "recommenders" else F)
    assert query.shape == folded.shape == (4, layer.folded_dim)
    expected = tf.reduce_sum(keys * layer.query(users), axis=1)
    products = tf.reduce_sum(folded * query, axis=1)
    np.testing.assert_allclose(products, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_only_personalized_attention_depends_on_the_user(form):
    values = tf.repeat(random(1, 4, F), 2, axis=0)
    for kind in KINDS:
        weights = make(kind, form)((values, random(2, U)))["attention"].numpy()
        assert (np.ptp(weights, axis=0).max() > 1e-3) == (kind == "personalized")
        assert (np.ptp(weights, axis=1).max() > 1e-3) == (kind != "mean")


def test_dropout_of_the_values_in_training_only():
    layer = make(dropout=0.5)
    inputs = (random(2, 50, F), random(2, U))
    still = layer(inputs)["output"]
    np.testing.assert_array_equal(layer(inputs, training=False)["output"], still)
    assert np.any(layer(inputs, training=True)["output"] != still)
    dropped = layer.dropped(tf.ones([100, 100]), training=True).numpy()
    assert set(np.unique(dropped)) == {0.0, 2.0}
    assert 0.45 < np.mean(dropped == 0) < 0.55


def test_weights_of_equal_shape_start_different():
    layer = tfrs_npa.PersonalizedAttention(attention_dim=A, seed=5)
    layer.build(((None, None, F), (None, F)))
    assert np.any(layer.key_kernel.numpy() != layer.query_kernel.numpy())
