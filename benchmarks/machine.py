"""What a benchmark ran on, and how fast that can multiply."""

from __future__ import annotations

import datetime
import os
import pathlib
import platform
import shlex
import sys
import time
from typing import Any

_PATHS = ("--json", "--plot", "--data", "--recommenders-venv", "--recommenders-python")


def describe() -> dict[str, Any]:
    """Returns cores, CPU model, load, Python and the day."""
    return {
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "cpu": _cpu_model(),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "day": datetime.date.today().isoformat(),
    }


def command() -> str:
    """Returns the command line of this process, without the options that say where files lie."""
    script, *given = sys.argv
    words = ["python", f"benchmarks/{pathlib.Path(script).name}"]
    at_path = False
    for word in given:
        if word.startswith("-"):
            at_path = word.split("=")[0] in _PATHS
        if not at_path:
            words.append(word)
    return shlex.join(words)


def _cpu_model() -> str:
    information = pathlib.Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


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
