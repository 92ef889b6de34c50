"""What re-ranking costs, on made-up impressions, and as a command."""

from __future__ import annotations

import numpy as np
import pytest

from tfrs_npa.config import NPAConfig
from tfrs_npa.data.impressions import Impressions
from tfrs_npa.data.splits import load_splits
from tfrs_npa.metrics.impression_values import impression_values, mean_values
from tfrs_npa.models.npa import NPA
from tfrs_npa.runs.baselines import Baselines
from tfrs_npa.runs.run import Run
from tfrs_npa.settings import TrainingSettings

pytestmark = pytest.mark.filterwarnings("ignore:Even though the .tf.config")

SIZES = ("word_embedding_dim", "user_embedding_dim", "num_filters", "attention_dim")


@pytest.fixture(scope="module")
def trade_off(example):
    return example("diversity_trade_off")


@pytest.fixture
def world(trade_off, monkeypatch):
    monkeypatch.setattr(trade_off, "_BLOCK", 7)
    generator = np.random.default_rng(0)
    lengths, clicks = generator.integers(1, 30, 20), generator.integers(0, 5, 20)
    vectors = generator.normal(size=(50, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    impressions = Impressions(
        np.arange(20),
        np.zeros(20, np.int32),
        generator.integers(2, 50, clicks.sum()).astype(np.int32),
        np.cumsum([0, *clicks]),
        np.concatenate([generator.permutation(48)[:n] + 2 for n in lengths]).astype(np.int32),
        np.cumsum([0, *lengths]),
        (generator.random(lengths.sum()) < 0.3).astype(np.int8),
    )
    scores = generator.random(lengths.sum(), np.float32)
    return scores, impressions, vectors, np.append([0, 0], generator.integers(1, 5, 48))


@pytest.mark.parametrize("method, aim", [("mmr", 1), ("calibrated", -1)])
def test_the_curve_starts_at_the_model_and_leads_to_the_aim(trade_off, world, method, aim):
    scores, impressions, vectors, category = world
    rows = list(trade_off.curve(scores, impressions, method, vectors, category))
    expected = impression_values(impressions.clicked, scores, impressions.candidate_splits)
    means = mean_values(expected)
    assert rows[0]["AUC"] == pytest.approx(means["auc"])
    assert rows[0]["nDCG@10"] == pytest.approx(means["ndcg_10"])
    name = "title diversity" if method == "mmr" else "miscalibration"
    assert aim * (rows[-1][name] - rows[0][name]) > 0.02


def test_the_command(trade_off, mind_folder, run_here, tmp_path, eager_functions):
    settings = TrainingSettings(str(mind_folder), epochs=1)
    catalog, splits = load_splits(settings)
    model = NPA(NPAConfig().replace(**dict.fromkeys(SIZES, 4)), catalog, splits.users)
    model.compile(optimizer="sgd")
    baselines = Baselines.of_training(splits.train, catalog, 4)
    run = Run.create(tmp_path / "run", model, settings, baselines).path
    output, _ = run_here(trade_off, "--run", run, "--to", tmp_path / "curve.png")
    assert output.count("trade-off") >= 2 and "calibrated\n" in output
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
