"""Reads impressions from Arrow tables and pandas data frames."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tfrs_npa._quoting import listed, reason_of, shortened
from tfrs_npa.data.chunk import Chunk
from tfrs_npa.data.named_rows import require_regular_file

_LISTS = ("history", "candidates", "clicked")
_COLUMNS = ("user_id", *_LISTS)
_ID = "impression_id"
_CHUNK = 65536


def table_of_frame(frame, features: Sequence[str]) -> pa.Table:
    """Returns the columns of a pandas data frame that are read.

    Raises:
        ValueError: if a column is missing, or its values are of several types.
    """
    columns = columns_to_read(list(frame.columns), features)
    try:
        return pa.Table.from_pandas(frame[columns], preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ValueError(f"the data frame holds values of several types: {error}") from error


@contextlib.contextmanager
def open_parquet(path: str | os.PathLike[str]) -> Iterator[pq.ParquetFile]:
    """Opens a Parquet file; what goes wrong while it is read names it too.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is no Parquet file, or damaged.
    """
    require_regular_file(path)
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (pa.ArrowException, UnicodeError, OSError, MemoryError) as error:
        if isinstance(error, OSError) and error.filename:
            raise
        raise ValueError(
            f"{os.fspath(path)} is not a Parquet file, or damaged: {reason_of(error)}"
        ) from error


def checked_table(table: pa.Table, features: Sequence[str] = ()) -> pa.Table:
    """Returns the columns of a table that are read.

    Args:
        table: The table.
        features: Names of other columns that are wanted.

    Raises:
        TypeError: if it is no Arrow table.
        ValueError: if a column is missing, there twice, or of the wrong type.
    """
    if not isinstance(table, pa.Table):
        raise TypeError(f"the impressions must be a pyarrow.Table, got {type(table).__name__}")
    table = table.select(columns_to_read(table.column_names, features))
    if _ID in table.column_names:
        _check(table, _ID, pa.types.is_integer, "integers")
        try:
            table = _cast(table, _ID, pa.int64())
        except pa.ArrowInvalid as error:
            raise ValueError(f"{_ID} does not fit int64: {error}") from error
    if pa.types.is_null(table.schema.field("history").type):
        table = _cast(table, "history", pa.list_(pa.string()))
    _check(table, "user_id", is_text, "strings")
    _check(table, "history", _is_list_of(is_text), "lists of strings")
    _check(table, "candidates", _is_list_of(is_text), "lists of strings")
    _check(table, "clicked", _is_list_of(_is_label), "lists of integers")
    for name in features:
        if name in (_ID, *_COLUMNS):
            raise ValueError(f"{name!r} is part of every batch: leave it out of features")
        type_ = table.schema.field(name).type
        if not (_is_feature(type_) or _is_list(type_) and _is_number(type_.value_type)):
            raise ValueError(
                f"feature {name} needs a number, a string or a list of fixed size in each row, or "
                f"a list with a number, or a list of fixed size, for each candidate; got {type_}"
            )
        if _is_datetime(type_):
            table = _cast(table, name, pa.timestamp("s", getattr(type_, "tz", None)), safe=False)
            table = _cast(table, name, pa.int64())
    return table


def table_chunks(
    table: pa.Table, features: Sequence[str], rows: Sequence[int] | np.ndarray | None = None
) -> Iterator[Chunk]:
    """Reads the impressions of a `checked_table`.

    Args:
        table: The table.
        features: Names of other columns to keep.
        rows: The index of each row, which errors name, and which is its id if there are none; None:
            from 0 on.

    Yields:
        Consecutive impressions.

    Raises:
        ValueError: if a value is missing or a label is wrong, naming its row.
    """
    remaining = range(len(table)) if rows is None else rows
    for batch in table.to_batches(max_chunksize=_CHUNK):
        rows, remaining = remaining[: len(batch)], remaining[len(batch) :]
        columns: dict[str, Any] = dict(zip(batch.schema.names, batch.columns, strict=True))
        # A history that is missing is empty.
        require_values(batch, [name for name in columns if name != "history"], rows)
        of_candidates = [name for name in features if _is_list(batch.schema.field(name).type)]
        lists = {name: _flat(columns[name], name, rows) for name in (*_LISTS, *of_candidates)}
        yield Chunk(
            columns[_ID].to_numpy() if _ID in columns else np.asarray(rows),
            _plain(columns["user_id"]),
            lists["history"][0],
            lists["history"][1],
            lists["candidates"][0],
            lists["candidates"][1],
            lists["clicked"][0].cast(pa.int64(), safe=False).to_numpy(),
            lists["clicked"][1],
            {name: _array(columns[name]) for name in features if name not in of_candidates},
            {name: (_array(lists[name][0]), lists[name][1]) for name in of_candidates},
        ).checked("row {} (the first is 0)", rows)


def require_values(
    batch: pa.RecordBatch, names: Sequence[str], rows: Sequence[int] | np.ndarray
) -> None:
    """Raises a ValueError if a value is missing in one of the columns; names the row.

    Args:
        batch: The rows.
        names: The columns.
        rows: The index of each row.
    """
    for name in names:
        column = batch.column(name)
        place = _missing(column)
        if place is not None:
            raise ValueError(f"row {rows[place]} (the first is 0) has no {name}")


def _flat(column, name, rows):
    """Returns the values of lists one after the other, and the length of each list."""
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy().astype(np.int64)
    values = column.flatten()
    place = _missing(values)
    if place is not None:
        row = rows[int(np.searchsorted(np.cumsum(lengths), place, side="right"))]
        raise ValueError(f"row {row} (the first is 0) has a missing value in {name}")
    return values, lengths


def _missing(values) -> int | None:
    """Returns the first place without a value, or with a list of fixed size that lacks one."""
    if values.null_count:
        return pc.index(values.is_null(), True).as_py()
    if pa.types.is_fixed_size_list(values.type):
        place = _missing(values.flatten())
        return None if place is None else place // values.type.list_size
    return None


def _plain(texts) -> pa.Array:
    """Returns texts without a dictionary, in which they could be in any order."""
    return texts.dictionary_decode() if pa.types.is_dictionary(texts.type) else texts


def _array(values) -> np.ndarray:
    """Returns values as an array, `[values, size]` if they are lists of fixed size."""
    if pa.types.is_fixed_size_list(values.type):
        return _array(values.flatten()).reshape(len(values), values.type.list_size)
    return values.to_numpy(zero_copy_only=False)


def columns_to_read(names: list[str], features: Sequence[str]) -> list[str]:
    """Returns the columns of impressions that are read.

    Args:
        names: The columns that there are.
        features: Names of other columns that are wanted.

    Raises:
        ValueError: if a column is missing or there twice.
    """
    missing = [name for name in (*_COLUMNS, *features) if name not in names]
    if missing:
        raise ValueError(f"the impressions lack {', '.join(missing)}; there are {listed(names)}")
    twice = [name for name in (_ID, *_COLUMNS, *features) if names.count(name) > 1]
    if twice:
        raise ValueError(f"the impressions have {twice[0]} twice")
    own = [_ID] if _ID in names else []
    return [*own, *_COLUMNS, *(name for name in features if name not in _COLUMNS and name != _ID)]


def _cast(table, name, type_, safe=True):
    place = table.column_names.index(name)
    return table.set_column(place, name, table.column(name).cast(type_, safe=safe))


def _check(table, name, is_right, kind):
    found = table.schema.field(name).type
    # A column without any value has no type yet.
    if not is_right(found) and table.num_rows > table.column(name).null_count:
        raise ValueError(f"{name} must hold {kind}, got {shortened(str(found), 60)}")


def is_text(type_: pa.DataType) -> bool:
    """Whether values of a type are strings."""
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    return pa.types.is_string(type_) or pa.types.is_large_string(type_)


def _is_label(type_):
    return pa.types.is_integer(type_) or pa.types.is_boolean(type_)


def _is_number(type_):
    if pa.types.is_fixed_size_list(type_):
        type_ = type_.value_type
    return pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_boolean(type_)


def _is_feature(type_):
    return _is_number(type_) or is_text(type_) or _is_datetime(type_)


def _is_datetime(type_):
    return pa.types.is_timestamp(type_) or pa.types.is_date(type_)


def _is_list(type_):
    return pa.types.is_list(type_) or pa.types.is_large_list(type_)


def _is_list_of(is_right):
    def check(type_):
        if not _is_list(type_):
            return False
        # Empty lists alone have no type either.
        return is_right(type_.value_type) or pa.types.is_null(type_.value_type)

    return check
