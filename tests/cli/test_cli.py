"""The command line; as processes where what is tested is the process."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import zipfile

import pytest
import tfrs_npa.commands.train
import yaml
from tfrs_npa_cli import main

from tfrs_npa.datasets.mind import SyntheticWorld, write_behaviors, write_news
from tfrs_npa.runs.run import load_run

ROOT = pathlib.Path(tfrs_npa.__file__).parents[1]
FOLDERS = {"train": "train", "validation": "dev", "test": "test"}
TINY = {
    "word_embedding_dim": 8,
    "user_embedding_dim": 4,
    "num_filters": 8,
    "attention_dim": 4,
    "history_length": 10,
    "learning_rate": 0.01,
}


@pytest.fixture(scope="module", autouse=True)
def cache_folder(tmp_path_factory):
    """Keeps the user's own cache out of it."""
    path = tmp_path_factory.mktemp("caches")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(path))
        yield path / "tfrs-npa"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("mind-format")
    world = SyntheticWorld(users=60, articles=150, impressions=(150, 40, 40))
    for split, name in FOLDERS.items():
        write_news(path / name / "news.tsv", world.news(split))
        write_behaviors(path / name / "behaviors.tsv", world.behaviors(split))
    return path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


@pytest.fixture(scope="module")
def trained(folder, tiny, tmp_path_factory):
    """A run, and what its process wrote to the two streams."""
    run = tmp_path_factory.mktemp("runs") / "trained"
    options = ["train", "--data", folder, "--config", tiny, "--epochs", 2, "--seed", 3]
    process = command(*options, "--run", run)
    shown, messages = process.communicate(timeout=240)
    assert process.returncode == 0, messages
    return run, shown, messages


def command(*arguments, module="tfrs_npa_cli"):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def in_process(*arguments):
    return main([str(argument) for argument in arguments])


def change_line(path, number, change):
    lines = path.read_text().splitlines()
    lines[number - 1] = change(lines[number - 1])
    path.write_text("".join(f"{line}\n" for line in lines))


def test_train_then_evaluate(trained, tmp_path):
    run, shown, messages = trained
    json_file = tmp_path / "figures.json"
    table = shown[shown.index(" AUC") : shown.index("Run: ")]
    assert [line.split("  ")[0] for line in table.splitlines()[2:5]] == [
        "random",
        "popularity",
        "NPA",
    ]
    assert "split test: 40 impressions" in table
    # Word vectors, training rows and a line for each epoch; nothing of TensorFlow's.
    lines = [line for line in messages.splitlines() if line]
    starts = ("making word vectors", "245 training rows", "epoch 1 of 2: ", "epoch 2 of 2: loss ")
    assert len(lines) == len(starts), messages
    assert all(map(str.startswith, lines, starts)), messages

    files = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert files >= {
        "config.yaml",
        "training.yaml",
        "catalog/words.txt",
        "catalog/articles.jsonl",
        "users.txt",
        "popularity.csv",
        "checkpoints/best.weights.h5",
        "checkpoints/last.weights.h5",
        "history.csv",
        "metrics.json",
    }
    assert any(name.startswith("tensorboard/") for name in files)
    assert not [name for name in files if name.endswith(".tmp")]
    assert len((run / "history.csv").read_text().splitlines()) == 3
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["parts"] == {"train": "train", "stopping": "validation", "report": "test"}
    assert metrics["seed"] == 3 and metrics["versions"]["tensorflow"]

    evaluate = command("evaluate", "--run", run, "--json", json_file, module="tfrs_npa")
    again, messages = evaluate.communicate(timeout=240)
    assert evaluate.returncode == 0, messages
    assert again[again.index(" AUC") :].strip() == table.strip()
    figures = json.loads(json_file.read_text())
    assert figures == {name: metrics[name] for name in figures}
    assert figures["metrics"]["npa"]["auc"] is not None


def test_preprocessed_data_is_kept_on_request(trained, cache_folder, tmp_path):
    run, _, _ = trained
    assert any(cache_folder.iterdir())
    shutil.rmtree(cache_folder)
    assert in_process("evaluate", "--run", run, "--no-cache") == 0
    assert not cache_folder.exists()
    assert in_process("evaluate", "--run", run, "--cache-dir", tmp_path / "mine") == 0
    assert any((tmp_path / "mine").iterdir()) and not cache_folder.exists()
    assert in_process("evaluate", "--run", run) == 0
    assert len([*cache_folder.iterdir()]) == len([*(tmp_path / "mine").iterdir()])


def test_killed_and_resumed_equals_uninterrupted(folder, tiny, tmp_path):
    options = ["train", "--data", folder, "--config", tiny, "--epochs", 8, "--patience", 8]
    options += ["--set", "schedule=linear", "--set", "history_sampling=random"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = command(*options, "--run", killed)
    history = killed / "history.csv"
    deadline = time.monotonic() + 240
    while not (history.exists() and len(history.read_text().splitlines()) > 1):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (killed / "metrics.json").exists()
    load_run(killed)

    assert in_process(*options, "--run", killed, "--resume") == 0
    assert in_process(*options, "--run", whole) == 0
    resumed, uninterrupted = (
        json.loads((run / "metrics.json").read_text()) for run in (killed, whole)
    )
    assert uninterrupted["epochs"] == 8
    for metrics in (resumed, uninterrupted):
        del metrics["seconds"]
    assert resumed == uninterrupted


def test_help_needs_no_tensorflow():
    code = """
import sys, tfrs_npa_cli
for arguments in (["--help"], ["train", "--help"], ["evaluate", "--help"], ["--version"]):
    try:
        tfrs_npa_cli.main(arguments)
    except SystemExit as error:
        assert error.code == 0
assert not {"tensorflow", "tfrs_npa", "numpy"} & set(sys.modules)
"""
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for option in "--data --preset --set --word-vectors --holdout --resume --split --json".split():
        assert option in shown


def test_an_error_of_the_process_is_one_line(tmp_path):
    process = command("train", "--data", tmp_path / "none", "--run", tmp_path / "run")
    shown, messages = process.communicate(timeout=240)
    assert process.returncode == 2 and not shown
    assert messages.startswith("tfrs-npa: error: ") and len(messages.splitlines()) == 1
    assert "there is no folder" in messages and "mind/small" in messages


@pytest.mark.parametrize(
    ("file", "line", "change", "expected"),
    [
        ("train/behaviors.tsv", 3, lambda line: line + "\tmore", "6 columns instead of 5"),
        ("dev/news.tsv", 2, lambda line: line.rsplit("\t", 1)[0], "7 columns instead of 8"),
        ("train/behaviors.tsv", 7, lambda line: line[:-1] + "2", "does not end in -1"),
        ("test/behaviors.tsv", 5, lambda line: line.replace(" AM", "").replace(" PM", ""), "time"),
    ],
)
def test_bad_line(folder, tiny, tmp_path, capsys, file, line, change, expected):
    data = shutil.copytree(folder, tmp_path / "data")
    change_line(data / file, line, change)
    assert in_process("train", "--data", data, "--config", tiny, "--run", tmp_path / "run") == 2
    error = capsys.readouterr().err
    assert f"tfrs-npa: error: {data / file}, line {line}: " in error
    assert expected in error and "Traceback" not in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("what", ["empty", "missing"])
def test_bad_file(folder, tmp_path, capsys, what):
    data = shutil.copytree(folder, tmp_path / "data")
    file = data / "dev" / "behaviors.tsv"
    if what == "empty":
        file.write_text("")
    else:
        file.unlink()
    assert in_process("train", "--data", data, "--run", tmp_path / "run") == 2
    error = capsys.readouterr().err
    assert f"tfrs-npa: error: {file}: " in error and "Traceback" not in error


def test_odd_ids_are_counted_warnings(folder, tiny, tmp_path, capsys):
    data = shutil.copytree(folder, tmp_path / "data")
    for split in FOLDERS.values():
        news = data / split / "news.tsv"
        lines = news.read_text().splitlines(keepends=True)
        # The first article of each file is gone, and the next two come twice.
        news.write_text("".join([*lines[1:], *lines[1:3]]))
    (data / "train" / "behaviors.tsv").write_bytes(
        b"\xef\xbb\xbf" + (data / "train" / "behaviors.tsv").read_bytes().replace(b"\n", b"\r\n")
    )
    run = tmp_path / "run"
    assert in_process("train", "--data", data, "--config", tiny, "--epochs", 1, "--run", run) == 0
    warned = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(warned) == len(set(warned))
    assert all(line.startswith("tfrs-npa: warning: ") for line in warned)
    repeated = f"{data / 'train' / 'news.tsv'}: 2 lines repeat a news_id"
    assert len([line for line in warned if repeated in line]) == 1
    assert any("candidate ids are not in the catalogue" in line for line in warned)
    assert not any(".py:" in line for line in warned)


def test_zips_without_network(folder, tmp_path, capsys):
    manual = tmp_path / "manual"
    manual.mkdir()
    for split in ("train", "dev"):
        with zipfile.ZipFile(manual / f"MINDsmall_{split}.zip", "w") as archive:
            for name in ("news.tsv", "behaviors.tsv"):
                archive.write(folder / split / name, f"MINDsmall_{split}/{name}")
    config = tmp_path / "npa.yaml"
    sections = {
        "data": {"title_size": 9, "his_size": 10},
        "model": {"model_type": "npa", "filter_num": 8, "word_emb_dim": 8, "user_emb_dim": 4},
        "train": {"epochs": 3, "batch_size": 16},
    }
    config.write_text(yaml.safe_dump(sections))
    run = tmp_path / "run"
    options = ["train", "--data", "mind/small", "--manual-dir", manual]
    options += ["--data-dir", tmp_path / "prepared", "--config", config, "--epochs", 1]
    assert (
        in_process(*options, "--set", "title_length=8", "--set", "dropout=1e-1", "--run", run) == 0
    )
    saved = yaml.safe_load((run / "config.yaml").read_text())
    assert (saved["title_length"], saved["dropout"], saved["history_length"]) == (8, 0.1, 10)
    assert saved["num_filters"] == 8 and saved["mask_padding"] is False
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["data"] == "mind/small" and metrics["split"] == "validation"
    assert metrics["parts"]["stopping"] == "last day of train"
    assert metrics["impressions_trained_on"] < 150

    # Another folder, with articles that the run does not know.
    capsys.readouterr()
    assert in_process("evaluate", "--run", run, "--data", folder) == 0
    assert "split test: 40 impressions" in capsys.readouterr().out

    zip_file = manual / "MINDsmall_dev.zip"
    zip_file.write_bytes(zip_file.read_bytes()[:1000])
    options[options.index(tmp_path / "prepared")] = tmp_path / "elsewhere"
    assert in_process(*options, "--run", tmp_path / "other") == 2
    error = capsys.readouterr().err
    assert f"tfrs-npa: error: {zip_file}: the zip is truncated" in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--data", "mind/tiny"], "there is no data set mind/tiny"),
        (["--data", "mind/small", "--manual-dir", "no-such"], "manual folder"),
        ([], "--data is missing"),
        (["--data", "FOLDER", "--preset", "huge"], "no preset 'huge'"),
        (["--data", "FOLDER", "--config", "no-such.yaml"], "no-such.yaml: No such file"),
        (["--data", "FOLDER", "--set", "num_filter=3"], "did you mean 'num_filters'"),
        (["--data", "FOLDER", "--set", "dropout"], "expected NAME=VALUE"),
        (["--data", "FOLDER", "--set", "dropout=2"], "dropout is 2"),
        (["--data", "FOLDER", "--set", "dropout=[1"], "not YAML"),
        (["--data", "FOLDER", "--seed", "-1"], "seed is -1"),
        (["--data", "FOLDER", "--epochs", "0"], "epochs is 0"),
        (["--data", "FOLDER", "--word-vectors", "no-such.txt"], "no-such.txt: No such file"),
        (["--data", "FOLDER", "--word-vectors", "no-such.npy"], "word list"),
        (["--resume"], "does not exist"),
    ],
)
def test_bad_options(folder, tmp_path, capsys, options, expected):
    options = [folder if option == "FOLDER" else option for option in options]
    assert in_process("train", "--run", tmp_path / "run", *options) == 2
    error = capsys.readouterr().err
    assert "tfrs-npa: error: " in error and expected in error and "Traceback" not in error
    assert not (tmp_path / "run").exists()


def test_a_run_is_kept_unless_told_otherwise(folder, trained, capsys):
    run = trained[0]
    before = (run / "metrics.json").read_text()
    options = ["train", "--data", folder, "--run", run]
    assert in_process(*options) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert in_process(*options, "--resume", "--set", "num_filters=9") == 2
    assert "was begun with num_filters 8, not 9" in capsys.readouterr().err
    assert in_process(*options, "--resume", "--epochs", 9) == 2
    assert "was begun with epochs 2, not 9" in capsys.readouterr().err
    assert (run / "metrics.json").read_text() == before


def test_evaluate_other_data_and_splits(folder, trained, tmp_path, capsys):
    evaluate = ["evaluate", "--run", trained[0]]
    assert in_process(*evaluate, "--split", "train") == 0
    assert "split train: 150 impressions" in capsys.readouterr().out
    # A test split without labels, as that of MIND-large.
    behaviors = shutil.copytree(folder, tmp_path / "data") / "test" / "behaviors.tsv"
    rows = [line.split("\t") for line in behaviors.read_text().splitlines()]
    for row in rows:
        row[4] = row[4].replace("-1", "").replace("-0", "")
    behaviors.write_text("".join("\t".join(row) + "\n" for row in rows))
    evaluate += ["--data", tmp_path / "data"]
    assert in_process(*evaluate, "--split", "test") == 2
    assert "has no labels" in capsys.readouterr().err
    assert in_process(*evaluate) == 0
    assert "split validation: 40 impressions" in capsys.readouterr().out


def test_interrupted(tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"

    def train(folder, *_):
        folder = pathlib.Path(folder)
        folder.mkdir(exist_ok=True)
        (folder / "training.yaml").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(tfrs_npa.commands.train, "train", train)
    assert in_process("train", "--data", "mind/small", "--run", run) == 130
    assert f"`tfrs-npa train --run {run} --resume` goes on" in capsys.readouterr().err
