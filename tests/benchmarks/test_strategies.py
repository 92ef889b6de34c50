"""The benchmark of strategies, with trainings in this process instead of clusters."""

from __future__ import annotations

import json
import subprocess

import pytest

from tfrs_npa import cli

SMALL = ("--epochs", 1, "--users", 50, "--impressions", 60, 20, 20)


@pytest.fixture(scope="module")
def strategies(benchmark):
    return benchmark("strategies")


@pytest.mark.slow
def test_differences(strategies, run_here, tmp_path, monkeypatch, tiny_preset, eager_functions):
    def train(name, options):
        # What another seed gives is far from the same.
        seed = 5 if name in (strategies.REVERSED, strategies.PARAMETER_SERVER) else 1
        assert cli.main(["train", *options, "--seed", str(seed)]) == 0

    monkeypatch.setattr(strategies, "train", train)
    file = tmp_path / "strategies.json"
    output, _ = run_here(strategies, *SMALL, "--json", file)
    result = json.loads(file.read_text())
    trained, different = result["tables"]
    assert [row[0] for row in trained["rows"]] == list(strategies.STRATEGIES)
    rows = {name: [float(cell) for cell in cells] for name, *cells in different["rows"]}
    assert not any(rows["mirrored"]) and not any(rows["multi-worker"])
    assert all(rows["parameter-server"]) and max(rows["parameter-server"]) > 1e-2
    assert rows["parameter-server"] == rows["none, rows reversed"]
    *differences, auc, low, high = result["measurements"]
    assert {found["value"] for found in differences} == {0}
    assert len(differences) == 4
    assert low["value"] <= auc["value"] <= high["value"]
    assert trained["title"] in output


def test_commands(strategies, monkeypatch):
    commands = {}

    def run(command, **_):
        commands[name] = command
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    for name in strategies.STRATEGIES:
        strategies.train(name, ["--run", "here"])
    assert all(command[-2:] == ["--run", "here"] for command in commands.values())
    assert commands["none"][1:4] == ["-m", "tfrs_npa", "train"]
    assert commands["none, rows reversed"][3] == "train"
    assert commands["mirrored"][3:6] == ["train", "--strategy", "mirrored"]
    assert commands["multi-worker"][1:3] == ["2", "0"]
    assert commands["parameter-server"][1:3] == ["2", "2"]


def test_a_training_that_fails_ends_it(strategies, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, stdout="", stderr="no room")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(SystemExit, match="mirrored failed:\nno room"):
        strategies.train("mirrored", [])


def test_bad_options(strategies, run_here, capsys):
    with pytest.raises(SystemExit, match="2"):
        run_here(strategies, "--epochs", 0)
    assert "at least 1 of everything" in capsys.readouterr().err
