"""Packed rows of different lengths: one array of values, and where each row starts and ends in it.

Row `i` is `values[splits[i] : splits[i + 1]]`, as in `tf.RaggedTensor`. If rows are a selection of
others, splits are `[rows, 2]`: row `i` is `values[splits[i, 0] : splits[i, 1]]`.
"""

from __future__ import annotations

import numpy as np

# All rows, where a part of them may be asked for.
ALL = slice(None)


def splits_of(lengths: np.ndarray) -> np.ndarray:
    """Row splits `int64 [rows + 1]` for rows of the given lengths `[rows]`."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def bounds(splits: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First positions `[rows]` and lengths `[rows]` of the chosen rows."""
    if splits.ndim == 2:
        starts, ends = splits[rows, 0], splits[rows, 1]
    else:
        starts, ends = splits[rows], splits[rows + 1]
    return starts, ends - starts


def select(splits: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Splits `int64 [rows, 2]` of the chosen rows in the same values."""
    starts, lengths = bounds(splits, rows)
    return np.stack([starts, starts + lengths], axis=1)


def gather(values: np.ndarray, splits: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The values of the chosen rows, packed in the order of `rows`."""
    return values[positions(splits, rows)]


def positions(splits: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Positions of the values of the chosen rows, in the order of `rows`."""
    return _ranges(*bounds(splits, rows))


def _ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The numbers from each start on, as many as `lengths` says, one range after the other."""
    offsets = splits_of(lengths)
    return np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])


def pad(values: np.ndarray, starts: np.ndarray, lengths: np.ndarray, width: int) -> np.ndarray:
    """Unpacks rows into `[rows, width, ...]`, cut to `width` and padded with 0 on the right."""
    kept = np.minimum(lengths, width)
    flat = np.zeros((len(kept) * width, *values.shape[1:]), values.dtype)
    flat[_ranges(np.arange(len(kept)) * width, kept)] = values[_ranges(starts, kept)]
    return flat.reshape(len(kept), width, *values.shape[1:])


def smallest(keys: np.ndarray, count: int) -> np.ndarray:
    """Columns of the `count` smallest keys of each row, in ascending order of key.

    Given random keys, infinite where a column must not be drawn, these are draws without
    replacement; columns that must not be drawn come last, and only when the others run out.

    Args:
        keys: `[rows, columns]`.
        count: How many to choose.

    Returns:
        Columns `[rows, min(count, columns)]`.
    """
    if count < keys.shape[1]:
        chosen = np.argpartition(keys, count - 1, axis=1)[:, :count]
        order = np.argsort(np.take_along_axis(keys, chosen, axis=1), axis=1)
        return np.take_along_axis(chosen, order, axis=1)
    return np.argsort(keys, axis=1)
