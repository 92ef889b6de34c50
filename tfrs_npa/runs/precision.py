"""What a model computes in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf


@contextlib.contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """For a `with` block, models are made that compute in a precision.

    Args:
        precision: `bfloat16`: by Keras's policy `mixed_bfloat16`, in which weights, moments, loss
            and scores are float32. `float32`: by the policy in force, float32 unless it was set.
    """
    before = tf.keras.mixed_precision.global_policy()
    if precision == "bfloat16":
        tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        yield
    finally:
        tf.keras.mixed_precision.set_global_policy(before)
