"""A log in Parquet, wherever `--data` is accepted."""

from __future__ import annotations

import shutil

import pyarrow.parquet as pq
import pytest

from tfrs_npa.runs.run import Run


@pytest.fixture(scope="module")
def trained(parquet_log, tiny, finish, run_eagerly, tmp_path_factory):
    """A run on a log."""
    run = tmp_path_factory.mktemp("runs") / "own"
    options = ["--data", parquet_log / "log.parquet", "--news", parquet_log / "news.parquet"]
    with run_eagerly():
        return finish(run, "train", *options, "--config", tiny, "--epochs", 1, "--run", run)


def test_what_was_held_out_is_said(trained, parquet_log):
    assert f"{parquet_log}/log.parquet: the 40 impressions of its last day, " in trained.messages
    assert f"{parquet_log}/log.parquet, split validation: 40 impressions" in trained.output
    run = Run(trained.folder)
    assert run.settings.news == str(parquet_log / "news.parquet")
    assert run.metrics["parts"]["stopping"] == "last day of train"


@pytest.mark.slow
def test_other_commands_find_the_log(trained, in_process, eager_functions, capsys, tmp_path):
    run = trained.folder
    assert in_process("evaluate", "--run", run) == 0
    # After two parts that `train` shows too, there are the slices.
    shown = capsys.readouterr().out.split("\n\n")
    assert trained.output.startswith("\n\n".join(shown[:2])) and len(shown) == 3
    assert in_process("predict", "--run", run, "--to", tmp_path / "predictions") == 0
    assert len((tmp_path / "predictions" / "prediction.txt").read_text().splitlines()) == 40
    user = Run(run).load_model().users.ids[1]
    assert in_process("recommend", "--run", run, "--user", user, "--k", 3) == 0
    assert in_process("train", "--run", run, "--resume") == 0


def test_a_log_of_another_day(trained, parquet_log, in_process, untraced, capsys, tmp_path):
    """A single day is evaluated as a whole."""
    table = pq.read_table(parquet_log / "log.parquet")
    pq.write_table(table.drop_columns("time").slice(0, 25), tmp_path / "today.parquet")
    options = ["--run", trained.folder, "--data", tmp_path / "today.parquet"]
    assert in_process("evaluate", *options) == 2
    assert "news is missing: " in capsys.readouterr().err
    assert in_process("evaluate", *options, "--news", parquet_log / "news.parquet") == 0
    captured = capsys.readouterr()
    assert "today.parquet, split validation: 25 impressions" in captured.out
    assert "today.parquet is the split validation as a whole: there is no column" in captured.err


def test_a_changed_log_is_not_resumed(trained, parquet_log, tmp_path, in_process, capsys):
    copy, log = shutil.copytree(trained.folder, tmp_path / "run"), tmp_path / "log.parquet"
    table = pq.read_table(parquet_log / "log.parquet")
    pq.write_table(table.slice(1), log)
    settings = copy / "training.yaml"
    settings.write_text(settings.read_text().replace(f"{parquet_log}/log.parquet", str(log)))
    assert in_process("train", "--run", copy, "--resume") == 2
    assert "has changed since" in capsys.readouterr().err


def test_training_needs_an_earlier_day(parquet_log, tmp_path, in_process, capsys):
    log = tmp_path / "log.parquet"
    pq.write_table(pq.read_table(parquet_log / "log.parquet").drop_columns("time"), log)
    options = ["--data", log, "--news", parquet_log / "news.parquet", "--run", tmp_path / "run"]
    for command in ("train", "tune"):
        assert in_process(command, *options) == 2
    error = capsys.readouterr().err
    assert "there is no column time to hold out the last day by" in error
    assert "log.parquet has no split train; it has validation" in error
