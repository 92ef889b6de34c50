"""The benchmark of the top K, on few articles."""

import importlib
import json
import pathlib
import sys

import pytest


@pytest.fixture
def run(monkeypatch):
    """Runs it with options."""
    monkeypatch.syspath_prepend(pathlib.Path(__file__).parents[2] / "benchmarks")
    top_k = importlib.import_module("top_k")

    def main(*options):
        monkeypatch.setattr(sys, "argv", ["top_k.py", *map(str, options)])
        top_k.main()

    return main


def test_json(run, tmp_path, capsys):
    file = tmp_path / "top_k.json"
    few = ("--calls", 3, "--batch-calls", 2, "--plain-calls", 1, "--batch-size", 4)
    run("--articles", 300, *few, "--json", file)
    output = capsys.readouterr().out
    result = json.loads(file.read_text())
    times, memory = result["tables"]
    assert (
        times["title"] == "Top 10 of 300 articles, milliseconds" and "4 users" in times["headers"]
    )
    rows = {name: figures for name, *figures in times["rows"]}
    assert list(rows) == [
        "plain towers",
        "BruteForce, the floor",
        "PersonalizedTopK, float32",
        "PersonalizedTopK, bfloat16",
        "TwoStageTopK, 100 ranked",
    ]
    for name, figures in rows.items():
        assert name in output and all(float(value) > 0 for value in figures if value)
    assert rows["PersonalizedTopK, float32"][-1] == "1.000"
    assert 0.9 <= float(rows["PersonalizedTopK, bfloat16"][-1]) <= 1
    assert 0 < float(rows["TwoStageTopK, 100 ranked"][-1]) <= 1
    single, half = (float(row[1].replace(",", "")) for row in memory["rows"][1:])
    assert half == pytest.approx(single / 2, abs=1)
    assert memory["rows"][1][3] == "0" and 0 < float(memory["rows"][2][3].split()[0]) < 5
    one = float(rows["plain towers"][0]) / float(rows["PersonalizedTopK, float32"][0])
    assert result["figures"][0]["value"] == pytest.approx(one, rel=0.1)


def test_bad_options(run, capsys):
    with pytest.raises(SystemExit, match="2"):
        run("--articles", 100)
    assert "at least 256 --articles" in capsys.readouterr().err
