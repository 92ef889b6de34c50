"""The file of results, and every benchmark as the process that a user starts."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
SCRIPTS = sorted(
    path.relative_to(ROOT)
    for path in (ROOT / "benchmarks").glob("*.py")
    if "__main__" in path.read_text(encoding="utf-8")
)


@pytest.fixture
def results_file(benchmark):
    return benchmark("results_file")


def test_what_is_written(results_file, tmp_path, monkeypatch):
    path = tmp_path / "results.json"
    given = ["speed.py", "--rounds", "2", "--json", str(path), "--data=a b", "--names", "x y", "z"]
    monkeypatch.setattr(sys, "argv", ["/anywhere/" + given[0], *given[1:]])
    parser = results_file.result_parser("What it does.\n\nHow it\ndoes it.\n")
    table = results_file.table("Rows", ["", "rows/s"], [["ours", "1,234"]])
    results_file.write(
        parser.parse_args(["--json", str(path)]).json,
        title="Speed",
        about=results_file.about(parser.description),
        tables=[table],
        measurements=[results_file.measurement("rate", 1234.0, target=1000)],
        versions={"other": "1.0"},
        rates=[1, 2],
    )
    result = json.loads(path.read_text())
    environment = result.pop("environment")
    assert result == {
        "title": "Speed",
        "about": "How it does it.",
        "command": "python benchmarks/speed.py --rounds 2 --names 'x y' z",
        "tables": [table],
        "measurements": [{"name": "rate", "value": 1234.0, "target": 1000}],
        "rates": [1, 2],
    }
    assert environment["cores"] >= 1 and environment["cpu"] and environment["day"]
    assert environment["tensorflow"] and environment["other"] == "1.0"


def test_without_a_file(results_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results_file.write(None, title="", about="", tables=[])
    assert not [*tmp_path.iterdir()]


def test_measurements(results_file):
    assert results_file.measurement("ratio", 5, at_most=6, compared=True) == {
        "name": "ratio",
        "value": 5,
        "at_most": 6,
        "compared": True,
    }
    assert results_file.measurement("seconds", 5) == {"name": "seconds", "value": 5}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_help(script):
    process = subprocess.run(
        [sys.executable, script, "--help"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert process.returncode == 0 and process.stderr == ""
    assert process.stdout.startswith(f"usage: {script.name}")
