from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tfrs_npa.config import NPAConfig
from tfrs_npa.data.batches import impression_batches
from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.data.impressions import Impressions
from tfrs_npa.data.loading import MindData
from tfrs_npa.data.users import UserIndex
from tfrs_npa.metrics.table import evaluation_table
from tfrs_npa.models.npa import NPA
from tfrs_npa.optimizers import default_optimizer
from tfrs_npa.runs.evaluation import evaluate_model, evaluate_scores, popularity_counts

CONFIG = NPAConfig(
    word_embedding_dim=4, user_embedding_dim=3, num_filters=5, attention_dim=3, title_length=4
)
# Indices of articles from 2 on; 1 is unknown.
CANDIDATES = [[2, 3, 4], [4, 1, 3], [2, 3], [5, 3, 2, 4]]
CLICKED = [[1, 0, 0], [0, 1, 1], [0, 0], [0, 1, 0, 0]]
USERS = [1, 0, 2, 2]


def pack(candidates, clicked, users):
    splits = np.cumsum([0, *map(len, candidates)])
    return Impressions(
        impression_id=np.arange(len(users)),
        user_id=np.array(users, np.int32),
        history_values=np.zeros(0, np.int32),
        history_splits=np.zeros(len(users) + 1, np.int64),
        candidate_values=np.concatenate(candidates).astype(np.int32),
        candidate_splits=splits,
        clicked=np.concatenate(clicked).astype(np.int8),
    )


@pytest.fixture(scope="module")
def model():
    ids = ["N1", "N2", "N3", "N4"]
    catalog = NewsCatalog().adapt({"news_id": ids, "title": ["a b", "b c", "c d", "d a"]})
    model = NPA(CONFIG, catalog, UserIndex().adapt({"user_id": ["U1", "U2"]}))
    model.compile(optimizer=default_optimizer(CONFIG))
    return model


@pytest.fixture
def impressions():
    return pack(CANDIDATES, CLICKED, USERS)


def auc_by_hand(scores, users=(True, False)):
    """Mean over impressions with both labels, whose user is or is not known."""
    return np.mean(
        [
            roc_auc_score(clicked, score)
            for clicked, score, user in zip(CLICKED, scores, USERS, strict=True)
            if 0 < sum(clicked) < len(clicked) and bool(user) in users
        ]
    )


def test_popularity_counts(model, impressions):
    assert popularity_counts(impressions, model.catalog) == {
        "N1": (1, 3),
        "N2": (2, 4),
        "N3": (0, 3),
        "N4": (0, 1),
    }


def test_scores_are_measured_as_by_scikit_learn(model, impressions):
    table = np.array([0, 0.3, 0.1, 0.5, 0.2, 0.5], np.float32)
    metrics = evaluate_scores(lambda batch: table[batch["candidates"]], impressions, model)
    scores = [table[candidates] for candidates in CANDIDATES]
    assert metrics["auc"] == pytest.approx(auc_by_hand(scores))
    assert metrics["auc_known_users"] == pytest.approx(auc_by_hand(scores, [True]))
    assert metrics["auc_new_users"] == pytest.approx(auc_by_hand(scores, [False]))
    assert (metrics["impressions"], metrics["skipped_impressions"]) == (4, 1)


def test_all_rows_and_what_json_holds(model, impressions):
    popularity = {"N1": (1, 4), "N2": (1, 2), "N3": (0, 3), "elsewhere": (9, 10)}
    rates = np.array([0, 0, 0.25, 0.5, 0, 0])
    optima = {
        "history_only": {"all": 0.7, "known_users": 0.75, "new_users": 0.6},
        "true_preferences": {"all": 0.9, "known_users": 0.9, "new_users": 0.9},
    }
    data = MindData("mind/synthetic", {}, {"test": optima})
    result = evaluate_model(model, data, "test", impressions, popularity)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["impressions"] == {"all": 4, "known_users": 3, "new_users": 1, "skipped": 1}

    by_rate = auc_by_hand([rates[candidates] for candidates in CANDIDATES])
    assert result["metrics"]["popularity"]["auc"] == pytest.approx(by_rate)
    batches = impression_batches(impressions, model.catalog, model.users, CONFIG)
    logits = model.predict(batches, verbose=0).to_list()
    npa = result["metrics"]["npa"]
    assert npa["auc"] == pytest.approx(auc_by_hand(logits))
    share = result["share_of_optimum"]
    assert share["known_users"] == pytest.approx((npa["auc_known_users"] - 0.5) / 0.25)
    assert share["new_users"] == pytest.approx((npa["auc_new_users"] - 0.5) / 0.1)

    lines = evaluation_table(result).splitlines()
    assert [line.split("  ")[0] for line in lines[2:7]] == [
        "random",
        "popularity",
        "NPA",
        "best from history alone",
        "true preferences",
    ]
    assert lines[5].split()[-6:] == ["0.7000", "0.7500", "0.6000", "-", "-", "-"]
    assert f"{npa['auc']:.4f}" in lines[4]
    assert "4 impressions, 3 of known users, 1 of new users, 1 skipped" in lines[8]
    assert f"closes {share['known_users']:.0%} for known users" in lines[9]


def test_random_scores_are_about_one_half_and_the_same_again(model):
    rows = 3_000
    impressions = pack([[2, 3, 4, 5]] * rows, [[0, 1, 0, 0]] * rows, [1] * rows)
    results = [
        evaluate_model(model, MindData("folder", {}), "test", impressions, {}) for _ in range(2)
    ]
    random = results[0]["metrics"]["random"]
    assert random["auc"] == pytest.approx(0.5, abs=0.03)
    assert random == results[1]["metrics"]["random"]
    # Nothing was ever clicked: ties, and no new users.
    assert results[0]["metrics"]["popularity"]["auc"] == 0.5
    assert results[0]["metrics"]["popularity"]["auc_new_users"] is None
    assert results[0]["share_of_optimum"] == {}
    assert len(evaluation_table(results[0]).splitlines()) == 7
