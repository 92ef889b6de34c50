"""The recall of two stages, of a run with random weights."""

import json

import pytest

pytestmark = pytest.mark.filterwarnings("ignore:Even though the .tf.config")


def test_json(benchmark, run_here, make_run, tmp_path, tiny_preset, eager_functions):
    run, file = tmp_path / "run", tmp_path / "recall.json"
    make_run(run)
    options = ["--run", run, "--users", 20, "--shortlists", 10, 10_000, "--json", file]
    shown, _ = run_here(benchmark("top_k_recall"), *options)
    (recalls,) = json.loads(file.read_text())["tables"]
    assert recalls["title"].endswith("20 users")
    # A shortlist of more than the catalogue is left out.
    (_, *half), (short, *few) = recalls["rows"]
    assert "10 ranked" in short and 0 < float(few[0]) <= 1 and float(half[0]) == 1
    assert few[2] in ("", "1.000")
    assert recalls["title"] in shown
