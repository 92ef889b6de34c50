"""One process at a time prepares a data set."""

from __future__ import annotations

import contextlib
import logging
import os
import random
from collections.abc import Iterator

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def alone(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Waits until no other process does what is in the block, for the same folder.

    The lock is one of the operating system, which ends with its process, however that ends. Where
    there are none, on some network file systems and in buckets, nothing is waited for.

    Args:
        folder: The folder; it is created, and no file is left in it.
    """
    folder = os.fspath(folder)
    with contextlib.ExitStack() as stack:
        if fcntl is not None and "://" not in folder:
            with contextlib.suppress(OSError):  # a folder that cannot be written to, say
                os.makedirs(folder, exist_ok=True)
                descriptor = os.open(folder, os.O_RDONLY)
                stack.callback(os.close, descriptor)
                _lock(descriptor, folder)
        yield


def _lock(descriptor: int, folder: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        logger.warning("%s: another process prepares this data; waiting for it", folder)
        fcntl.flock(descriptor, fcntl.LOCK_EX)


@contextlib.contextmanager
def really_random() -> Iterator[None]:
    """Has Python's `random` differ between processes in the block, whatever seed they have set.

    TFDS draws the names of temporary folders from it.
    """
    state = random.getstate()
    random.seed()
    try:
        yield
    finally:
        random.setstate(state)
