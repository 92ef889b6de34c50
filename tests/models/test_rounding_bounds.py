"""What is kept of titles for the bounds of rounded scores, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfrs_npa.models.news_encoder import TitleFeatures
from tfrs_npa.models.rounding_bounds import title_errors


@pytest.mark.parametrize("is_of_encoder", [True, False], ids=["exact words", "kept words"])
def test_errors_and_lengths_are_those_of_the_worst_word(is_of_encoder):
    lengths = [2, 0, 3]
    words = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    rounded = tf.cast(tf.cast(words, tf.bfloat16), tf.float32).numpy()
    features = TitleFeatures(tf.constant(words), None, tf.constant([0, 2, 2]), tf.constant(lengths))
    expected, first = np.zeros((3, 2)), 0
    for title, length in enumerate(lengths):
        own = slice(first, first + length)
        if length:
            errors = np.linalg.norm(words[own] - rounded[own], axis=1)
            expected[title, 0] = errors.max() if is_of_encoder else 0
            expected[title, 1] = np.linalg.norm(rounded[own], axis=1).max()
        first += length
    assert 0 < np.linalg.norm(words - rounded, axis=1).max() < 0.01
    np.testing.assert_allclose(title_errors(features, is_of_encoder), expected, rtol=1e-5)
