"""The benchmark of the metrics, on fewer impressions."""

import importlib
import json
import pathlib
import sys

import numpy as np
import pytest


@pytest.fixture
def metrics(monkeypatch):
    monkeypatch.syspath_prepend(pathlib.Path(__file__).parents[2] / "benchmarks")
    module = importlib.import_module("metrics")
    monkeypatch.setattr(module, "IMPRESSIONS", 200)
    return module


def test_json(metrics, tmp_path, monkeypatch, capsys):
    file = tmp_path / "metrics.json"
    options = ["--batch-size", "50", "--rounds", "2", "--json", str(file)]
    monkeypatch.setattr(sys, "argv", ["metrics.py", *options])
    metrics.main()
    shown = capsys.readouterr().out
    result = json.loads(file.read_text())
    assert result["command"] == "python benchmarks/metrics.py --batch-size 50 --rounds 2"
    (table,) = result["tables"]
    candidates = metrics.generate(np.random.default_rng(0))[2].sum()
    assert table["title"] == f"200 impressions, {candidates:,} candidates"
    assert [row[0] for row in table["rows"]] == ["all at once", "batches of 50"]
    for (name, median, first), figure in zip(table["rows"], result["figures"], strict=True):
        assert f"{figure['value']:.2f}" == median and figure["at_most"] == 3
        assert f", {name}, seconds" in figure["name"]
        assert f"{name}: median {median} s, first {first} s (AUC 0." in shown
        assert 0 <= float(median) <= float(first)  # the first call has the tracing in it
    assert "\n## Metrics\n" in importlib.import_module("report").tables([result])
