from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf


@pytest.mark.parametrize("memory", [2**30, 0], ids=["held", "encoded again"])
def test_same_as_predict(trained, monkeypatch, memory):
    monkeypatch.setattr(trained.model, "encoding_memory", memory)
    scores = [*trained.model.predict_batches(trained.impression_batches())]
    assert [int(batch.nrows()) for batch in scores] == [6, 6, 6, 5]
    predicted = trained.predict()
    found = tf.concat(scores, axis=0)
    assert found.row_lengths().numpy().tolist() == predicted.row_lengths().numpy().tolist()
    np.testing.assert_array_equal(found.values, predicted.values)


def test_no_batch_is_made_before_it_is_asked_for(trained):
    """A log without end, so that nothing can wait for it."""
    endless = trained.impression_batches().repeat()
    scores = [*itertools.islice(trained.model.predict_batches(endless), 9)]
    np.testing.assert_array_equal(scores[0].values, scores[4].values)
    np.testing.assert_array_equal(scores[0].values, scores[8].values)
