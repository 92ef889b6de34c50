import unicodedata

import numpy as np
import pytest

from tfrs_npa.data.unicode_table import PAGE, VERSION, make_table, unicode_table

LONGEST = 18  # code points that one decomposes into


def rows(table):
    """What a table says of each code point."""
    codes = np.arange(0x110000)
    records = table.records[table.pages[codes // PAGE] * PAGE + codes % PAGE]
    places = table.splits[records, None] + np.arange(LONGEST)
    inside = places < table.splits[records + 1, None]
    sequences = np.where(inside, table.sequences[np.where(inside, places, 0)], -1)
    columns = (table.kinds, table.classes, table.is_second, table.folds, np.diff(table.splits))
    return np.column_stack([*(column[records] for column in columns), sequences])


@pytest.mark.slow
def test_the_file_is_what_the_script_makes():
    """But for what one of the two versions of Unicode lacks: what it has, it never changes."""
    file, made = unicode_table(), make_table()
    ours, theirs = rows(file), rows(made)
    version, running = (
        tuple(map(int, text.split("."))) for text in (VERSION, unicodedata.unidata_version)
    )
    earlier = ours if version < running else theirs
    is_lacking = (earlier == earlier[0]).all(axis=1) & (version != running)
    assert (ours == theirs).all(axis=1)[~is_lacking].all()
    pairs, others = (dict(zip(t.pairs, t.composites, strict=True)) for t in (file, made))
    assert all(others[pair] == pairs[pair] for pair in pairs.keys() & others.keys())


def test_no_pair_can_take_the_second_of_another_for_its_first():
    """Or pairs could not be composed side by side."""
    firsts, seconds = np.divmod(unicode_table().pairs, 1 << 21)
    assert len(firsts) > 900 and not set(firsts) & set(seconds)
