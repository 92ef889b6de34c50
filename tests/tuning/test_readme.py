"""The snippets of tuning/README.md, run as they are printed, on a smaller synthetic world."""

import functools
import pathlib
import re

import keras_tuner
import pytest
import tensorflow_datasets as tfds

from tfrs_npa.datasets.mind import synthetic

README = pathlib.Path(__file__).parents[2] / "tuning" / "README.md"


@pytest.fixture
def small_world(monkeypatch, tmp_path):
    """Lets the builder make a world that trains in seconds, and every search be a short one."""
    world = synthetic.SyntheticWorld
    small = functools.partial(world, users=60, articles=150, impressions=(100, 40, 40))
    monkeypatch.setattr(synthetic, "SyntheticWorld", small)
    monkeypatch.setattr(tfds, "load", functools.partial(tfds.load, data_dir=tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("RandomSearch", "BayesianOptimization", "Hyperband"):
        tuner = getattr(keras_tuner, name)

        def short(*args, tuner=tuner, **kwargs):
            made = tuner(*args, **kwargs)
            made.oracle.max_trials = 1
            return made

        monkeypatch.setattr(keras_tuner, name, short)


def test_snippets(small_world):
    names = {}
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 3
    searched = set()
    for block in blocks:
        exec(compile(block, "tuning/README.md", "exec"), names)
        (trial,) = names["tuner"].oracle.trials.values()
        assert trial.status == "COMPLETED" and 0 <= trial.score <= 1
        searched |= set(trial.hyperparameters.values)
    assert {"num_filters", "clipnorm", "weight"} <= searched
    assert names["model"].config == names["config"]
