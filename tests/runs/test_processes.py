"""A process and another that it watches, with a listening socket instead of the other."""

from __future__ import annotations

import socket
import threading

import pytest

from tfrs_npa.runs import processes
from tfrs_npa.runs.processes import GONE, Address, watch

# Far more than anything takes: nothing fails because the machine is busy.
LONG = 600


@pytest.fixture
def other():
    """A socket that listens."""
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as server:
        yield server


@pytest.fixture
def ends(monkeypatch):
    """How the watch ended the process: the test continues, and may wait for that."""

    class Ends(list):
        def __init__(self):
            self.came = threading.Event()

        def __call__(self, *how):
            self.append(how)
            self.came.set()

    monkeypatch.setattr(processes, "PAUSE", 0.02)
    recorded = Ends()
    monkeypatch.setattr(processes, "end_process", recorded)
    return recorded


def test_who_answers_is_not_gone(other, ends):
    with watch({"ps 0": Address(*other.getsockname())}, "is gone"):
        assert not ends.came.wait(20 * processes.PAUSE)


def test_who_has_answered_and_answers_no_more_is_gone(other, ends):
    address = Address(*other.getsockname())
    other.listen()
    with watch({"ps 0": address}, "is gone: do something"):
        connection, _ = other.accept()
        connection.close()
        other.close()
        assert ends.came.wait(LONG)
    assert ends == [(GONE, f"ps 0 at {address} is gone: do something")]


def test_who_has_not_started_has_time(other, ends):
    address = Address(*other.getsockname())
    other.close()
    with watch({"worker 1": address}, "is gone", timeout=0.2):
        assert ends.came.wait(LONG)
    assert ends == [(GONE, f"worker 1 at {address} has not answered for 0.2 seconds; start it")]


def test_who_is_replaced_is_waited_for(other, ends, caplog):
    address = Address(*other.getsockname())
    with watch({"worker 0": address}, "is gone", replaced={"worker 0"}):
        connection, _ = other.accept()
        connection.close()
        other.close()
        assert not ends.came.wait(20 * processes.PAUSE)
    (line,) = caplog.messages
    assert line == f"worker 0 at {address} is gone: start it again"
