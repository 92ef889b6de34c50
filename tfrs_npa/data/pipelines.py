"""How our data sets run."""

from __future__ import annotations

import tensorflow as tf


def without_autotuning(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns the data set without TensorFlow's tuning of its parallelism and buffers.

    The thread that tunes an iterator sleeps for ever longer, 5 seconds after the first 5 and so on,
    and an iterator cannot be given up before it wakes (TensorFlow 2.21): an epoch of 6 seconds
    takes 10. Here there is nothing to tune.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
