"""What a build, or anything else that reads MIND's files, needs to run on Apache Beam."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .blocks import Block

try:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
except ImportError as error:
    raise ImportError(
        f"Apache Beam cannot be imported ({error}): pip install 'tfrs-npa[beam]'"
    ) from error

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


def require_known(options: PipelineOptions, runner: Any = None) -> None:
    """Raises a ValueError if an option of Beam has a wrong value, or the runner does not know it.

    Beam itself ignores what it does not know. Only runners on this machine are asked: others can
    have options that their job servers alone know.

    Args:
        options: The options.
        runner: The runner or its name; None: that of the options, or Beam's own default.
    """
    written = io.StringIO()
    try:
        with contextlib.redirect_stderr(written):
            known = options.get_all_options()
            given = options.get_all_options(retain_unknown_options=True)
    except SystemExit as error:  # of argparse
        message = written.getvalue().strip().rpartition("error: ")[2]
        raise ValueError(f"options of Apache Beam: {message}") from error
    runner = runner or known["runner"] or StandardOptions.DEFAULT_RUNNER
    name = _short(runner if isinstance(runner, str) else type(runner).__name__)
    unknown = sorted(given.keys() - known.keys())
    if unknown and name in map(_short, StandardOptions.LOCAL_RUNNERS):
        raise ValueError(
            f"Apache Beam has no option {', '.join(unknown)}; its documentation lists them under "
            "pipeline options"
        )


def _short(runner: str) -> str:
    """Returns the name of a runner as Beam compares it."""
    return runner.rpartition(".")[2].lower().removesuffix("runner")


@contextlib.contextmanager
def errors_of_workers(*types: type[ValueError]) -> Iterator[None]:
    """Raises errors of these types as a worker raised them, not what the runner makes of them.

    Args:
        types: Types of errors that are made of a message.
    """
    try:
        yield
    except types as error:
        raise type(error)(_WHILE.sub("", str(error))) from error
    except Exception as error:
        # The last line of the worker's traceback can be all that comes back of its error.
        names = {kind.__name__: kind for kind in types}
        last = rf"^(?:[\w.]+\.)?({'|'.join(names)}): (.*)"
        found = re.findall(last, str(error), re.MULTILINE)
        if not found:
            raise
        name, message = found[-1]
        raise names[name](_WHILE.sub("", message)) from error
