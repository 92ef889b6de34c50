"""A log of any size in parts that are read on their own, each by whoever has it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from tfrs_npa.data.arrow_tables import checked_table, columns_to_read, table_chunks
from tfrs_npa.data.chunk import Chunk
from tfrs_npa.datasets.mind import MindFileError
from tfrs_npa.datasets.mind.blocks import Block, is_labelled, lines_between
from tfrs_npa.datasets.mind.columns import ImpressionColumns

_PARQUET = b"PAR1"
# Of a part, at least: a second of scoring. Of MIND, a megabyte is 1,700 impressions. Parts of
# Parquet are larger, because each decodes the rows of its group that come before it.
_BYTES = 1 << 20
_ROWS = 8192
# Parts of a group of rows, at most (one more where they do not begin with it): on average a row is
# decoded for half of them, so reading takes time linear in the log, however large groups are.
_PARTS_OF_GROUP = 8
# Of a log, at most: runners limit how much a pipeline may be given to start with.
_PARTS = 20_000
# Impressions that are scored together. Parts and their chunks are the same whoever reads them, and
# so are scores, which can depend in their last bits on what is scored with them.
CHUNK = 256


@dataclasses.dataclass(frozen=True)
class TsvPart:
    """The lines of a `behaviors.tsv` that begin in a range of its bytes.

    Attributes:
        path: The file.
        start: The first byte of the range.
        stop: The first byte after it.
        labelled: Whether the file has labels.
    """

    path: str
    start: int
    stop: int
    labelled: bool

    def chunks(self) -> Iterator[Chunk]:
        """Yields the impressions, `CHUNK` at a time.

        Raises:
            MindFileError: A line is bad; names the file and the line.
        """
        with open_log(self.path) as file:
            lines = b"".join(lines_between(file, self.start, self.stop))
        try:
            # Not the number of the line, which only a bad one needs.
            found = self._columns(lines, 2 if self.start else 1)
        except MindFileError:
            with open_log(self.path) as file:
                lines_before = sum(1 for _ in lines_between(file, 0, self.start))
            self._columns(lines, 1 + lines_before)
            raise
        yield from Chunk.of_columns(found).pieces(CHUNK)

    def _columns(self, lines: bytes, first_line: int) -> ImpressionColumns:
        return Block(self.path, first_line, self.labelled, lines).columns()


@dataclasses.dataclass(frozen=True)
class ParquetPart:
    """Consecutive rows of a Parquet file, with the columns of `Impressions.from_arrow`.

    Attributes:
        path: The file.
        start: The first row.
        stop: The first row after them.
        first_id: Where the log has no ids, that of the first row of the file.
    """

    path: str
    start: int
    stop: int
    first_id: int

    def chunks(self) -> Iterator[Chunk]:
        """Yields the impressions, `CHUNK` at a time.

        Raises:
            ValueError: A row is bad; names the file and the row.
        """
        try:
            for first, batch in self._batches():
                has_ids = "impression_id" in batch.schema.names
                for begin in range(0, len(batch), CHUNK):
                    table = checked_table(pa.Table.from_batches([batch.slice(begin, CHUNK)]))
                    rows = first + begin + np.arange(len(table))
                    for chunk in table_chunks(table, (), rows):
                        yield (
                            chunk
                            if has_ids
                            else chunk._replace(impression_id=self.first_id + chunk.impression_id)
                        )
        except ValueError as error:
            raise MindFileError(str(error), self.path) from error

    def _batches(self) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yields the rows, and the index of the first of them in the file."""
        with open_log(self.path) as opened, pq.ParquetFile(opened) as file:
            lengths = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            ends = np.cumsum(lengths)
            groups = np.flatnonzero((ends > self.start) & (ends - lengths < self.stop))
            columns = columns_to_read(file.schema_arrow.names, ())
            first = int((ends - lengths)[groups[0]])
            for batch in file.iter_batches(_ROWS, groups.tolist(), columns):
                begin, end = (min(max(row - first, 0), len(batch)) for row in self.range)
                if begin < end:
                    yield first + begin, batch.slice(begin, end - begin)
                first += len(batch)
                if first >= self.stop:
                    return

    @property
    def range(self) -> tuple[int, int]:
        """The first row, and the first after them."""
        return self.start, self.stop


def parts_of(log: str) -> list[TsvPart | ParquetPart]:
    """Returns the parts of a log, in order.

    Args:
        log: A `behaviors.tsv` or a Parquet file, or a pattern of several such as `day/*.parquet`,
            which are one log in the order of their names.

    Raises:
        OSError: There is no such file.
        MindFileError: A file is empty, or its first line is bad.
        ValueError: A Parquet file is damaged or lacks a column.
    """
    files = FileSystems.match([log])[0].metadata_list
    if not files:
        raise FileNotFoundError(f"{log}: no such file")
    sizes = sorted((file.path, file.size_in_bytes) for file in files)
    size_of_part = -(-sum(size for _, size in sizes) // _PARTS)
    parts: list[TsvPart | ParquetPart] = []
    for path, size in sizes:
        last = parts[-1] if parts else None
        first_id = last.first_id + last.stop if isinstance(last, ParquetPart) else 0
        parts += _parts_of_file(path, size, size_of_part, first_id)
    return parts


def _parts_of_file(
    path: str, size: int, size_of_part: int, first_id: int
) -> list[TsvPart | ParquetPart]:
    with open_log(path) as file:
        if file.read(len(_PARQUET)) == _PARQUET:
            rows, largest = _rows_of(path, file)
            step = max(_ROWS, -(-rows * size_of_part // size), -(-largest // _PARTS_OF_GROUP))
            return [
                ParquetPart(path, i, min(i + step, rows), first_id) for i in range(0, rows, step)
            ]
        labelled = is_labelled(lines_between(file, 0, size), path)
    step = max(_BYTES, size_of_part)
    return [TsvPart(path, i, min(i + step, size), labelled) for i in range(0, size, step)]


def _rows_of(path: str, file: BinaryIO) -> tuple[int, int]:
    """Returns how many rows a Parquet file has, and its largest group of rows."""
    try:
        with pq.ParquetFile(file) as opened:
            columns_to_read(opened.schema_arrow.names, ())
            groups = [opened.metadata.row_group(i).num_rows for i in range(opened.num_row_groups)]
            return sum(groups), max(groups, default=0)
    except ValueError as error:  # that of Arrow is one, too
        raise MindFileError(str(error), path) from error


def open_log(path: str) -> BinaryIO:
    """Opens a file of any file system that Beam knows, for reading its bytes as they are."""
    return FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)
