"""Benchmarks as modules, and as commands that run in this process."""

from __future__ import annotations

import importlib
import pathlib

import numpy as np
import pytest

import tfrs_npa
from tfrs_npa.config import PRESETS
from tfrs_npa.runs.baselines import Baselines
from tfrs_npa.runs.run import Run
from tfrs_npa.settings import TrainingSettings

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


@pytest.fixture
def make_run(mind_folder):
    """Writes the folder of a small model with random weights."""

    def make(path):
        data = tfrs_npa.load_mind(mind_folder)
        catalog = data.add_articles(tfrs_npa.NewsCatalog().adapt(data.titles("train")))
        _, users = data.impressions_and_users("train", catalog)
        config = tfrs_npa.NPAConfig.preset("small")
        model = tfrs_npa.NPA(config, catalog, users)
        draws = np.random.default_rng(0)
        model.set_weights([draws.normal(0, 0.5, weight.shape) for weight in model.get_weights()])
        model.compile(optimizer=tfrs_npa.default_optimizer(config, 1))
        Run.create(path, model, TrainingSettings(str(mind_folder)), Baselines({}))

    return make
