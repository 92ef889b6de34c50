"""Products of chosen rows of two matrices, and their gradients, without copies of the rows.

TensorFlow's own way is to gather the rows, and to add up the gradients of equal rows with
`unsorted_segment_sum`, which takes a multiple of the time that the product itself takes. Here what
is added up goes through a product with a sparse matrix; `benchmarks/README.md` has the times.

That is so on a CPU. Where a GPU is visible when a function is traced, TensorFlow's own way is
taken: it has memory for the rows, no loop pays there, and cuSPARSE refuses a matrix with more
entries than cells.
"""

from __future__ import annotations

import tensorflow as tf

# Pairs whose rows are gathered at a time: few enough for a processor's cache.
_CHUNK = 4096


def inner_products(left, right, i, j):
    """Returns the inner products of chosen rows, `left[i] . right[j]`.

    Args:
        left: `[rows, features]`.
        right: `[columns, features]`.
        i: `[pairs]` rows of `left`, ascending.
        j: `[pairs]` rows of `right`.

    Returns:
        `[pairs]`.
    """

    @tf.custom_gradient
    def products(left, right):
        result = _inner_products(left, right, i, j)

        def gradient(upstream):
            return (
                _sums(upstream, i, j, tf.shape(left)[0], right),
                _sums(upstream, i, j, tf.shape(right)[0], left, transposed=True),
            )

        return result, gradient

    return products(left, right)


def _on_gpu() -> bool:
    return bool(tf.config.list_logical_devices("GPU"))


def _inner_products(left, right, i, j):
    """Does so chunk by chunk on a CPU: twice as fast as with all rows in memory."""
    if _on_gpu():
        return tf.reduce_sum(tf.gather(left, i) * tf.gather(right, j), axis=1)
    pairs = tf.size(i)
    chunks = tf.maximum((pairs + _CHUNK - 1) // _CHUNK, 1)

    def add(chunk, results):
        part = slice(chunk * _CHUNK, (chunk + 1) * _CHUNK)
        result = tf.reduce_sum(tf.gather(left, i[part]) * tf.gather(right, j[part]), axis=1)
        return chunk + 1, results.write(chunk, result)

    results = tf.TensorArray(left.dtype, chunks, infer_shape=False, element_shape=[None])
    _, results = tf.while_loop(lambda chunk, _: chunk < chunks, add, (0, results))
    return results.concat()


def weighted_sums(weights, values, i, j, number):
    """Returns weighted sums of chosen rows: `sum_p weights[p] values[j[p]]` over `i[p] == row`.

    Args:
        weights: `[pairs]`; None: all 1.
        values: `[columns, features]`.
        i: `[pairs]` rows of the result, ascending.
        j: `[pairs]` rows of `values`.
        number: Rows of the result.

    Returns:
        `[number, features]`; a row without a pair is zero.
    """
    constant = weights is None
    if constant:
        weights = tf.ones_like(i, values.dtype)

    @tf.custom_gradient
    def sums(weights, values):
        def gradient(upstream):
            # Indexed slices, where rows of the result were gathered.
            upstream = tf.convert_to_tensor(upstream)
            return (
                None if constant else inner_products(upstream, values, i, j),
                _sums(weights, i, j, tf.shape(values)[0], upstream, transposed=True),
            )

        return _sums(weights, i, j, number, values), gradient

    return sums(weights, values)


def _sums(entries, i, j, number, dense, transposed=False):
    """Returns the sparse matrix of `entries` at `i`, `j` (`i` ascends), times `dense`.

    Entries at the same place add up.

    Args:
        entries: `[pairs]`.
        i: `[pairs]` rows of the matrix.
        j: `[pairs]` columns of the matrix.
        number: Rows of the result.
        dense: What is multiplied, `[.., features]`.
        transposed: Whether it is the transposed matrix.
    """
    # Sums are in float32 at least; sparse matrices have kernels for no shorter type either.
    dtype = tf.float64 if dense.dtype == tf.float64 else tf.float32
    if _on_gpu():
        source, target = (i, j) if transposed else (j, i)
        rows = tf.cast(entries, dtype)[:, tf.newaxis] * tf.cast(tf.gather(dense, source), dtype)
        return tf.cast(tf.math.unsorted_segment_sum(rows, target, number), dense.dtype)
    # At least one row: a product without any is a division by zero in TensorFlow's kernel.
    rows = tf.maximum(number, 1)
    shape = [tf.shape(dense)[0], rows] if transposed else [rows, tf.shape(dense)[0]]
    matrix = tf.raw_ops.SparseTensorToCSRSparseMatrix(
        indices=tf.cast(tf.stack([i, j], axis=1), tf.int64),
        values=tf.cast(entries, dtype),
        dense_shape=tf.cast(tf.stack(shape), tf.int64),
    )
    if transposed:
        # Several times faster than a product that is told to transpose.
        matrix = tf.raw_ops.SparseMatrixTranspose(input=matrix, type=dtype)
    product = tf.raw_ops.SparseMatrixMatMul(a=matrix, b=tf.cast(dense, dtype))
    return tf.cast(product[:number], dense.dtype)
