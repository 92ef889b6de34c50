"""The benchmark of scoring on Apache Beam, on few impressions and in this process."""

import json

import pytest

from tfrs_npa.serving import module


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_preset")
def test_json(benchmark, run_here, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_SIGNATURES", {"score": module._SIGNATURES["score"]})
    scoring = benchmark("beam_scoring")
    monkeypatch.setattr(scoring, "_CASES", dict.fromkeys(scoring._CASES, ()))
    file, options = tmp_path / "beam.json", ("--impressions", 300, "--articles", 200, "--times", 1)
    shown, _ = run_here(scoring, *options, "--json", file)
    result = json.loads(file.read_text())
    (table,), (ratio, least, most) = result["tables"], result["measurements"]
    assert table["title"] == "300 impressions" and table["title"] in shown
    assert [row[0] for row in table["rows"]] == ["1 process", "2 processes"]
    assert ratio["name"] == "scoring on Beam, impressions/s of two processes / of one"
    assert 0 < least["value"] <= ratio["value"] <= most["value"]
