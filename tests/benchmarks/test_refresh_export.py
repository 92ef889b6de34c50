"""The benchmark of a refresh, on few articles."""

import json

import pytest

from tfrs_npa.serving import module


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_preset")
def test_json(benchmark, run_here, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_SIGNATURES", {"score": module._SIGNATURES["score"]})
    file, options = tmp_path / "refresh.json", ("--articles", 300, "--new", 20, "--times", 1)
    shown, _ = run_here(benchmark("refresh_export"), *options, "--only-small", "--json", file)
    result = json.loads(file.read_text())
    (table,), (measurement,) = result["tables"], result["measurements"]
    assert table["title"] == "20 new articles beside 300" and table["title"] in shown
    assert [row[0] for row in table["rows"]] == ["small"]
    assert measurement["at_most"] == 5 and measurement["value"] > 0
    assert measurement["name"] == "refresh of an export, 20 articles beside 300, s (small)"
