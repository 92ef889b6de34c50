"""The comparison of recipes, as the process that a user starts."""

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
SCRIPT = ROOT / "benchmarks" / "recipes.py"
RECIPES = ["ours", "recommenders", "paper"]
DIMENSIONS = {
    "title_length",
    "history_length",
    "word_embedding_dim",
    "user_embedding_dim",
    "num_filters",
    "window_size",
    "attention_dim",
}
AUCS = ["auc", "auc_known_users", "auc_new_users"]


@pytest.fixture(autouse=True)
def beside_the_script(monkeypatch):
    """Modules of the script's own folder can be imported, as when it is started."""
    monkeypatch.syspath_prepend(SCRIPT.parent)


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
    path = tmp_path_factory.mktemp("recipes")
    options = ["--seeds", 1, "--output", path / "results.csv", "--plot", path / "plot.png"]
    return path / "results.csv", path / "plot.png", *run(folder, *options)


def run(folder, *options):
    fixed = ["--data", folder, "--seconds", 1, "--dimensions", "small"]
    process = subprocess.run(
        [sys.executable, SCRIPT, *map(str, [*fixed, *options])],
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
    """The three AUCs of each recipe, and the other columns by name."""
    lines = shown.splitlines()
    head = next(number for number, line in enumerate(lines) if line.strip().startswith("AUC"))
    names = ["recipe", *AUCS, "steps", "planned steps", "rows seen", "epochs", "seconds"]
    # Columns are as wide as the rules below their names.
    rules = lines[head + 1].split("  ")
    table = []
    for line in lines[head + 2 : head + 5]:
        row, start = {}, 0
        for name, rule in zip(names, rules):
            row[name] = line[start : start + len(rule)].strip()
            start += len(rule) + 2
        table.append(row)
    return {row["recipe"]: row for row in table}


def test_one_seed(folder, first):
    results, plot, shown, messages = first
    rows = read(results)
    assert [row["recipe"] for row in rows] == RECIPES
    # A row for each click that has something to be compared with.
    lines = (folder / "train" / "behaviors.tsv").read_text().splitlines()
    labels = [[shown[-1] for shown in line.split("\t")[4].split()] for line in lines]
    clicks = sum(label.count("1") for label in labels if "0" in label)
    table = cells(shown)
    assert list(table) == RECIPES
    for row in rows:
        assert (row["data"], row["seconds_given"], row["seed"]) == (str(folder), "1.0", "1")
        assert row["word_initializer"] == "titles"
        assert {name: row[name] for name in DIMENSIONS} == {
            name: rows[0][name] for name in DIMENSIONS
        }
        assert float(row["seconds"]) >= 1
        steps, seen, batch = (int(row[name]) for name in ("steps", "rows_seen", "batch_size"))
        assert steps >= 2 and batch < seen <= steps * batch
        assert float(row["epochs"]) == pytest.approx(seen / clicks)
        decays = row["schedule"] != "constant"
        assert decays == (row["planned_steps"] != "nan")
        of_recipe = table[row["recipe"]]
        assert [of_recipe[name] for name in AUCS] == [f"{float(row[name]):.4f}" for name in AUCS]
        assert of_recipe["steps"] == f"{steps:,.1f}" and of_recipe["rows seen"] == f"{seen:,.1f}"
        assert (of_recipe["planned steps"] == "-") != decays
    assert f"{folder}, split test: 40 impressions" in shown
    assert "num_filters 128" in shown and "GloVe" in shown
    assert messages.count("steps, AUC") == 3
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_second_run_trains_nothing_again(folder, first, tmp_path):
    """Of seed 2, the results of another time come first, and are passed over."""
    rows = read(first[0])
    changed = [row | {"seed": "2", "auc": "0.75", "steps": "1001"} for row in rows]
    other = [row | {"seconds_given": "9.0", "auc": "0.99"} for row in changed]
    results = tmp_path / "results.csv"
    write(results, rows + other + changed)
    before = results.read_bytes()
    shown, messages = run(folder, "--seeds", 1, 2, "--output", results)
    assert results.read_bytes() == before
    assert messages.count("(done before)") == 6 and "planned" not in messages
    table = cells(shown)
    for row, again in zip(rows, changed):
        of_recipe = table[row["recipe"]]
        for name in AUCS:
            pair = [float(row[name]), float(again[name])]
            expected = f"{statistics.mean(pair):.4f} ± {statistics.stdev(pair):.4f}"
            assert of_recipe[name] == expected
        assert of_recipe["steps"] == f"{(int(row['steps']) + 1001) / 2:,.1f}"


@pytest.mark.parametrize("dimensions", ["full", "small"])
def test_recipes_differ_in_what_is_compared_only(dimensions):
    recipe = runpy.run_path(str(SCRIPT))["recipe"]
    preset = tfrs_npa.NPAConfig.preset
    ours = tfrs_npa.NPAConfig() if dimensions == "full" else preset("small")
    published = {"ours": ours, "recommenders": preset("recommenders"), "paper": preset("paper")}
    for name, original in published.items():
        config = recipe(name, dimensions, 5)
        equal = {field: getattr(ours, field) for field in DIMENSIONS}
        assert config == original.replace(**equal, word_initializer="titles", seed=5)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--seconds", "0"], "--seconds has to be above 0"),
        (["--seconds", "nan"], "--seconds has to be above 0"),
        (["--seeds", "-1"], "no seed below 0"),
        (["--dimensions", "huge"], "invalid choice: 'huge'"),
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
