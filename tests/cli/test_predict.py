"""`tfrs-npa predict`, and `tfrs-npa evaluate` of what it writes."""

from __future__ import annotations

import json
import shutil
import sys
import zipfile

import numpy as np
import pytest

from tfrs_npa.datasets.mind import read_behaviors
from tfrs_npa.datasets.mind.predictions import read_predictions
from tfrs_npa.models.npa import NPA
from tfrs_npa.runs.run import Run, load_run
from tfrs_npa.serving import module

pytestmark = pytest.mark.usefixtures("untraced")


@pytest.fixture(scope="module")
def predicted(run, finish, tmp_path_factory):
    """Predictions for the test split."""
    folder = tmp_path_factory.mktemp("predictions") / "test"
    return finish(folder, "predict", "--run", run, "--to", folder)


def test_predict_then_evaluate(mind_folder, run, predicted, tmp_path, in_process, capsys):
    """A file of scores without ties has the metrics of the model."""
    folder, output, messages = predicted
    assert sorted(path.name for path in folder.iterdir()) == ["prediction.txt", "prediction.zip"]
    file = folder / "prediction.txt"
    with zipfile.ZipFile(folder / "prediction.zip") as archive:
        assert archive.read("prediction.txt") == file.read_bytes()
    truth = mind_folder / "test" / "behaviors.tsv"
    rows = [*read_behaviors(truth)]
    assert [(impression_id, len(ranks)) for impression_id, ranks in read_predictions(file)] == [
        (row["impression_id"], len(row["candidates"]["clicked"])) for row in rows
    ]
    assert "0 of 40 impressions have tied scores" in output
    assert "split test: 40 impressions, " in output
    assert not messages

    json_file = tmp_path / "metrics.json"
    options = ["evaluate", "--predictions", file, "--truth", truth, "--json", json_file]
    assert in_process(*options) == 0
    shown = capsys.readouterr().out
    evaluation = json.loads(json_file.read_text())
    assert evaluation["impressions"]["all"] == 40
    assert f"40 impressions, {evaluation['impressions']['skipped']} skipped" in shown
    headers, _, row = shown.splitlines()[:3]
    assert headers.split() == ["AUC", "MRR", "nDCG@5", "nDCG@10"]
    metrics = evaluation["metrics"]["predictions"]
    assert row.split()[1:] == [f"{value:.4f}" for value in metrics.values()]
    assert row.split()[1:] == output.splitlines()[2].split()[1:]

    assert in_process("evaluate", "--run", run, "--json", json_file) == 0
    npa = json.loads(json_file.read_text())["metrics"]["npa"]
    assert metrics == pytest.approx({name: npa[name] for name in metrics}, abs=1e-6)


def test_the_validation_split_and_no_cache(
    mind_folder, run, cache_folder, tmp_path, in_process, capsys
):
    shutil.rmtree(cache_folder, ignore_errors=True)
    options = ["predict", "--run", run, "--split", "validation", "--no-cache"]
    assert in_process(*options, "--to", tmp_path, "--encoding-memory", 0) == 0
    assert "split validation: 40 impressions" in capsys.readouterr().out
    assert not cache_folder.exists()
    rows = read_behaviors(mind_folder / "dev" / "behaviors.tsv")
    assert [
        impression_id for impression_id, _ in read_predictions(tmp_path / "prediction.txt")
    ] == [row["impression_id"] for row in rows]


def test_a_split_without_labels(run, without_labels, predicted, tmp_path, in_process, capsys):
    """What is predicted does not depend on labels."""
    options = ["predict", "--run", run, "--data", without_labels, "--to", tmp_path / "predictions"]
    assert in_process(*options) == 0
    shown = capsys.readouterr().out
    assert "AUC" not in shown and "split test: 40 impressions" in shown
    file = tmp_path / "predictions" / "prediction.txt"
    assert file.read_bytes() == (predicted.folder / "prediction.txt").read_bytes()
    truth = without_labels / "test" / "behaviors.tsv"
    assert in_process("evaluate", "--predictions", file, "--truth", truth) == 2
    assert f"{truth} has no labels to evaluate on" in capsys.readouterr().err


def test_ties(run, tmp_path, in_process, capsys):
    """Equal scores are ranked in candidate order, and the change of the AUC is printed."""
    tied = shutil.copytree(run, tmp_path / "run")
    model = load_run(run)
    model.set_weights([np.zeros(weight.shape) for weight in model.get_weights()])
    Run(tied).save_checkpoint(model, "last", {})
    assert in_process("predict", "--run", tied, "--to", tmp_path) == 0
    shown = capsys.readouterr().out
    aucs = {line.split()[0]: float(line.split()[1]) for line in shown.splitlines()[2:4]}
    assert aucs["scores"] == 0.5 != aucs["prediction.txt"]
    change = float(shown.split("changes the AUC by ")[1].split()[0])
    assert change == pytest.approx(aucs["prediction.txt"] - 0.5, abs=1e-4)
    assert "40 of 40 impressions have tied scores" in shown
    for _, ranks in read_predictions(tmp_path / "prediction.txt"):
        assert ranks == sorted(ranks)


@pytest.fixture(scope="module")
def exports(mind_folder, run, finish, tmp_path_factory):
    """An export of the run with all articles; it only scores."""
    folder = tmp_path_factory.mktemp("exports")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_SIGNATURES", {"score": module._SIGNATURES["score"]})
        finish(folder, "export", "--run", run, "--to", folder, "--data", mind_folder)
    return folder


@pytest.mark.slow
def test_an_export_predicts_the_same(mind_folder, exports, predicted, tmp_path, in_process, capfd):
    log, file = mind_folder / "test" / "behaviors.tsv", tmp_path / "prediction.txt"
    options = ["predict", "--export", exports, "--log", log, "--to", file]
    assert in_process(*options, "--beam-pipeline-options", "runner=FnApiRunner") == 0
    assert file.read_bytes() == (predicted.folder / "prediction.txt").read_bytes()
    output, messages = capfd.readouterr()
    assert output.splitlines()[0] == predicted.output.splitlines()[-2]
    assert f"{log}: 40 impressions, " in output and f"scored in {file}" in output
    assert not messages

    bad = tmp_path / "bad.tsv"
    bad.write_text(log.read_text() + "41\n")
    assert in_process("predict", "--export", exports, "--log", bad, "--to", file) == 2
    error = capfd.readouterr().err
    assert error.startswith(f"tfrs-npa: error: {bad}, line 41: 1 columns instead of 5")
    assert len(error.splitlines()) == 1


def test_an_export_without_beam(exports, tmp_path, in_process, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    monkeypatch.delitem(sys.modules, "tfrs_npa.datasets.mind.on_beam", raising=False)
    monkeypatch.delattr("tfrs_npa.datasets.mind.on_beam", raising=False)
    options = ["--export", exports, "--log", tmp_path / "x.tsv", "--to", tmp_path / "x.txt"]
    assert in_process("predict", *options) == 2
    assert "pip install 'tfrs-npa[beam]'" in capsys.readouterr().err


def test_an_interruption_leaves_nothing_behind(run, tmp_path, in_process, monkeypatch):
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
        (
            ["predict", "--run", "RUN", "--to", "NONE", "--log", "TRUTH"],
            "--log cannot be given with --run",
        ),
        (
            ["predict", "--export", "RUN", "--to", "NONE", "--split", "test", "--no-cache"],
            "--no-cache, --split cannot be given with --export",
        ),
        (["predict", "--export", "RUN", "--to", "NONE"], "--log is missing"),
        (
            ["predict", "--export", "RUN", "--to", "FILE", "--log", "TRUTH"],
            "untrained is no export; `tfrs-npa export` writes one",
        ),
        (["evaluate", "--run", "RUN", "--truth", "TRUTH"], "--truth needs --predictions"),
        (["evaluate", "--predictions", "TRUTH"], "--truth is missing"),
        (
            ["evaluate", "--predictions", "TRUTH", "--truth", "TRUTH", "--split", "test"]
            + ["--data-dir", "NONE"],
            "--data-dir and --split can only be used with --run",
        ),
        (["evaluate", "--predictions", "NONE", "--truth", "TRUTH"], "none: no such file"),
        (["evaluate", "--predictions", "FILE", "--truth", "NONE"], "none: no such file"),
        (["evaluate", "--predictions", "TRUTH", "--truth", "TRUTH"], "line 1: '"),
        (
            ["evaluate", "--predictions", "FILE", "--truth", "OTHER"],
            "FILE, line 1: impression 1 has RANKS ranks, and CANDIDATES candidates in OTHER",
        ),
    ],
)
def test_bad_options(mind_folder, run, predicted, tmp_path, in_process, capsys, options, expected):
    names = {
        "RUN": run,
        "NONE": tmp_path / "none",
        "FILE": predicted.folder / "prediction.txt",
        "TRUTH": mind_folder / "test" / "behaviors.tsv",
        "OTHER": mind_folder / "train" / "behaviors.tsv",
    }
    assert in_process(*(names.get(option, option) for option in options)) == 2
    error = capsys.readouterr().err
    for name in ("FILE", "OTHER"):
        expected = expected.replace(name, str(names[name]))
    for word, name in (("RANKS", "TRUTH"), ("CANDIDATES", "OTHER")):
        first = names[name].read_text().splitlines()[0]
        expected = expected.replace(word, str(len(first.split("\t")[-1].split())))
    assert error.startswith("tfrs-npa: error: ") and len(error.splitlines()) == 1
    assert expected in error
    assert not (tmp_path / "none").exists()


def test_fresh_clicks_change_nothing(mind_folder, run, predicted, tmp_path, in_process, capsys):
    """Clicks on articles that no split has are as if they were not there."""
    data = shutil.copytree(mind_folder, tmp_path / "data")
    file = data / "test" / "behaviors.tsv"
    rows = [line.split("\t") for line in file.read_text().splitlines()]
    for row in rows:
        row[3] = " ".join(f"{id} fresh-{id}" for id in row[3].split())
    file.write_text("".join("\t".join(row) + "\n" for row in rows))
    assert in_process("predict", "--run", run, "--data", data, "--to", tmp_path / "fresh") == 0
    assert "history ids" in capsys.readouterr().err
    fresh, known = (folder / "prediction.txt" for folder in (tmp_path / "fresh", predicted[0]))
    assert fresh.read_bytes() == known.read_bytes()
    metrics = []
    for options in ([], ["--data", data]):
        json_file = tmp_path / "metrics.json"
        assert in_process("evaluate", "--run", run, *options, "--json", json_file) == 0
        metrics.append(json.loads(json_file.read_text())["metrics"]["npa"])
    assert metrics[1] == pytest.approx(metrics[0], abs=1e-6)
