"""Benchmarks as modules, and as commands that run in this process."""

from __future__ import annotations

import importlib
import pathlib

import pytest

from tfrs_npa.config import PRESETS

BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="session")
def benchmark():
    """Imports a module of `benchmarks/`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield importlib.import_module


@pytest.fixture(scope="module")
def tiny_preset():
    """Makes preset "small" smaller still."""
    tiny = {"title_length": 10, "history_length": 10, "word_embedding_dim": 8, "num_filters": 8}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in tiny.items():
            patch.setitem(PRESETS["small"], name, value)
        yield
