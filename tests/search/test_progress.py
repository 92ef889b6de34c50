from __future__ import annotations

import dataclasses

from tfrs_npa.search.progress import line

from tfrs_npa.search.trials import TrialRecord

VALUES = {"num_filters": 64, "learning_rate": 0.00123456, "schedule": "linear"}
TRIAL = TrialRecord("07", "completed", 0.65432, 2, 5, 4, 12.4, VALUES, None)
DEFAULTS = {"num_filters": 64, "learning_rate": 0.001, "schedule": "cosine"}


def test_a_line_has_the_values_that_are_not_the_default():
    assert line(TRIAL, TRIAL, 3, 10, DEFAULTS) == (
        "trial 07 (3 of 10): val_auc 0.6543, the best so far; learning_rate 0.00123, "
        "schedule linear, epochs 2 to 5; 12 s"
    )
    top = dataclasses.replace(TRIAL, trial="02", score=0.7)
    assert line(TRIAL, top, 3, None, VALUES) == (
        "trial 07 (3): val_auc 0.6543, best 0.7000; epochs 2 to 5; 12 s"
    )


def test_a_line_of_a_failure():
    failed = dataclasses.replace(
        TRIAL, status="failed", score=None, reason="ValueError: no", seconds=None
    )
    assert line(failed, None, 1, 10, VALUES) == (
        "trial 07 (1 of 10) failed: ValueError: no; epochs 2 to 5"
    )
