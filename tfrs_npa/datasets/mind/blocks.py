"""A `news.tsv` or `behaviors.tsv` in blocks of lines, each of which is parsed on its own."""

from __future__ import annotations

import collections
import dataclasses
import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent import futures
from typing import Any, BinaryIO, TypeVar

import pyarrow as pa

from .columns import (
    ImpressionColumns,
    UnusualLines,
    checked_impressions,
    columns_of_rows,
    parsed_impressions,
    parsed_news,
)
from .tsv import (
    BYTE_ORDER_MARK,
    LONGEST_LINE,
    NEWS_COLUMNS,
    opened,
    read_articles,
    read_behaviors,
    warn_of_repeated,
)

BLOCK_BYTES = 1 << 23
_THREADS = min(4, os.cpu_count() or 1)
_Result = TypeVar("_Result")


@dataclasses.dataclass(frozen=True)
class Block:
    """Consecutive lines of a `behaviors.tsv`.

    Attributes:
        name: What error messages call the file.
        first_line: The number of the first line.
        labelled: Whether the lines before it have labels; None if there are none.
        lines: The lines, with their ends.
    """

    name: str
    first_line: int
    labelled: bool | None
    lines: bytes

    def impressions(self) -> Iterator[dict[str, Any]]:
        """Yields the impressions as `read_behaviors`, with the errors that it has for the file."""
        return read_behaviors(
            io.BytesIO(self.lines),
            name=self.name,
            first_line=self.first_line,
            labelled=self.labelled,
        )

    def columns(self) -> ImpressionColumns:
        """Returns the impressions as columns, many lines at once wherever that is possible.

        Raises:
            MindFileError: as `read_behaviors`.
        """
        try:
            return parsed_impressions(_without_mark(self.lines, self.first_line), self.labelled)
        except UnusualLines:
            return columns_of_rows(self.impressions())

    def count(self) -> int:
        """Returns the number of impressions, and raises the errors of `columns`, but sooner."""
        try:
            lines = _without_mark(self.lines, self.first_line)
            return len(checked_impressions(lines, self.labelled).time)
        except UnusualLines:
            return sum(1 for _ in self.impressions())


def blocks(file: BinaryIO, name: str, size: int = BLOCK_BYTES) -> Iterator[Block]:
    """Yields the lines of a `behaviors.tsv` in blocks.

    Args:
        file: A file opened for reading bytes.
        name: What error messages call the file.
        size: Least number of bytes of a block, but for the last.

    Raises:
        MindFileError: The first line is bad, or the file is empty.
    """
    labelled = None
    for first_line, lines in _blocks_of_lines(file, size):
        yield Block(name, first_line, labelled, lines)
        if labelled is None:
            labelled = is_labelled(io.BytesIO(lines), name)


def read_columns(path: Any, size: int = BLOCK_BYTES) -> Iterator[ImpressionColumns]:
    """Yields the impressions of a `behaviors.tsv` as columns, a block of lines at a time.

    Args:
        path: The file.
        size: Least number of bytes of a block, but for the last.

    Raises:
        MindFileError: as `read_behaviors`.
    """
    with opened(path, str(path)) as file:
        yield from _mapped(Block.columns, blocks(file, str(path), size))


def count_impressions(path: Any, size: int = BLOCK_BYTES) -> int:
    """Returns the number of impressions of a `behaviors.tsv`, each of which is checked.

    Args, Raises: as `read_columns`.
    """
    with opened(path, str(path)) as file:
        return sum(_mapped(Block.count, blocks(file, str(path), size)))


def read_news_columns(
    path: Any, names: Sequence[str], size: int = BLOCK_BYTES
) -> Iterator[tuple[list[str], ...]]:
    """Yields columns of a `news.tsv`, a block of lines at a time.

    When a news id is repeated, its first article is kept, with a warning, as by `read_news`.

    Args:
        path: The file.
        names: The columns.
        size: Least number of bytes of a block, but for the last.

    Raises:
        MindFileError: as `read_news`.
    """
    name, seen, repeated = str(path), set[str](), 0
    with opened(path, name) as file:
        for first_line, lines in _blocks_of_lines(file, size):
            columns = _news_columns(first_line, lines, name)
            rows = []
            for row, news_id in enumerate(columns["news_id"].to_pylist()):
                if news_id not in seen:
                    seen.add(news_id)
                    rows.append(row)
            repeated += len(columns["news_id"]) - len(rows)
            kept = pa.array(rows, pa.int64())
            yield tuple(columns[column].take(kept).to_pylist() for column in names)
    warn_of_repeated(name, repeated)


def _news_columns(first_line: int, lines: bytes, name: str) -> dict[str, pa.Array]:
    try:
        columns = parsed_news(_without_mark(lines, first_line))
    except UnusualLines:
        rows = list(read_articles(io.BytesIO(lines), name, first_line))
        fields = zip(*rows) if rows else [()] * len(NEWS_COLUMNS)
        columns = [pa.array(column, pa.string()) for column in fields]
    return dict(zip(NEWS_COLUMNS, columns, strict=True))


def _mapped(function: Callable[[Block], _Result], items: Iterable[Block]) -> Iterator[_Result]:
    """Yields the results in order, made on some cores: Arrow needs no lock for most of its work."""
    waiting: collections.deque[futures.Future[_Result]] = collections.deque()
    with futures.ThreadPoolExecutor(_THREADS) as pool:
        for item in items:
            if len(waiting) == _THREADS:
                yield waiting.popleft().result()
            waiting.append(pool.submit(function, item))
        while waiting:
            yield waiting.popleft().result()


def _without_mark(lines: bytes, first_line: int) -> bytes:
    return lines.removeprefix(BYTE_ORDER_MARK) if first_line == 1 else lines


def _blocks_of_lines(file: BinaryIO, size: int) -> Iterator[tuple[int, bytes]]:
    """Yields the numbers of the first lines of blocks, and their lines; at least one block."""
    first_line = 1
    # Of a line that is too long, the start is enough for the error.
    while (lines := file.read(size) + file.readline(LONGEST_LINE + 1)) or first_line == 1:
        last, more = lines[lines.rfind(b"\n", 0, -1) + 1 :], []
        # An empty line is wrong unless nothing follows, which only the block of both can tell.
        while _is_empty(last) and (last := file.readline(LONGEST_LINE + 1)):
            more.append(last)
        lines = b"".join([lines, *more]) if more else lines
        yield first_line, lines
        first_line += max(1, lines.count(b"\n"))


def is_labelled(lines: Iterable[bytes], name: str) -> bool:
    """Whether the first impression of a `behaviors.tsv` has labels, and so has to each other.

    Args:
        lines: The lines, such as a file opened for reading bytes.
        name: What error messages call the file.

    Raises:
        MindFileError: The first line is bad, or the file is empty.
    """
    return next(read_behaviors(lines, name=name))["candidates"]["clicked"][0] >= 0


def lines_between(file: BinaryIO, start: int, stop: int) -> Iterator[bytes]:
    """Yields the lines that begin at a byte of `[start, stop)`, and those that belong to the last.

    So consecutive ranges give each line once, unless lines are empty: a range that ends in one goes
    on, because only what follows tells whether it is wrong.

    Args:
        file: A file opened for reading bytes.
        start: The first byte of the range.
        stop: The first byte after it.
    """
    file.seek(max(start - 1, 0))
    position, line = file.tell(), b"."
    while start and (rest := file.readline(LONGEST_LINE)):
        position += len(rest)
        if rest.endswith(b"\n"):
            break
    while (position < stop or _is_empty(line)) and (line := file.readline(LONGEST_LINE + 1)):
        position += len(line)
        yield line


def _is_empty(line: bytes) -> bool:
    return not line.removeprefix(BYTE_ORDER_MARK).strip(b"\r\n")
