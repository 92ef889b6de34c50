"""What a build, or anything else that reads MIND's files, needs to run on Apache Beam."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .blocks import Block
from .errors import MindFileError

try:
    import apache_beam as beam
except ImportError as error:
    raise ImportError(
        f"Apache Beam cannot be imported ({error}): pip install 'tfrs-npa[beam]'"
    ) from error

# The last line of the traceback of a worker, which can be all that comes back of its error.
_BAD_INPUT = re.compile(r"^(?:[\w.]+\.MindFileError|ValueError): (.*)", re.MULTILINE)
_WHILE = re.compile(r" \[while running .*", re.DOTALL)


def rows(read: Callable[[], Iterable[dict[str, Any]]]) -> beam.PTransform:
    """Returns the examples of a split, which one worker reads; they are encoded by all.

    Args:
        read: Yields the examples, in the order that they are kept in.
    """
    return (
        beam.Create([None])
        | "Read" >> beam.FlatMap(lambda _: enumerate(read()))
        | "Spread" >> beam.Reshuffle()
    )


def impressions(read: Callable[[], Iterable[Block]]) -> beam.PTransform:
    """Returns the examples of a split, which one worker reads; they are parsed by all.

    A member of a zip is read from its beginning or not at all, and reading is the quick part.

    Args:
        read: Yields the blocks of a `behaviors.tsv`.
    """
    return (
        beam.Create([None])
        | "Read" >> beam.FlatMap(lambda _: read())
        | "Spread" >> beam.Reshuffle()
        | "Parse" >> beam.FlatMap(lambda block: enumerate(block.impressions(), block.first_line))
    )


@contextlib.contextmanager
def bad_input_named() -> Iterator[None]:
    """Raises what bad input had a worker raise, not what the runner makes of it.

    Raises:
        MindFileError: A worker raised a MindFileError or another ValueError; with its message.
    """
    try:
        yield
    except ValueError as error:
        raise MindFileError(_WHILE.sub("", str(error))) from error
    except Exception as error:
        messages = _BAD_INPUT.findall(str(error))
        if not messages:
            raise
        raise MindFileError(_WHILE.sub("", messages[-1])) from error
