"""Processes that depend on each other: where one listens, and how another ends when it is gone."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import pathlib
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from tfrs_npa.settings import CHIEF_TIMEOUT

GONE = 69
"""Exit code of a process without the one that it depends on: `EX_UNAVAILABLE` of sysexits.h."""
PAUSE = 1.0
"""Seconds between two looks at another process."""
FIRST_PAUSE = 0.1
"""Seconds between two looks at a process that has not answered yet: it may end soon after."""
CONNECT_TIMEOUT = 2.0
"""Seconds that another process may take to answer."""
ATTEMPTS = 5
"""Looks without an answer after which a process counts as gone."""

# gRPC closes a connection that says nothing after two minutes: after one, that proves nothing.
_TRUSTED = 60.0

_PREFIX, _LOCK = "tfrs-npa-run-", ".lock"

logger = logging.getLogger(__name__)


class Address(NamedTuple):
    """The address that a process listens at."""

    host: str
    port: int

    def __str__(self):
        return f"{self.host}:{self.port}"

    def connect(self) -> socket.socket:
        """Returns a connection to what listens there; raises an OSError if nothing does."""
        return socket.create_connection((self.host.strip("[]"), self.port), CONNECT_TIMEOUT)

    def answers(self) -> bool:
        """Whether anything listens there."""
        try:
            self.connect().close()
        except OSError:
            return False
        return True


@contextlib.contextmanager
def temporary_folder() -> Iterator[pathlib.Path]:
    """Yields a temporary folder, which is removed at the end.

    A process that is killed, or ends by `end_process`, leaves its folder: the next call on this
    machine removes that too.
    """
    import fcntl  # not everywhere

    for left in pathlib.Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        # Fails for what another user has, and for the folder of a process that is alive.
        with contextlib.suppress(OSError), (left / _LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left)
    with (
        tempfile.TemporaryDirectory(prefix=_PREFIX) as folder,
        pathlib.Path(folder, f"{_LOCK}.new").open("w") as lock,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.replace(lock.name, pathlib.Path(folder, _LOCK))
        yield pathlib.Path(folder)


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

    Gone is one that has ended, also if another process has taken its address since, and one that
    has not answered `ATTEMPTS` looks. All are looked at at the same time.

    Args:
        others: Addresses by the names that messages use.
        hint: What to do if one is gone; the second sentence of the message.
        replaced: Names of those that may be gone, since another process takes their place.
        timeout: Seconds that the others have to start.
    """
    left = threading.Event()
    threads = []
    for name, address in others.items():
        other = _Other(f"{name} at {address}", address, hint, name in replaced, timeout)
        # One that does not answer delays no look at another.
        threads.append(threading.Thread(target=_watch, args=(other, left), daemon=True))
        threads[-1].start()
    try:
        yield
    finally:
        left.set()
        for thread in threads:
            thread.join()


class _Other:
    """Another process, as this one sees it.

    Each look opens a connection and closes that of the look before. If the system of the other side
    has closed it already, the process behind it has ended, whatever answers at its address now.
    """

    def __init__(
        self, name: str, address: Address, hint: str, is_replaced: bool, timeout: float
    ) -> None:
        self._name, self._address, self._hint = name, address, hint
        self._is_replaced, self._timeout = is_replaced, timeout
        self._connection: socket.socket | None = None
        self._connected_at = 0.0
        self._has_ended, self._is_reported = False, False
        # When it is gone, unless it answers first.
        self._deadline = time.monotonic() + timeout
        self.has_answered = False

    def look(self) -> str | None:
        """Looks once; returns a message if this process cannot go on without it."""
        started = time.monotonic()
        try:
            connection = self._address.connect()
        except OSError:
            connection = None
        if not self._is_replaced and self._is_closed():
            self._has_ended = True
        if connection is not None:
            self.close()
            self._connection, self._connected_at = connection, started
            self.has_answered = True
        if self._has_ended:
            # At the next look: all processes end when the training has, some a little earlier.
            self._deadline = min(self._deadline, time.monotonic() + PAUSE)
        elif connection is not None:
            self._deadline, self._is_reported = math.inf, False
        elif self._deadline == math.inf:
            self._deadline = started + ATTEMPTS * PAUSE
        if time.monotonic() < self._deadline:
            return None
        if not self.has_answered:
            return f"{self._name} has not answered for {self._timeout:g} seconds; start it"
        if self._is_replaced:
            if not self._is_reported:
                logger.warning("%s is gone: start it again", self._name)
            self._is_reported = True
            return None
        what = "is gone" if connection is None else "was restarted"
        return f"{self._name} {what}. {self._hint}"

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _is_closed(self) -> bool:
        """Whether the other side has closed the connection of an earlier look."""
        if self._connection is None or time.monotonic() > self._connected_at + _TRUSTED:
            return False
        self._connection.setblocking(False)
        try:
            while self._connection.recv(4096):  # what gRPC says to who connects
                pass
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True


def _watch(other: _Other, left: threading.Event) -> None:
    while not left.wait(PAUSE if other.has_answered else min(PAUSE, FIRST_PAUSE)):
        message = other.look()
        if message is not None and not left.is_set():
            return end_process(GONE, message)
    other.close()
