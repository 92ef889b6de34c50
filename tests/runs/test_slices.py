from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.data.impressions import Impressions
from tfrs_npa.metrics.impression_values import impression_values
from tfrs_npa.metrics.significance import mean_interval
from tfrs_npa.runs import slices as module
from tfrs_npa.runs.slices import slice_metrics, slices_of

NAMES = ["", "news", "sports", "food"]
# Articles 2 to 5; the last has no category.
CATEGORY = np.array([0, 0, 1, 2, 3, 0])
CANDIDATES = [[2, 3, 4], [4, 3], [2] * 5 + [5] * 7, [3, 2]]
CLICKED = [[1, 0, 1], [0, 1], [0] * 11 + [1], [0, 0]]
HISTORIES = [[], [2, 3], [4] * 50, [2]]


@pytest.fixture(scope="module")
def impressions():
    def packed(rows):
        return np.concatenate(rows).astype(np.int32), np.cumsum([0, *map(len, rows)])

    history, history_splits = packed(HISTORIES)
    candidates, splits = packed(CANDIDATES)
    return Impressions(
        np.arange(4),
        np.array([1, 0, 2, 0], np.int32),
        history,
        history_splits,
        candidates,
        splits,
        np.concatenate(CLICKED).astype(np.int8),
    )


@pytest.fixture(scope="module")
def slices(impressions):
    ids = ["N2", "N3", "N4", "N5"]
    catalog = NewsCatalog().adapt({"news_id": ids, "title": ids})
    shown = {"N2": (1, 2), "N3": (0, 1), "elsewhere": (1, 1)}
    return slices_of(impressions, catalog, shown, CATEGORY, NAMES)


def test_which_impressions_are_in_a_slice(slices):
    rows = {
        way: {name: np.flatnonzero(mask).tolist() for name, mask in masks.items()}
        for way, masks in slices.items()
    }
    assert rows == {
        "history_length": {
            "0": [0],
            "1 to 4": [1, 3],
            "5 to 19": [],
            "20 to 49": [],
            "50 and more": [2],
        },
        "candidates": {"1 to 9": [0, 1, 3], "10 to 29": [2], "30 to 99": [], "100 and more": []},
        # By the articles clicked, the largest first.
        "category": {"news": [0], "sports": [1], "food": [0]},
        "users": {"known": [0, 2], "new": [1, 3]},
        "article": {"old": [0, 1], "fresh": [0, 2]},
    }


def test_metrics_of_slices(impressions, slices):
    scores = np.random.default_rng(0).random(len(impressions.candidate_values), np.float32)
    splits = impressions.candidate_splits
    values = {
        "npa": impression_values(impressions.clicked, scores, splits),
        "random": impression_values(impressions.clicked, 1 - scores, splits),
    }
    found = slice_metrics(slices, values, "npa")
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    aucs = [roc_auc_score(CLICKED[row], scores[splits[row] : splits[row + 1]]) for row in range(3)]
    old = found["article"]["old"]
    assert old["impressions"] == 2
    assert old["metrics"]["auc"] == pytest.approx(np.mean(aucs[:2]))
    assert old["baseline_auc"] == {"random": pytest.approx(1 - np.mean(aucs[:2]))}
    expected = mean_interval(values["npa"]["auc"][:2], resamples=1_000)
    assert old["intervals"]["auc"] == pytest.approx(expected.tolist())
    # The last impression has no click, so it is in no slice; one alone has no interval.
    new = found["users"]["new"]
    assert (new["impressions"], new["intervals"]["auc"]) == (1, None)
    assert "5 to 19" not in found["history_length"]


def test_small_categories_share_a_slice(impressions, monkeypatch):
    monkeypatch.setattr(module, "MOST_CATEGORIES", 1)
    catalog = NewsCatalog().adapt({"news_id": list("abcd"), "title": list("abcd")})
    found = slices_of(impressions, catalog, {}, CATEGORY, NAMES)["category"]
    assert {name: np.flatnonzero(mask).tolist() for name, mask in found.items()} == {
        "news": [0],
        module.OTHER_CATEGORIES: [0, 1],
    }
