"""`tfrs-npa tune`; as processes where what is tested is the process."""

from __future__ import annotations

import csv
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
import yaml
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.hparams import metadata
from tfrs_npa_cli import main

import tfrs_npa
from tfrs_npa.data.loading import load_mind
from tfrs_npa.runs.run import Run

ROOT = pathlib.Path(tfrs_npa.__file__).parents[1]
FIXED = {
    "word_embedding_dim": 8,
    "user_embedding_dim": 4,
    "attention_dim": 4,
    "history_length": 10,
    "learning_rate": 0.01,
}
SPACE = FIXED | {"num_filters": [4, 8, 16], "dropout": {"min": 0.0, "max": 0.5}}
OPTIONS = ["--epochs", 3, "--max-trials", 4, "--seed", 3]


@pytest.fixture(scope="module", autouse=True)
def cache_folder(tmp_path_factory):
    """Keeps the user's own cache out of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("caches")))
        yield


@pytest.fixture(scope="module")
def space_file(tmp_path_factory):
    return write_space(tmp_path_factory.mktemp("space") / "space.yaml", SPACE)


@pytest.fixture(scope="module")
def searched(mind_folder, space_file, tmp_path_factory):
    """The folder of a search, and what its process wrote to the two streams."""
    run = tmp_path_factory.mktemp("runs") / "search"
    process = command("--data", mind_folder, "--space", space_file, *OPTIONS, "--run", run)
    shown, messages = process.communicate(timeout=240)
    assert process.returncode == 0, messages
    return run, shown, messages


def write_space(path, fields):
    path.write_text(yaml.safe_dump({"preset": "small", "others": "pinned", "space": fields}))
    return path


def command(*arguments, program=("-m", "tfrs_npa_cli", "tune")):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    return subprocess.Popen(
        [sys.executable, *map(str, [*program, *arguments])],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Of a job in the background it is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def in_process(*arguments):
    return main(["tune", *(str(argument) for argument in arguments)])


def rows(run):
    """The rows of `trials.csv` without the clock's."""
    with open(run / "trials.csv", newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def sessions(run):
    """For each trial, the hyper-parameters in what TensorBoard's tab HParams reads, and its end."""
    found = {}
    for path in sorted((run / "tensorboard").glob("*/execution0/events.*")):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name != metadata.PLUGIN_NAME:
                    continue
                data = value.metadata.plugin_data.content
                trial = found.setdefault(path.parts[-3], {"starts": [], "ends": 0})
                if value.tag == metadata.SESSION_START_INFO_TAG:
                    hparams = metadata.parse_session_start_info_plugin_data(data).hparams
                    trial["starts"].append({name: hparams[name] for name in hparams})
                elif value.tag == metadata.SESSION_END_INFO_TAG:
                    trial["ends"] += 1
    return found


def test_what_a_search_leaves_behind(searched):
    run, shown, messages = searched
    trials = rows(run)
    assert [row["status"] for row in trials] == ["completed"] * 4
    assert [(row["first_epoch"], row["epochs"]) for row in trials] == [("1", "1")] * 3 + [
        ("2", "3")
    ]
    best = max(trials, key=lambda row: float(row["val_auc"]))
    # The last goes on with the best of the three before it.
    parent = max(trials[:3], key=lambda row: float(row["val_auc"]))
    assert {trials[3][name] == parent[name] for name in ("num_filters", "dropout")} == {True}

    results = json.loads((run / "results.json").read_text())
    assert results["trials"] == {"completed": 4, "failed": 0}
    assert results["best"]["trial"] == best["trial"]
    assert results["objective"] == {"name": "val_auc", "value": float(best["val_auc"])}
    assert results["parts"] == {"train": "train", "stopping": "validation", "report": "test"}
    assert results["split"] == "test" and results["metrics"]["npa"]["auc"] is not None

    config = tfrs_npa.NPAConfig.from_yaml(run / "config.yaml")
    chosen = {"num_filters": int(best["num_filters"]), "dropout": float(best["dropout"])}
    assert config == tfrs_npa.NPAConfig.preset("small").replace(**(FIXED | chosen))

    for picture in ("objective.png", "hyperparameters.png"):
        assert (run / picture).read_bytes().startswith(b"\x89PNG")
    assert not [path for path in run.rglob("*.tmp")]

    table = shown.splitlines()
    assert table[0].split() == ["trial", "val_auc", "best_epoch", "num_filters", "dropout"]
    assert table[2].split()[:2] == [best["trial"], f"{float(best['val_auc']):.4g}"]
    assert "split test: 40 impressions" in shown and f"--config {run / 'config.yaml'}" in shown
    # Training rows, word vectors and a line for each trial; nothing of KerasTuner's.
    lines = [line for line in messages.splitlines() if line]
    starts = ["245 training rows", "making word vectors", "4 trials are planned"]
    starts += [
        f"trial {i} ({i + 1} of 4): val_auc {float(trials[i]['val_auc']):.4f}, " for i in range(4)
    ]
    assert len(lines) == len(starts), messages
    assert all(map(str.startswith, lines, starts)), messages


def test_the_winner_is_what_was_measured(searched, mind_folder):
    """Its checkpoint, loaded without the search, gives the figures of results.json."""
    run, _, _ = searched
    results = json.loads((run / "results.json").read_text())
    data = load_mind(mind_folder)
    catalog = tfrs_npa.NewsCatalog().adapt(data.titles("train"))
    for split in ("train", "validation", "test"):
        catalog.extend(data.titles(split))
    users = data.users("train")
    config = tfrs_npa.NPAConfig.from_yaml(run / "config.yaml")
    model = tfrs_npa.NPA(config, catalog, users)
    checkpoint = run / "trials" / f"trial_{results['best']['trial']}" / "checkpoint"
    model.load_weights(checkpoint).expect_partial()
    model.compile(optimizer=tfrs_npa.default_optimizer(config))
    for split, expected in (
        ("test", results["metrics"]["npa"]["auc"]),
        ("validation", results["objective"]["value"]),
    ):
        impressions = data.impressions(split, catalog, users)
        batches = tfrs_npa.impression_batches(impressions, catalog, users, config)
        assert model.evaluate(batches, verbose=0, return_dict=True)["auc"] == pytest.approx(
            expected, abs=1e-6
        )


def test_tensorboard_shows_the_hyperparameters(searched):
    run, _, _ = searched
    found = sessions(run)
    assert sorted(found) == sorted(row["trial"] for row in rows(run))
    for row in rows(run):
        (start,) = found[row["trial"]]["starts"]
        assert start["num_filters"].number_value == float(row["num_filters"])
        assert start["dropout"].number_value == pytest.approx(float(row["dropout"]))
        assert found[row["trial"]]["ends"] == 1


def test_train_takes_the_configuration(searched, mind_folder, tmp_path):
    run, _, _ = searched
    options = ["--data", mind_folder, "--epochs", 1, "--config", run / "config.yaml"]
    assert main(["train", *map(str, options), "--run", str(tmp_path / "run")]) == 0
    assert Run(tmp_path / "run").config == tfrs_npa.NPAConfig.from_yaml(run / "config.yaml")


def test_interrupted_killed_and_resumed_equals_uninterrupted(
    searched, mind_folder, space_file, tmp_path
):
    run = tmp_path / "search"
    process = command(
        *("--data", mind_folder, "--space", space_file, *OPTIONS, "--run", run),
        program=(ROOT / "tuning" / "search.py",),
    )
    wait_until(process, lambda: in_the_middle(run, "1"))
    process.send_signal(signal.SIGINT)
    shown, messages = process.communicate(timeout=60)
    assert process.returncode == 130 and not shown
    assert f"interrupted; `tfrs-npa tune --run {run} --resume` goes on" in messages
    assert "Traceback" not in messages

    process = command("--run", run, "--resume")
    wait_until(process, lambda: in_the_middle(run, "3"))
    process.send_signal(signal.SIGKILL)
    _, messages = process.communicate()
    assert "going on: 1 trials have ended, 1 were cut off" in messages
    assert not (run / "results.json").exists()

    assert in_process("--run", run, "--resume") == 0
    whole = searched[0]
    assert rows(run) == rows(whole)
    resumed, uninterrupted = (json.loads((p / "results.json").read_text()) for p in (run, whole))
    for results in (resumed, uninterrupted):
        del results["seconds"]
    assert resumed == uninterrupted
    # Of an attempt that was cut off nothing is left.
    assert [len(trial["starts"]) for trial in sessions(run).values()] == [1] * 4


def in_the_middle(run, trial):
    """Whether a trial has begun to train, and not ended."""
    return (
        any((run / "tensorboard" / trial).rglob("events.*"))
        and not (run / "trials" / f"trial_{trial}" / "run.json").exists()
    )


def wait_until(process, condition):
    deadline = time.monotonic() + 240
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)


def test_failed_trials_are_counted_and_shown(mind_folder, tmp_path, capsys):
    fields = FIXED | {"num_filters": 4, "user_initializer": ["uniform", "nothing_known"]}
    space = write_space(tmp_path / "space.yaml", fields)
    run = tmp_path / "search"
    options = ["--data", mind_folder, "--space", space, "--tuner", "grid", "--epochs", 1]
    assert in_process(*options, "--run", run) == 0
    shown, messages = capsys.readouterr()
    assert "1 trials completed, 1 failed" in shown
    assert "trial 0001 (2) failed: ValueError: Unknown initializer: 'nothing_known'" in messages
    good, bad = rows(run)
    assert (good["status"], good["reason"]) == ("completed", "")
    assert (bad["status"], bad["user_initializer"]) == ("failed", "nothing_known")
    assert bad["reason"].startswith("ValueError: Unknown initializer: 'nothing_known'")
    failure = (run / "trials" / "trial_0001" / "failure.txt").read_text()
    assert failure.startswith("Traceback") and bad["reason"] in failure


def test_a_search_without_a_completed_trial_fails(mind_folder, tmp_path, capsys):
    unknown = [f"unknown_{number}" for number in range(9)]
    fields = FIXED | {"num_filters": 4, "user_initializer": ["uniform", *unknown]}
    space = write_space(tmp_path / "space.yaml", fields)
    run = tmp_path / "search"
    options = ["--data", mind_folder, "--space", space, "--tuner", "random", "--epochs", 1]
    with pytest.raises(SystemExit) as failed:
        in_process(*options, "--run", run)
    assert failed.value.code == 1
    messages = capsys.readouterr().err
    assert "3 trials in a row failed" in messages
    error = messages.splitlines()[-1]
    assert error.startswith("tfrs-npa: error: none of 3 trials was completed: 1 times ValueError")
    assert [row["status"] for row in rows(run)] == ["failed"] * 3
    assert not (run / "config.yaml").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "--data is missing"),
        (["--data", "mind/tiny"], "there is no data set mind/tiny"),
        (["--data", "mind/demo", "--space", "no.yaml"], "no.yaml: No such file"),
        (["--data", "mind/demo", "--epochs", "0"], "epochs is 0"),
        (["--resume"], "does not exist; `tfrs-npa tune --run"),
    ],
)
def test_bad_options(tmp_path, capsys, options, expected):
    assert in_process(*options, "--run", tmp_path / "search") == 2
    error = capsys.readouterr().err
    assert error.startswith("tfrs-npa: error: ") and expected in error


def test_without_anything_to_measure_on(tmp_path, capsys):
    with pytest.raises(SystemExit) as refused:
        in_process("--data", "mind/demo", "--holdout", "none", "--run", tmp_path / "search")
    assert refused.value.code == 2 and "'none'" in capsys.readouterr().err


def test_a_search_is_neither_lost_nor_changed(searched, space_file, tmp_path, capsys):
    run, _, _ = searched
    before = rows(run)
    assert in_process("--data", "mind/demo", "--run", run) == 2
    assert "use --resume, --overwrite" in capsys.readouterr().err
    other = write_space(tmp_path / "other.yaml", FIXED)
    assert in_process("--run", run, "--resume", "--epochs", 4, "--space", other) == 2
    error = capsys.readouterr().err
    assert "was begun with epochs 3, not 4, another space than" in error
    assert rows(run) == before


def test_half_of_kerastuners_variables(searched, monkeypatch, capsys):
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    monkeypatch.delenv("KERASTUNER_ORACLE_PORT", raising=False)
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "worker-1")
    assert in_process("--run", searched[0], "--resume") == 2
    assert "KERASTUNER_ORACLE_PORT is not set" in capsys.readouterr().err
