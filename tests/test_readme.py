"""The snippets of README and docs, run one after the other as printed, on a smaller world."""

import functools
import pathlib
import re

import keras_tuner
import numpy as np
import pytest
import tensorflow_datasets as tfds

import tfrs_npa
from tfrs_npa.datasets.mind import synthetic

pytestmark = [
    pytest.mark.usefixtures("eager_functions"),
    pytest.mark.filterwarnings("ignore:Even though the .tf.config"),
]

ROOT = pathlib.Path(__file__).parents[1]
# Each page continues the snippets of those before it.
PAGES = ("README.md", "docs/searching.md", "docs/serving.md")


def snippets(page):
    """The compiled Python blocks of a page."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
    return [compile(block, page, "exec") for block in blocks]


@pytest.fixture
def small_world(monkeypatch, tmp_path):
    """Lets the builder make a world that trains in seconds."""
    world = synthetic.SyntheticWorld
    small = functools.partial(world, users=100, articles=600, impressions=(200, 50, 50))
    monkeypatch.setattr(synthetic, "SyntheticWorld", small)
    monkeypatch.setattr(tfds, "load", functools.partial(tfds.load, data_dir=tmp_path))


@pytest.mark.slow
def test_snippets(small_world, monkeypatch, tmp_path):
    def short_search(*args, **kwargs):
        return hyperband(*args, **kwargs | {"max_epochs": 2})

    hyperband = keras_tuner.Hyperband
    monkeypatch.setattr(keras_tuner, "Hyperband", short_search)
    monkeypatch.chdir(tmp_path)
    first, search, top_k = (code for page in PAGES for code in snippets(page))
    names = {}
    exec(first, names)
    history = names["model"].history.history
    assert len(history["loss"]) == 1
    assert np.isfinite(history["loss"]).all() and np.isfinite(history["val_auc"]).all()
    assert isinstance(names["model"], tfrs_npa.NPA)

    exec(search, names)
    assert names["config"].num_filters in (64, 128, 256)
    assert names["model"].config == names["config"]

    withdrawn = names["catalog"].ids[2].encode()
    exec(top_k, names)
    assert names["scores"].shape == names["ids"].shape == (1, 10)
    best = names["ids"].numpy()[0].tolist()
    assert set(best) <= {news_id.encode() for news_id in names["catalog"].ids}
    query = {"user_id": ["U13"], "history": [["N2"]]}
    _, shown = names["index"](query, k=names["index"].num_articles)
    assert b"N99999" in shown.numpy()[0] and withdrawn not in shown.numpy()[0]
