"""Keras metrics that leave no state in saved models."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


class _Unsaved(tf.keras.metrics.Metric):
    """Part of a metric: what it has seen is of no use to who loads the model.

    Under `tf.distribute`, the variables of metrics cannot be loaded from files of Keras, and
    reading them takes all workers.
    """

    def save_own_variables(self, store: Any) -> None:
        """Saves nothing."""

    def load_own_variables(self, store: Any) -> None:
        """Loads nothing, not even from older files, which have something."""


class WeightedMean(_Unsaved, tf.keras.metrics.Mean):
    """A mean of values whose weights have their shape.

    Keras's own compares the shapes in the graph, with operations that no GPU has a kernel for: a
    fifth of those of an evaluation step.
    """

    def update_state(self, values: tf.Tensor, sample_weight: tf.Tensor) -> None:
        """Adds values.

        Args:
            values: Of any shape.
            sample_weight: Of the shape of `values`.
        """
        values, weights = tf.cast(values, self.dtype), tf.cast(sample_weight, self.dtype)
        self.total.assign_add(tf.reduce_sum(values * weights))
        self.count.assign_add(tf.reduce_sum(weights))


class Sum(_Unsaved, tf.keras.metrics.Sum):
    """`tf.keras.metrics.Sum`, unsaved."""
