"""A worker and its chief, with a listening socket instead of KerasTuner's chief."""

from __future__ import annotations

import os
import socket
import threading

import pytest

from tfrs_npa.runs.processes import GONE
from tfrs_npa.search import cluster
from tfrs_npa.search.cluster import (
    ALONE,
    CHIEF,
    WORKER,
    ChiefGone,
    announce_chief,
    check_environment,
    role,
    watch_chief,
)
from tfrs_npa.search.supervisor import ANOTHER_CHIEF, SUPERVISOR

# Far more than anything takes: nothing fails because the machine is busy.
LONG = 600
VARIABLES = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")


@pytest.fixture
def port():
    """One that nothing listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture(autouse=True)
def environment(monkeypatch, port):
    """The variables of a worker."""
    for name, value in zip(VARIABLES, ("worker-1", "127.0.0.1", str(port))):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv(SUPERVISOR, raising=False)
    monkeypatch.setenv("no_grpc_proxy", "elsewhere")


@pytest.fixture(autouse=True)
def ends(record_ends):
    """How the watch ended the process."""
    return record_ends(cluster)


class Chief:
    """What a worker sees of a chief."""

    def __init__(self, folder, port):
        self.announcement = announce_chief(folder)
        self.announcement.__enter__()
        self.server = socket.create_server(("127.0.0.1", port), backlog=1000)

    def die(self):
        self.server.close()

    def end(self):
        self.die()
        self.announcement.__exit__(None, None, None)


@pytest.fixture
def chief(tmp_path, port):
    chief = Chief(tmp_path, port)
    yield chief
    chief.die()


@pytest.mark.parametrize(
    ("tuner_id", "expected"), [("chief", CHIEF), ("worker-1", WORKER), ("tuner7", WORKER)]
)
def test_role(monkeypatch, tuner_id, expected):
    monkeypatch.setenv("KERASTUNER_TUNER_ID", tuner_id)
    assert role() == expected
    monkeypatch.delenv("KERASTUNER_ORACLE_PORT")
    with pytest.raises(ValueError, match="KERASTUNER_ORACLE_PORT is not: a search on many"):
        role()
    monkeypatch.delenv("KERASTUNER_ORACLE_IP")
    assert role() == ALONE


@pytest.mark.parametrize("missing", VARIABLES)
def test_a_missing_variable(monkeypatch, missing):
    monkeypatch.delenv(missing)
    with pytest.raises(ValueError, match=f"{missing} is not set: a chief and its workers need"):
        check_environment()


def test_no_variable_is_a_search_in_one_process(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name)
    check_environment()


@pytest.mark.parametrize("port", ["", "http", "0", "65536", "-1", "80.5"])
def test_not_a_port(monkeypatch, port):
    monkeypatch.setenv("KERASTUNER_ORACLE_PORT", port)
    with pytest.raises(ValueError, match="a port is a number from 1 to 65535"):
        check_environment()


@pytest.mark.parametrize("shared", [False, True])
def test_a_port_in_use(monkeypatch, port, shared):
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "chief")
    check_environment()
    # gRPC, and so another chief, listens with SO_REUSEPORT.
    with socket.create_server(("127.0.0.1", port), reuse_port=shared):
        with pytest.raises(ValueError, match=f"127.0.0.1:{port}: Address already in use"):
            check_environment()
        monkeypatch.setenv("KERASTUNER_TUNER_ID", "worker-1")
        check_environment()


@pytest.mark.parametrize("address", ["192.0.2.1", "chief.invalid"])
def test_an_address_of_another_machine(monkeypatch, address):
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "chief")
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", address)
    with pytest.raises(ValueError, match=f"the chief cannot listen at {address}"):
        check_environment()


def test_a_worker_watches_its_chief(chief, tmp_path, ends):
    with watch_chief(tmp_path) as has_chief:
        assert has_chief
        assert os.environ["no_grpc_proxy"] == "elsewhere,127.0.0.1"
        assert not ends.came.wait(20 * cluster.PAUSE)
    # And no longer than that.
    chief.die()
    assert not ends.came.wait(20 * cluster.PAUSE)


def test_a_worker_without_its_chief_ends(chief, tmp_path, port, ends):
    with watch_chief(tmp_path):
        chief.die()
        assert ends.came.wait(LONG)
    code, message = ends[0]
    assert code == GONE
    assert message.startswith(
        f"the chief at 127.0.0.1:{port} is gone; `tfrs-npa tune --run {tmp_path}"
    )


def test_a_worker_whose_chief_goes_while_it_is_asked(chief, tmp_path, monkeypatch, ends):
    """KerasTuner raises at once, before the watch is certain."""
    # It waits for the watch as long as that may take.
    monkeypatch.setattr(cluster, "CONNECT_TIMEOUT", LONG)
    with pytest.raises(ConnectionError, match="reset"), watch_chief(tmp_path):
        chief.die()
        raise ConnectionError("reset")
    assert ends[0][0] == GONE


def test_an_error_with_a_chief_is_an_error(chief, tmp_path, ends):
    with pytest.raises(ConnectionError, match="reset"), watch_chief(tmp_path):
        raise ConnectionError("reset")
    assert not ends


def test_a_worker_ends_with_the_search(chief, tmp_path, ends):
    with watch_chief(tmp_path):
        chief.end()
        assert ends.came.wait(LONG)
    assert ends[0] == (0, f"the search in {tmp_path} has ended")


def test_a_worker_ends_with_another_chief(chief, tmp_path, port, ends):
    with watch_chief(tmp_path):
        chief.die()
        another = Chief(tmp_path, port)
        assert ends.came.wait(LONG)
    another.die()
    assert ends[0] == (
        ANOTHER_CHIEF,
        f"the chief at 127.0.0.1:{port} was restarted, and so is this worker",
    )


def test_four_missed_answers_do_not_end_a_worker(chief, tmp_path, monkeypatch, ends):
    answers = iter([True, *[False] * 4, True, *[False] * 4])
    through = threading.Event()

    def answer(address):
        value = next(answers, None)
        if value is None:
            through.set()
        return value is not False

    monkeypatch.setattr(cluster.Address, "answers", answer)
    with watch_chief(tmp_path):
        assert through.wait(LONG)
    assert not ends


def test_a_worker_waits_for_its_chief(tmp_path, port, monkeypatch, caplog):
    caplog.set_level("INFO", "tfrs_npa")
    answers = cluster.Address.answers
    looks = []

    def answer(address):
        looks.append(answers(address))
        if len(looks) == 3:
            looks.append(Chief(tmp_path, port))
        return looks[-1] is True

    monkeypatch.setattr(cluster.Address, "answers", answer)
    with watch_chief(tmp_path, timeout=LONG) as has_chief:
        assert has_chief
    assert looks[:3] == [False] * 3 and looks[4]
    looks[3].die()
    assert caplog.messages == [f"waiting for the chief at 127.0.0.1:{port}, for up to 600 seconds"]


def test_no_chief(tmp_path, port):
    with pytest.raises(ChiefGone, match=f"no chief has answered at 127.0.0.1:{port} for 0.05 sec"):
        with watch_chief(tmp_path / "search", timeout=0.05):
            pass


def test_a_chief_with_another_folder(chief, tmp_path):
    with pytest.raises(ChiefGone, match="no chief has started in .*mine: .* one shared folder"):
        with watch_chief(tmp_path / "mine", timeout=0.05):
            pass


def test_a_worker_that_comes_too_late(chief, tmp_path, ends):
    chief.end()
    with watch_chief(tmp_path, timeout=0.05) as has_chief:
        assert not has_chief
    assert not ends


def test_a_worker_waits_for_the_chief_of_the_next_search(tmp_path, port, monkeypatch):
    Chief(tmp_path, port).end()
    answers = cluster.Address.answers
    chiefs = []

    def answer(address):
        if len(chiefs) == 0:
            chiefs.append(Chief(tmp_path, port))
            return False
        return answers(address)

    monkeypatch.setattr(cluster.Address, "answers", answer)
    with watch_chief(tmp_path, timeout=LONG) as has_chief:
        assert has_chief
    chiefs[0].die()


def test_a_chief_that_fails_has_not_ended_the_search(chief, tmp_path):
    with pytest.raises(ZeroDivisionError), announce_chief(tmp_path):
        raise ZeroDivisionError
    chief.die()
    with pytest.raises(ChiefGone):
        with watch_chief(tmp_path, timeout=0.05):
            pass


def test_a_worker_does_not_outlive_its_supervisor(chief, tmp_path, monkeypatch, ends):
    monkeypatch.setenv(SUPERVISOR, str(os.getppid()))
    with watch_chief(tmp_path):
        assert not ends.came.wait(10 * cluster.PAUSE)
        monkeypatch.setenv(SUPERVISOR, str(os.getppid() + 1))
        assert ends.came.wait(LONG)
    assert ends[0] == (1, "the process that supervises this worker is gone")
