"""A `behaviors.tsv` in blocks of lines, each of which is parsed on its own, whoever has it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from .tsv import read_behaviors

_LINES = 1024


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
    lines: list[bytes]

    def impressions(self) -> Iterator[dict[str, Any]]:
        """Yields the impressions as `read_behaviors`, with the errors that it has for the file."""
        return read_behaviors(
            self.lines, name=self.name, first_line=self.first_line, labelled=self.labelled
        )


def blocks(file: Iterable[bytes], name: str) -> Iterator[Block]:
    """Yields the lines of a `behaviors.tsv` in blocks.

    Args:
        file: The lines, such as a file opened for reading bytes.
        name: What error messages call the file.

    Raises:
        MindFileError: The first line is bad, or the file is empty.
    """
    remaining, first_line, labelled = iter(file), 1, None
    while (lines := list(itertools.islice(remaining, _LINES))) or first_line == 1:
        # An empty line is wrong unless nothing follows, which only the block of both can tell.
        while lines and _is_empty(lines[-1]) and (line := next(remaining, None)) is not None:
            lines.append(line)
        block = Block(name, first_line, labelled, lines)
        if labelled is None:
            labelled = is_labelled(lines, name)
        yield block
        first_line += len(lines)


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
    if start:
        position += len(file.readline())
    while (position < stop or _is_empty(line)) and (line := file.readline()):
        position += len(line)
        yield line


def _is_empty(line: bytes) -> bool:
    return not line.strip(b"\r\n")
