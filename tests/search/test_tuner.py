"""The tuner of a search, with a formula instead of a training."""

from __future__ import annotations

import json
import os

import keras_tuner as kt
import pytest
import tensorflow as tf

from tfrs_npa.search.folder import SearchFolder
from tfrs_npa.search.supervisor import DIED
from tfrs_npa.search.trials import records
from tfrs_npa.search.tuner import SearchTuner, fail_deadly_trial
from tfrs_npa.settings import SearchSettings

SETTINGS = SearchSettings("mind/small", tuner="random", max_trials=2, epochs=3)


class Formula(kt.HyperModel):
    """Its trials have a score, raise an exception or are interrupted, in this order."""

    def __init__(self, *results):
        super().__init__()
        self.results = list(results)

    def build(self, hp):
        hp.Choice("filters", [8, 16, 32])
        return tf.keras.Sequential()

    def fit(self, hp, model, **kwargs):
        result = self.results.pop(0)
        if isinstance(result, BaseException):
            raise result
        return {"val_auc": result}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in ("KERASTUNER_ORACLE_IP", "KERASTUNER_TUNER_ID", DIED):
        monkeypatch.delenv(name, raising=False)
    return SearchFolder.create(tmp_path / "search", SETTINGS)


def search(folder, *results):
    """Runs a search; returns the records of its trials."""
    tuner = SearchTuner(folder, Formula(*results))
    tuner.search(epochs=SETTINGS.epochs, verbose=0)
    return records(tuner.oracle, folder)


def test_a_failure_has_a_reason_and_a_traceback(folder):
    good, bad = search(folder, 0.6, MemoryError("too large\nfor this machine"))
    assert (good.status, good.score, good.reason) == ("completed", 0.6, None)
    assert (bad.status, bad.score, bad.reason) == ("failed", None, "MemoryError: too large")
    assert 0 <= good.seconds and 0 <= bad.seconds
    failure = (folder.trials / f"trial_{bad.trial}" / "failure.txt").read_text()
    assert failure.startswith("Traceback") and "for this machine" in failure


@pytest.mark.parametrize("results", [[KeyboardInterrupt()], [0.6, KeyboardInterrupt()]])
def test_an_interrupted_search_is_resumed(folder, results, capsys):
    """Also if it was interrupted in its first trial."""
    with pytest.raises(KeyboardInterrupt):
        search(folder, *results)
    completed = len(results) - 1
    trials = search(folder, *[0.5, 0.7][completed:])
    assert [trial.score for trial in trials] == [0.6 if completed else 0.5, 0.7]
    assert len(search(folder)) == 2 and "Reloading" not in capsys.readouterr().out


def test_a_deadly_trial_fails(folder, monkeypatch):
    tuner = SearchTuner(folder, Formula())
    trial = tuner.oracle.create_trial(tuner.tuner_id)
    fail_deadly_trial(tuner)
    assert tuner.oracle.ongoing_trials == {tuner.tuner_id: trial}

    monkeypatch.setenv(DIED, "killed 3 times")
    fail_deadly_trial(tuner)
    assert not tuner.oracle.ongoing_trials
    (failed,) = records(tuner.oracle, folder)
    assert (failed.status, failed.reason) == ("failed", "killed 3 times")
    note = json.loads((folder.trials / f"trial_{failed.trial}" / "run.json").read_text())
    assert note["reason"] == "killed 3 times"
    # One trial only.
    assert DIED not in os.environ


def test_no_trial_is_left_to_fail(folder, monkeypatch):
    search(folder, 0.6, 0.7)
    tuner = SearchTuner(folder, Formula())
    monkeypatch.setenv(DIED, "killed 3 times")
    fail_deadly_trial(tuner)
    assert [trial.status for trial in records(tuner.oracle, folder)] == ["completed"] * 2
