"""A lock with many readers or one thread that swaps."""

from __future__ import annotations

import copy
import pickle
import threading
import time

import pytest

from tfrs_npa.models.swap_lock import SwapLock


class Thread(threading.Thread):
    """Takes a lock, says so, and gives it back when it is told."""

    def __init__(self, context):
        super().__init__(daemon=True)
        self._context, self.has, self._done = context, threading.Event(), threading.Event()
        self.start()

    def run(self):
        with self._context:
            self.has.set()
            self._done.wait(60)

    def end(self):
        self._done.set()
        self.join(60)
        assert not self.is_alive()


def test_many_read_while_one_changes():
    lock = SwapLock()
    readers = [Thread(lock.reading()), Thread(lock.reading()), Thread(lock.changing())]
    assert all(reader.has.wait(60) for reader in readers)
    for reader in readers:
        reader.end()


def test_one_swaps():
    lock = SwapLock()
    swapper = Thread(lock.swapping())
    assert swapper.has.wait(60)
    others = [Thread(lock.reading()), Thread(lock.swapping()), Thread(lock.changing())]
    assert not any(other.has.wait(0.1) for other in others)
    swapper.end()
    # One after the other, in any order.
    while others:
        others.remove(other := next((o for o in others if o.has.wait(0.1)), others[0]))
        other.end()


def test_who_waits_to_swap_comes_before_later_readers():
    lock = SwapLock()
    reader = Thread(lock.reading())
    assert reader.has.wait(60)
    swapper = Thread(lock.swapping())
    while not lock._swappers:
        time.sleep(0.001)
    later = Thread(lock.reading())
    assert not swapper.has.wait(0.1) and not later.has.wait(0.1)
    reader.end()
    assert swapper.has.wait(60) and not later.has.is_set()
    swapper.end()
    assert later.has.wait(60)
    later.end()


def test_a_reader_may_read_again_while_another_waits_to_swap():
    lock = SwapLock()
    with lock.reading():
        swapper = Thread(lock.swapping())
        while not lock._swappers:
            time.sleep(0.001)
        with lock.reading():
            assert not swapper.has.is_set()
    assert swapper.has.wait(60)
    swapper.end()


def test_within_a_swap():
    lock = SwapLock()
    with lock.changing(), lock.swapping(), lock.swapping(), lock.reading(), lock.changing():
        reader = Thread(lock.reading())
        assert not reader.has.wait(0.1)
    assert reader.has.wait(60)
    reader.end()


def test_errors_give_it_back():
    lock = SwapLock()
    for context in (lock.reading, lock.changing, lock.swapping):
        with pytest.raises(ZeroDivisionError), context():
            raise ZeroDivisionError
    for context in (lock.changing, lock.swapping):
        with pytest.raises(RuntimeError, match="cannot change what it is reading"):
            with lock.reading(), context():
                pass
    swapper = Thread(lock.swapping())
    assert swapper.has.wait(60)
    swapper.end()


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda lock: pickle.loads(pickle.dumps(lock))]
)
def test_a_copy_is_held_by_nobody(copied):
    lock = SwapLock()
    with lock.swapping():
        reader = Thread(copied(lock).reading())
        assert reader.has.wait(60)
        reader.end()
