"""Processes that depend on each other: where one listens, and how another ends when it is gone."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from tfrs_npa.settings import CHIEF_TIMEOUT

GONE = 69
"""Exit code of a process without the one that it depends on: `EX_UNAVAILABLE` of sysexits.h."""
PAUSE = 1.0
"""Seconds between two looks at another process."""
CONNECT_TIMEOUT = 2.0
"""Seconds that another process may take to answer."""
ATTEMPTS = 5
"""Looks without an answer after which a process counts as gone."""

logger = logging.getLogger(__name__)


class Address(NamedTuple):
    """The address that a process listens at."""

    host: str
    port: int

    def __str__(self):
        return f"{self.host}:{self.port}"

    def answers(self) -> bool:
        """Whether anything listens there."""
        try:
            socket.create_connection((self.host.strip("[]"), self.port), CONNECT_TIMEOUT).close()
        except OSError:
            return False
        return True


def end_process(code: int, message: str) -> None:
    """Ends the process from whichever thread, also while the others are in calls of libraries.

    Args:
        code: The exit code.
        message: A line for standard error; an error unless `code` is 0.
    """
    # Not through sys.stderr, whose lock another thread may hold.
    os.write(2, f"tfrs-npa: {'error: ' if code else ''}{message}\n".encode())
    os._exit(code)


@contextlib.contextmanager
def watch(
    others: Mapping[str, Address],
    hint: str,
    replaced: Collection[str] = (),
    timeout: float = CHIEF_TIMEOUT,
) -> Iterator[None]:
    """Ends this process, with the exit code `GONE`, if another does not start, or is gone.

    Args:
        others: Addresses by the names that messages use.
        hint: What to do if one is gone; follows its name in the message.
        replaced: Names of those that may be gone, since another process takes their place.
        timeout: Seconds that the others have to start.
    """
    left = threading.Event()
    thread = threading.Thread(
        target=_watch, args=(others, hint, replaced, timeout, left), name="watch", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        left.set()
        thread.join()


def _watch(
    others: Mapping[str, Address],
    hint: str,
    replaced: Collection[str],
    timeout: float,
    left: threading.Event,
) -> None:
    deadline = time.monotonic() + timeout
    misses: dict[str, int] = {}  # of those that have answered
    while not left.wait(PAUSE):
        for name, address in others.items():
            why = None
            if address.answers():
                misses[name] = 0
            elif name not in misses and time.monotonic() > deadline:
                why = f"has not answered for {timeout:g} seconds; start it"
            elif name in misses:
                misses[name] += 1
                if misses[name] == ATTEMPTS and name in replaced:
                    logger.warning("%s at %s is gone: start it again", name, address)
                elif misses[name] >= ATTEMPTS and name not in replaced:
                    why = hint
            if why is not None and not left.is_set():
                return end_process(GONE, f"{name} at {address} {why}")
