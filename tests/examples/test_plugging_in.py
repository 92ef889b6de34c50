"""NPA in your own pipelines: the examples as commands, and what their parts promise."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import tfrs_npa

pytestmark = pytest.mark.filterwarnings("ignore:Even though the .tf.config")

CONFIG = tfrs_npa.NPAConfig.preset("small").replace(
    user_dropout=0.0, word_initializer="normal", filter_bias=0.0
)
CATALOG = tfrs_npa.NewsCatalog().adapt(
    {
        "news_id": ["N1", "N2", "N3"],
        "title": ["rain tomorrow", "team wins final", "rain in final"],
    }
)
USERS = tfrs_npa.UserIndex().adapt({"user_id": ["U1", "U2"]})
BATCH = {
    "impression_id": tf.constant([1, 2], tf.int64),
    "user_id": tf.constant([1, 2]),
    "history": tf.constant([[2, 3], [4, 0]]),
    "candidates": tf.constant([[4, 2], [3, 0]]),
    "clicked": tf.constant([[1, 0], [1, 0]]),
    "time": tf.constant([0, 3_600], tf.int64),
    "age": tf.constant([[5.0, 0.5], [2.0, 0.0]]),
}


@pytest.fixture
def npa():
    return tfrs_npa.NPA(CONFIG, CATALOG, USERS)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["two_tasks", "ranking_head", "in_batch_negatives"])
def test_keras_2_is_chosen(make_script, name):
    """In a process of its own, where TensorFlow Recommenders is imported, too."""
    shown, _ = make_script(f"examples/{name}.py").run("--help")
    assert shown.startswith(f"usage: {name}.py")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "metrics"),
    [
        ("two_tasks", ["AUC", "category accuracy"]),
        ("ranking_head", ["AUC", "nDCG@10"]),
        ("own_data_from_pandas", ["AUC"]),
    ],
)
def test_example_runs(run_here, example, mind_folder, name, metrics, eager_functions):
    shown, _ = run_here(example(name), "--data", mind_folder, "--epochs", 1)
    for metric in metrics:
        assert 0 <= float(re.search(rf"{metric} ([\d.]+)", shown)[1]) <= 1


@pytest.mark.slow
def test_in_batch_negatives_run(run_here, example, mind_folder, eager_functions):
    options = ["--data", mind_folder, "--epochs", 3, "--batch-size", 32]
    shown, _ = run_here(example("in_batch_negatives"), *options)
    losses = [float(loss) for loss in re.findall(r"- loss: ([\d.]+)", shown)]
    assert len(losses) == 3 and losses[-1] < losses[0]
    assert re.search(r"recall@10 of \d+ articles: 0\.\d+ before, 0\.\d+ after", shown)


def test_in_batch_logits_are_those_of_the_towers(example, npa):
    model_class = example("in_batch_negatives").InBatchNegatives
    model = model_class(npa, np.full(len(CATALOG), 1 / len(CATALOG)))
    articles = tf.constant([2, 4, 3])
    logits = model.logits(BATCH["user_id"], BATCH["history"], articles)
    users = npa.query_tower(BATCH)
    pairs = {"user_id": [1, 1, 1, 2, 2, 2], "news_id": tf.tile(articles, [2])}
    news = tf.reshape(npa.candidate_tower(pairs), [2, 3, -1])
    expected = npa.query_tower.scores(users, news)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)


def test_equal_clicks_of_a_batch_are_no_negatives(example, npa):
    model_class = example("in_batch_negatives").InBatchNegatives
    model = model_class(npa, np.full(len(CATALOG), 1 / len(CATALOG)))
    same = BATCH | {"candidates": tf.constant([[4, 2], [4, 0]])}
    assert float(model.compute_loss(same)) == pytest.approx(0, abs=1e-6)
    assert float(model.compute_loss(BATCH)) > 0.1


def test_the_head_starts_with_the_logits_of_npa(example, npa):
    model = example("ranking_head").RankingHead(npa, np.array([0.1, 0.1, 0.2, 0.3, 0.1]))
    np.testing.assert_allclose(model(BATCH), npa(BATCH), rtol=1e-6)
    model.head.layers[-1].kernel.assign_add(tf.ones_like(model.head.layers[-1].kernel))
    real = BATCH["candidates"] != 0
    assert np.all((model(BATCH) != npa(BATCH)).numpy()[real])


def test_click_rates_are_pulled_to_the_mean(example):
    impressions = tfrs_npa.Impressions(
        impression_id=np.arange(2),
        user_id=np.ones(2, np.int32),
        history_values=np.zeros(0, np.int32),
        history_splits=np.zeros(3, np.int64),
        candidate_values=np.array([2, 3, 2, 4], np.int32),
        candidate_splits=np.array([0, 2, 4]),
        clicked=np.array([1, 0, 1, 0], np.int8),
    )
    rates = example("ranking_head").click_rates(impressions, 5)
    np.testing.assert_allclose(rates, [0.5, 0.5, 12 / 22, 10 / 21, 10 / 21])


def test_the_age_of_a_candidate_counts(example, npa):
    own = example("ranking_head")
    model = own.RankingHead(npa, np.array([0.1, 0.1, 0.2, 0.3, 0.1]))
    model(BATCH)
    model.head.layers[-1].kernel.assign_add(tf.ones_like(model.head.layers[-1].kernel))
    older = BATCH | {"age": tf.constant([[50.0, 0.5], [2.0, 0.0]])}
    assert (model(older) != model(BATCH)).numpy().tolist() == [[True, False], [False, False]]
    impressions = tfrs_npa.Impressions(
        impression_id=np.arange(2),
        user_id=np.ones(2, np.int32),
        history_values=np.zeros(0, np.int32),
        history_splits=np.zeros(3, np.int64),
        candidate_values=np.array([2, 3, 2, 4], np.int32),
        candidate_splits=np.array([0, 2, 4]),
        clicked=np.array([1, 0, 1, 0], np.int8),
        features={"time": np.array([7_200, 9_000])},
    )
    first_shown = np.full(5, np.iinfo(np.int64).max)
    first_shown[3] = 3_600
    ages = own.with_age(impressions, first_shown).candidate_features["age"]
    assert ages.tolist() == [0, 1, 0.5, 0]


def test_both_tasks_train_the_towers(example, npa):
    categories = np.array([-1, -1, 0, 1, 1])
    model = example("two_tasks").ClicksAndCategories(npa, categories, 0.0)
    losses, gradients = [], []
    for model.weight in (0.0, 1.0):
        with tf.GradientTape() as tape:
            loss = model.compute_loss(BATCH)
        losses.append(float(loss))
        gradient = tape.gradient(loss, npa.candidate_tower.word_table)
        gradients.append(tf.convert_to_tensor(gradient).numpy())
    softened = npa(BATCH) / npa.config.temperature
    expected = -tf.reduce_mean(tf.nn.log_softmax(softened)[:, 0])
    assert losses[0] == pytest.approx(float(expected), rel=1e-5)
    assert losses[1] > losses[0]
    assert np.abs(gradients[1] - gradients[0]).max() > 1e-4


def test_histories_are_the_earlier_clicks_of_a_log(example):
    own_data = example("own_data_from_pandas")
    lines = [
        # Out of order, with the lines of two users mixed.
        (3, "U1", 30, "N3", 1),
        (1, "U1", 10, "N1", 1),
        (1, "U1", 12, "N2", 0),
        (2, "U2", 20, "N1", 0),
        (4, "U2", 40, "N2", 1),
        (5, "U1", 50, "N1", 0),
    ]
    log = pd.DataFrame(lines, columns=own_data.LOG)
    rows = list(own_data.behaviors_of(log).as_numpy_iterator())
    assert [row["impression_id"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row["history"].tolist() for row in rows] == [[], [], [b"N1"], [], [b"N1", b"N3"]]
    assert rows[0]["candidates"]["news_id"].tolist() == [b"N1", b"N2"]
    assert rows[0]["candidates"]["clicked"].tolist() == [1, 0]


@pytest.mark.slow
def test_the_npa_inside_serves_after_joint_training(example, npa, tmp_path):
    """Its scores are those of the model around it, which itself has nothing to export."""
    model = example("two_tasks").ClicksAndCategories(npa, np.array([-1, -1, 0, 1, 0]), 0.5)
    model.compile(optimizer="adam", run_eagerly=True)
    model.fit(tf.data.Dataset.from_tensors(BATCH), verbose=0)
    for make in (tfrs_npa.PersonalizedTopK, tfrs_npa.TwoStageTopK):
        with pytest.raises(
            TypeError, match="TopK needs an NPA, not ClicksAndCategories: .* model.npa"
        ):
            make(model, k=1)
    with pytest.raises(TypeError, match="export needs an NPA, not ClicksAndCategories"):
        tfrs_npa.export(model, tmp_path)
    with pytest.raises(TypeError, match="explain needs an NPA, not ClicksAndCategories"):
        tfrs_npa.explain(model, *(BATCH[name] for name in ("user_id", "history", "candidates")))

    scores, ids = tfrs_npa.PersonalizedTopK(model.npa, k=3).index()(
        {"user_id": ["U1"], "history": [["N1", "N2"]]}
    )
    served = tf.saved_model.load(str(tfrs_npa.export(model.npa, tmp_path))).signatures["score"]
    asked = {"user_id": ["U1"], "history": [["N1", "N2"]], "candidates": ids}
    answer = served(**{name: tf.constant(value) for name, value in asked.items()})
    np.testing.assert_allclose(answer["scores"], scores, rtol=1e-4, atol=1e-5)
