"""The packed convolution, against TensorFlow's of one title at a time."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfrs_npa.layers.packed_convolution import packed_convolution, word_products


@pytest.mark.parametrize("window", [1, 2, 3, 4, 5])
def test_same_as_one_title_at_a_time(window):
    generator = np.random.default_rng(0)
    x = generator.normal(size=[6, 4]).astype(np.float32)
    kernel = tf.constant(generator.normal(size=[window, 4, 3]), tf.float32)
    bias = tf.constant([0.1, -0.2, 0.3])
    titles = [[0, 1, 2, 1], [], [3], [5, 4, 5]]
    words = np.concatenate(titles).astype(np.int32)
    lengths = tf.constant([len(title) for title in titles])
    expected = [
        tf.nn.relu(tf.nn.conv1d(x[title][np.newaxis], kernel, 1, "SAME")[0] + bias)
        for title in titles
        if title
    ]
    products = word_products(tf.constant(x), kernel)
    found = packed_convolution(products, tf.constant(words), lengths, window, bias)
    np.testing.assert_allclose(found, np.concatenate(expected), rtol=1e-5, atol=1e-5)
