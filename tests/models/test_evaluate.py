from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import tfrs_npa


def plain_metrics(world, behaviors):
    """Loss and AUC of each impression, computed one at a time."""
    scores = world.predict(behaviors)
    losses, aucs = [], []
    for row, example in zip(scores, behaviors.as_numpy_iterator(), strict=True):
        labels = np.asarray(example["candidates"]["clicked"])
        row = np.asarray(row, np.float64)
        softened = row / world.config.temperature
        total = np.log(np.exp(softened).sum())
        losses.append(np.mean(total - softened[labels == 1]))
        aucs.append(roc_auc_score(labels, row))
    return np.array(losses), np.array(aucs)


def assert_same_results(left, right, **tolerance):
    assert left.keys() == right.keys()
    for name, value in left.items():
        np.testing.assert_allclose(value, right[name], err_msg=name, **tolerance)


def test_evaluation_is_the_mean_over_impressions(trained):
    """Not of the last batch, which is smaller than the others: 23 impressions in batches of 6."""
    behaviors = trained.valid_behaviors
    losses, aucs = plain_metrics(trained, behaviors)
    users = [row["user_id"].decode() for row in behaviors.as_numpy_iterator()]
    known = np.isin(users, trained.user_ids)
    assert 0 < known.sum() < len(known)
    found = trained.evaluate()
    assert found["loss"] == pytest.approx(losses.mean(), rel=1e-5)
    assert found["auc"] == pytest.approx(aucs.mean(), rel=1e-6)
    assert found["auc_known_users"] == pytest.approx(aucs[known].mean(), rel=1e-6)
    assert found["auc_new_users"] == pytest.approx(aucs[~known].mean(), rel=1e-6)
    assert (found["impressions"], found["skipped_impressions"]) == (23, 0)


def test_names_of_validation_metrics(trained):
    names = {
        name + users
        for name in ("auc", "mrr", "ndcg_5", "ndcg_10")
        for users in ("", "_known_users", "_new_users")
    } | {"loss", "impressions", "skipped_impressions"}
    assert trained.evaluate().keys() == names
    assert trained.history.keys() == {"loss"} | {f"val_{name}" for name in names}
    assert trained.history["val_auc"][-1] == pytest.approx(trained.evaluate()["auc"])


def test_evaluating_twice_gives_the_same(trained):
    assert_same_results(trained.evaluate(), trained.evaluate(), rtol=0)
    np.testing.assert_array_equal(trained.predict().flat_values, trained.predict().flat_values)


def test_second_data_set_is_the_one_evaluated(trained, make_behaviors):
    other = make_behaviors(seed=3, impressions=9)
    _, aucs = plain_metrics(trained, other)
    before = trained.evaluate()
    found = trained.evaluate(other)
    assert found["impressions"] == 9
    assert found["auc"] == pytest.approx(aucs.mean(), rel=1e-6)
    assert found["auc"] != before["auc"]
    assert_same_results(trained.evaluate(), before, rtol=0)


@pytest.mark.parametrize("mask_padding", [True, False], ids=["masked", "unmasked"])
def test_batch_size_changes_no_result(mask_padding, make_world):
    world = make_world(mask_padding=mask_padding)
    assert_same_results(
        world.evaluate(batch_size=5), world.evaluate(batch_size=23), rtol=1e-5, atol=1e-6
    )


def test_unlabelled_data(trained, make_behaviors):
    unlabelled = make_behaviors(seed=2, labelled=False)
    found = trained.evaluate(unlabelled)
    assert found["skipped_impressions"] == found["impressions"] == 23
    assert np.isnan(found["auc"])
    np.testing.assert_array_equal(
        trained.predict(unlabelled).flat_values, trained.predict().flat_values
    )


def test_impressions_with_one_label_only(trained, behaviors_of):
    """Without a click: no loss, no metric. With clicks only: a loss, no metric."""
    ids = [["N1", "N2", "N3"], ["N4", "N5"], ["N6", "N7"]]
    labels = [[0, 1, 0], [0, 0], [1, 1]]
    behaviors = behaviors_of(["U1", "U2", "U3"], [["N1"]] * 3, ids, labels)
    scores = trained.predict(behaviors) / trained.config.temperature
    first, _, third = scores.to_list()
    expected = [
        np.log(np.exp(first).sum()) - first[1],
        np.log(np.exp(third).sum()) - np.mean(third),
    ]
    found = trained.evaluate(behaviors)
    assert found["loss"] == pytest.approx(np.mean(expected), rel=1e-5)
    assert (found["impressions"], found["skipped_impressions"]) == (3, 2)
    assert found["auc"] == pytest.approx(roc_auc_score(labels[0], first))


def test_other_features_pass_through(trained):
    behaviors = trained.valid_behaviors.map(lambda row: row | {"source": "web"})
    batches = tfrs_npa.impression_batches(
        behaviors, trained.catalog, trained.users, trained.config, features=["source"]
    )
    assert next(iter(batches))["source"][0] == b"web"
    assert_same_results(
        trained.model.evaluate(batches, verbose=0, return_dict=True), trained.evaluate(), rtol=0
    )


def test_arrays_are_accepted(make_world):
    """Keras hands arrays, and what `..._on_batch` is given, on in a tuple."""
    world = make_world()
    (batch,) = world.impression_batches(batch_size=23)
    arrays = {name: value.numpy() for name, value in batch.items()}
    scores, figures = world.predict(), world.evaluate()
    for found in (world.model.predict(arrays, verbose=0), world.model.predict_on_batch(arrays)):
        np.testing.assert_allclose(found.flat_values, scores.flat_values, rtol=1e-5, atol=1e-6)
    found = world.model.evaluate(arrays, verbose=0, return_dict=True)
    assert_same_results(found, figures, rtol=1e-5, atol=1e-6)
    found = world.model.test_on_batch(arrays, return_dict=True)
    assert_same_results(found, figures, rtol=1e-5, atol=1e-6)
    assert world.model.train_on_batch(next(iter(world.training_batches()))) > 0
