"""Reads text columns from data sets, rows, or columns."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfrs_npa._quoting import listed, quoted
from tfrs_npa.data.pipelines import without_autotuning

_CHUNK = 4096


def text_columns(
    source: tf.data.Dataset | Iterable[Mapping[str, Any]] | Mapping[str, Any],
    names: Sequence[str],
    what: str,
    lists: Collection[str] = (),
) -> Iterator[tuple[list[Any], ...]]:
    """Yields the columns `names` of `source`, a chunk of rows at a time.

    Args:
        source: A `tf.data.Dataset` of dicts (batched or not), an iterable of dicts, a dict of
            columns (a pandas data frame too), or a table with a method of this name.
        names: The features to read; each must be a string.
        what: Name of the source in error messages.
        lists: Those of `names` that may be lists of strings instead.

    Yields:
        One list of `str`, or of lists of `str`, for each name, all of the same length.

    Raises:
        ValueError: if a feature is missing, is not a string, or columns differ in length.
    """
    chunks: Iterator[tuple[Any, ...]]
    if hasattr(source, "text_columns"):
        chunks = source.text_columns(names)
    elif isinstance(source, tf.data.Dataset):
        chunks = _dataset_chunks(source, names, what, lists)
    elif isinstance(source, Mapping) or hasattr(source, "columns"):
        _require(names, source, what)
        columns: Any = source
        chunks = iter([tuple(_rows(columns[name]) for name in names)])
    else:
        chunks = _row_chunks(source, names, what)
    for chunk in chunks:
        texts = tuple(
            [
                value if type(value) is str else _texts(value, name, what, name in lists)
                for value in column
            ]
            for name, column in zip(names, chunk, strict=True)
        )
        lengths = {name: len(column) for name, column in zip(names, texts, strict=True)}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"the columns of {what} differ in length: {lengths}")
        yield texts


def _rows(column):
    return column.to_list() if isinstance(column, tf.RaggedTensor) else list(column)


def _dataset_chunks(dataset, names, what, lists):
    spec = dataset.element_spec
    if not isinstance(spec, Mapping):
        raise ValueError(f"{what} must be a data set of dicts, got elements of {spec}")
    _require(names, spec, what)
    for name in names:
        ranks = (0, 1, 2) if name in lists else (0, 1)
        if spec[name].dtype != tf.string or spec[name].shape.rank not in ranks:
            raise ValueError(f"feature {name!r} of {what} must be a string, got {spec[name]}")
    selected = dataset.map(lambda row: tuple(row[name] for name in names))
    total = max(0, int(dataset.cardinality())) or None
    if spec[names[0]].shape.rank == 0:
        has_lists = any(spec[name].shape.rank for name in names)
        selected = selected.ragged_batch(_CHUNK) if has_lists else selected.batch(_CHUNK)
    else:
        total = None  # the cardinality counts batches of unknown size
    with tqdm(total=total, desc=f"Reading {what}", unit=" rows", delay=2, disable=None) as bar:
        for chunk in without_autotuning(selected.prefetch(1)).as_numpy_iterator():
            yield tuple(column.to_list() if _is_ragged(column) else column for column in chunk)
            bar.update(len(chunk[0]))


def _row_chunks(rows, names, what):
    rows = iter(rows)
    while chunk := list(itertools.islice(rows, _CHUNK)):
        for row in chunk:
            if not isinstance(row, Mapping):
                raise ValueError(f"{what} must hold dicts, got {quoted(row)}")
            _require(names, row, what)
        yield tuple([row[name] for row in chunk] for name in names)


def _require(names, found, what):
    missing = [name for name in names if name not in found]
    if missing:
        raise ValueError(f"{what} lacks the feature {', '.join(missing)}; it has {listed(found)}")


def _is_ragged(column):
    return isinstance(column, tf.compat.v1.ragged.RaggedTensorValue)


def _texts(value, name, what, may_be_list):
    if may_be_list and isinstance(value, list | tuple | np.ndarray):
        return [_text(word, name, what) for word in value]
    return _text(value, name, what)


def _text(value, name, what):
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    if not isinstance(value, str):
        raise ValueError(f"feature {name!r} of {what} must be a string, got {quoted(value)}")
    return value
