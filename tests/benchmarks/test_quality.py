"""The comparison of quality, as the process that a user starts."""

from __future__ import annotations

import csv
import json
import os
import pathlib
import runpy
import statistics
import subprocess
import sys

import pytest

import tfrs_npa
from tfrs_npa.datasets.mind import SyntheticWorld, write_behaviors, write_news

ROOT = pathlib.Path(tfrs_npa.__file__).parents[1]
SCRIPT = ROOT / "benchmarks" / "quality.py"
PATHS = ["plain", "fast"]
AUCS = ["auc", "auc_known_users", "auc_new_users"]
COLUMNS = {**dict.fromkeys(AUCS, 4), "training_seconds": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("mind-format")
    world = SyntheticWorld(users=60, articles=150, impressions=(150, 40, 40))
    for split, name in {"train": "train", "validation": "dev", "test": "test"}.items():
        write_news(path / name / "news.tsv", world.news(split))
        write_behaviors(path / name / "behaviors.tsv", world.behaviors(split))
    return path


@pytest.fixture(scope="module")
def first(folder, tmp_path_factory):
    """The results of one seed as CSV and as JSON, and what the process wrote to the two streams."""
    path = tmp_path_factory.mktemp("quality")
    options = ["--seeds", 1, "--output", path / "results.csv", "--json", path / "quality.json"]
    shown, messages = run(folder, *options)
    result = json.loads((path / "quality.json").read_text(encoding="utf-8"))
    return path / "results.csv", result, shown, messages


def run(folder, *options):
    process = subprocess.run(
        [sys.executable, SCRIPT, "--data", folder, "--epochs", "1", *map(str, options)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout, process.stderr


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def write(path, rows):
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def quality(monkeypatch):
    """The names of the script."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    return runpy.run_path(str(SCRIPT))


def test_one_seed(folder, first):
    results, result, shown, messages = first
    rows = read(results)
    assert [row["path"] for row in rows] == PATHS
    plain, fast = rows
    for row in rows:
        assert (row["data"], row["epochs"], row["seed"]) == (str(folder), "1", "1")
        assert row["num_filters"] == "128"
        assert float(row["training_seconds"]) > 0
    assert {k: v for k, v in plain.items() if k not in ("path", *COLUMNS)} == {
        k: v for k, v in fast.items() if k not in ("path", *COLUMNS)
    }
    # The two differ by rounding only, which a few steps leave small.
    for name in AUCS:
        assert 0 < float(plain[name]) < 1
        assert float(fast[name]) == pytest.approx(float(plain[name]), abs=0.01)
    losses = [line for line in messages.splitlines() if "epoch 1 of 1: loss" in line]
    assert len(losses) == 2
    one, two = (float(line.split()[-1]) for line in losses)
    assert one == pytest.approx(two, abs=2e-4)

    assert f"{folder}, split test: 40 impressions" in shown
    (table,) = result["tables"]
    assert table["rows"][:2] == [
        [row["path"], *(f"{float(row[name]):.{digits}f}" for name, digits in COLUMNS.items())]
        for row in rows
    ]
    for row in table["rows"]:
        assert any(line.split() == " ".join(row).split() for line in shown.splitlines())
    assert "with one seed there is no telling" in shown
    assert result["trainings"] == rows and result["ratios"] == []


def test_report_takes_the_json(first, monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    text = runpy.run_path(str(SCRIPT.with_name("report.py")))["tables"]([first[1]])
    assert "\n## Quality is not traded\n" in text and "\n| plain" in text


def test_second_run_trains_nothing_again(folder, first, tmp_path):
    """Of seed 2, the results of another number of epochs come first, and are passed over."""
    rows = read(first[0])
    changed = [row | {"seed": "2", "auc": "0.75", "training_seconds": "1001"} for row in rows]
    other = [row | {"epochs": "9", "auc": "0.99"} for row in changed]
    results = tmp_path / "results.csv"
    write(results, rows + other + changed)
    before = results.read_bytes()
    shown, messages = run(folder, "--seeds", 1, 2, "--output", results)
    assert results.read_bytes() == before
    assert "loss" not in messages and messages.count("(done before)") == 4
    for row, again in zip(rows, changed):
        line = next(line for line in shown.splitlines() if line.startswith(row["path"]))
        for name, digits in COLUMNS.items():
            pair = float(row[name]), float(again[name])
            mean, deviation = statistics.mean(pair), statistics.stdev(pair)
            assert f"{mean:,.{digits}f} ± {deviation:,.{digits}f}" in line


def made_up_rows(plain, fast):
    """A row for each path and AUC."""
    return [
        {"path": path, "data": "d", "epochs": "3", "seed": seed, **dict.fromkeys(COLUMNS, str(auc))}
        for seed, *aucs in zip("123", plain, fast)
        for path, auc in zip(PATHS, aucs)
    ]


@pytest.mark.parametrize(
    ("fast", "expected"),
    [
        ([0.61, 0.62, 0.63], "+0.0000; standard deviation of plain over the seeds: 0.0100; no low"),
        ([0.60, 0.62, 0.615], "-0.0083; standard deviation of plain over the seeds: 0.0100; no lo"),
        ([0.60, 0.61, 0.615], "-0.0117; standard deviation of plain over the seeds: 0.0100; lower"),
        ([0.70, 0.71, 0.72], "+0.0900; standard deviation of plain over the seeds: 0.0100; no low"),
    ],
)
def test_verdict(quality, fast, expected):
    rows = made_up_rows([0.61, 0.62, 0.63], fast)
    assert quality["verdict"](rows).startswith(f"AUC, fast minus plain: {expected}")


def test_difference(quality):
    table = quality["table"](made_up_rows([0.61, 0.62], [0.64, 0.65]))
    assert table["rows"][-1] == ["fast minus plain", "+0.0300", "+0.0300", "+0.0300", "+0.0"]
    assert table["title"] == "Preset small, d, epochs: 3, seeds: 1, 2; mean ± standard deviation"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--epochs", "0"], "--epochs has to be at least 1"),
        (["--seeds", "-1"], "no seed below 0"),
        (["--data", "mind/tiny"], "there is no data set mind/tiny"),
        (["--data", "mind/tiny", "--output", "{other}"], "something else than results"),
    ],
)
def test_bad_options(tmp_path, monkeypatch, capsys, options, expected):
    # As recipes.py writes it: AUCs, but no seconds of a path.
    other = tmp_path / "other.csv"
    other.write_text("recipe,auc\nours,0.6\n")
    options = [option.format(other=other) for option in options]
    monkeypatch.syspath_prepend(SCRIPT.parent)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *options])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert stopped.value.code == 2
    assert expected in capsys.readouterr().err.splitlines()[-1]
    assert other.read_text() == "recipe,auc\nours,0.6\n"
