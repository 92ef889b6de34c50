"""The benchmark of trials, on two of them."""

import json

import pytest

from tfrs_npa.config import NPAConfig


@pytest.mark.usefixtures("tiny_preset")
def test_json(benchmark, run_here, tmp_path, monkeypatch):
    trials = benchmark("trials")
    monkeypatch.setattr(trials, "seconds_of_trials", lambda config, searched, n: [3.0, 1.0])
    shown, _ = run_here(trials, "--trials", 2, "--json", tmp_path / "trials.json")
    result = json.loads((tmp_path / "trials.json").read_text())
    (table,), measurements = result["tables"], result["measurements"]
    assert table["title"] in shown and table["rows"][0][:2] == ["small", "3.00"]
    assert [(found["value"], found["at_most"]) for found in measurements] == [(1.0, 0.5)] * 2


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_preset")
def test_seconds(benchmark):
    trials = benchmark("trials")
    seconds = trials.seconds_of_trials(NPAConfig.preset("small"), trials.RATES, 2)
    assert len(seconds) == 2 and min(seconds) > 0
