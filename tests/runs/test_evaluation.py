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
from tfrs_npa.metrics.impression_values import impression_values
from tfrs_npa.metrics.reliability import reliability
from tfrs_npa.metrics.significance import mean_interval
from tfrs_npa.metrics.table import ROWS, evaluation_table
from tfrs_npa.models.npa import NPA
from tfrs_npa.optimizers import default_optimizer
from tfrs_npa.runs.baselines import BASELINES, Baselines
from tfrs_npa.runs.evaluation import (
    baseline_values,
    evaluate_baselines,
    evaluate_model,
    model_logits,
    model_values,
)

CONFIG = NPAConfig(
    word_embedding_dim=4,
    user_embedding_dim=3,
    num_filters=5,
    attention_dim=3,
    title_length=4,
    batch_size=256,
)
# Indices of articles from 2 on; 1 is unknown.
CANDIDATES = [[2, 3, 4], [4, 1, 3], [2, 3], [5, 3, 2, 4]]
CLICKED = [[1, 0, 0], [0, 1, 1], [0, 0], [0, 1, 0, 0]]
USERS = [1, 0, 2, 2]


def pack(candidates, clicked, users, histories=None):
    histories = histories or [[]] * len(users)
    splits = np.cumsum([0, *map(len, candidates)])
    return Impressions(
        impression_id=np.arange(len(users)),
        user_id=np.array(users, np.int32),
        history_values=np.concatenate(histories).astype(np.int32),
        history_splits=np.cumsum([0, *map(len, histories)]),
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


@pytest.fixture
def baselines(model):
    vectors = model.catalog.word_embeddings(4, seed=0, from_titles=True, centered=True)
    popularity = {"N1": (1, 4), "N2": (1, 2), "N3": (0, 3), "elsewhere": (9, 10)}
    return Baselines(popularity, vectors.astype(np.float16))


def test_the_model_is_measured_as_by_keras(model, impressions, baselines):
    batches = impression_batches(impressions, model.catalog, model.users, CONFIG)
    evaluated = model.evaluate(batches, verbose=0, return_dict=True)
    evaluated = {name: None if np.isnan(value) else value for name, value in evaluated.items()}
    data = MindData("mind/synthetic", {})
    found = evaluate_model(model, data, "test", impressions, baselines)["metrics"]["npa"]
    assert found == pytest.approx(evaluated, abs=1e-6)
    logits = model.predict(batches, verbose=0)
    np.testing.assert_allclose(model_logits(model, impressions), logits.values, atol=1e-6)
    assert found["auc"] == pytest.approx(auc_by_hand(logits.to_list()))
    assert found["auc_known_users"] == pytest.approx(auc_by_hand(logits.to_list(), [True]))
    assert found["auc_new_users"] == pytest.approx(auc_by_hand(logits.to_list(), [False]))
    assert (found["impressions"], found["skipped_impressions"]) == (4, 1)


def test_the_loss_and_probabilities_are_of_scores_over_the_temperature(
    model, impressions, baselines
):
    other = NPA(CONFIG.replace(temperature=2.0), model.catalog, model.users)
    generator = np.random.default_rng(3)
    other.set_weights([generator.normal(size=weight.shape) for weight in other.get_weights()])
    other.compile(optimizer="sgd", run_eagerly=True)
    batches = impression_batches(impressions, other.catalog, other.users, CONFIG)
    expected = other.evaluate(batches, verbose=0, return_dict=True)["loss"]
    data = MindData("mind/synthetic", {})
    found = evaluate_model(other, data, "test", impressions, baselines)
    assert found["metrics"]["npa"]["loss"] == pytest.approx(expected, rel=1e-5)
    scores = model_logits(other, impressions) / 2
    splits = impressions.candidate_splits
    assert found["reliability"] == reliability(impressions.clicked, scores, splits)
    assert found["reliability"]["impressions"] == 3


def test_a_view_of_impressions(model, impressions):
    values, chosen = model_values(model, impressions), model_values(model, impressions.view([3, 0]))
    for name, column in values.items():
        np.testing.assert_allclose(chosen[name], column[[3, 0]], atol=1e-6)


def test_all_rows_and_what_json_holds(model, impressions, baselines):
    rates = np.array([0, 0, 0.25, 0.5, 0, 0])
    optima = {
        "history_only": {"all": 0.7, "known_users": 0.75, "new_users": 0.6},
        "true_preferences": {"all": 0.9, "known_users": 0.9, "new_users": 0.9},
    }
    data = MindData("mind/synthetic", {}, {"test": optima})
    result = evaluate_model(model, data, "test", impressions, baselines)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["impressions"] == {"all": 4, "known_users": 3, "new_users": 1, "skipped": 1}
    assert set(result["metrics"]) == set(result["intervals"]) == {*BASELINES, "npa"}

    by_rate = auc_by_hand([rates[candidates] for candidates in CANDIDATES])
    assert result["metrics"]["popularity"]["auc"] == pytest.approx(by_rate)
    # Nobody has clicked before: ties.
    assert result["metrics"]["cosine"]["auc"] == result["metrics"]["density_ratio"]["auc"] == 0.5
    npa = result["metrics"]["npa"]
    share = result["share_of_optimum"]
    assert share["known_users"] == pytest.approx((npa["auc_known_users"] - 0.5) / 0.25)
    assert share["new_users"] == pytest.approx((npa["auc_new_users"] - 0.5) / 0.1)

    lines = evaluation_table(result).splitlines()
    assert [line.split("  ")[0] for line in lines[2:10]] == [
        "random",
        "popularity",
        "cosine",
        "density ratio",
        "NPA",
        "± 95 %",
        "best from history alone",
        "true preferences",
    ]
    assert lines[8].split()[-6:] == ["0.7000", "0.7500", "0.6000", "-", "-", "-"]
    assert f"{npa['auc']:.4f}" in lines[6]
    assert "4 impressions, 3 of known users, 1 of new users, 1 skipped" in lines[11]
    assert lines[12].startswith("NPA's AUC is ") and "the best baseline" in lines[12]
    assert f"closes {share['known_users']:.0%} for known users" in lines[13]


def many_impressions(rows=1_000, seed=0):
    """Impressions whose clicks are on article 3 more often than on others."""
    generator = np.random.default_rng(seed)
    clicked = np.zeros((rows, 4), np.int8)
    clicked[np.arange(rows), generator.choice(4, rows, p=[0.2, 0.4, 0.2, 0.2])] = 1
    histories = [*generator.integers(2, 6, size=(rows, 3))]
    return pack([[2, 3, 4, 5]] * rows, [*clicked], generator.integers(0, 3, rows), histories)


def test_intervals_and_the_best_baseline(model):
    impressions = many_impressions()
    popularity = {"N2": (3, 9), "N1": (1, 9)}
    data = MindData("folder", {})
    result = evaluate_model(model, data, "test", impressions, Baselines(popularity))
    values = model_values(model, impressions)
    for suffix, chosen in (("", slice(None)), ("_new_users", impressions.user_id == 0)):
        for name in ("auc", "mrr", "ndcg_5", "ndcg_10"):
            expected = mean_interval(values[name][chosen])
            found = result["intervals"]["npa"][name + suffix]
            np.testing.assert_allclose(found, expected, atol=1e-12)
            mean = result["metrics"]["npa"][name + suffix]
            assert found[0] < mean < found[1]
    best = result["best_baseline"]
    assert best["name"] == "popularity"
    by_popularity = baseline_values(Baselines(popularity), impressions, model.catalog)["popularity"]
    differences = values["auc"].astype(np.float64) - by_popularity["auc"]
    assert best["difference"] == pytest.approx(differences.mean())
    np.testing.assert_allclose(best["interval"], mean_interval(differences), atol=1e-12)
    line = evaluation_table(result).splitlines()[-2]
    assert f"is {-best['difference']:.4f} below that of the best baseline, popularity (95 %" in line
    assert "within noise" not in line
    assert "Without word vectors" in evaluation_table(result).splitlines()[-1]


def test_against_another_model(model):
    impressions = many_impressions(300)
    data = MindData("folder", {})
    ours = model_values(model, impressions)
    same = evaluate_model(model, data, "test", impressions, Baselines({}), against=ours)["against"]
    assert set(same["difference"].values()) == {0}
    assert same["intervals"]["mrr"] == [0, 0]
    # What knows the clicks.
    best = impression_values(impressions.clicked, impressions.clicked, impressions.candidate_splits)
    found = evaluate_model(model, data, "test", impressions, Baselines({}), against=best)["against"]
    assert found["metrics"]["auc"] == 1
    assert found["difference"]["auc"] == pytest.approx(ours["auc"].mean() - 1, abs=1e-6)
    assert found["intervals"]["auc"][1] < 0
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    with pytest.raises(ValueError, match="only metrics of the same impressions"):
        others = {name: column[1:] for name, column in best.items()}
        evaluate_model(model, data, "test", impressions, Baselines({}), against=others)


def test_baselines_alone(model, impressions, baselines):
    found = evaluate_baselines(baselines, impressions, model.catalog)
    assert tuple(found["metrics"]) == BASELINES and found["best"] in BASELINES
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert set(BASELINES) < set(ROWS)
    nothing = evaluate_baselines(baselines, impressions.view([2]), model.catalog)
    assert nothing["best"] is None and nothing["metrics"]["random"]["auc"] is None


@pytest.mark.slow
def test_random_scores_are_about_one_half_and_the_same_again(model):
    rows = 3_000
    impressions = pack([[2, 3, 4, 5]] * rows, [[0, 1, 0, 0]] * rows, [1] * rows)
    results = [
        evaluate_model(model, MindData("folder", {}), "test", impressions, Baselines({}))
        for _ in range(2)
    ]
    random = results[0]["metrics"]["random"]
    assert random["auc"] == pytest.approx(0.5, abs=0.03)
    assert random == results[1]["metrics"]["random"]
    # Nothing was ever clicked: ties, and no new users.
    assert results[0]["metrics"]["popularity"]["auc"] == 0.5
    assert results[0]["metrics"]["popularity"]["auc_new_users"] is None
    assert results[0]["intervals"]["npa"]["auc_new_users"] is None
    assert results[0]["share_of_optimum"] == {}


def test_a_diverged_model(model, impressions, baselines, monkeypatch):
    monkeypatch.setattr(
        "tfrs_npa.runs.evaluation.model_logits",
        lambda model, impressions: np.full(len(impressions.candidate_values), np.nan, np.float32),
    )
    data = MindData("folder", {})
    result = evaluate_model(model, data, "test", impressions, baselines)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["metrics"]["npa"]["auc"] is result["metrics"]["npa"]["loss"] is None
    assert result["intervals"]["npa"]["auc"] is result["best_baseline"] is None
    assert result["intervals"]["popularity"]["auc"] is not None
    assert "best baseline" not in evaluation_table(result)
