"""The ablation, on little data, and its second run as the process that a user starts."""

from __future__ import annotations

import statistics

import pytest

pytestmark = pytest.mark.filterwarnings("ignore:Even though the .tf.config")

KINDS = ["personalized", "vanilla", "mean"]
TITLES = {
    "auc": "AUC",
    "auc_known_users": "AUC known users",
    "auc_new_users": "AUC new users",
    "mrr": "MRR",
    "ndcg_10": "nDCG@10",
}


@pytest.fixture(scope="module")
def script(make_script, mind_folder):
    return make_script("examples/ablation.py", "--data", mind_folder, "--epochs", 1)


@pytest.fixture(scope="module")
def ablation(example):
    return example("ablation")


@pytest.fixture(scope="module")
def first(script, ablation, run_here, tmp_path_factory, eager_functions):
    """The results of one seed, the plot, and what was written to the two streams.

    Attention weights start equal and six steps hardly move them, so the three kinds have the same
    AUC: the kinds that were trained are noted.
    """
    path = tmp_path_factory.mktemp("ablation")
    options = ["--seeds", 1, "--output", path / "results.csv", "--plot", path / "plot.png"]
    kinds, train = [], ablation.train_and_evaluate

    def noted(config, *args, **kwargs):
        kinds.append((config.word_attention, config.news_attention))
        return train(config, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ablation, "train_and_evaluate", noted)
        streams = run_here(ablation, *script.always, *options)
    assert kinds == [(kind, kind) for kind in KINDS]
    return path / "results.csv", path / "plot.png", *streams


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


def test_one_seed(script, mind_folder, first):
    results, plot, shown, messages = first
    rows = script.read(results)
    assert [row["word_attention"] for row in rows] == KINDS
    assert [row["news_attention"] for row in rows] == KINDS
    for row in rows:
        assert (row["data"], row["epochs"], row["seed"]) == (str(mind_folder), "1", "1")
        assert all(0 <= float(row[name]) <= 1 for name in TITLES)
        own = ("word_attention", "news_attention", *TITLES)
        assert {k: v for k, v in row.items() if k not in own} == {
            k: v for k, v in rows[0].items() if k not in own
        }
    assert f"{mind_folder}, split test: 40 impressions" in shown
    assert cells(shown) == {
        title: [f"{float(row[name]):.4f}" for row in rows] for name, title in TITLES.items()
    }
    assert messages.count("epoch 1 of 1: loss") == 3
    assert plot.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_second_run_trains_nothing_again(script, first, tmp_path):
    """Of seed 2, the results of another number of epochs come first, and are skipped."""
    rows = script.read(first[0])
    aucs = {"personalized": "0.7", "vanilla": "0.65", "mean": "0.6"}
    changed = [row | {"seed": "2", "auc": aucs[row["word_attention"]]} for row in rows]
    other = [row | {"epochs": "9", "auc": "0.99"} for row in changed]
    results = tmp_path / "results.csv"
    script.write(results, rows + other + changed)
    before = results.read_bytes()
    shown, messages = script.run("--seeds", 1, 2, "--output", results)
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


def test_order_and_shares(ablation, capsys):
    metrics = dict.fromkeys(TITLES, "0.5") | {"share_all": "0.75", "share_new_users": "0.25"}
    aucs = zip(KINDS, ("0.7", "0.6", "0.65"))
    ablation.show(
        [{"word_attention": kind, "seed": "7"} | metrics | {"auc": auc} for kind, auc in aucs]
    )
    shown = capsys.readouterr().out
    assert "seed 7: personalized > vanilla > mean: no (AUC 0.7000, 0.6000, 0.6500)" in shown
    table = cells(shown)
    assert table["share of optimum"] == ["0.7500"] * 3
    assert table["share of optimum, new users"] == ["0.2500"] * 3
    assert "share of optimum, known users" not in table


def test_share_of_optimum(ablation):
    """The distance from 0.5 to the model, divided by that from 0.5 to the optimum."""
    metrics = dict.fromkeys(TITLES, 0.25) | {"auc": 0.6, "auc_new_users": 0.55, "loss": 1.5}
    shares = {"share_all": 0.5, "share_new_users": 0.25}
    expected = {name: metrics[name] for name in TITLES} | shares
    assert ablation.with_shares(metrics, {"all": 0.7, "new_users": 0.7}) == pytest.approx(expected)
    assert ablation.with_shares(metrics, {}).keys() == TITLES.keys()
