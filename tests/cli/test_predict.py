"""`tfrs-npa predict`, and `tfrs-npa evaluate` of what it writes."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from tfrs_npa_cli import main

import tfrs_npa
from tfrs_npa.config import NPAConfig
from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.data.users import UserIndex
from tfrs_npa.datasets.mind import read_behaviors, read_news
from tfrs_npa.datasets.mind.predictions import read_predictions
from tfrs_npa.models.npa import NPA
from tfrs_npa.runs.run import Run, load_run
from tfrs_npa.settings import TrainingSettings

ROOT = pathlib.Path(tfrs_npa.__file__).parents[1]
CONFIG = NPAConfig(
    word_embedding_dim=8, user_embedding_dim=4, num_filters=8, attention_dim=4, history_length=10
)


@pytest.fixture(scope="module", autouse=True)
def cache_folder(tmp_path_factory):
    """Keeps the user's own cache out of it."""
    path = tmp_path_factory.mktemp("caches")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(path))
        yield path / "tfrs-npa"


@pytest.fixture(scope="module")
def run(mind_folder, tmp_path_factory):
    """A run that was cut off before its first step, with weights that are far from equal."""
    catalog = NewsCatalog().adapt(read_news(mind_folder / "train" / "news.tsv"))
    users = UserIndex().adapt(read_behaviors(mind_folder / "train" / "behaviors.tsv"))
    model = NPA(CONFIG, catalog, users)
    generator = np.random.default_rng(3)
    model.set_weights([generator.normal(0, 0.4, w.shape) for w in model.get_weights()])
    path = tmp_path_factory.mktemp("runs") / "run"
    return Run.create(path, model, TrainingSettings(str(mind_folder)), {}).path


@pytest.fixture(scope="module")
def untied(run, tmp_path_factory):
    """What was predicted for the test split, and what the process said."""
    folder = tmp_path_factory.mktemp("predictions") / "test"
    return folder, process("predict", "--run", run, "--to", folder)


def process(*arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    finished = subprocess.run(
        [sys.executable, "-m", "tfrs_npa_cli", *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert finished.returncode == 0, finished.stderr
    return finished


def in_process(*arguments):
    return main([str(argument) for argument in arguments])


def without_labels(folder, to):
    """A copy of a folder whose test split has no labels, as that of MIND-large."""
    behaviors = shutil.copytree(folder, to) / "test" / "behaviors.tsv"
    rows = [line.split("\t") for line in behaviors.read_text().splitlines()]
    for row in rows:
        row[4] = row[4].replace("-1", "").replace("-0", "")
    behaviors.write_text("".join("\t".join(row) + "\n" for row in rows))
    return to


def test_predict_then_evaluate(mind_folder, run, untied, tmp_path, capsys):
    """A file of scores without ties has the metrics of the model."""
    folder, finished = untied
    assert sorted(path.name for path in folder.iterdir()) == ["prediction.txt", "prediction.zip"]
    file = folder / "prediction.txt"
    with zipfile.ZipFile(folder / "prediction.zip") as archive:
        assert archive.read("prediction.txt") == file.read_bytes()
    truth = mind_folder / "test" / "behaviors.tsv"
    rows = [*read_behaviors(truth)]
    assert [(impression_id, len(ranks)) for impression_id, ranks in read_predictions(file)] == [
        (row["impression_id"], len(row["candidates"]["clicked"])) for row in rows
    ]
    assert "0 of 40 impressions have tied scores" in finished.stdout
    assert "split test: 40 impressions, " in finished.stdout
    assert not finished.stderr.strip()

    json_file = tmp_path / "figures.json"
    options = ["evaluate", "--predictions", file, "--truth", truth, "--json", json_file]
    assert in_process(*options) == 0
    shown = capsys.readouterr().out
    figures = json.loads(json_file.read_text())
    assert figures["impressions"]["all"] == 40
    assert f"40 impressions, {figures['impressions']['skipped']} skipped" in shown
    headers, _, row = shown.splitlines()[:3]
    assert headers.split() == ["AUC", "MRR", "nDCG@5", "nDCG@10"]
    metrics = figures["metrics"]["predictions"]
    assert row.split()[1:] == [f"{value:.4f}" for value in metrics.values()]
    assert row.split()[1:] == finished.stdout.splitlines()[2].split()[1:]

    assert in_process("evaluate", "--run", run, "--json", json_file) == 0
    npa = json.loads(json_file.read_text())["metrics"]["npa"]
    assert metrics == pytest.approx({name: npa[name] for name in metrics}, abs=1e-6)


def test_the_validation_split_and_no_cache(mind_folder, run, cache_folder, tmp_path, capsys):
    shutil.rmtree(cache_folder, ignore_errors=True)
    options = ["predict", "--run", run, "--split", "validation", "--no-cache"]
    assert in_process(*options, "--to", tmp_path, "--encoding-memory", 0) == 0
    assert "split validation: 40 impressions" in capsys.readouterr().out
    assert not cache_folder.exists()
    rows = read_behaviors(mind_folder / "dev" / "behaviors.tsv")
    assert [
        impression_id for impression_id, _ in read_predictions(tmp_path / "prediction.txt")
    ] == [row["impression_id"] for row in rows]


def test_a_split_without_labels(mind_folder, run, untied, tmp_path, capsys):
    """As that of MIND-large: what is predicted does not depend on labels."""
    data = without_labels(mind_folder, tmp_path / "data")
    options = ["predict", "--run", run, "--data", data, "--to", tmp_path / "predictions"]
    assert in_process(*options) == 0
    shown = capsys.readouterr().out
    assert "AUC" not in shown and "split test: 40 impressions" in shown
    file = tmp_path / "predictions" / "prediction.txt"
    assert file.read_bytes() == (untied[0] / "prediction.txt").read_bytes()
    truth = data / "test" / "behaviors.tsv"
    assert in_process("evaluate", "--predictions", file, "--truth", truth) == 2
    assert f"{truth} has no labels to measure by" in capsys.readouterr().err


def test_ties(mind_folder, run, tmp_path, capsys):
    """A model that scores every article the same: in candidate order, and the AUC says so."""
    tied = shutil.copytree(run, tmp_path / "run")
    model = load_run(run)
    model.set_weights([np.zeros(weight.shape) for weight in model.get_weights()])
    Run(tied).save_checkpoint(model, "last")
    assert in_process("predict", "--run", tied, "--to", tmp_path) == 0
    shown = capsys.readouterr().out
    aucs = {line.split()[0]: float(line.split()[1]) for line in shown.splitlines()[2:4]}
    assert aucs["scores"] == 0.5 != aucs["prediction.txt"]
    change = float(shown.split("changes the AUC by ")[1].split()[0])
    assert change == pytest.approx(aucs["prediction.txt"] - 0.5, abs=1e-4)
    assert "40 of 40 impressions have tied scores" in shown
    for _, ranks in read_predictions(tmp_path / "prediction.txt"):
        assert ranks == sorted(ranks)


def test_an_interruption_leaves_nothing_behind(run, tmp_path, monkeypatch, capsys):
    predict_batches = NPA.predict_batches

    def interrupted(model, batches):
        yield next(predict_batches(model, batches.unbatch().batch(8)))
        raise KeyboardInterrupt

    (tmp_path / "prediction.txt").write_text("of yesterday")
    monkeypatch.setattr(NPA, "predict_batches", interrupted)
    assert in_process("predict", "--run", run, "--to", tmp_path) == 130
    assert [path.name for path in tmp_path.iterdir()] == ["prediction.txt"]
    assert (tmp_path / "prediction.txt").read_text() == "of yesterday"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["predict", "--run", "NONE", "--to", "NONE"], "does not exist; `tfrs-npa train"),
        (["predict", "--run", "RUN", "--to", "TRUTH"], "is not a folder"),
        (
            ["predict", "--run", "RUN", "--to", "NONE", "--data", "mind/tiny"],
            "no data set mind/tiny",
        ),
        (["evaluate", "--run", "RUN", "--truth", "TRUTH"], "--truth goes with --predictions"),
        (["evaluate", "--predictions", "TRUTH"], "--truth is missing"),
        (
            ["evaluate", "--predictions", "TRUTH", "--truth", "TRUTH", "--split", "test"]
            + ["--data-dir", "NONE"],
            "--data-dir and --split goes with --run",
        ),
        (["evaluate", "--predictions", "NONE", "--truth", "TRUTH"], "none: no such file"),
        (["evaluate", "--predictions", "FILE", "--truth", "NONE"], "none: no such file"),
        (["evaluate", "--predictions", "TRUTH", "--truth", "TRUTH"], "line 1: '"),
        (
            ["evaluate", "--predictions", "FILE", "--truth", "OTHER"],
            "FILE, line 1: impression 1 has 17 ranks, and 46 candidates in OTHER",
        ),
    ],
)
def test_bad_options(mind_folder, run, untied, tmp_path, capsys, options, expected):
    names = {
        "RUN": run,
        "NONE": tmp_path / "none",
        "FILE": untied[0] / "prediction.txt",
        "TRUTH": mind_folder / "test" / "behaviors.tsv",
        "OTHER": mind_folder / "train" / "behaviors.tsv",
    }
    assert in_process(*(names.get(option, option) for option in options)) == 2
    error = capsys.readouterr().err
    for name in ("FILE", "OTHER"):
        expected = expected.replace(name, str(names[name]))
    assert error.startswith("tfrs-npa: error: ") and len(error.splitlines()) == 1
    assert expected in error
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("options", [[], ["--run", "a", "--predictions", "b"]])
def test_a_run_or_predictions(options, capsys):
    with pytest.raises(SystemExit) as caught:
        in_process("evaluate", *options)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert "--run" in error and "--predictions" in error


def test_help_has_examples_and_needs_no_tensorflow():
    code = """
import sys, tfrs_npa_cli
for command in ("predict", "recommend", "evaluate"):
    try:
        tfrs_npa_cli.main([command, "--help"])
    except SystemExit as error:
        assert error.code == 0
assert not {"tensorflow", "tfrs_npa", "numpy"} & set(sys.modules)
"""
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert shown.count("examples:") == 3
    for option in "--to --truth --predictions --history --include-clicked --k --json".split():
        assert option in shown
