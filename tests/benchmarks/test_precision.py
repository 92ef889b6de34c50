"""The comparison of precisions, on little data."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.filterwarnings("ignore:Even though the .tf.config")


@pytest.mark.slow
def test_two_seeds(benchmark, run_here, mind_folder, tiny_preset, eager_functions, tmp_path):
    precision, file = benchmark("precision"), tmp_path / "precision.json"
    options = ["--data", mind_folder, "--seeds", 1, 2, "--json", file]
    shown, messages = run_here(precision, *options)
    result = json.loads(file.read_text(encoding="utf-8"))
    (table,) = result["tables"]
    assert table["title"] in shown and "bfloat16, seed 2" in messages
    assert [row[0] for row in table["rows"]] == [
        "float32",
        "bfloat16",
        "seed 1: difference",
        "seed 2: difference",
    ]
    aucs = {(row["precision"], row["seed"]): float(row["auc"]) for row in result["trainings"]}
    first, second = (aucs["bfloat16", seed] - aucs["float32", seed] for seed in ("1", "2"))
    assert table["rows"][2][1] == f"{first:+.4f}"
    (difference,) = result["measurements"]
    assert difference["value"] == pytest.approx((first + second) / 2)
    assert -1 < difference["target"] <= 0
