"""Lets many threads read what one thread changes now and then."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


class SwapLock:
    """Many readers at once, or one thread that swaps what they read for something new.

    A change has two parts. The long one, `changing`, prepares the new state while others read the
    old one; only one thread changes at a time. The short one, `swapping`, waits for those who are
    reading and keeps new ones out, so that it is never put off for ever. A thread may take each of
    these again while it holds it, and may read while it swaps; but it may not swap while it reads.

    A copy of the lock, by `copy` or `pickle`, is a new one that nobody holds.

    Example:
        >>> lock = SwapLock()
        >>> with lock.reading():
        ...     answer = state.answer(query)
        >>> with lock.changing():
        ...     new = prepare(state)
        ...     with lock.swapping():
        ...         state = new
    """

    def __init__(self) -> None:
        self._changes = threading.RLock()
        self._condition = threading.Condition(threading.Lock())
        self._readers = 0
        # Threads that wait to swap, or do so.
        self._swappers = 0
        self._own = threading.local()

    def __reduce__(self) -> tuple[type[SwapLock], tuple[()]]:
        return type(self), ()

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Keeps `swapping` out; waits for a thread that swaps or is about to."""
        depth = getattr(self._own, "depth", 0)
        if depth == 0 and not self._is_swapping:
            with self._condition:
                self._condition.wait_for(lambda: not self._swappers)
                self._readers += 1
        self._own.depth = depth + 1
        try:
            yield
        finally:
            self._own.depth = depth
            if depth == 0 and not self._is_swapping:
                with self._condition:
                    self._readers -= 1
                    self._condition.notify_all()

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Keeps other threads from changing; nobody who reads has to wait.

        Raises:
            RuntimeError: if the thread is reading: another one may wait for it to end.
        """
        if getattr(self._own, "depth", 0) and not self._is_swapping:
            raise RuntimeError("a thread cannot change what it is reading")
        with self._changes:
            yield

    @contextlib.contextmanager
    def swapping(self) -> Iterator[None]:
        """Keeps everyone else out; waits for those who are reading.

        Raises:
            RuntimeError: as `changing`.
        """
        if self._is_swapping:
            yield
            return
        with self.changing():
            with self._condition:
                self._swappers += 1
                try:
                    self._condition.wait_for(lambda: not self._readers)
                except BaseException:
                    self._swappers -= 1
                    self._condition.notify_all()
                    raise
            self._own.swaps = True
            try:
                yield
            finally:
                self._own.swaps = False
                with self._condition:
                    self._swappers -= 1
                    self._condition.notify_all()

    @property
    def _is_swapping(self) -> bool:
        return getattr(self._own, "swaps", False)
