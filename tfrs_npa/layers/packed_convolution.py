"""The convolution of packed titles, in which each distinct word is projected once."""

from __future__ import annotations

import tensorflow as tf

from tfrs_npa.layers.packed import packed_rows, packed_starts
from tfrs_npa.layers.sparse_products import weighted_sums


def word_products(x, kernel):
    """Returns the products `K_o x` of words, which `packed_convolution` adds up.

    Args:
        x: `[distinct words, word_embedding_dim]`.
        kernel: K, `[window, word_embedding_dim, num_filters]`.

    Returns:
        `[distinct words * window, num_filters]`.
    """
    side_by_side = tf.cast(tf.concat(tf.unstack(kernel), axis=1), x.dtype)
    return tf.reshape(tf.matmul(x, side_by_side), [-1, kernel.shape[2]])


def packed_convolution(products, words, lengths, window, bias):
    """Convolves packed titles, `same` padding: `relu(sum_o K_o x[i + o] + b)`.

    Args:
        products: What `word_products` makes of distinct words.
        words: `[words]` which of these words, one title after the other.
        lengths: `[articles]` words of each title.
        window: The window of the kernel K, in words.
        bias: b, `[num_filters]`.

    Returns:
        `[words, num_filters]`.
    """
    # What each word and its neighbours add up: rows of `products`, `window` for each word.
    offsets = [step - (window - 1) // 2 for step in range(window)]
    number = tf.size(words)
    titles = packed_rows(lengths)
    before = tf.range(number) - tf.gather(packed_starts(lengths), titles)
    after = tf.gather(lengths, titles) - before
    # Vectors, because TensorFlow takes ten times longer over a comparison that broadcasts.
    inside = tf.stack([(before >= -o) & (after > o) for o in offsets], axis=1)
    at = tf.where(inside, tf.range(number)[:, tf.newaxis] + offsets, 0)
    terms = tf.gather(words, at) * window + tf.range(window)
    places = tf.where(inside)
    rows = tf.cast(places[:, 0], tf.int32)
    sums = weighted_sums(None, products, rows, tf.gather_nd(terms, places), number)
    return tf.nn.relu(sums + tf.cast(bias, sums.dtype))
