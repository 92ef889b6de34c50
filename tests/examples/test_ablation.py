"""The ablation, as the process that a user starts."""

from __future__ import annotations

import csv
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
SCRIPT = ROOT / "examples" / "ablation.py"
KINDS = ["personalized", "vanilla", "mean"]
TITLES = {
    "auc": "AUC",
    "auc_known_users": "AUC known users",
    "auc_new_users": "AUC new users",
    "mrr": "MRR",
    "ndcg_10": "nDCG@10",
}


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
    """The results of one seed, the plot, and what the process wrote to the two streams."""
    path = tmp_path_factory.mktemp("ablation")
    options = ["--seeds", 1, "--output", path / "results.csv", "--plot", path / "plot.png"]
    return path / "results.csv", path / "plot.png", *run(folder, *options)


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


def cells(shown):
    """The table, by title and kind of attention."""
    lines = shown.splitlines()
    head = next(number for number, line in enumerate(lines) if line.split() == KINDS)
    rows = lines[head + 2 : lines.index("", head)]
    starts = [lines[head].index(kind) for kind in KINDS] + [None]
    return {
        row[: starts[0]].strip(): [row[a:b].strip() for a, b in zip(starts, starts[1:])]
        for row in rows
    }


def test_one_seed(folder, first):
    results, plot, shown, messages = first
    rows = read(results)
    assert [row["word_attention"] for row in rows] == KINDS
    assert [row["news_attention"] for row in rows] == KINDS
    for row in rows:
        assert (row["data"], row["epochs"], row["seed"]) == (str(folder), "1", "1")
        assert all(0 <= float(row[name]) <= 1 for name in TITLES)
        own = ("word_attention", "news_attention", *TITLES)
        assert {k: v for k, v in row.items() if k not in own} == {
            k: v for k, v in rows[0].items() if k not in own
        }
    assert len({row["auc"] for row in rows}) == 3
    assert f"{folder}, split test: 40 impressions" in shown
    assert cells(shown) == {
        title: [f"{float(row[name]):.4f}" for row in rows] for name, title in TITLES.items()
    }
    assert messages.count("epoch 1 of 1: loss") == 3
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_second_run_trains_nothing_again(folder, first, tmp_path):
    """Of seed 2, the results of another number of epochs come first, and are passed over."""
    rows = read(first[0])
    aucs = {"personalized": "0.7", "vanilla": "0.65", "mean": "0.6"}
    changed = [row | {"seed": "2", "auc": aucs[row["word_attention"]]} for row in rows]
    other = [row | {"epochs": "9", "auc": "0.99"} for row in changed]
    results = tmp_path / "results.csv"
    write(results, rows + other + changed)
    before = results.read_bytes()
    shown, messages = run(folder, "--seeds", 1, 2, "--output", results)
    assert results.read_bytes() == before
    assert "loss" not in messages and messages.count("(done before)") == 6
    expected = {}
    for name, title in TITLES.items():
        pairs = [(float(row[name]), float(again[name])) for row, again in zip(rows, changed)]
        expected[title] = [
            f"{statistics.mean(pair):.4f} ± {statistics.stdev(pair):.4f}" for pair in pairs
        ]
    assert cells(shown) == expected
    one, two, three = (float(row["auc"]) for row in rows)
    answer = "yes" if one > two > three else "no"
    assert f"seed 1: personalized > vanilla > mean: {answer}" in shown
    assert "seed 2: personalized > vanilla > mean: yes (AUC 0.7000, 0.6500, 0.6000)" in shown


def test_order_and_shares(capsys):
    show = runpy.run_path(str(SCRIPT))["show"]
    figures = dict.fromkeys(TITLES, "0.5") | {"share_all": "0.75", "share_new_users": "0.25"}
    aucs = zip(KINDS, ("0.7", "0.6", "0.65"))
    show([{"word_attention": kind, "seed": "7"} | figures | {"auc": auc} for kind, auc in aucs])
    shown = capsys.readouterr().out
    assert "seed 7: personalized > vanilla > mean: no (AUC 0.7000, 0.6000, 0.6500)" in shown
    table = cells(shown)
    assert table["share of optimum"] == ["0.7500"] * 3
    assert table["share of optimum, new users"] == ["0.2500"] * 3
    assert "share of optimum, known users" not in table


def test_share_of_optimum():
    """How far it is from 0.5 to the model, by how far it is from 0.5 to the optimum."""
    figures = runpy.run_path(str(SCRIPT))["figures"]
    metrics = dict.fromkeys(TITLES, 0.25) | {"auc": 0.6, "auc_new_users": 0.55, "loss": 1.5}
    shares = {"share_all": 0.5, "share_new_users": 0.25}
    expected = {name: metrics[name] for name in TITLES} | shares
    assert figures(metrics, {"all": 0.7, "new_users": 0.7}) == pytest.approx(expected)
    assert figures(metrics, {}).keys() == TITLES.keys()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--epochs", "0"], "--epochs has to be at least 1"),
        (["--seeds", "-1"], "no seed below 0"),
        (["--data", "mind/tiny"], "there is no data set mind/tiny"),
        (["--data", "mind/tiny", "--output", "{other}"], "something else than results"),
        (["--data", "mind/tiny", "--plot", "plot.png"], "matplotlib"),
    ],
)
def test_bad_options(tmp_path, monkeypatch, capsys, options, expected):
    other = tmp_path / "other.csv"
    other.write_text("word,count\nrain,3\n")
    options = [option.format(other=other) for option in options]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *options])
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert stopped.value.code == 2
    assert expected in capsys.readouterr().err.splitlines()[-1]
    assert other.read_text() == "word,count\nrain,3\n"
