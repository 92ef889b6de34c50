"""The two benchmarks of scale, run as a user runs them, on little."""

import importlib
import json
import os
import pathlib
import subprocess
import sys

import pytest

BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"


def run(name, *options):
    """Runs a benchmark; returns what it wrote to the two streams."""
    process = subprocess.run(
        [sys.executable, BENCHMARKS / name, *map(str, options)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(BENCHMARKS.parent)},
    )
    return process.stdout, process.stderr


def test_scaling(tmp_path):
    file, plot = tmp_path / "scaling.json", tmp_path / "plot.png"
    small = ("--preset", "small", "--users", 50, 5000, "--steps", 8, "--largest", 1e4)
    output, _ = run("scaling.py", *small, "--json", file, "--plot", plot)
    result = json.loads(file.read_text())
    steps, evaluations = result["tables"]
    (figure,) = result["figures"]
    first, second = (float(row[1]) for row in steps["rows"][:2])
    assert figure["value"] == pytest.approx(second / first, rel=0.1) and figure["at_most"] == 1.2
    assert [row[0] for row in evaluations["rows"]] == ["10,027"]  # 271 impressions
    seconds, encoding = map(float, evaluations["rows"][0][1:3])
    assert 0 < encoding < seconds
    assert [row[0] for row in steps["rows"]] == ["50", "5,000", "times"]
    assert "5,000" in output and "10,027" in output
    assert plot.read_bytes()[1:4] == b"PNG"


def test_linearity(monkeypatch):
    """Encoding the catalogue, 2 seconds, is no part of it."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    linearity = importlib.import_module("scaling").linearity
    points = [(10, 5.0, 2.0), (100, 6.0, 2.0), (1000, 62.0, 2.0)]
    (figure,) = linearity(points)
    assert figure["value"] == pytest.approx(1.5) and figure["at_most"] == 1.2
    assert figure["name"] == (
        "evaluation without encoding, seconds a candidate, 1,000 / 100 candidates"
    )
    assert linearity(points[:1]) == []


def test_large_evaluation(tmp_path):
    file = tmp_path / "large.json"
    small = ("--preset", "small", "--share", 0.001)
    _, messages = run("large_evaluation.py", *small, "--encoding-memory", 0.25, "--json", file)
    assert "72,025 encoded articles would take" in messages
    assert "more than encoding_memory, 0.25 GiB" in messages
    result = json.loads(file.read_text())
    figures = dict(result["tables"][0]["rows"])
    assert figures["impressions"] == "376"
    before, peak = (float(v) for name, v in figures.items() if name.startswith("peak"))
    assert 0 < before <= peak == pytest.approx(result["figures"][0]["value"], abs=0.01)
    assert float(figures["seconds, tracing included"]) == pytest.approx(
        result["figures"][1]["value"], abs=0.06
    )


@pytest.mark.parametrize(
    "name, option, value",
    [
        ("scaling", "--largest", "1000"),
        ("scaling", "--steps", "0"),
        ("large_evaluation", "--share", "2"),
    ],
)
def test_bad_options(name, option, value, monkeypatch, capsys):
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setattr(sys, "argv", [name, option, value])
    with pytest.raises(SystemExit, match="2"):
        importlib.import_module(name).main()
    assert option in capsys.readouterr().err.splitlines()[-1]
