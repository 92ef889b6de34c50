from __future__ import annotations

import numpy as np
import pytest

from tfrs_npa.metrics import ImpressionMetrics
from tfrs_npa.metrics.table import OF_ALL_USERS, TITLES, as_numbers, metrics_table


def test_every_metric_shown_is_one_that_is_measured():
    measured = ImpressionMetrics().result()
    assert set(OF_ALL_USERS) <= set(TITLES) <= set(measured)


def test_numbers_that_json_can_hold():
    assert as_numbers({"auc": np.float32(0.5), "mrr": float("nan")}) == {"auc": 0.5, "mrr": None}


def test_a_row_for_each_title_and_a_dash_for_what_is_missing():
    rows = {"ours": {"auc": 0.51239, "mrr": None}, "theirs": {"auc": 0.5, "ndcg_5": 0.25}}
    header, _, ours, theirs = metrics_table(rows).splitlines()
    assert header.split() == ["AUC", "MRR", "nDCG@5", "nDCG@10"]
    assert ours.split() == ["ours", "0.5124", "-", "-", "-"]
    assert theirs.split() == ["theirs", "0.5000", "-", "0.2500", "-"]
    assert metrics_table(rows, ["ndcg_5"]).splitlines()[-1].split() == ["theirs", "0.2500"]
    with pytest.raises(KeyError):
        metrics_table(rows, ["accuracy"])
