from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_npa.layers import sparse_products
from tfrs_npa.layers.sparse_products import inner_products, weighted_sums

TOLERANCE = {tf.float64: 1e-12, tf.float32: 1e-5, tf.bfloat16: 0.05}
DTYPES = st.sampled_from(list(TOLERANCE))


@st.composite
def pairs(draw, most=5):
    """Rows, columns, features and places: ascending rows, columns in any order, repeated places."""
    rows, columns = draw(st.integers(0, most)), draw(st.integers(0, most))
    places = st.tuples(st.integers(0, max(rows - 1, 0)), st.integers(0, max(columns - 1, 0)))
    drawn = draw(st.lists(places, max_size=8 if rows and columns else 0))
    drawn.sort(key=lambda place: place[0])
    i, j = np.array(drawn, np.int32).reshape(-1, 2).T
    return rows, columns, draw(st.integers(1, 4)), i, j


def random(seed, dtype, *shape):
    """Random numbers that are exact in `dtype`."""
    drawn = np.random.default_rng(seed).normal(size=shape)
    return tf.cast(tf.constant(drawn, tf.float64), dtype)


def exact(tensor):
    return tf.cast(tensor, tf.float64).numpy()


def sums_of_rows(number, at, rows):
    """`result[at[p]] += rows[p]`."""
    result = np.zeros([number, rows.shape[1]])
    np.add.at(result, at, rows)
    return result


def assert_close(ours, theirs, dtype):
    for our, their in zip(ours, theirs, strict=True):
        assert our.dtype == dtype
        # Also where there is nothing to compare.
        assert our.shape == their.shape
        np.testing.assert_allclose(exact(our), their, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def inner(left, right, i, j, upstream):
    """Inner products and their gradients."""
    with tf.GradientTape() as tape:
        tape.watch([left, right])
        products = inner_products(left, right, i, j)
    return products, *tape.gradient(products, [left, right], output_gradients=upstream)


def weighted(weights, values, i, j, number, upstream):
    """Weighted sums and their gradients."""
    with tf.GradientTape() as tape:
        tape.watch([weights, values])
        sums = weighted_sums(weights, values, i, j, number)
    return sums, *tape.gradient(sums, [weights, values], output_gradients=upstream)


def plain(values, i, j, number, upstream):
    """Sums with all weights 1 and their gradient."""
    with tf.GradientTape() as tape:
        tape.watch(values)
        sums = weighted_sums(None, values, i, j, number)
    return sums, tape.gradient(sums, values, output_gradients=upstream)


def in_graph(function, shapes):
    """`function` traced once for each dtype, with unknown shapes."""

    def spec(shape, dtype):
        if shape in ("places", "number"):
            return tf.TensorSpec([None] if shape == "places" else [], tf.int32)
        return tf.TensorSpec(shape, dtype)

    return {
        dtype: tf.function(function, input_signature=[spec(shape, dtype) for shape in shapes])
        for dtype in TOLERANCE
    }


MATRIX = (None, None)
INNER = in_graph(inner, [MATRIX, MATRIX, "places", "places", (None,)])
WEIGHTED = in_graph(weighted, [(None,), MATRIX, "places", "places", "number", MATRIX])
PLAIN = in_graph(plain, [MATRIX, "places", "places", "number", MATRIX])

many = settings(max_examples=60, deadline=None)


FORMS = st.sampled_from(["eager", "graph", "as on a GPU"])


def called(form, eager, graph, *args):
    """What a function returns in a form of it: eager, in a graph, or with what a GPU computes."""
    if form == "graph":
        return graph(*args)
    with pytest.MonkeyPatch.context() as patch:
        if form == "as on a GPU":
            patch.setattr(sparse_products, "_on_gpu", lambda: True)
        return eager(*args)


@many
@given(pairs(), DTYPES, FORMS)
def test_inner_products(pairs, dtype, form):
    rows, columns, features, i, j = pairs
    left, right = random(1, dtype, rows, features), random(2, dtype, columns, features)
    upstream = random(3, dtype, len(i))
    ours = called(form, inner, INNER[dtype], left, right, i, j, upstream)
    a, b, up = exact(left), exact(right), exact(upstream)[:, None]
    expected = (
        np.sum(a[i] * b[j], axis=1),
        sums_of_rows(rows, i, up * b[j]),
        sums_of_rows(columns, j, up * a[i]),
    )
    assert_close(ours, expected, dtype)


@many
@given(pairs(), DTYPES, FORMS)
def test_weighted_sums(pairs, dtype, form):
    rows, columns, features, i, j = pairs
    weights, values = random(1, dtype, len(i)), random(2, dtype, columns, features)
    upstream = random(3, dtype, rows, features)
    ours = called(form, weighted, WEIGHTED[dtype], weights, values, i, j, rows, upstream)
    w, b, up = exact(weights)[:, None], exact(values), exact(upstream)
    expected = (
        sums_of_rows(rows, i, w * b[j]),
        np.sum(up[i] * b[j], axis=1),
        sums_of_rows(columns, j, w * up[i]),
    )
    assert_close(ours, expected, dtype)


@many
@given(pairs(), DTYPES, FORMS)
def test_sums_without_weights(pairs, dtype, form):
    rows, columns, features, i, j = pairs
    values, upstream = random(2, dtype, columns, features), random(3, dtype, rows, features)
    ours = called(form, plain, PLAIN[dtype], values, i, j, rows, upstream)
    expected = (
        sums_of_rows(rows, i, exact(values)[j]),
        sums_of_rows(columns, j, exact(upstream)[i]),
    )
    assert_close(ours, expected, dtype)


NOTHING = np.zeros(0, np.int32)


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("rows, columns", [(0, 0), (0, 3), (3, 0), (3, 3)])
def test_no_pairs(rows, columns, graph):
    """A product without rows is a division by zero in TensorFlow's kernel, which ends the process.

    The other tests draw these cases too, but not for certain.
    """
    left, right = tf.ones([rows, 2]), tf.ones([columns, 2])
    function = INNER[tf.float32] if graph else inner
    ours = function(left, right, NOTHING, NOTHING, tf.ones([0]))
    expected = np.zeros(0), np.zeros([rows, 2]), np.zeros([columns, 2])
    assert_close(ours, expected, tf.float32)
    function = WEIGHTED[tf.float32] if graph else weighted
    ours = function(tf.ones([0]), right, NOTHING, NOTHING, rows, left)
    expected = np.zeros([rows, 2]), np.zeros(0), np.zeros([columns, 2])
    assert_close(ours, expected, tf.float32)


def test_equal_places_add_up():
    i, j = np.array([0, 0, 2, 2, 2]), np.array([1, 1, 1, 0, 1])
    sums = weighted_sums([1.0, 2.0, 3.0, 4.0, 5.0], tf.constant([[1.0], [10.0]]), i, j, 3)
    assert sums.numpy().tolist() == [[30.0], [0.0], [84.0]]


def test_products_of_many_pairs():
    """Enough of them for kernels that share the work between threads."""
    generator = np.random.default_rng(0)
    i = np.sort(generator.integers(0, 500, 20_000)).astype(np.int32)
    j = generator.integers(0, 3000, 20_000).astype(np.int32)
    left, right = random(1, tf.float64, 500, 16), random(2, tf.float64, 3000, 16)
    upstream = random(3, tf.float64, 20_000)
    a, b, up = exact(left), exact(right), exact(upstream)[:, None]
    expected = (
        np.sum(a[i] * b[j], axis=1),
        sums_of_rows(500, i, up * b[j]),
        sums_of_rows(3000, j, up * a[i]),
    )
    assert_close(inner(left, right, i, j, upstream), expected, tf.float64)


def test_known_width_is_kept():
    """So that a layer that follows can be built."""

    @tf.function
    def width(values, i):
        return tf.constant(weighted_sums(None, values, i, i, tf.size(i)).shape[1])

    assert width(tf.ones([2, 3]), tf.constant([0, 1])) == 3


@pytest.mark.parametrize("number", [4096, 4097, 5000])
def test_more_pairs_than_are_gathered_at_a_time(number):
    left, right = random(0, tf.float64, 7, 3), random(1, tf.float64, 9, 3)
    generator = np.random.default_rng(2)
    i, j = np.sort(generator.integers(0, 7, number)), generator.integers(0, 9, number)
    expected = np.sum(left.numpy()[i] * right.numpy()[j], axis=1)
    np.testing.assert_allclose(inner_products(left, right, i, j), expected, rtol=1e-12)
