"""The benchmark of the metrics, on fewer impressions."""

import json

import numpy as np
import pytest


@pytest.fixture
def metrics(benchmark, monkeypatch):
    module = benchmark("metrics")
    monkeypatch.setattr(module, "IMPRESSIONS", 200)
    return module


def test_json(metrics, benchmark, run_here, tmp_path):
    file = tmp_path / "metrics.json"
    shown, _ = run_here(metrics, "--batch-size", 50, "--rounds", 2, "--json", file)
    result = json.loads(file.read_text())
    assert result["command"] == "python benchmarks/metrics.py --batch-size 50 --rounds 2"
    (table,) = result["tables"]
    candidates = metrics.generate(np.random.default_rng(0))[2].sum()
    assert table["title"] == f"200 impressions, {candidates:,} candidates"
    assert [row[0] for row in table["rows"]] == ["all at once", "batches of 50"]
    rows = zip(table["rows"], result["measurements"], strict=True)
    for (name, median, first), measurement in rows:
        assert f"{measurement['value']:.2f}" == median and measurement["at_most"] == 3
        assert f", {name}, seconds" in measurement["name"]
        assert f"{name}: median {median} s, first {first} s (AUC 0." in shown
        assert 0 <= float(median) <= float(first)  # the first call has the tracing in it
    assert "\n## Metrics\n" in benchmark("report").tables([result])
