from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf


def is_encoded(world):
    return bool(world.model.encoded_catalog.ready)


@pytest.mark.parametrize("memory", [2**30, 0], ids=["encoded", "batch by batch"])
def test_same_as_predict(trained, monkeypatch, memory):
    monkeypatch.setattr(trained.model, "encoding_memory", memory)
    batches = trained.impression_batches()
    scores = []
    for batch in trained.model.predict_batches(batches):
        assert is_encoded(trained) == bool(memory)
        scores.append(batch)
    assert not is_encoded(trained)
    assert [int(batch.nrows()) for batch in scores] == [6, 6, 6, 5]
    predicted = trained.predict()
    found = tf.concat(scores, axis=0)
    assert found.row_lengths().numpy().tolist() == predicted.row_lengths().numpy().tolist()
    np.testing.assert_array_equal(found.values, predicted.values)


def test_what_is_encoded_is_freed_when_given_up(trained):
    batches = trained.model.predict_batches(trained.impression_batches())
    next(batches)
    assert is_encoded(trained)
    batches.close()
    assert not is_encoded(trained)


def test_no_batch_is_made_before_it_is_asked_for(trained):
    """A log without end, so that nothing can wait for it."""
    endless = trained.impression_batches().repeat()
    scores = [*itertools.islice(trained.model.predict_batches(endless), 9)]
    np.testing.assert_array_equal(scores[0].values, scores[4].values)
    np.testing.assert_array_equal(scores[0].values, scores[8].values)
