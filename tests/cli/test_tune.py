"""`tfrs-npa tune`; as processes where the process is what is tested."""

from __future__ import annotations

import csv
import json
import re
import shutil
import signal

import pytest
import yaml
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.hparams import metadata

import tfrs_npa
from tfrs_npa.data.splits import load_splits
from tfrs_npa.metrics.table import ROWS
from tfrs_npa.runs.baselines import BASELINES
from tfrs_npa.runs.run import Run
from tfrs_npa.search.folder import SearchFolder
from tfrs_npa.settings import TUNERS

FIXED = {
    "word_embedding_dim": 8,
    "user_embedding_dim": 4,
    "attention_dim": 4,
    "history_length": 10,
    "learning_rate": 0.01,
    "batch_size": 128,
}
SPACE = FIXED | {"num_filters": [4, 8, 16], "dropout": {"min": 0.0, "max": 0.5}}


@pytest.fixture(scope="module")
def space_file(tmp_path_factory):
    return write_space(tmp_path_factory.mktemp("space") / "space.yaml", SPACE)


@pytest.fixture(scope="module")
def options(mind_folder, space_file):
    """The options of a search of four trials, the last of which continues another."""
    options = ["--data", mind_folder, "--space", space_file, "--epochs", 3, "--max-trials", 4]
    return ["tune", *options, "--seed", 3]


@pytest.fixture(scope="module")
def searched(options, finish, run_eagerly, tmp_path_factory):
    """A search that was not interrupted."""
    run = tmp_path_factory.mktemp("runs") / "search"
    with run_eagerly():
        return finish(run, *options, "--run", run)


def write_space(path, fields):
    path.write_text(yaml.safe_dump({"preset": "small", "others": "pinned", "space": fields}))
    return path


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


def test_what_a_search_holds_and_prints(searched):
    run, output, messages = searched
    trials = rows(run)
    assert [row["status"] for row in trials] == ["completed"] * 4
    assert [(row["first_epoch"], row["epochs"]) for row in trials] == [("1", "1")] * 3 + [
        ("2", "3")
    ]
    best = max(trials, key=lambda row: float(row["val_auc"]))
    # The last continues the best of the three before it.
    parent = max(trials[:3], key=lambda row: float(row["val_auc"]))
    assert {trials[3][name] == parent[name] for name in ("num_filters", "dropout")} == {True}

    results = json.loads((run / "results.json").read_text())
    assert results["trials"] == {"completed": 4, "failed": 0}
    assert results["best"]["trial"] == best["trial"]
    baselines = json.loads((run / "baselines.json").read_text())
    assert set(baselines["metrics"]) == set(BASELINES)
    baseline = {"name": baselines["best"], "value": baselines["metrics"][baselines["best"]]["auc"]}
    value = float(best["val_auc"])
    assert results["objective"] == {"name": "val_auc", "value": value, "baseline": baseline}
    assert set(results["metrics"]) == {*BASELINES, "npa"}
    assert results["parts"] == {"train": "train", "stopping": "validation", "report": "test"}
    assert results["split"] == "test" and results["metrics"]["npa"]["auc"] is not None

    config = tfrs_npa.NPAConfig.from_yaml(run / "config.yaml")
    chosen = {"num_filters": int(best["num_filters"]), "dropout": float(best["dropout"])}
    assert config == tfrs_npa.NPAConfig.preset("small").replace(**(FIXED | chosen))

    for picture in ("objective.png", "hyperparameters.png"):
        assert (run / picture).read_bytes().startswith(b"\x89PNG")
    assert not [path for path in run.rglob("*.tmp")]

    table = output.splitlines()
    assert table[0].split() == ["trial", "val_auc", "best_epoch", "num_filters", "dropout"]
    assert table[2].split()[:2] == [best["trial"], f"{float(best['val_auc']):.4g}"]
    assert "split test: 40 impressions" in output and f"--config {run / 'config.yaml'}" in output
    shown = f"{ROWS[baseline['name']]}, {baseline['value']:.4f}"
    assert f"Best baseline there: {shown}\n" in output
    # Training rows, word vectors, baselines and a line for each trial; nothing of KerasTuner's.
    lines = [line for line in messages.splitlines() if line]
    patterns = [r"\d+ training rows", "making word vectors"]
    patterns += [r"val_auc without training: random 0\.\d{4}, .* density ratio 0\.\d{4}$"]
    patterns += ["trials planned: 4"]
    patterns += [
        rf"trial {i} \({i + 1} of 4\): val_auc {float(trials[i]['val_auc']):.4f}, "
        for i in range(4)
    ]
    assert len(lines) == len(patterns), messages
    assert all(map(re.match, patterns, lines)), messages


def test_the_winner_is_what_was_measured(searched, untraced):
    """Its checkpoint, loaded without the search, has the metrics of results.json."""
    results = json.loads((searched.folder / "results.json").read_text())
    catalog, splits = load_splits(SearchFolder(searched.folder).settings)
    config = tfrs_npa.NPAConfig.from_yaml(searched.folder / "config.yaml")
    model = tfrs_npa.NPA(config, catalog, splits.users)
    trial = searched.folder / "trials" / f"trial_{results['best']['trial']}"
    model.load_weights(trial / "checkpoint").expect_partial()
    model.compile(optimizer=tfrs_npa.default_optimizer(config))
    for impressions, expected in (
        (splits.test, results["metrics"]["npa"]["auc"]),
        (splits.validation, results["objective"]["value"]),
    ):
        batches = tfrs_npa.impression_batches(impressions, catalog, splits.users, config)
        metrics = model.evaluate(batches, verbose=0, return_dict=True)
        assert metrics["auc"] == pytest.approx(expected, abs=1e-6)


def test_tensorboard_shows_the_hyperparameters(searched):
    run = searched.folder
    found = sessions(run)
    assert sorted(found) == sorted(row["trial"] for row in rows(run))
    for row in rows(run):
        (start,) = found[row["trial"]]["starts"]
        assert start["num_filters"].number_value == float(row["num_filters"])
        assert start["dropout"].number_value == pytest.approx(float(row["dropout"]))
        assert found[row["trial"]]["ends"] == 1


@pytest.mark.slow
def test_train_takes_the_configuration(searched, mind_folder, tmp_path, in_process, untraced):
    config = searched.folder / "config.yaml"
    options = ["--data", mind_folder, "--epochs", 1, "--config", config, "--run", tmp_path / "run"]
    assert in_process("train", *options) == 0
    assert Run(tmp_path / "run").config == tfrs_npa.NPAConfig.from_yaml(config)


def test_a_terminated_search_says_how_to_resume(options, tmp_path, in_process, monkeypatch, capsys):
    """Schedulers send SIGTERM."""

    def search(*arguments):
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("tfrs_npa.search.search.search", search)
    run = tmp_path / "search"
    assert in_process(*options, "--run", run) == 143
    hint = f"tfrs-npa: terminated; `tfrs-npa tune --run {run} --resume` resumes the search"
    assert capsys.readouterr().err.splitlines()[-1] == hint


@pytest.mark.slow
def test_interrupted_killed_and_resumed_equals_uninterrupted(
    searched, options, tmp_path, end_in_epoch, in_process, untraced
):
    run = tmp_path / "search"
    # In the second trial.
    start = [*options, "--run", run]
    code, output, messages = end_in_epoch(2, signal.SIGINT, *start, untraced=True)
    assert code == 130 and not output
    hint = f"tfrs-npa: interrupted; `tfrs-npa tune --run {run} --resume` resumes the search"
    assert messages.splitlines()[-1] == hint and "Traceback" not in messages

    # In the second epoch of the trial that continues another.
    resume = ["tune", "--run", run, "--resume"]
    code, _, messages = end_in_epoch(4, signal.SIGKILL, *resume, untraced=True)
    assert code == -signal.SIGKILL
    assert "resuming; trials so far: 1 ended, 1 interrupted" in messages
    assert not (run / "results.json").exists()

    assert in_process(*resume) == 0
    whole = searched.folder
    assert rows(run) == rows(whole)
    resumed, uninterrupted = (json.loads((p / "results.json").read_text()) for p in (run, whole))
    for results in (resumed, uninterrupted):
        del results["seconds"]
    assert resumed == uninterrupted
    # Nothing is left of an attempt that was interrupted.
    assert [len(trial["starts"]) for trial in sessions(run).values()] == [1] * 4

    # All files of a search with such a history are known to be its own.
    SearchFolder.check_free(run, overwrite=True)


@pytest.mark.slow
def test_a_process_prints_no_log_of_tensorflow(options, searched, tmp_path, process):
    """Nor that each trial traces a model, of which TensorFlow warns at the fifth."""
    run = tmp_path / "search"
    code, output, messages = process(*options, "--run", run, TF_CPP_MIN_LOG_LEVEL="3")
    assert code == 0 and "retracing" not in messages
    lines, expected = messages.splitlines(), searched.messages.splitlines()
    assert [line.split(":")[0] for line in lines] == [line.split(":")[0] for line in expected]
    assert output.splitlines()[0] == searched.output.splitlines()[0]


@pytest.mark.slow
def test_failed_trials_are_counted_and_shown(mind_folder, tmp_path, in_process, untraced, capsys):
    fields = FIXED | {"num_filters": 4, "user_initializer": ["uniform", "nothing_known"]}
    space = write_space(tmp_path / "space.yaml", fields)
    run = tmp_path / "search"
    options = ["tune", "--data", mind_folder, "--space", space, "--tuner", "grid", "--epochs", 1]
    assert in_process(*options, "--run", run) == 0
    output, messages = capsys.readouterr()
    assert "Trials: 1 completed, 1 failed" in output
    assert "trial 0001 (2) failed: ValueError: Unknown initializer: 'nothing_known'" in messages
    good, bad = rows(run)
    assert (good["status"], good["reason"]) == ("completed", "")
    assert (bad["status"], bad["user_initializer"]) == ("failed", "nothing_known")
    assert bad["reason"].startswith("ValueError: Unknown initializer: 'nothing_known'")
    failure = (run / "trials" / "trial_0001" / "failure.txt").read_text()
    assert failure.startswith("Traceback") and bad["reason"] in failure
    # It is a file of the search, which may be overwritten.
    SearchFolder.check_free(run, overwrite=True)


def test_a_search_without_a_completed_trial_fails(mind_folder, tmp_path, in_process, capsys):
    unknown = [f"unknown_{number}" for number in range(9)]
    fields = FIXED | {"num_filters": 4, "user_initializer": ["uniform", *unknown]}
    space = write_space(tmp_path / "space.yaml", fields)
    run = tmp_path / "search"
    options = ["tune", "--data", mind_folder, "--space", space, "--tuner", "random", "--epochs", 1]
    assert in_process(*options, "--run", run) == 1
    messages = capsys.readouterr().err
    assert "3 trials in a row failed" in messages
    error = messages.splitlines()[-1]
    assert error.startswith("tfrs-npa: error: no trial was completed: ValueError: Unknown")
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
def test_bad_options(tmp_path, in_process, capsys, options, expected):
    assert in_process("tune", *options, "--run", tmp_path / "search") == 2
    error = capsys.readouterr().err
    assert error.startswith("tfrs-npa: error: ") and expected in error


def test_a_search_is_neither_lost_nor_changed(
    searched, options, tmp_path, in_process, snapshot, capsys
):
    run = searched.folder
    before = snapshot(run)
    assert in_process(*options, "--run", run) == 2
    assert "holds a search already; use --resume, --overwrite" in capsys.readouterr().err
    other = write_space(tmp_path / "other.yaml", FIXED)
    resume = ["tune", "--run", run, "--resume"]
    assert in_process(*resume, "--epochs", 4, "--space", other) == 2
    error = capsys.readouterr().err
    assert f"was started with epochs 3, not 4, another space than {other}; --resume" in error
    assert snapshot(run) == before


def search_with(data, run, tmp_path):
    """A copy of a search to resume with other data."""
    copy = shutil.copytree(run, tmp_path / "search")
    file = copy / "search.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"data": str(data)}))
    return copy


def test_changed_data_is_not_resumed(
    searched, changed_data, tmp_path, in_process, snapshot, capsys
):
    data, difference = changed_data
    copy = search_with(data, searched.folder, tmp_path)
    before = snapshot(copy)
    assert in_process("tune", "--run", copy, "--resume") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"tfrs-npa: error: {data} has changed since {copy} was started: ")
    assert difference in error
    assert snapshot(copy) == before


def test_resuming_a_finished_search_evaluates_its_winner_again(
    searched, tmp_path, in_process, untraced, capsys
):
    """Also without a fingerprint of its data, as in the folder of an older version."""
    copy = shutil.copytree(searched.folder, tmp_path / "search")
    (copy / "data.json").unlink()
    assert in_process("tune", "--run", copy, "--resume") == 0
    output = capsys.readouterr().out
    assert output == searched.output.replace(str(searched.folder), str(copy))
    assert (copy / "data.json").read_bytes() == (searched.folder / "data.json").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("tuner", [tuner for tuner in TUNERS if tuner != "hyperband"])
def test_all_files_of_a_tuner_are_known(options, tuner, tmp_path, in_process, untraced):
    run = tmp_path / "search"
    options = [*options, "--tuner", tuner, "--epochs", 1, "--max-trials", 1, "--run", run]
    assert in_process(*options) == 0
    SearchFolder.check_free(run, overwrite=True)


def test_overwrite_replaces_a_finished_search(searched, tmp_path, in_process):
    run = shutil.copytree(searched.folder, tmp_path / "search")
    (run / "retrained.csv").touch()  # by tuning/retrain.py
    (run / "trials" / "worker-1.json").touch()
    (run / "trials" / ".0123456789ab.tmp.oracle.json").touch()  # by an interrupted write
    before = sorted(run.rglob("*"))
    options = ["tune", "--run", run, "--overwrite", "--data"]
    assert in_process(*options, "mind/tiny") == 2
    assert sorted(run.rglob("*")) == before  # nothing is lost by a name that does not exist
    (tmp_path / "empty").mkdir()
    assert in_process(*options, tmp_path / "empty") == 2  # found when the folder is replaced
    names = sorted(path.name for path in run.iterdir())
    assert names == ["base.yaml", "search.yaml", "space.yaml"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "search"]


@pytest.mark.parametrize("foreign", ["thesis.txt", "tensorboard/notes.txt", "trials/x.csv", "link"])
def test_overwrite_keeps_files_of_others(
    searched, options, foreign, tmp_path, in_process, snapshot, capsys
):
    run = shutil.copytree(searched.folder, tmp_path / "search")
    (tmp_path / "paper.txt").touch()
    if foreign == "link":
        (run / foreign).symlink_to(tmp_path / "paper.txt")
    else:
        (run / foreign).write_text("mine")
    before = snapshot(tmp_path)
    assert in_process(*options, "--run", run, "--overwrite") == 2
    error = capsys.readouterr().err
    assert f"{run} cannot be overwritten: {run / foreign} is not a file of a search" in error
    assert snapshot(tmp_path) == before and (run / foreign).exists()


def test_half_of_kerastuners_variables(searched, in_process, monkeypatch, capsys):
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    monkeypatch.delenv("KERASTUNER_ORACLE_PORT", raising=False)
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "worker-1")
    assert in_process("tune", "--run", searched.folder, "--resume") == 2
    assert "KERASTUNER_ORACLE_PORT is not set" in capsys.readouterr().err
