"""`tfrs-npa export`, and the commands that it prints."""

from __future__ import annotations

import pathlib
import re
import shlex
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

import tfrs_npa
from tfrs_npa.runs.baselines import Baselines
from tfrs_npa.runs.run import Run
from tfrs_npa.settings import TrainingSettings

BIN = pathlib.Path(sys.executable).parent
TINY = {"word_embedding_dim": 4, "num_filters": 6, "attention_dim": 4, "user_embedding_dim": 4}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that has not been trained."""
    path = tmp_path_factory.mktemp("runs") / "mine"
    news = {"news_id": ["N1", "N2", "N3"], "title": ["rain again", "team wins", "final vote"]}
    users = tfrs_npa.UserIndex().adapt({"user_id": ["U1"]})
    model = tfrs_npa.NPA(tfrs_npa.NPAConfig(**TINY), tfrs_npa.NewsCatalog().adapt(news), users)
    Run.create(path, model, TrainingSettings(data="mind/synthetic"), Baselines({}))
    return path


@pytest.fixture
def export(in_process):
    return lambda *arguments: in_process("export", *arguments)


@pytest.mark.slow
def test_export_and_ask(run, tmp_path, export, capsys):
    """Runs what it prints."""
    folder = tmp_path / "served models" / "npa"
    assert export("--run", run, "--to", folder, "--version", 7) == 0
    shown = capsys.readouterr().out
    first, *_ = shown.splitlines()
    assert first.startswith(f"{folder / '7'}: 3 articles, 3 of which may be recommended, ")
    assert first.endswith(" MB")
    assert f"-v '{folder}:/models/npa'" in shown and "MODEL_NAME=npa tensorflow/serving" in shown
    lines = shown[shown.index("saved_model_cli run") : shown.index("Serve it")]
    words = shlex.split(lines.replace("\\\n", " "))
    assert words[0] == "saved_model_cli"
    process = subprocess.run(
        [BIN / words[0], *words[1:]], capture_output=True, text=True, timeout=120
    )
    assert process.returncode == 0, process.stderr
    model = tfrs_npa.load_run(run)
    scores = model({"user_id": [1], "history": [[2, 3]], "candidates": [[2, 3, 4]]})[0].numpy()
    order = np.argsort(-scores)
    ids = " ".join(f"b'N{article + 1}'" for article in order)
    assert f"Result for output key news_id:\n[[{ids}]]" in process.stdout
    _, _, found = process.stdout.partition("Result for output key scores:\n")
    found = [float(word) for word in found.partition("]]")[0].replace("[[", "").split()]
    assert found == pytest.approx(scores[order], abs=1e-5)


def test_added_articles(run, mind_folder, tmp_path, export, capsys, monkeypatch):
    models = []

    def note(model, folder, version, dtype, recommendable):
        models.append(model)
        assert (version, dtype) == (None, "bfloat16")
        assert recommendable == ["N7", "N3", "N9"]
        return pathlib.Path(folder, "1")

    monkeypatch.setattr("tfrs_npa.serving.export.export", note)
    file = tmp_path / "ids"
    file.write_text("N7\n N3\nN9")
    options = ["--data", mind_folder, "--no-cache", "--dtype", "bfloat16", "--recommendable", file]
    assert export("--run", run, "--to", tmp_path, *options) == 0
    (model,) = models
    ids = {"", "[UNK]", "N1", "N2", "N3"}
    for file in mind_folder.glob("*/news.tsv"):
        ids |= {line.split("\t")[0] for line in file.read_text().splitlines()}
    assert len(ids) > 100 and {*model.catalog.ids} == ids
    assert len(model.candidate_tower.tokens.numpy()) == len(ids)
    shown = f"1: {len(ids) - 2:,} articles, 3 of which may be recommended, "
    assert shown in capsys.readouterr().out


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"--version": 0}, "--version is 0"),
        ({"--run": "nowhere"}, "nowhere does not exist"),
        ({"--data": "no/such/folder"}, "no/such/folder"),
    ],
)
def test_wrong_input(changes, message, run, tmp_path, export, capsys):
    options = {"--run": run, "--to": tmp_path / "new"} | changes
    assert export(*[word for option in options.items() for word in option]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "content, message",
    [
        ("N1\n\nN2\n", "ids:2: expected the id of an article, found ''"),
        ("N1 N2\n", "ids:1: expected the id of an article, found 'N1 N2'"),
        ("N1\tsport\n", "2 columns instead of 8"),
        ("N1\nX1\nX2\n", "2 of the 3 articles to recommend are not in the catalogue, .*'X1'"),
        ("", "there would be none to recommend"),
    ],
)
def test_wrong_recommendable(content, message, run, tmp_path, export, capsys):
    (tmp_path / "ids").write_text(content)
    options = ["--to", tmp_path / "new", "--recommendable", tmp_path / "ids"]
    assert export("--run", run, *options) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "new").exists()


def test_a_version_that_exists(run, tmp_path, export, capsys):
    (tmp_path / "1").mkdir()
    assert export("--run", run, "--to", tmp_path, "--version", 1) == 2
    assert "exists already" in capsys.readouterr().err


def test_articles_of_a_log_in_parquet(run, tmp_path, export, capsys, monkeypatch):
    monkeypatch.setattr("tfrs_npa.serving.export.export", lambda model, *_: tmp_path / "1")
    news = pa.table({"news_id": ["N1", "A1"], "title": ["rain again", "snow again"]})
    log = {
        "user_id": ["U1"],
        "history": [["N1"]],
        "candidates": [["A1", "N1"]],
        "clicked": [[1, 0]],
    }
    pq.write_table(news, tmp_path / "news.parquet")
    pq.write_table(pa.table(log), tmp_path / "log.parquet")
    options = ["--run", run, "--to", tmp_path, "--no-cache", "--news", tmp_path / "news.parquet"]
    assert export(*options, "--data", tmp_path / "log.parquet") == 0
    assert "1: 4 articles" in capsys.readouterr().out
    assert export(*options) == 2
    assert "--news needs --data" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tsv", "parquet"])
def test_refresh(kind, run, tmp_path, export, capsys):
    folder, today = tmp_path / "npa", tmp_path / f"today.{kind}"
    assert export("--run", run, "--to", folder) == 0
    capsys.readouterr()
    row = ["A1", "sport", "", "team wins again", "", "", "[]", "[]"]
    today.write_text("\t".join(row) + "\n")
    (tmp_path / "gone").write_text("N2\n")
    if kind == "parquet":
        pq.write_table(pa.table({"news_id": [row[0]], "title": [row[3]]}), today)
        pq.write_table(pa.table({"news_id": ["N2"], "title": ["team wins"]}), tmp_path / "gone")
    options = ["--news", today, "--withdraw", tmp_path / "gone", "--keep", 1]
    assert export("--refresh", folder, *options) == 0
    shown = capsys.readouterr()
    assert shown.out == f"{folder / '2'}\n"
    assert "1 new articles of 4; 3 may be recommended" in shown.err
    assert [path.name for path in folder.iterdir()] == ["2"]
    signatures = tf.saved_model.load(str(folder / "2")).signatures
    ask = {"user_id": ["U1"], "history": [["A1"]], "k": 3}
    ask |= {"exclusions": [[""]], "candidates": [[""]]}
    found = signatures["recommend"](**{name: tf.constant(value) for name, value in ask.items()})
    assert set(found["news_id"][0].numpy()) == {b"N1", b"N3", b"A1"}


@pytest.mark.parametrize(
    "options, message",
    [
        (["--refresh", "x", "--to", "y", "--dtype", "float32"], "--to, --dtype cannot be given"),
        (["--run", "x", "--to", "y", "--keep", 3], "--keep cannot be given with --run"),
        (["--run", "x"], "give --run and --to, or --refresh"),
        (["--refresh", "x", "--no-cache"], "--no-cache cannot be given with --refresh"),
        (["--refresh", "x", "--news", "y", "--article-ids", "z"], "go together"),
        (["--refresh", "x"], "--refresh needs --news, --withdraw, or both"),
        (["--refresh", "nowhere", "--news", "no.tsv"], "nowhere holds no version of an export"),
    ],
)
def test_options_that_do_not_go_together(options, message, export, capsys):
    assert export(*options) == 2
    assert message in capsys.readouterr().err
