from __future__ import annotations

import csv
import dataclasses
import json

import keras_tuner as kt
import pytest
from keras_tuner.engine import trial as kt_trial

from tfrs_npa.search.folder import SearchFolder
from tfrs_npa.search.oracle import make_oracle
from tfrs_npa.search.trials import TrialRecord, best, describe, record, records, searched, write_csv
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
    # Of an attempt that was interrupted.
    note(folder, "2", seconds=9.0, reason="old")
    return records(oracle, folder)


def test_records(three):
    assert [r.trial for r in three] == ["0", "1", "2", "3"]
    assert [r.status for r in three] == ["completed", "failed", "interrupted", "completed"]
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


VALUES = {"num_filters": 64, "learning_rate": 0.00123456, "schedule": "linear"}
TRIAL = TrialRecord("07", "completed", 0.65432, 2, 5, 4, 12.4, VALUES, None)
DEFAULTS = {"num_filters": 64, "learning_rate": 0.001, "schedule": "cosine"}


def test_a_description_has_the_values_that_are_not_the_default():
    assert describe(TRIAL, TRIAL, 3, 10, DEFAULTS) == (
        "trial 07 (3 of 10): val_auc 0.6543, the best so far; learning_rate 0.00123, "
        "schedule linear, epochs 2 to 5; 12 s"
    )
    top = dataclasses.replace(TRIAL, trial="02", score=0.7)
    assert describe(TRIAL, top, 3, None, VALUES) == (
        "trial 07 (3): val_auc 0.6543, best 0.7000; epochs 2 to 5; 12 s"
    )


def test_the_description_of_a_failure_has_its_reason():
    failed = dataclasses.replace(
        TRIAL, status="failed", score=None, reason="ValueError: no", seconds=None
    )
    assert describe(failed, None, 1, 10, VALUES) == (
        "trial 07 (1 of 10) failed: ValueError: no; epochs 2 to 5"
    )
