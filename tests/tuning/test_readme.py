"""The snippets of tuning/README.md, run as they are printed, on less data and for an epoch."""

from __future__ import annotations

import pathlib
import re

import keras_tuner
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from tfrs_npa.data.loading import load_mind

README = pathlib.Path(__file__).parents[2] / "tuning" / "README.md"


@pytest.fixture
def short(mind_folder, monkeypatch, tmp_path):
    """Lets every search be one of one trial on a small folder."""
    data = load_mind(mind_folder)

    def load(name, split):
        tables = {"mind/synthetic-news": data.news, "mind/synthetic-behaviors": data.behaviors}
        return [tables[name][part] for part in split]

    monkeypatch.setattr(tfds, "load", load)
    monkeypatch.chdir(tmp_path)
    for name in ("RandomSearch", "BayesianOptimization", "Hyperband"):
        tuner = getattr(keras_tuner, name)

        def one_trial(*args, tuner=tuner, **kwargs):
            made = tuner(*args, **kwargs)
            made.oracle.max_trials = 1
            return made

        monkeypatch.setattr(keras_tuner, name, one_trial)


@pytest.fixture
def run_eagerly():
    """Has models run op by op or not: tracing takes most of the time of a short training."""
    yield tf.config.run_functions_eagerly
    tf.config.run_functions_eagerly(False)


# What is run op by op does not include data sets.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Even though the `tf.config.*:UserWarning")
def test_snippets(short, run_eagerly):
    names = {}
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 3
    searched = set()
    for block in blocks:
        # A model of the user's own is traced.
        run_eagerly("tfrs.Model" not in block)
        block = block.replace("epochs=3)", "epochs=1)")
        exec(compile(block, "tuning/README.md", "exec"), names)
        (trial,) = names["tuner"].oracle.trials.values()
        assert trial.status == "COMPLETED" and 0 <= trial.score <= 1
        searched |= set(trial.hyperparameters.values)
    assert {"num_filters", "clipnorm", "weight"} <= searched
    assert names["model"].config == names["config"]
