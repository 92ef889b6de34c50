from __future__ import annotations

import csv
import json

import keras_tuner as kt
import pytest
from keras_tuner.engine import trial as kt_trial

from tfrs_npa.search.folder import SearchFolder
from tfrs_npa.search.oracle import make_oracle
from tfrs_npa.search.trials import best, record, records, searched, write_csv
from tfrs_npa.settings import SearchSettings


@pytest.fixture
def folder(tmp_path):
    settings = SearchSettings("mind/small", tuner="random", epochs=4)
    return SearchFolder.create(tmp_path / "search", settings)


def trial(trial_id, status, score=None, step=0, **values):
    hp = kt.HyperParameters()
    hp.values = values
    made = kt_trial.Trial(hp, trial_id, status)
    made.score, made.best_step = score, step
    return made


def note(folder, trial_id, **what):
    path = folder.trials / f"trial_{trial_id}" / "run.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(what))


@pytest.fixture
def three(folder):
    oracle = make_oracle(folder.settings)
    third = {"tuner/epochs": 3, "tuner/initial_epoch": 1, "tuner/trial_id": "0"}
    for made in (
        trial("2", "RUNNING", dropout=0.1, window_size=3),
        trial("0", "COMPLETED", 0.6, 2, dropout=0.1, window_size=3),
        trial("3", "COMPLETED", 0.7, 1, dropout=0.3, window_size=3, **third),
        trial("1", "FAILED", dropout=0.2, window_size=3),
    ):
        oracle.trials[made.trial_id] = made
    oracle.start_order = ["0", "1", "2", "3"]
    note(folder, "0", seconds=1.5, reason=None)
    note(folder, "1", seconds=0.5, reason="ValueError: no, and\tno")
    # Of an attempt that was cut off.
    note(folder, "2", seconds=9.0, reason="old")
    return records(oracle, folder)


def test_records(three):
    assert [r.trial for r in three] == ["0", "1", "2", "3"]
    assert [r.status for r in three] == ["completed", "failed", "cut off", "completed"]
    assert [r.score for r in three] == [0.6, None, None, 0.7]
    assert [(r.first_epoch, r.epochs) for r in three] == [(1, 4)] * 3 + [(2, 3)]
    assert [r.best_epoch for r in three] == [3, None, None, 3]
    assert [r.seconds for r in three] == [1.5, 0.5, None, None]
    assert [r.reason for r in three] == [None, "ValueError: no, and\tno", None, None]
    assert three[3].values == {"dropout": 0.3, "window_size": 3}
    assert best(three) is three[3] and best(three[1:3]) is None
    assert searched(three) == ["dropout"]


def test_a_failure_that_nobody_gave_a_reason_for(folder):
    assert "diverged" in record(trial("0", "FAILED"), folder).reason


def test_csv(three, tmp_path):
    write_csv(tmp_path / "trials.csv", three)
    with open(tmp_path / "trials.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert (
        list(rows[0])
        == (
            "trial status val_auc first_epoch epochs best_epoch seconds dropout window_size reason"
        ).split()
    )
    assert list(rows[0].values()) == ["0", "completed", "0.6", "1", "4", "3", "1.5", "0.1", "3", ""]
    assert rows[1]["reason"] == "ValueError: no, and\tno" and rows[1]["val_auc"] == ""
    assert len(rows) == 4
