"""The benchmark of the optimizer, on small tables."""

import importlib
import json
import pathlib
import sys

import pytest


@pytest.fixture
def optimizer_step(monkeypatch):
    monkeypatch.syspath_prepend(pathlib.Path(__file__).parents[2] / "benchmarks")
    return importlib.import_module("optimizer_step")


def test_json(optimizer_step, tmp_path, monkeypatch, capsys):
    file = tmp_path / "optimizer_step.json"
    options = "--rows 1000 20 --dim 3 --ids 10 --steps 2 --warmup 1 --json".split()
    monkeypatch.setattr(sys, "argv", ["optimizer_step.py", *options, str(file)])
    optimizer_step.main()
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    result = json.loads(file.read_text())
    (table,) = result["tables"]
    assert "10 ids of 3 numbers" in table["title"]
    assert lines[1:] == [table["headers"], *table["rows"]]
    assert [row[0] for row in table["rows"]] == ["1,000", "20"]
    assert all(float(cell) > 0 for row in table["rows"] for cell in row[1:])
    assert "\n## Optimizer step" in importlib.import_module("report").tables([result])
