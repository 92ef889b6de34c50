"""The comparison of quality, on little data."""

from __future__ import annotations

import functools
import json
import statistics

import pytest

pytestmark = pytest.mark.filterwarnings("ignore:Even though the .tf.config")

PATHS = ["plain", "fast"]
AUCS = ["auc", "auc_known_users", "auc_new_users"]
COLUMNS = {**dict.fromkeys(AUCS, 4), "training_seconds": 1}


@pytest.fixture(scope="module")
def quality(benchmark):
    return benchmark("quality")


@pytest.fixture(scope="module")
def script(make_script):
    return make_script("benchmarks/quality.py")


@pytest.fixture(scope="module")
def run(run_here, quality, mind_folder, tiny_preset, eager_functions):
    """Runs it on a small folder, for one epoch."""
    return functools.partial(run_here, quality, "--data", mind_folder, "--epochs", 1)


@pytest.fixture(scope="module")
def first(run, tmp_path_factory):
    """The results of one seed as CSV and as JSON, and what was written to the two streams."""
    path = tmp_path_factory.mktemp("quality")
    options = ["--seeds", 1, "--output", path / "results.csv", "--json", path / "quality.json"]
    shown, messages = run(*options)
    result = json.loads((path / "quality.json").read_text(encoding="utf-8"))
    return path / "results.csv", result, shown, messages


def test_one_seed(script, mind_folder, first):
    results, result, shown, messages = first
    rows = script.read(results)
    assert [row["path"] for row in rows] == PATHS
    plain, fast = rows
    for row in rows:
        assert (row["data"], row["epochs"], row["seed"]) == (str(mind_folder), "1", "1")
        assert row["num_filters"] == "8"
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
    assert one == pytest.approx(two, abs=2e-3)

    assert f"{mind_folder}, split test: 40 impressions" in shown
    (table,) = result["tables"]
    assert table["rows"][:2] == [
        [row["path"], *(f"{float(row[name]):.{digits}f}" for name, digits in COLUMNS.items())]
        for row in rows
    ]
    for row in table["rows"]:
        assert any(line.split() == " ".join(row).split() for line in shown.splitlines())
    assert "with one seed it cannot be told from noise" in shown
    assert result["trainings"] == rows
    change, times = result["measurements"]
    assert change["value"] == pytest.approx(float(fast["auc"]) - float(plain["auc"]))
    assert "target" not in change  # one seed says nothing about noise
    seconds = [float(row["training_seconds"]) for row in rows]
    assert times["value"] == pytest.approx(seconds[0] / seconds[1])


def test_report_takes_the_json(first, benchmark):
    text = benchmark("report").tables([first[1]])
    assert "\n## Quality is not traded\n" in text and "\n| plain" in text


def test_second_run_trains_nothing_again(script, run, first, tmp_path):
    """Of seed 2, the results of another number of epochs come first, and are skipped."""
    rows = script.read(first[0])
    changed = [row | {"seed": "2", "auc": "0.75", "training_seconds": "1001"} for row in rows]
    other = [row | {"epochs": "9", "auc": "0.99"} for row in changed]
    results = tmp_path / "results.csv"
    script.write(results, rows + other + changed)
    before = results.read_bytes()
    shown, messages = run("--seeds", 1, 2, "--output", results)
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
        ([0.61, 0.62, 0.63], ["+0.0000", "0.0100 of plain, 0.0000", "no lower"]),
        ([0.60, 0.62, 0.615], ["-0.0083", "0.0100 of plain, 0.0076", "no lower"]),
        ([0.60, 0.61, 0.615], ["-0.0117", "0.0100 of plain, 0.0029", "lower by more"]),
        ([0.70, 0.71, 0.72], ["+0.0900", "0.0100 of plain, 0.0000", "no lower"]),
    ],
)
def test_verdict(quality, fast, expected):
    rows = made_up_rows([0.61, 0.62, 0.63], fast)
    change, noise, answer = quality.verdict(rows).split("; ")
    assert change == f"AUC, fast minus plain: {expected[0]}"
    assert noise == f"standard deviation over the seeds: {expected[1]} of the difference"
    assert answer.startswith(expected[2])
    measured, _ = quality.measurements(rows)
    assert f"{measured['value']:+.4f}" == expected[0] and f"{measured['target']:.4f}" == "-0.0100"


def test_difference(quality):
    table = quality.means_and_differences(made_up_rows([0.61, 0.62], [0.64, 0.65]))
    assert table["rows"][-1] == ["fast minus plain", "+0.0300", "+0.0300", "+0.0300", "+0.0"]
    assert table["title"] == "Preset small, d, epochs: 3, seeds: 1, 2; mean ± standard deviation"
