"""Work of threads ahead of its user."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from tfrs_npa.models.ahead import made_ahead, mapped_ahead, parts_for_threads


def test_order_is_kept():
    """Although later items are ready earlier."""
    third = threading.Event()

    def function(item):
        if item == 1:
            assert third.wait(10)
        elif item > 1:
            third.set()
        return -item

    assert list(mapped_ahead(function, range(7))) == [0, -1, -2, -3, -4, -5, -6]


@pytest.mark.parametrize("number", range(5))
def test_few_items(number):
    assert list(mapped_ahead(str, range(number))) == [str(item) for item in range(number)]
    assert list(made_ahead(iter(range(number)))) == list(range(number))


@pytest.mark.parametrize(
    "number, few, sizes",
    [
        (0, 2, []),
        (7, 2, [7]),
        (8, 2, [2, 3, 3]),
        (8, 0, [4, 4]),
        (17, 2, [2, 4, 4, 4, 3]),
        (29, 0, [5, 5, 5, 5, 5, 4]),
        (8, 99, [7, 1]),
    ],
)
def test_parts_for_threads(number, few, sizes):
    """As many for one of the two as for the other."""
    parts = parts_for_threads(np.arange(number), 7, few)
    assert [len(part) for part in parts] == sizes
    assert np.concatenate([np.zeros(0, int), *parts]).tolist() == list(range(number))


def test_no_more_items_are_taken_than_needed():
    """So that memory does not grow with the number of items."""
    taken = []
    results = mapped_ahead(str, (taken.append(item) or item for item in range(100)))
    for _ in range(10):
        next(results)
    assert len(taken) < 15
    results.close()
    made = made_ahead(taken.append(item) or item for item in range(100))
    del taken[:]
    next(made), next(made)
    made.close()
    assert len(taken) <= 3


def test_one_item_ahead():
    """The third is made while the second is used."""
    started = threading.Event()

    def items():
        yield 1
        yield 2
        started.set()
        yield 3

    made = made_ahead(items())
    assert [next(made), next(made)] == [1, 2]
    assert started.wait(10)
    assert list(made) == [3]


def test_the_first_item_is_made_and_used_before_any_thread_begins():
    """Ops of TensorFlow are not safe for threads before they have seen the types of arguments."""
    threads = []

    def function(item):
        threads.append(threading.current_thread())
        return item

    for items in mapped_ahead(function, range(9)), made_ahead(map(function, range(9))):
        del threads[:]
        assert next(items) == 0
        before = threading.active_count()
        assert threads == [threading.current_thread()]
        assert list(items) == list(range(1, 9)) and len(threads) == 9
        assert threading.current_thread() not in threads[1:]
        assert threading.active_count() == before


@pytest.mark.parametrize(
    "ahead",
    [
        lambda: mapped_ahead(lambda item: 1 // (2 - item), range(9)),
        lambda: made_ahead(1 // (2 - item) for item in range(9)),
    ],
    ids=["mapped", "made"],
)
def test_errors_come_where_their_items_would(ahead):
    items = ahead()
    assert [next(items), next(items)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(items)


def test_threads_end_with_an_iterator_that_is_left():
    before = threading.active_count()
    for ahead in mapped_ahead(str, range(9)), made_ahead(iter(range(9))):
        next(ahead), next(ahead)
        assert threading.active_count() > before
        ahead.close()
    assert threading.active_count() == before
