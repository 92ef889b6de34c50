"""The README's snippet, run as it is printed, on a smaller synthetic world."""

import functools
import pathlib
import re

import numpy as np
import pytest
import tensorflow_datasets as tfds

import tfrs_npa
from tfrs_npa.datasets.mind import synthetic

README = pathlib.Path(__file__).parents[1] / "README.md"


@pytest.fixture
def small_world(monkeypatch, tmp_path):
    """Lets the builder make a world that trains in seconds."""
    world = synthetic.SyntheticWorld
    small = functools.partial(world, users=100, articles=600, impressions=(200, 50, 50))
    monkeypatch.setattr(synthetic, "SyntheticWorld", small)
    monkeypatch.setattr(tfds, "load", functools.partial(tfds.load, data_dir=tmp_path))


def test_snippet(small_world):
    code = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)[1]
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    history = names["model"].history.history
    assert len(history["loss"]) == 3
    assert np.isfinite(history["loss"]).all() and np.isfinite(history["val_auc"]).all()
    assert isinstance(names["model"], tfrs_npa.NPA)
