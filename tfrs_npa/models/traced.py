"""Graphs that are traced again when a model has got a larger table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tfrs_npa.layers.user_embedding import UserEmbedding


class Traced:
    """A `tf.function` that is traced again when the user table has been replaced.

    A graph goes on reading the variables that it was traced with, but `NPA.add_users` puts a larger
    table in the place of the old one. Call it as the function.

    Args:
        function: What to trace.
        input_signature: As for `tf.function`.
        user_embedding: The layer whose table the function may read.
        autograph: As for `tf.function`.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        input_signature: Sequence[tf.TensorSpec],
        user_embedding: UserEmbedding,
        autograph: bool = True,
    ):
        self._function, self._user_embedding = function, user_embedding
        self._options = {"input_signature": input_signature, "autograph": autograph}
        # The table that the graph reads, and the graph: one attribute, as threads share it.
        self._traced: tuple[Any, Any] = None, None

    def __call__(self, *args):
        """Calls the function."""
        table, traced = self._traced
        if table is not self._user_embedding.table:
            table = self._user_embedding.table
            traced = tf.function(self._function, **self._options)
            self._traced = table, traced
        return traced(*args)
