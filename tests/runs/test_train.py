from __future__ import annotations

import csv
import dataclasses
import logging
import os
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
import yaml

from tfrs_npa.config import NPAConfig
from tfrs_npa.data.splits import load_splits
from tfrs_npa.models.npa import NPA
from tfrs_npa.runs.evaluation import evaluate_model
from tfrs_npa.runs.run import Run, load_run
from tfrs_npa.runs.train import resume, train
from tfrs_npa.settings import TrainingSettings

pytestmark = [
    pytest.mark.usefixtures("eager_functions", "same_picture"),
    pytest.mark.filterwarnings("ignore:Even though the .tf.config"),
]

CONFIG = NPAConfig(
    word_embedding_dim=4,
    user_embedding_dim=3,
    num_filters=5,
    attention_dim=3,
    history_length=5,
    seed=1,
)


def change_settings(run, **changes):
    values = yaml.safe_load((run.path / "training.yaml").read_text()) | changes
    (run.path / "training.yaml").write_text(yaml.safe_dump(values))


@pytest.mark.slow
def test_early_stopping_remembers_what_was_before(folder, tmp_path):
    settings = TrainingSettings(str(folder), epochs=1, patience=2)
    train(tmp_path / "run", settings, CONFIG)
    run = Run(tmp_path / "run")
    # The first epoch cannot be beaten, and more of them are allowed.
    untrained, first = run.history
    history = [untrained, first | {"val_auc": 1.0}]
    best = run.load_model("last", with_optimizer=True)
    for name in ("best", "last"):
        run.save_checkpoint(best, name, {"epoch": 1, "step": 0, "history": history})
    (run.path / "metrics.json").unlink()
    change_settings(run, epochs=9)
    # An epoch that was cut off between its line and its checkpoint is trained again.
    run.history = [*history, first | {"epoch": 2, "val_auc": 0.25}]

    resume(run.path)
    assert [row["epoch"] for row in run.history] == [0, 1, 2, 3]
    assert run.history[2]["val_auc"] != 0.25
    assert (run.metrics["epochs"], run.metrics["best_epoch"]) == (3, 1)
    for found, expected in zip(load_run(run.path).variables, best.variables, strict=True):
        np.testing.assert_array_equal(found, expected)

    # Done is done.
    last = (run.path / "checkpoints" / "last.weights.h5").read_bytes()
    resume(run.path)
    assert run.metrics["epochs"] == 3
    assert (run.path / "checkpoints" / "last.weights.h5").read_bytes() == last


def same_weights(one, other):
    variables = one.trainable_variables, other.trainable_variables  # no state of metrics
    return all(map(np.array_equal, *variables))


@pytest.mark.slow
def test_the_untrained_model_is_epoch_0(folder, tmp_path, monkeypatch):
    """It stays the best, if no epoch is better, and early stopping counts from it."""
    evaluations = iter([0.9, 0.5, 0.6])
    evaluate = NPA.evaluate

    def evaluate_worse(model, *args, **kwargs):
        return evaluate(model, *args, **kwargs) | {"auc": next(evaluations)}

    monkeypatch.setattr(NPA, "evaluate", evaluate_worse)
    settings = TrainingSettings(str(folder), epochs=9, patience=2)
    train(tmp_path / "run", settings, CONFIG)
    run = Run(tmp_path / "run")
    assert [(row["epoch"], row["val_auc"]) for row in run.history] == [(0, 0.9), (1, 0.5), (2, 0.6)]
    assert "loss" not in run.history[0] and "loss" in run.history[1]
    assert (run.metrics["epochs"], run.metrics["best_epoch"]) == (2, 0)
    assert run.metrics["seconds"]["training"] == pytest.approx(
        sum(row["seconds"] for row in run.history[1:])
    )
    best = run.load_model("best")
    tf.keras.utils.set_random_seed(CONFIG.seed)
    catalog, splits = load_splits(settings)
    assert same_weights(best, NPA(CONFIG, catalog, splits.users))
    assert not same_weights(best, run.load_model("last"))

    # A training that was interrupted before it ended has stopped too.
    (run.path / "metrics.json").unlink()
    resume(run.path)
    assert (run.metrics["epochs"], run.metrics["best_epoch"]) == (2, 0)


class Killed(BaseException):
    """Nothing in the program catches it."""


@pytest.fixture(scope="module")
def uninterrupted(folder, tmp_path_factory):
    """A run with everything that is drawn, its settings and its configuration."""
    settings = TrainingSettings(str(folder), epochs=2, patience=2)
    config = CONFIG.replace(history_sampling="random", dropout=0.2)
    path = tmp_path_factory.mktemp("uninterrupted") / "run"
    train(path, settings, config)
    return Run(path), settings, config


@pytest.mark.slow
@pytest.mark.parametrize("when", ["evaluated", "recorded", "training", "between"])
def test_killed_at_epoch_0_and_resumed_equals_uninterrupted(
    uninterrupted, tmp_path, when, monkeypatch
):
    whole, settings, config = uninterrupted

    def kill(*args, **kwargs):
        raise Killed

    with monkeypatch.context() as patch:
        if when == "evaluated":  # before anything is recorded
            patch.setattr("tfrs_npa.runs.train.record_untrained", kill)
        elif when == "recorded":  # before the history, after the best checkpoint
            patch.setattr(Run, "history", Run.history.setter(kill))
        elif when == "training":
            patch.setattr(NPA, "fit", kill)
        else:  # after the history and before the last checkpoint of epoch 1
            save = Run.save_checkpoint
            names = iter(["best", "last", "best", "last"])

            def save_until_then(run, model, name, state):
                step = model.optimizer.iterations > 0 and name == "last"
                return kill() if step else save(run, model, next(names) and name, state)

            patch.setattr(Run, "save_checkpoint", save_until_then)
        with pytest.raises(Killed):
            train(tmp_path / "run", settings, config)
    run = Run(tmp_path / "run")
    assert len(run.history) == {"evaluated": 0, "recorded": 0, "training": 1, "between": 2}[when]
    resume(run.path)
    assert_equal_runs(run, whole)


def assert_equal_runs(run, whole):
    """Bit for bit, but for the seconds."""

    def measured(run):
        timeless = [{k: v for k, v in row.items() if k != "seconds"} for row in run.history]
        return timeless, {k: v for k, v in run.metrics.items() if k != "seconds"}

    assert measured(run) == measured(whole)
    for name in ("best", "last"):
        assert same_weights(run.load_model(name), whole.load_model(name))


def without_state(run, name):
    """Makes a checkpoint what version 0.1 would have written."""
    model = run.load_model(name, with_optimizer=True)
    model.save_weights(run.path / "checkpoints" / f"{name}.weights.h5")


def make_old(run, new_fields):
    """Turns a run without any new feature into what an earlier version has written."""
    file = run.path / "config.yaml"
    saved = yaml.safe_load(file.read_text())
    for name in new_fields:
        del saved[name]
    file.write_text(yaml.safe_dump(saved))
    for name in ("word_vectors.npy", "checksums.json"):
        (run.path / name).unlink()
    for name in ("last", "best"):
        without_state(run, name)
    rows = [{"epoch": row["epoch"] - 1} | row for row in run.history[1:]]
    with (run.path / "history.csv").open("w", newline="") as opened:
        writer = csv.DictWriter(opened, rows[0])
        writer.writeheader()
        writer.writerows(row | {"epoch": int(row["epoch"]) - 1} for row in rows)


@pytest.mark.slow
def test_a_run_of_an_earlier_version(folder, tmp_path, new_fields):
    """It loads, evaluates and resumes as it did."""
    fields = CONFIG.replace(schedule="constant").to_dict()
    config = NPAConfig.from_saved({name: fields[name] for name in fields if name not in new_fields})
    settings = TrainingSettings(str(folder), epochs=3, patience=3)
    train(tmp_path / "whole", settings, config)
    whole = Run(tmp_path / "whole")

    # Interrupted in its second epoch: the history and the checkpoints of the first.
    first = tmp_path / "first"
    train(first, dataclasses.replace(settings, epochs=1), config)
    run = Run(first)
    # The first epoch was always the best so far.
    checkpoints = first / "checkpoints"
    shutil.copy(checkpoints / "last.weights.h5", checkpoints / "best.weights.h5")
    change_settings(run, epochs=3)
    make_old(run, new_fields)
    (first / "metrics.json").unlink()
    assert run.config == config
    assert [row["epoch"] for row in run.history] == [1]
    resume(first)
    assert same_weights(run.load_model("last"), whole.load_model("last"))
    timeless = [
        [{k: v for k, v in row.items() if k != "seconds"} for row in one.history]
        for one in (run, whole)
    ]
    assert timeless[0] == timeless[1][1:]

    # An old run that has ended; the two baselines of word vectors are left out.
    make_old(whole, new_fields)
    before = whole.metrics["metrics"]
    evaluation = resume(whole.path)
    assert evaluation["metrics"] == {name: before[name] for name in ("random", "popularity", "npa")}
    assert same_weights(load_run(whole.path), whole.load_model("best"))


@pytest.mark.slow
def test_without_stopping_the_last_model_counts(folder, tmp_path, caplog):
    vectors = tmp_path / "vectors.txt"
    titles = [
        title.split("\t")[3] for title in (folder / "train/news.tsv").read_text().splitlines()
    ]
    word = titles[0].split()[0].lower()
    vectors.write_text(f"{word} 9 8 7 6\nunheard -1 -2 -3 -4\n")
    settings = TrainingSettings(
        str(folder), word_vectors=str(vectors), holdout="none", epochs=2, patience=1
    )
    with caplog.at_level(logging.INFO):
        rates = {"table_learning_rate": None, "user_learning_rate": None}
        config = CONFIG.replace(learning_rate=1e-9, **rates)
        train(tmp_path / "run", settings, config)
    assert "word vectors cover" in caplog.text and "epoch 2 of 2: loss" in caplog.text
    assert "untrained" not in caplog.text
    run = Run(tmp_path / "run")
    assert (run.metrics["epochs"], run.metrics["best_epoch"]) == (2, 2)
    assert run.metrics["parts"] == {"train": "train", "stopping": None, "report": "test"}
    best, last = run.load_model("best"), run.load_model("last")
    for one, other in zip(best.variables, last.variables, strict=True):
        np.testing.assert_array_equal(one, other)
    number = best.catalog.vocabulary.index([word, "unheard"])
    # Centred by how often words occur, and only one of them does: ten less in four dimensions.
    vectors = tf.gather(best.candidate_tower.word_table, number)
    np.testing.assert_allclose(tf.norm(vectors, axis=1), [0, 20], atol=1e-4)
    assert [row["epoch"] for row in run.history] == [1, 2]

    file = folder / "dev" / "news.tsv"
    before = file.read_text()
    try:
        file.write_text(before + "Nnew\ta\tb\tA title\t\t\t[]\t[]\n")
        with pytest.raises(ValueError, match="has changed since"):
            resume(run.path)
    finally:
        file.write_text(before)


@pytest.mark.slow
def test_bfloat16(folder, tmp_path):
    settings = TrainingSettings(str(folder), epochs=2, patience=2, precision="bfloat16")
    metrics = train(tmp_path / "run", settings, CONFIG)
    run = Run(tmp_path / "run")
    assert run.settings.precision == "bfloat16"
    assert tf.keras.mixed_precision.global_policy().name == "float32"
    model = load_run(run.path)
    assert model.query_tower.compute_dtype == model.candidate_tower.compute_dtype == "bfloat16"
    assert {weight.dtype for weight in model.weights} <= {tf.float32, tf.int64, tf.int32}
    catalog, splits = load_splits(settings)
    found = evaluate_model(model, splits.data, splits.test_split, splits.test, run.baselines)
    assert found["metrics"] == metrics["metrics"]

    # Resumed.
    history = run.history
    shutil.rmtree(run.path)
    train(run.path, dataclasses.replace(settings, epochs=1), CONFIG)
    (run.path / "metrics.json").unlink()
    change_settings(run, epochs=2)
    resume(run.path)
    assert [row["epoch"] for row in run.history] == [row["epoch"] for row in history] == [0, 1, 2]

    # And a training from it, in another.
    train(tmp_path / "next", TrainingSettings(str(folder), epochs=1), CONFIG, start_from=run.path)
    assert load_run(tmp_path / "next").query_tower.compute_dtype == "float32"


@pytest.mark.slow
def test_divergence_is_noticed(folder, tmp_path):
    path, settings = tmp_path / "run", TrainingSettings(str(folder), epochs=2)
    with pytest.raises(ValueError, match="diverged") as caught:
        train(path, settings, CONFIG.replace(learning_rate=1e6, schedule="constant", batch_size=8))
    found = re.fullmatch(
        r"the training has diverged in step (\d+) of epoch 1: the mean loss so far is (\S+), where "
        r"equal scores have 1\.609\. Impressions of that batch: ([\d, .]+)\. Start another run "
        r"with a learning_rate lower than 1e\+06; the best model so far is kept, that of epoch 0",
        str(caught.value),
    )
    assert found and len(str(caught.value)) <= 500
    run = Run(path)
    assert run.has_checkpoint("best") and [row["epoch"] for row in run.history] == [0]

    # That is what the checkpoint has too.
    load_run(path)


@pytest.mark.slow
def test_untrained_weights_are_called_so(folder, tmp_path, monkeypatch, caplog):
    path, settings = tmp_path / "run", TrainingSettings(str(folder), epochs=1)

    def kill(*args, **kwargs):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(NPA, "fit", kill)
        train(path, settings, CONFIG)
    load_run(path)
    assert "run has not completed an epoch: these are the weights after 0 steps" in caplog.text
    caplog.clear()
    resume(path)
    load_run(path)
    assert "has not completed" not in caplog.text


@pytest.mark.slow
def test_one_training_at_a_time(folder, tmp_path, monkeypatch):
    """Of two on one new folder, the second is refused before it reads anything."""
    path, settings = tmp_path / "run", TrainingSettings(str(folder), epochs=1)

    def train_too(*args, **kwargs):
        for again in (
            lambda: train(path, settings, CONFIG),
            lambda: train(path, settings, CONFIG, overwrite=True),
            lambda: resume(path),
        ):
            with pytest.raises(ValueError, match="in use by process|holds a run already"):
                again()
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(NPA, "fit", train_too)
        train(path, settings, CONFIG)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(NPA, "fit", train_too)
        train(path, settings, CONFIG, overwrite=True)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(NPA, "fit", train_too)
        resume(path)
    resume(path)


@pytest.mark.slow
def test_what_dead_processes_left_is_swept(folder, tmp_path):
    path, settings = tmp_path / "run", TrainingSettings(str(folder), epochs=1)
    train(path, settings, CONFIG)
    left = [
        path / "checkpoints" / ".0123456789ab.tmp.last.weights.h5",
        path / ".0123456789ab.tmp.history.csv",
        tmp_path / ".0123456789ab.tmp.run",
    ]
    kept = [tmp_path / ".0123456789ab.tmp.other", path / "plots" / ".0123456789ab.tmp.slices.png"]
    for file in left + kept:
        file.touch()
    for file in left:
        os.utime(file, (0, 0))
    resume(path)
    assert not any(file.exists() for file in left) and all(file.exists() for file in kept)


@pytest.mark.slow
def test_the_history_of_version_0_1_has_to_fit_its_checkpoint(folder, tmp_path):
    """Else a worse epoch could become the best one."""
    path, settings = tmp_path / "run", TrainingSettings(str(folder), epochs=2, patience=2)
    train(path, settings, CONFIG)
    without_state(Run(path), "last")
    (path / "history.csv").unlink()
    with pytest.raises(ValueError, match="last checkpoint was saved after .* has 0 epochs"):
        resume(path)
