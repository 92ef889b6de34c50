"""Rows of words: each has one, and those of a block lie as the scores read them."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import tfrs_npa.models.title_layout
from tfrs_npa.models.title_layout import ROWS, TitleLayout


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 6), max_size=60),
    st.integers(1, 40),
    st.integers(0, 60),
    st.booleans(),
)
def test_every_word_has_its_row(lengths, block, scored, by_title):
    lengths = np.array(lengths, np.int32)
    default = tfrs_npa.models.title_layout.BLOCK
    tfrs_npa.models.title_layout.BLOCK = block
    try:
        layout = TitleLayout(lengths, scored, by_title)
    finally:
        tfrs_npa.models.title_layout.BLOCK = default
    # What a block's product is reshaped to, block after block, in the order of the layout.
    by_block, end = [], 0
    for group, length, titles in layout.blocks:
        assert ROWS * group >= end and length * titles <= max(block, length)
        end = ROWS * group + length * (titles + (-titles % ROWS if by_title else 0))
        words = ROWS * group + np.arange(length * titles)
        words = words.reshape(titles, length) if by_title else words.reshape(length, titles).T
        by_block += [(length, tuple(row)) for row in words]
    assert end <= layout.rows and layout.rows % ROWS == 0
    rows = layout.words(np.arange(len(lengths)))
    assert len(set(rows)) == len(rows) and all(rows < layout.rows)
    assert len(by_block) == min(scored, len(lengths))
    for title, length in enumerate(lengths[:scored]):
        assert by_block[layout.order[title]] == (length, tuple(layout.words(np.array([title]))))
    several = np.arange(len(lengths))[::-1]
    rows = [layout.words(several[i : i + 1]) for i in range(len(several))]
    np.testing.assert_array_equal(layout.words(several), np.concatenate([[], *rows]))
