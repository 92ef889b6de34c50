"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterator


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Gives a temporary name beside `path`, moved to `path` when the block ends without an error.

    With several names in one `with` statement, all files are complete before the first is moved.

    Args:
        path: the file to write; missing parent folders are made.

    Yields:
        The temporary path to write to. It is removed if the block raises.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
