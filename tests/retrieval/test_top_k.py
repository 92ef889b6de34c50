"""A SavedModel of an index, as in the tutorials of TFRS."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import tfrs_npa


@pytest.mark.slow
@pytest.mark.parametrize(
    "layer, calls",
    [
        (tfrs_npa.PersonalizedTopK, []),
        (tfrs_npa.PersonalizedTopK, [{}, {"k": 2}]),
        (tfrs_npa.TwoStageTopK, [{}]),
    ],
    ids=["not called", "called", "two stages"],
)
def test_saved(layer, calls, model_of, strings, tmp_path, caplog):
    index = layer(model_of(), k=3).index()
    queries = {"user_id": ["U1", "nobody"], "history": [["N3", "N4"], ["N5", ""]]}
    for keywords in calls:
        index(queries, **keywords)
    tf.saved_model.save(index, tmp_path)
    caplog.clear()
    loaded = tf.saved_model.load(tmp_path)
    assert "gradient" not in caplog.text

    exclusions = [["N1", "N2"], [strings(index(queries)[1])[1][0], ""]]
    without = index.query_with_exclusions
    titles = {"history_titles": [["", ""], ["", "rain"]], "history": [["N3", ""], ["N5", "new"]]}
    for ours, theirs in (
        (loaded(queries | titles), index(queries | titles)),
        (loaded(queries), index(queries)),
        (loaded(queries, 2), index(queries, 2)),
        (loaded(queries, k=tf.constant(5)), index(queries, k=5)),
        (loaded.query_with_exclusions(queries, exclusions), without(queries, exclusions)),
        (loaded.query_with_exclusions(queries, exclusions, 4), without(queries, exclusions, 4)),
    ):
        np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-5, atol=1e-5)
        assert strings(ours[1]) == strings(theirs[1])
    signature = loaded.signatures["serving_default"]
    answer = signature(**{name: tf.constant(value) for name, value in queries.items()})
    assert strings(answer["news_id"]) == strings(index(queries)[1])


def test_nothing_to_save(model_of, tmp_path):
    with pytest.raises(ValueError, match="call `index` or `index_from_dataset` first"):
        tf.saved_model.save(tfrs_npa.PersonalizedTopK(model_of()), tmp_path)
