"""The comparison on sites that nothing was tuned on, on tiny ones."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest

pytestmark = pytest.mark.filterwarnings("ignore:Even though the .tf.config")

SIZES = ["--users", 60, "--articles", 150, "--impressions", 120, 40, 40]
ROWS = ["random", "popularity", "cosine", "density ratio", "logistic regression"]
ROWS += ["gradient boosting", "untrained NPA"]


@pytest.fixture(scope="module")
def run(run_here, benchmark, tiny_preset, eager_functions, tmp_path_factory):
    """Runs it with two seeds on one world; returns its folder, results and messages."""
    folder = tmp_path_factory.mktemp("untuned-worlds")
    options = ["--folder", folder, "--worlds", "weak", "--vectors", "none", "--seeds", 1, 2]
    options += ["--kinds", "personalized", "mean", "--epochs", 1, "--json", folder / "results.json"]
    return folder, functools.partial(run_here, benchmark("untuned_worlds"), *options, *SIZES)


@pytest.mark.slow
def test_results(run):
    folder, compare = run
    shown, messages = compare()
    result = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    aucs, differences, together = result["tables"]
    assert [row[0] for row in together["rows"]] == ["personalized - mean"]
    assert together["rows"][0] == differences["rows"][-1]
    assert [row[0] for row in aucs["rows"]] == [*ROWS, "NPA, personalized", "NPA, mean"]
    assert [row[0] for row in differences["rows"]] == [
        f"personalized - {name}" for name in (*ROWS, "mean")
    ]
    by_name = {row[0]: float(row[1]) for row in aucs["rows"]}
    for name, value, interval in aucs["rows"]:
        low, high = (float(bound) for bound in interval.split(" to "))
        assert 0 < low < float(value) < high < 1, name
    for name, value, interval, verdict in differences["rows"]:
        own, name = by_name["NPA, personalized"], name.removeprefix("personalized - ")
        other = by_name["NPA, mean" if name == "mean" else name]
        assert float(value) == pytest.approx(own - other, abs=2e-4)
        low, high = (float(bound) for bound in interval.split(" to "))
        expected = "above" if low > 0 else "below" if high < 0 else "within noise"
        assert verdict == expected
    (above,) = result["measurements"]
    best = max(value for name, value in by_name.items() if not name.startswith("NPA"))
    assert above["value"] == pytest.approx(by_name["NPA, personalized"] - best, abs=2e-4)
    assert "NPA, personalized" in shown and "writing weak" in messages

    runs = [folder / f"weak-none-small-personalized-{seed}.json" for seed in (1, 2)]
    found = [json.loads(path.read_text(encoding="utf-8")) for path in runs]
    assert np.mean([values["auc"] for values in found]) == pytest.approx(
        by_name["NPA, personalized"], abs=1e-4
    )
    # Epoch 0 and one more.
    assert all(len(values["val_auc"]) == 2 for values in found)
    assert found[0]["auc"] != found[1]["auc"]


@pytest.mark.slow
def test_nothing_is_trained_twice(run, monkeypatch, benchmark):
    folder, compare = run
    compare()
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*-mean-*.json")}
    shown, messages = compare()
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*-mean-*.json")} == before
    assert len(before) == 2 and "writing" not in messages
