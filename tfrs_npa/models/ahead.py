"""Work that threads do ahead of the one that uses it, in its order.

The first item is made and used before any thread begins. When an op of TensorFlow first sees a type
of argument, it runs Python code in its middle; if another thread calls the same op then, both take
their arguments from one place, and the process may end by a segmentation fault (seen with 2.21).
After the first item, the ops know the types.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

# Two fill the cores where one waits: a TensorFlow op uses all cores, but not all the time.
_THREADS = 2

Item = TypeVar("Item")
Result = TypeVar("Result")


def mapped_ahead(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yields what a function makes of items; while one is used, threads make the next ones.

    Args:
        function: A function that several threads may call at the same time.
        items: Its arguments.
    """
    items = iter(items)
    yield from map(function, itertools.islice(items, 1))
    futures: collections.deque[Future[Result]] = collections.deque()
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            for item in items:
                futures.append(pool.submit(function, item))
                if len(futures) > _THREADS:
                    yield futures.popleft().result()
            while futures:
                yield futures.popleft().result()
        finally:
            for future in futures:
                future.cancel()


def parts_for_threads(array: np.ndarray, size: int, few: int = 0) -> list[np.ndarray]:
    """Returns parts of an array that keep the threads of `mapped_ahead` equally busy.

    Args:
        array: The array.
        size: How long a part is, about. An array that is no longer is a single part.
        few: Length of the first part, which is done before the threads begin.
    """
    parts = [array]
    if len(array) > size:
        few = min(few, size)
        number = -(-(len(array) - few) // size)
        parts = [array[:few], *np.array_split(array[few:], number + -number % _THREADS)]
    return [part for part in parts if len(part)]


def made_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """Yields items of an iterator; while one is used, a thread makes the next.

    Args:
        items: The iterator, of which nothing else may take items.
    """
    yield from itertools.islice(items, 1)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(_next, items)
        while made := future.result():
            future = pool.submit(_next, items)
            yield made[0]


def _next(items: Iterator[Item]) -> tuple[Item, ...]:
    """Returns the next item in a tuple, which is empty at the end."""
    return tuple(itertools.islice(items, 1))
