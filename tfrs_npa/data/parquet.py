"""A log and its articles in Parquet files, read a batch of rows at a time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from tfrs_npa._quoting import listed, shortened
from tfrs_npa.data.arrow_tables import (
    checked_table,
    columns_to_read,
    is_text,
    open_parquet,
    require_values,
    table_chunks,
)
from tfrs_npa.data.chunk import Chunk
from tfrs_npa.data.times import require_seconds

TIME = "time"
_ID = "impression_id"
_CHUNK = 65536
_ROWS = 1024
_OPTIONAL = ("category", "subcategory")
_NEWS = ("news_id", *_OPTIONAL, "title")


class ParquetLog:
    """The impressions of a Parquet file, or those of some time; they are never all in memory.

    Args:
        path: The file, with the columns of `Impressions.from_arrow` and possibly `time`: seconds
            since the epoch, or datetimes (UTC, if they name no zone).
        since: The first second of the impressions that are read; None: all times.
        before: The first second of those that are not read any more; None: all times.
        rows: How many impressions are read; None: as many as the file has.

    Raises:
        ValueError: if it is no Parquet file, or lacks a column.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        since: int | None = None,
        before: int | None = None,
        rows: int | None = None,
    ):
        self.path, self._since, self._before = os.fspath(path), since, before
        with open_parquet(path) as file:
            self._names = file.schema_arrow.names
            self._rows = file.metadata.num_rows if rows is None else rows
        with _naming(path):
            columns_to_read(self._names, ())

    def __len__(self) -> int:
        return self._rows

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yields impressions as the builder's features, without those that the file lacks."""
        features = [TIME] if self.has_time else []
        for rows, table in self._tables(features, _ROWS):
            for index, row in zip(rows.tolist(), table.to_pylist(), strict=True):
                labels = [int(label) for label in row["clicked"]]
                yield {
                    _ID: row.get(_ID, index),
                    "user_id": row["user_id"],
                    "history": row["history"] or [],
                    "candidates": {"news_id": row["candidates"], "clicked": labels},
                    **{name: int(np.floor(row[name])) for name in features},
                }

    @property
    def has_time(self) -> bool:
        """Whether the impressions have a time."""
        return TIME in self._names

    @property
    def element_spec(self):
        """The specification of a row."""
        strings = tf.TensorSpec([None], tf.string)
        return {
            _ID: tf.TensorSpec([], tf.int64),
            "user_id": tf.TensorSpec([], tf.string),
            "history": strings,
            "candidates": {"news_id": strings, "clicked": tf.TensorSpec([None], tf.int64)},
            **({TIME: tf.TensorSpec([], tf.int64)} if self.has_time else {}),
        }

    def chunks(self, features: Sequence[str] = ()) -> Iterator[Chunk]:
        """Reads the impressions.

        Args:
            features: Names of other columns to keep.

        Yields:
            Consecutive impressions.

        Raises:
            ValueError: if a column or a value is missing or of the wrong type, or labels are wrong;
                names the file and, of a value, the row.
        """
        with _naming(self.path):
            for rows, table in self._tables(features, _CHUNK):
                for chunk in table_chunks(table, features, rows):
                    if TIME in features:
                        require_seconds(chunk.features[TIME], rows)
                        rows = rows[len(chunk.user_id) :]
                    yield chunk

    def _tables(self, features, at_once) -> Iterator[tuple[np.ndarray, pa.Table]]:
        """Yields the rows that are wanted: their indices in the file, and themselves."""
        bounds = [(pc.greater_equal, self._since), (pc.less, self._before)]
        bounds = [(compare, second) for compare, second in bounds if second is not None]
        read = list(dict.fromkeys([*features, TIME])) if bounds else list(features)
        columns, first = columns_to_read(self._names, read), 0
        with open_parquet(self.path) as file:
            for batch in file.iter_batches(at_once, columns=columns):
                table = checked_table(pa.Table.from_batches([batch]), read)
                is_wanted = np.ones(len(batch), bool)
                for compare, second in bounds:
                    is_wanted &= pc.fill_null(compare(table[TIME], second), False).to_numpy()
                yield first + np.flatnonzero(is_wanted), table.filter(pa.array(is_wanted))
                first += len(batch)


class ParquetNews:
    """The articles of a Parquet file: dicts of `news_id`, `category`, `subcategory` and `title`.

    Args:
        path: The file, with the string columns `news_id`, `title` and possibly `category` and
            `subcategory`.

    Raises:
        ValueError: if it is no Parquet file, or lacks a column or has it in another type.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = os.fspath(path)
        with open_parquet(path) as file:
            schema, self._rows = file.schema_arrow, file.metadata.num_rows
        self._columns = [name for name in _NEWS if name in schema.names]
        missing = [name for name in ("news_id", "title") if name not in schema.names]
        if missing:
            raise ValueError(
                f"{self.path} lacks {', '.join(missing)}; it has {listed(schema.names)}"
            )
        for name in self._columns:
            if not is_text(schema.field(name).type):
                raise ValueError(
                    f"{self.path}: {name} must hold strings, got "
                    f"{shortened(str(schema.field(name).type), 60)}"
                )

    def __len__(self) -> int:
        return self._rows

    def __iter__(self) -> Iterator[dict[str, str]]:
        """Yields the articles; the category and subcategory of one that has none are empty.

        Raises:
            ValueError: if a value is missing; names the file and the row.
        """
        for columns in self.text_columns(_NEWS):
            yield from (dict(zip(_NEWS, row)) for row in zip(*columns))

    def text_columns(self, names: Sequence[str]) -> Iterator[tuple[list[str], ...]]:
        """Yields columns of the articles, many rows at a time.

        Args:
            names: Of `news_id`, `title`, `category` and `subcategory`; an article that has none of
                the latter two has an empty one.

        Raises:
            ValueError: as iteration.
        """
        read = [name for name in self._columns if name in (*names, "news_id", "title")]
        first = 0
        with open_parquet(self.path) as file, _naming(self.path):
            for batch in file.iter_batches(_CHUNK, columns=read):
                require_values(batch, ["news_id", "title"], range(first, first + len(batch)))
                columns = dict(zip(batch.schema.names, batch.columns))
                yield tuple(_texts(columns.get(name), len(batch)) for name in names)
                first += len(batch)

    @property
    def element_spec(self):
        """The specification of a row."""
        return {name: tf.TensorSpec([], tf.string) for name in _NEWS}


def _texts(column: pa.Array | None, rows: int) -> list[str]:
    return [""] * rows if column is None else [text or "" for text in column.to_pylist()]


@contextlib.contextmanager
def _naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Puts the file in front of the message of a ValueError."""
    try:
        yield
    except ValueError as error:
        if str(error).startswith(os.fspath(path)):
            raise
        raise ValueError(f"{os.fspath(path)}: {error}") from error
