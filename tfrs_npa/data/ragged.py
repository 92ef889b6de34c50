"""Packed rows of different lengths: one array of values, and where each row starts and ends in it.

Row `i` is `values[splits[i] : splits[i + 1]]`, as in `tf.RaggedTensor`.
"""

from __future__ import annotations

import numpy as np


def splits_of(lengths: np.ndarray) -> np.ndarray:
    """Row splits `int64 [rows + 1]` for rows of the given lengths `[rows]`."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def bounds(splits: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First positions `[rows]` and lengths `[rows]` of the chosen rows."""
    starts = splits[rows]
    return starts, splits[rows + 1] - starts


def gather(values: np.ndarray, splits: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The values of the chosen rows, packed in the order of `rows`."""
    starts, lengths = bounds(splits, rows)
    offsets = splits_of(lengths)
    return values[np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])]


def pad(values: np.ndarray, starts: np.ndarray, lengths: np.ndarray, width: int) -> np.ndarray:
    """Unpacks rows into a matrix `[rows, width]`, cut to `width` and padded with 0 on the right."""
    inside = np.arange(width) < lengths[:, None]
    matrix = np.zeros(inside.shape, values.dtype)
    matrix[inside] = values[(starts[:, None] + np.arange(width))[inside]]
    return matrix


def smallest(keys: np.ndarray, count: int) -> np.ndarray:
    """Columns of the `count` smallest keys of each row, in ascending order of key.

    Given random keys, infinite where a column must not be drawn, these are draws without
    replacement; columns that must not be drawn come last, and only when the others run out.

    Args:
        keys: `[rows, columns]`.
        count: how many to choose.

    Returns:
        Column numbers `[rows, min(count, columns)]`.
    """
    if count < keys.shape[1]:
        chosen = np.argpartition(keys, count - 1, axis=1)[:, :count]
        order = np.argsort(np.take_along_axis(keys, chosen, axis=1), axis=1)
        return np.take_along_axis(chosen, order, axis=1)
    return np.argsort(keys, axis=1)
