"""The comparison of recipes, on little data."""

from __future__ import annotations

import functools
import statistics

import pytest

import tfrs_npa

pytestmark = pytest.mark.filterwarnings("ignore:Even though the .tf.config")

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


@pytest.fixture(scope="module")
def recipes(benchmark):
    return benchmark("recipes")


@pytest.fixture(scope="module")
def script(make_script):
    return make_script("benchmarks/recipes.py")


@pytest.fixture(scope="module")
def run(run_here, recipes, mind_folder, tiny_preset, eager_functions):
    """Runs it on a small folder, for a moment each."""
    always = ["--data", mind_folder, "--seconds", 0.1, "--dimensions", "small"]
    return functools.partial(run_here, recipes, *always)


@pytest.fixture(scope="module")
def first(run, tmp_path_factory):
    """The results of one seed, the plot, and what was written to the two streams."""
    path = tmp_path_factory.mktemp("recipes")
    options = ["--seeds", 1, "--output", path / "results.csv", "--plot", path / "plot.png"]
    return path / "results.csv", path / "plot.png", *run(*options)


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


def test_one_seed(script, mind_folder, first):
    results, plot, shown, messages = first
    rows = script.read(results)
    assert [row["recipe"] for row in rows] == RECIPES
    # A row for each click in an impression with a negative, and ours has rows of histories.
    lines = (mind_folder / "train" / "behaviors.tsv").read_text().splitlines()
    fields = [line.split("\t") for line in lines]
    labels = [[shown[-1] for shown in shown.split()] for *_, shown in fields]
    clicks = sum(label.count("1") for label in labels if "0" in label)
    longest = {}
    for _, user, _, history, _ in fields:
        longest[user] = max(longest.get(user, 0), len(history.split()))
    more = {"ours": sum(min(4, length - 1) for length in longest.values() if length > 1)}
    table = cells(shown)
    assert list(table) == RECIPES
    for row in rows:
        assert (row["data"], row["seconds_given"], row["seed"]) == (str(mind_folder), "0.1", "1")
        assert row["word_initializer"] == "titles"
        assert {name: row[name] for name in DIMENSIONS} == {
            name: rows[0][name] for name in DIMENSIONS
        }
        assert float(row["seconds"]) >= 0.1
        steps, seen, batch = (int(row[name]) for name in ("steps", "rows_seen", "batch_size"))
        assert steps >= 2 and batch < seen <= steps * batch
        in_epoch = clicks + more.get(row["recipe"], 0)
        assert float(row["epochs"]) == pytest.approx(seen / in_epoch)
        decays = row["schedule"] != "constant"
        assert decays == (row["planned_steps"] != "nan")
        of_recipe = table[row["recipe"]]
        assert [of_recipe[name] for name in AUCS] == [f"{float(row[name]):.4f}" for name in AUCS]
        assert of_recipe["steps"] == f"{steps:,.1f}" and of_recipe["rows seen"] == f"{seen:,.1f}"
        assert (of_recipe["planned steps"] == "-") != decays
    assert f"{mind_folder}, split test: 40 impressions" in shown
    assert "num_filters 8" in shown and "GloVe" in shown
    assert messages.count(" steps\n") == 3 and messages.count("  AUC ") == 3
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_second_run_trains_nothing_again(script, run, first, tmp_path):
    """Of seed 2, the results of another time come first, and are skipped."""
    rows = script.read(first[0])
    changed = [row | {"seed": "2", "auc": "0.75", "steps": "1001"} for row in rows]
    other = [row | {"seconds_given": "9.0", "auc": "0.99"} for row in changed]
    results = tmp_path / "results.csv"
    script.write(results, rows + other + changed)
    before = results.read_bytes()
    shown, messages = run("--seeds", 1, 2, "--output", results)
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
def test_only_the_recipes_differ(recipes, dimensions):
    preset = tfrs_npa.NPAConfig.preset
    ours = tfrs_npa.NPAConfig() if dimensions == "full" else preset("small")
    published = {"ours": ours, "recommenders": preset("recommenders"), "paper": preset("paper")}
    for name, original in published.items():
        config = recipes.recipe(name, dimensions, 5)
        equal = {field: getattr(ours, field) for field in DIMENSIONS}
        assert config == original.replace(**equal, word_initializer="titles", seed=5)
