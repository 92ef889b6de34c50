"""The recall of two stages, of a run with random weights."""

import json

import numpy as np
import pytest

import tfrs_npa
from tfrs_npa.runs.baselines import Baselines
from tfrs_npa.runs.run import Run
from tfrs_npa.settings import TrainingSettings

pytestmark = pytest.mark.filterwarnings("ignore:Even though the .tf.config")


def make_run(path, mind_folder):
    """Writes the folder of a small model with random weights."""
    data = tfrs_npa.load_mind(mind_folder)
    catalog = data.add_articles(tfrs_npa.NewsCatalog().adapt(data.titles("train")))
    _, users = data.impressions_and_users("train", catalog)
    config = tfrs_npa.NPAConfig.preset("small")
    model = tfrs_npa.NPA(config, catalog, users)
    draws = np.random.default_rng(0)
    model.set_weights([draws.normal(0, 0.5, weight.shape) for weight in model.get_weights()])
    model.compile(optimizer=tfrs_npa.default_optimizer(config, 1))
    Run.create(path, model, TrainingSettings(str(mind_folder)), Baselines({}))


def test_json(benchmark, run_here, mind_folder, tmp_path, tiny_preset, eager_functions):
    run, file = tmp_path / "run", tmp_path / "recall.json"
    make_run(run, mind_folder)
    options = ["--run", run, "--users", 20, "--shortlists", 10, 10_000, "--json", file]
    shown, _ = run_here(benchmark("top_k_recall"), *options)
    recalls, errors = json.loads(file.read_text())["tables"]
    assert recalls["title"].endswith("20 users")
    # A shortlist of more than the catalogue is left out.
    (_, *half), (short, *few) = recalls["rows"]
    assert "10 ranked" in short and 0 < float(few[0]) <= 1 and float(half[0]) > 0.9
    assert few[2] in ("", "1.000")
    largest, mean = (float(error.split()[0]) for error in errors["rows"][0])
    assert 0 < mean < largest < 5
    assert recalls["title"] in shown
