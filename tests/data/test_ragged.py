import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tfrs_npa.data import ragged

ROWS = st.lists(st.lists(st.integers(1, 99), max_size=6), min_size=1, max_size=8)


def pack(rows):
    values = np.array([value for row in rows for value in row], np.int32)
    return values, ragged.splits_of(np.array([len(row) for row in rows], np.int64))


@given(ROWS, st.integers(1, 7))
def test_pad_cuts_and_pads_on_the_right(rows, width):
    values, splits = pack(rows)
    starts, lengths = ragged.bounds(splits, np.arange(len(rows)))
    expected = [(row + [0] * width)[:width] for row in rows]
    matrix = ragged.pad(values, starts, lengths, width)
    assert matrix.dtype == np.int32
    assert matrix.tolist() == expected


@given(ROWS, st.data())
def test_gather_takes_rows_in_any_order(rows, data):
    values, splits = pack(rows)
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=10))
    gathered = ragged.gather(values, splits, np.array(chosen, np.int64))
    assert gathered.tolist() == [value for row in chosen for value in rows[row]]


@given(
    st.lists(st.lists(st.floats(0, 1) | st.just(np.inf), min_size=5, max_size=5), min_size=1),
    st.integers(1, 7),
)
def test_smallest_is_the_head_of_a_sort(keys, count):
    keys = np.array(keys)
    columns = ragged.smallest(keys, count)
    expected = np.sort(keys, axis=1)[:, :count]
    np.testing.assert_array_equal(np.take_along_axis(keys, columns, axis=1), expected)
    assert all(len(set(row)) == len(row) for row in columns.tolist())
