"""Rows of words: each has one, and those of a block lie as the scores read them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfrs_npa.models import title_layout
from tfrs_npa.models.title_layout import ROWS, TitleLayout

LENGTHS = st.lists(st.integers(0, 6), max_size=60)


@pytest.fixture(autouse=True)
def block(monkeypatch):
    """Blocks are small."""
    monkeypatch.setattr(title_layout, "BLOCK", 12)
    return 12


def assert_every_word_has_its_row(layout, lengths, scored, by_title, block):
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
    assert len(by_block) == layout.scored <= layout.places
    assert len(set(layout.order)) == len(lengths) and all(layout.order < layout.places)
    for title, length in enumerate(lengths):
        if title < scored:
            own = tuple(layout.words(np.array([title])))
            assert by_block[layout.order[title]] == (length, own)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LENGTHS, st.integers(0, 60), st.booleans())
def test_every_word_has_its_row(block, lengths, scored, by_title):
    lengths = np.array(lengths, np.int32)
    layout = TitleLayout(lengths, scored, by_title)
    assert (layout.places, layout.scored) == (len(lengths), min(scored, len(lengths)))
    assert_every_word_has_its_row(layout, lengths, scored, by_title, block)
    several = np.arange(len(lengths))[::-1]
    rows = [layout.words(several[i : i + 1]) for i in range(len(several))]
    np.testing.assert_array_equal(layout.words(several), np.concatenate([[], *rows]))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LENGTHS, st.integers(0, 60), st.lists(LENGTHS, max_size=3), st.booleans(), st.data())
def test_titles_that_stay_where_they_are(block, lengths, scored, others, by_title, data):
    """Again and again, some leave, some come, some are looked up and not scored any more."""
    lengths = np.array(lengths, np.int32)
    layout = TitleLayout(lengths, scored, by_title)
    for coming in others:
        stays = data.draw(st.lists(st.booleans(), min_size=len(lengths), max_size=len(lengths)))
        staying = data.draw(st.permutations(np.flatnonzero(stays).tolist()))
        # Those that were scored come first.
        source = np.array(sorted(staying, key=lambda title: title >= scored), np.int64)
        of_scored = np.count_nonzero(source < scored)
        before = data.draw(st.integers(0, len(coming)))
        shown = data.draw(st.integers(0, of_scored))
        target = np.arange(len(source)) + np.where(np.arange(len(source)) < shown, 0, before)
        new = np.empty(len(source) + len(coming), np.int32)
        new[target] = lengths[source]
        new[np.setdiff1d(np.arange(len(new)), target)] = coming
        grown = layout.grown(new, shown + before, target, source)
        assert_every_word_has_its_row(grown, new, shown + before, by_title, block)
        np.testing.assert_array_equal(grown.words(target), layout.words(source))
        come = np.setdiff1d(np.arange(len(new)), target)
        assert not len(coming) or all(grown.words(come) >= layout.rows)
        layout, lengths, scored = grown, new, shown + before
