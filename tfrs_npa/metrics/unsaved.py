"""Keras metrics that leave no state in saved models."""

from __future__ import annotations

import tensorflow as tf


class _Unsaved(tf.keras.metrics.Metric):
    """Part of a metric: what it has seen is of no use to who loads the model.

    Under `tf.distribute`, the variables of metrics cannot be loaded from files of Keras, and
    reading them takes all workers.
    """

    def save_own_variables(self, store):
        """Saves nothing."""

    def load_own_variables(self, store):
        """Loads nothing, not even from older files, which have something."""


class Mean(_Unsaved, tf.keras.metrics.Mean):
    """`tf.keras.metrics.Mean`, unsaved."""


class Sum(_Unsaved, tf.keras.metrics.Sum):
    """`tf.keras.metrics.Sum`, unsaved."""
