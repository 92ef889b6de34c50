"""`ImpressionMetrics`: right means over the right impressions, however they are batched."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_npa.metrics import ImpressionMetrics, ranking_metrics

NAMES = ("auc", "mrr", "ndcg_5", "ndcg_10")


def impressions(seed: int, size: int, width: int = 6) -> tuple[np.ndarray, ...]:
    """Random clicked, scores, mask and known_user; some impressions cannot be scored."""
    rng = np.random.default_rng(seed)
    return (
        rng.integers(0, 2, (size, width)),
        rng.normal(size=(size, width)).astype(np.float32),
        rng.random((size, width)) < 0.7,
        rng.random(size) < 0.3,
    )


def results(ranking: ImpressionMetrics) -> dict[str, float]:
    return {metric.name: float(metric.result()) for metric in ranking.metrics}


def one_shot(clicked, scores, mask, known_user) -> dict[str, float]:
    """The means as NumPy takes them, in float64, over all impressions at once."""
    values = {k: v.numpy() for k, v in ranking_metrics(clicked, scores, mask).items()}
    scored = values["scored"]
    groups = {"": scored, "_known_users": scored & known_user, "_new_users": scored & ~known_user}
    means = {
        name + users: values[name][chosen].mean(dtype=np.float64) if chosen.any() else np.nan
        for users, chosen in groups.items()
        for name in NAMES
    }
    return {**means, "impressions": len(scored), "skipped_impressions": (~scored).sum()}


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(0, 9), min_size=1, max_size=6))
def test_streaming_equals_one_shot(seed, batch_sizes):
    arrays = impressions(seed, sum(batch_sizes))
    ranking = ImpressionMetrics()
    for end, size in zip(np.cumsum(batch_sizes), batch_sizes):
        ranking.update(*(array[end - size : end] for array in arrays))
    assert results(ranking) == pytest.approx(one_shot(*arrays), rel=1e-12, nan_ok=True)


def test_a_million_impressions_lose_no_precision():
    ranking = ImpressionMetrics()
    update = tf.function(ranking.update)
    batches = [impressions(seed, 50_000, width=4) for seed in range(20)]
    for batch in batches:
        update(*map(tf.constant, batch))
    everything = map(np.concatenate, zip(*batches))
    assert results(ranking) == pytest.approx(one_shot(*everything), rel=1e-12)


def test_mean_of_no_impressions_is_nan_and_what_is_skipped_is_counted():
    ranking = ImpressionMetrics()
    for name, value in results(ranking).items():
        assert value == 0 if "impressions" in name else np.isnan(value)
    labels = [[1, 1], [0, 0], [-1, -1], [1, 0]]
    ranking.update(labels, [[0.0, 1.0]] * 4, [[True, True]] * 4, [True] * 4)
    after = results(ranking)
    assert (after["impressions"], after["skipped_impressions"]) == (4, 3)
    assert after["auc"] == after["auc_known_users"] == 0
    assert np.isnan(after["auc_new_users"])


def test_nan_score_spoils_the_means_it_belongs_to_and_no_other():
    ranking = ImpressionMetrics()
    ranking.update([[1, 0], [1, 0]], [[np.nan, 0.0], [1.0, 0.0]], [[True] * 2] * 2, [True, False])
    after = results(ranking)
    for name in NAMES:
        assert np.isnan(after[name]) and np.isnan(after[name + "_known_users"])
        assert after[name + "_new_users"] == 1


def test_keras_model_reports_and_resets_them():
    class Model(tf.keras.Model):
        def __init__(self):
            super().__init__()
            self.ranking = ImpressionMetrics()

        @property
        def metrics(self):
            return self.ranking.metrics

        def test_step(self, data):
            self.ranking.update(*data)
            return {metric.name: metric.result() for metric in self.metrics}

    model = Model()
    model.compile()
    for seed in (0, 1):
        arrays = impressions(seed, 40)
        data = tf.data.Dataset.from_tensor_slices(arrays).batch(16)
        reported = model.evaluate(data, return_dict=True, verbose=0)
        assert reported == pytest.approx(one_shot(*arrays), rel=1e-12)
    assert model.get_weights() == []


def test_wrong_shape_of_known_user_is_named():
    clicked, scores, mask, known_user = impressions(0, 3)
    with pytest.raises(
        ValueError, match=r"known_user must be \[batch\], \(3,\) here, not \(3, 1\)"
    ):
        ImpressionMetrics().update(clicked, scores, mask, known_user[:, None])
