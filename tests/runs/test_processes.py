"""A process and others that it watches, with listening sockets instead of the others."""

from __future__ import annotations

import os
import pathlib
import socket
import subprocess
import sys
import tempfile

import pytest

from tfrs_npa.runs import processes
from tfrs_npa.runs.processes import GONE, Address, temporary_folder, watch

# Far more than anything takes: nothing fails because the machine is busy.
LONG = 600
_ENDS = """
from tfrs_npa.runs.processes import end_process, temporary_folder
with temporary_folder() as folder:
    folder.joinpath("weights").touch()
    print(folder, flush=True)
    end_process(69, "ps 0 is gone")
"""


class Other:
    """A socket that listens, and what has connected to it."""

    def __init__(self, address=("127.0.0.1", 0), backlog=1000):
        self._server = socket.create_server(address, backlog=backlog)
        self._server.settimeout(LONG)
        self._connections = []
        self.address = Address(*self._server.getsockname())

    def wait_for_a_look(self):
        self._connections.append(self._server.accept()[0])

    def die(self):
        """Closes all, as the kernel does when a process ends."""
        for closed in (self._server, *self._connections):
            closed.close()


@pytest.fixture
def start():
    """Starts others that are ended after the test."""
    started = []

    def start(*args, **kwargs):
        started.append(Other(*args, **kwargs))
        return started[-1]

    yield start
    for other in started:
        other.die()


@pytest.fixture(autouse=True)
def ends(record_ends):
    """How the watch ended the process."""
    return record_ends(processes)


def test_who_answers_is_not_gone(start, ends):
    with watch({"ps 0": start().address}, "Do something"):
        assert not ends.came.wait(20 * processes.PAUSE)


def test_who_has_answered_and_answers_no_more_is_gone(start, ends):
    other = start()
    with watch({"ps 0": other.address}, "Do something"):
        other.wait_for_a_look()
        other.die()
        assert ends.came.wait(LONG)
    assert ends == [(GONE, f"ps 0 at {other.address} is gone. Do something")]


def test_who_is_restarted_at_once_is_gone(start, ends):
    other = start()
    with watch({"ps 0": other.address}, "Do something"):
        other.wait_for_a_look()
        other.die()
        start(other.address)
        assert ends.came.wait(LONG)
    assert ends == [(GONE, f"ps 0 at {other.address} was restarted. Do something")]


def test_an_old_connection_that_is_closed_is_no_end(start, ends, monkeypatch):
    """As gRPC does with one that says nothing."""
    monkeypatch.setattr(processes, "_TRUSTED", 0.0)
    other = start()
    with watch({"ps 0": other.address}, "Do something"):
        other.wait_for_a_look()
        other._connections.pop().close()
        assert not ends.came.wait(20 * processes.PAUSE)


def test_who_falls_silent_is_gone(start, ends, monkeypatch):
    """What comes in is dropped while two wait to be accepted, and no connection is closed."""
    monkeypatch.setattr(processes, "CONNECT_TIMEOUT", 0.05)
    other = start(backlog=0)
    with watch({"ps 0": other.address}, "Do something"):
        other.wait_for_a_look()
        assert ends.came.wait(LONG)
    assert ends == [(GONE, f"ps 0 at {other.address} is gone. Do something")]


def test_one_that_does_not_answer_delays_no_look_at_another(start, ends, monkeypatch):
    monkeypatch.setattr(processes, "CONNECT_TIMEOUT", LONG)
    silent, other = start(backlog=0), start()
    waiting = [socket.socket() for _ in range(4)]
    for one in waiting:
        one.setblocking(False)
        one.connect_ex(silent.address)
    with watch({"ps 0": silent.address, "ps 1": other.address}, "Do something"):
        other.wait_for_a_look()
        other.die()
        assert ends.came.wait(60)
        silent.die()  # or its look would last
    for one in waiting:
        one.close()
    assert ends[0] == (GONE, f"ps 1 at {other.address} is gone. Do something")


def test_who_has_not_started_has_time(start, ends):
    other = start()
    other.die()
    with watch({"worker 1": other.address}, "Do something", timeout=0.2):
        assert ends.came.wait(LONG)
    message = f"worker 1 at {other.address} has not answered for 0.2 seconds; start it"
    assert ends == [(GONE, message)]


def test_who_has_just_started_is_soon_seen(start, ends, monkeypatch):
    """It may end again before long, and is gone then, and not one that has not started."""
    monkeypatch.setattr(processes, "PAUSE", LONG)
    other = start()
    with watch({"chief 0": other.address}, "Do something"):
        other.wait_for_a_look()
    assert not ends


def test_who_is_replaced_is_waited_for(start, ends, caplog):
    other = start()
    with watch({"worker 0": other.address}, "Do something", replaced={"worker 0"}):
        other.wait_for_a_look()
        other.die()
        assert not ends.came.wait(20 * processes.PAUSE)
        start(other.address).wait_for_a_look()
        assert not ends.came.wait(20 * processes.PAUSE)
    (line,) = caplog.messages
    assert line == f"worker 0 at {other.address} is gone: start it again"


def test_a_temporary_folder_is_removed_if_its_process_is_gone(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with temporary_folder() as own:
        ended = subprocess.run(
            [sys.executable, "-c", _ENDS], env=environment, capture_output=True, text=True
        )
        assert ended.returncode == GONE and ended.stderr == "tfrs-npa: error: ps 0 is gone\n"
        left = pathlib.Path(ended.stdout.strip())
        assert {*tmp_path.iterdir()} == {own, left}
        with temporary_folder() as another:
            assert {*tmp_path.iterdir()} == {own, another}
        assert own.exists()
    assert not [*tmp_path.iterdir()]
