"""Turns strings from callers into dense tensors."""

from __future__ import annotations

import numpy as np
import tensorflow as tf


def string_vector(value, what: str) -> tf.Tensor:
    """Returns strings as a tensor.

    Args:
        value: A list, array or tensor `[rows]`.
        what: What it is called in error messages.

    Raises:
        ValueError: if it is of another shape or not strings.
    """
    tensor = _strings(value, what)
    if tensor.shape.rank not in (1, None):
        raise ValueError(f"{what} has to have the shape [batch]; found {tensor.shape}.")
    return tf.ensure_shape(tensor, [None])


def string_matrix(
    value, what: str, rows: int | None = None, or_one_for_all: bool = False
) -> tf.Tensor:
    """Returns rows of strings as a dense tensor, `""` where a row is shorter than others.

    Args:
        value: A ragged tensor, or a list, array or tensor `[rows, width]`; the rows of a list may
            differ in length.
        what: What it is called in error messages.
        rows: Rows that it has to have; None: that is not known.
        or_one_for_all: Whether a single row `[width]` will do, which becomes `[1, width]`.

    Raises:
        ValueError: if it is of another shape or not strings.
    """
    if isinstance(value, tf.RaggedTensor):
        tensor = value.to_tensor("") if value.dtype == tf.string else value.to_tensor()
    elif isinstance(value, (list, tuple)) and any(_is_row(row) for row in value):
        if not all(_is_row(row) for row in value):
            raise ValueError(f"{what} mixes strings and rows of strings.")
        width = max(len(row) for row in value)
        tensor = [[*row, *[""] * (width - len(row))] for row in value]
    else:
        tensor = value
    tensor = _strings(tensor, what)
    if or_one_for_all and tensor.shape.rank == 1:
        return tensor[tf.newaxis]
    if tensor.shape.rank not in (2, None):
        or_one = " or [articles]" if or_one_for_all else ""
        raise ValueError(
            f"{what} has to have the shape [batch, articles]{or_one}; found {tensor.shape}."
        )
    found = tensor.shape[0] if tensor.shape.rank else None
    if rows is not None and found is not None and found != rows:
        raise ValueError(f"{what} has {found} rows; there are {rows} users.")
    return tf.ensure_shape(tensor, [None, None])


def _is_row(value):
    return isinstance(value, (list, tuple)) or getattr(value, "ndim", 0) > 0


def _strings(value, what):
    try:
        if isinstance(value, (list, tuple, np.ndarray)) and not np.size(value):
            return tf.zeros(np.shape(value), tf.string)
        tensor = tf.convert_to_tensor(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} has to be strings, all rows of one length: {error}") from error
    if tensor.dtype != tf.string:
        raise ValueError(f"{what} has to be strings; found {tensor.dtype.name}.")
    return tensor
