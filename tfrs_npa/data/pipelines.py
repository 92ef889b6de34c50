"""Options of `tf.data` pipelines."""

from __future__ import annotations

import tensorflow as tf


def without_autotuning(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns the data set without TensorFlow's tuning of its parallelism and buffers.

    The thread that tunes an iterator sleeps for longer and longer, in steps of 5 seconds, and an
    iterator cannot be deleted before it wakes (TensorFlow 2.21): an epoch of 6 seconds takes 10.
    These pipelines have nothing to tune.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
