"""How fast the machine can multiply."""

from __future__ import annotations

import time


class MatrixProduct:
    """Products of two square float32 matrices, the most that the machine can do.

    Args:
        size: Rows and columns; a product is `2 size^3` operations.
    """

    def __init__(self, size: int = 2048):
        import tensorflow as tf

        self._size = size
        self._matrices = [tf.random.stateless_normal([size, size], [0, i]) for i in range(2)]
        self._multiply = tf.function(tf.matmul)

    def run(self, times: int) -> tuple[float, float]:
        """Returns seconds and 10^9 operations of `times` products, one after the other."""
        start = time.perf_counter()
        for _ in range(times):
            product = self._multiply(*self._matrices)
        product.numpy()  # waits for it
        return time.perf_counter() - start, times * 2e-9 * self._size**3
