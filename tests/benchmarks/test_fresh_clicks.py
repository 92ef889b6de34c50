"""The benchmark of fresh clicks, of a run with random weights."""

import json

import numpy as np
import pytest

import tfrs_npa

pytestmark = pytest.mark.filterwarnings("ignore:Even though the .tf.config")


def test_json(benchmark, run_here, make_run, tmp_path, tiny_preset, eager_functions):
    run, file = tmp_path / "run", tmp_path / "fresh_clicks.json"
    make_run(run)
    shown, _ = run_here(benchmark("fresh_clicks"), "--run", run, "--json", file)
    (table,) = json.loads(file.read_text())["tables"]
    assert table["title"] in shown
    assert [row[0] for row in table["rows"]] == ["known", "left out", "untitled"]
    assert len({row[1] for row in table["rows"]}) == 3
    assert [bool(row[3]) for row in table["rows"]] == [True, False, True]


def test_the_latest_half_is_fresh(benchmark):
    columns = {
        "impression_id": np.arange(3),
        "user_id": np.zeros(3, np.int32),
        "history_values": np.array([2, 3, 4, 5, 6, 7], np.int32),
        "history_lengths": np.array([3, 0, 3]),
        "candidate_values": np.array([2, 3, 4], np.int32),
        "candidate_lengths": np.ones(3, np.int64),
        "clicked": np.zeros(3, np.int8),
    }
    impressions = tfrs_npa.Impressions.from_columns(columns)
    fresh = benchmark("fresh_clicks").with_fresh_clicks(impressions)
    assert fresh.history_values.tolist() == [2, 3, 1, 5, 6, 1]
    assert impressions.history_values.tolist() == [2, 3, 4, 5, 6, 7]
