from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_npa.layers.packed import packed_rows, packed_softmax, packed_starts


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
