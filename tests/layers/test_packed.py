from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_npa.layers.packed import (
    packed_positions,
    packed_rows,
    packed_softmax,
    packed_starts,
    packed_to_dense,
    selected,
)


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), max_size=8), st.integers(0, 100))
def test_each_sequence_by_itself(lengths, seed):
    rows, starts = packed_rows(np.array(lengths, np.int32)), packed_starts(lengths)
    logits = np.random.default_rng(seed).normal(0, 3, sum(lengths)).astype(np.float32)
    weights = packed_softmax(logits, np.array(lengths, np.int32)).numpy()
    expected_rows = [row for row, length in enumerate(lengths) for _ in range(length)]
    assert rows.numpy().tolist() == expected_rows
    for start, length in zip(np.array(starts), lengths):
        own = np.exp(logits[start : start + length])
        np.testing.assert_allclose(weights[start : start + length], own / own.sum(), rtol=1e-5)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5)), max_size=8))
def test_chosen_sequences(chosen):
    starts, lengths = np.array(chosen, np.int32).reshape(-1, 2).T
    positions = packed_positions(starts, lengths)
    ranges = [range(start, start + length) for start, length in chosen]
    assert positions.numpy().tolist() == [place for places in ranges for place in places]
    dense = packed_to_dense(tf.stack([positions, positions], axis=1) + 1, lengths).numpy()
    assert dense.shape == (len(chosen), max(lengths, default=0), 2)
    for row, places in zip(dense, ranges):
        assert row[: len(places)].tolist() == [[place + 1] * 2 for place in places]
        assert not row[len(places) :].any()


@settings(deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=2, max_size=2), min_size=1, max_size=5))
def test_selected_is_what_a_mask_leaves_in_numpy(rows):
    mask = np.array(rows)
    values = np.arange(mask.size * 3, dtype=np.int32).reshape(*mask.shape, 3)
    np.testing.assert_array_equal(selected(values, mask), values[mask])
    np.testing.assert_array_equal(selected(values, mask[:, 0]), values[mask[:, 0]])


def test_xla_cannot_pack_the_distinct_titles_of_a_batch():
    """If it can one day, `NPA.compile` need not refuse it."""

    @tf.function(jit_compile=True)
    def rows(articles):
        return packed_rows(tf.gather([2, 1], tf.unique(articles)[0]))

    with pytest.raises(tf.errors.InvalidArgumentError, match="Range"):
        rows(tf.constant([0, 1, 1]))
