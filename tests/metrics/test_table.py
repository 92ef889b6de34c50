from __future__ import annotations

import numpy as np
import pytest

from tfrs_npa.metrics import ImpressionMetrics
from tfrs_npa.metrics.table import (
    OF_ALL_USERS,
    TITLES,
    as_numbers,
    comparison_table,
    metrics_table,
)


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


def test_intervals_below_their_row():
    rows = {"theirs": {"auc": 0.5}, "ours": {"auc": 0.6, "mrr": 0.3}}
    intervals = {"ours": {"auc": [0.595, 0.607], "mrr": None}}
    lines = metrics_table(rows, ["auc", "mrr"], intervals).splitlines()[2:]
    assert [line.split() for line in lines] == [
        ["theirs", "0.5000", "-"],
        ["ours", "0.6000", "0.3000"],
        ["±", "95", "%", "0.0060", "-"],
    ]


def test_a_comparison():
    metrics = ({"auc": 0.6, "mrr": 0.3, "ndcg_5": 0.2}, {"auc": 0.58, "mrr": 0.31, "ndcg_5": 0.25})
    comparison = {
        "difference": {"auc": 0.02, "mrr": -0.01, "ndcg_5": -0.05, "ndcg_10": None},
        "intervals": {"auc": [0.01, 0.03], "mrr": [-0.03, 0.01], "ndcg_5": [-0.07, -0.03]}
        | {"ndcg_10": None},
    }
    table = comparison_table(("runs/{a}", "runs/b"), metrics, comparison)
    *lines, empty, sentence = table.splitlines()[2:]
    assert [line.split() for line in lines] == [
        ["runs/{a}", "0.6000", "0.3000", "0.2000", "-"],
        ["runs/b", "0.5800", "0.3100", "0.2500", "-"],
        ["difference", "+0.0200", "-0.0100", "-0.0500", "-"],
        ["±", "95", "%", "0.0100", "0.0200", "0.0200", "-"],
        ["verdict", "better", "within", "noise", "worse", "-"],
    ]
    assert not empty and sentence == (
        "The AUC of runs/{a} is 0.0200 above that of runs/b "
        "(95 % interval of the difference: +0.0100 to +0.0300)"
    )
    comparison["intervals"]["auc"] = [-0.01, 0.05]
    again = comparison_table(("a", "b"), metrics, comparison)
    assert again.endswith("(95 % interval of the difference: -0.0100 to +0.0500): within noise")
    nothing = {name: dict.fromkeys(OF_ALL_USERS) for name in ("difference", "intervals")}
    assert comparison_table(("a", "b"), ({}, {}), nothing).splitlines()[-1].split() == [
        "verdict",
        *"----",
    ]
