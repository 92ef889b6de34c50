"""The recall of two stages, of a run of a few steps."""

import importlib
import json
import pathlib
import sys

import tfrs_npa_cli


def test_json(mind_folder, tmp_path, monkeypatch, capsys):
    run, file = tmp_path / "run", tmp_path / "recall.json"
    trained = ["train", "--data", mind_folder, "--preset", "small", "--epochs", 1, "--run", run]
    assert tfrs_npa_cli.main([*map(str, trained)]) == 0
    monkeypatch.syspath_prepend(pathlib.Path(__file__).parents[2] / "benchmarks")
    top_k_recall = importlib.import_module("top_k_recall")
    options = ["--run", run, "--users", 20, "--shortlists", 10, 10_000, "--json", file]
    monkeypatch.setattr(sys, "argv", ["top_k_recall.py", *map(str, options)])
    top_k_recall.main()
    recalls, errors = json.loads(file.read_text())["tables"]
    assert recalls["title"].endswith("20 users")
    # A shortlist of more than the catalogue is left out.
    (_, *half), (short, *few) = recalls["rows"]
    assert "10 ranked" in short and 0 < float(few[0]) <= 1 and float(half[0]) > 0.9
    assert few[2] in ("", "1.000")
    largest, mean = (float(figure.split()[0]) for figure in errors["rows"][0])
    assert 0 < mean < largest < 5
    assert recalls["title"] in capsys.readouterr().out
