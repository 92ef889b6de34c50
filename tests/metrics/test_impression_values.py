from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_npa.metrics import ImpressionMetrics
from tfrs_npa.metrics import impression_values as module
from tfrs_npa.metrics.impression_values import impression_values, mean_values

IMPRESSIONS = st.lists(
    st.lists(
        st.tuples(st.sampled_from([0, 0, 1, -1]), st.sampled_from([-1.0, 0.0, 0.5, 2.0])),
        min_size=0,
        max_size=8,
    ),
    min_size=1,
    max_size=7,
)


@pytest.fixture(autouse=True, scope="module")
def small_blocks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", 3)
        yield


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(IMPRESSIONS, st.data())
def test_means_are_those_of_the_model(impressions, data):
    pairs = np.array([pair for row in impressions for pair in row]).reshape(-1, 2)
    splits = np.cumsum([0, *map(len, impressions)])
    known = np.array([data.draw(st.booleans()) for _ in impressions])
    values = impression_values(pairs[:, 0].astype(np.int8), pairs[:, 1], splits)

    ranking = ImpressionMetrics()
    clicked, scores = (
        tf.RaggedTensor.from_row_splits(column, splits).to_tensor(shape=[None, 8])
        for column in (pairs[:, 0].astype(np.int32), pairs[:, 1].astype(np.float32))
    )
    mask = tf.sequence_mask(np.diff(splits), 8)
    ranking.update(clicked, scores, mask, known)
    for name, expected in ranking.result().items():
        found = mean_values(values, known)[name]
        assert (np.nan if found is None else found) == pytest.approx(float(expected), nan_ok=True)


def test_a_diverged_model_has_no_metric():
    values = impression_values(np.array([0, 1, 1, 0]), [1.0, np.nan, 2.0, 1.0], np.array([0, 2, 4]))
    assert values["scored"].all() and np.isnan(values["auc"]).tolist() == [True, False]
    assert mean_values(values)["auc"] is None
    assert mean_values(values)["impressions"] == 2


def test_all_users_alone():
    values = impression_values(np.array([0, 1, 1]), np.array([0.0, 1.0, 0.0]), np.array([0, 2, 3]))
    assert mean_values(values) == {
        "auc": 1.0,
        "mrr": 1.0,
        "ndcg_5": 1.0,
        "ndcg_10": 1.0,
        "impressions": 2,
        "skipped_impressions": 1,
    }
