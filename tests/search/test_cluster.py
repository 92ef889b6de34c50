"""A worker and its chief, with a listening socket in the place of KerasTuner's chief."""

from __future__ import annotations

import os
import socket
import threading

import keras_tuner as kt
import pytest

from tfrs_npa.search import cluster as module
from tfrs_npa.search.cluster import (
    CHIEF_GONE,
    ChiefGone,
    check_environment,
    fail_deadly_trial,
    following,
    leading,
)
from tfrs_npa.search.oracle import make_oracle
from tfrs_npa.search.supervisor import ANOTHER_CHIEF, DIED, SUPERVISOR
from tfrs_npa.settings import SearchSettings

VARIABLES = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")


@pytest.fixture
def port():
    """One that nothing listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture(autouse=True)
def environment(monkeypatch, port):
    """The variables of a worker; quick looks at the chief."""
    for name, value in zip(VARIABLES, ("worker-1", "127.0.0.1", str(port))):
        monkeypatch.setenv(name, value)
    for name in (SUPERVISOR, DIED):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_grpc_proxy", "elsewhere")
    monkeypatch.setattr(module, "_PAUSE", 0.02)


@pytest.fixture
def ends(monkeypatch):
    """With what the watch ended the process; the test goes on, and may wait for that."""

    class Ends(list):
        def __init__(self):
            self.came = threading.Event()

        def __call__(self, *how):
            self.append(how)
            self.came.set()

    recorded = Ends()
    monkeypatch.setattr(module, "_end_process", recorded)
    return recorded


class Chief:
    """What a worker sees of a chief."""

    def __init__(self, folder, port):
        self._leading = leading(folder)
        self._leading.__enter__()
        self._server = socket.create_server(("127.0.0.1", port), backlog=1000)

    def die(self):
        self._server.close()

    def end(self):
        self.die()
        self._leading.__exit__(None, None, None)


@pytest.fixture
def chief(tmp_path, port):
    chief = Chief(tmp_path, port)
    yield chief
    chief.die()


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


def test_a_worker_follows_its_chief(chief, tmp_path, ends):
    with following(tmp_path) as goes_on:
        assert goes_on
        assert os.environ["no_grpc_proxy"] == "elsewhere,127.0.0.1"
        assert not ends.came.wait(20 * module._PAUSE)
    # And no longer than that.
    chief.die()
    assert not ends.came.wait(20 * module._PAUSE)


def test_a_worker_without_its_chief_ends(chief, tmp_path, port, ends):
    with following(tmp_path):
        chief.die()
        assert ends.came.wait(30)
    code, said = ends[0]
    assert code == CHIEF_GONE
    assert said.startswith(
        f"the chief at 127.0.0.1:{port} is gone; `tfrs-npa tune --run {tmp_path}"
    )


def test_a_worker_whose_chief_goes_while_it_is_asked(chief, tmp_path, monkeypatch, ends):
    """KerasTuner raises at once, before the watch is certain."""
    monkeypatch.setattr(module, "_TIMEOUT", 0.1)
    with pytest.raises(ConnectionError, match="reset"), following(tmp_path):
        chief.die()
        raise ConnectionError("reset")
    assert ends[0][0] == CHIEF_GONE


def test_an_error_with_a_chief_is_an_error(chief, tmp_path, ends):
    with pytest.raises(ConnectionError, match="reset"), following(tmp_path):
        raise ConnectionError("reset")
    assert not ends


def test_a_worker_ends_with_the_search(chief, tmp_path, ends):
    with following(tmp_path):
        chief.end()
        assert ends.came.wait(30)
    assert ends[0] == (0, f"the search in {tmp_path} has ended")


def test_a_worker_ends_with_another_chief(chief, tmp_path, port, ends):
    with following(tmp_path):
        chief.die()
        another = Chief(tmp_path, port)
        assert ends.came.wait(30)
    another.die()
    assert ends[0] == (
        ANOTHER_CHIEF,
        f"the chief at 127.0.0.1:{port} was started again, and so is this worker",
    )


def test_a_missed_answer_is_no_end(chief, tmp_path, monkeypatch, ends):
    answers = iter([True, *[False] * 4, True, *[False] * 4])
    through = threading.Event()

    def answer(address):
        value = next(answers, None)
        if value is None:
            through.set()
        return value is not False

    monkeypatch.setattr(module.Address, "answers", answer)
    with following(tmp_path):
        assert through.wait(30)
    assert not ends


def test_a_worker_waits_for_its_chief(tmp_path, port, monkeypatch, caplog):
    caplog.set_level("INFO", "tfrs_npa")
    answers = module.Address.answers
    looks = []

    def answer(address):
        looks.append(answers(address))
        if len(looks) == 3:
            looks.append(Chief(tmp_path, port))
        return looks[-1] is True

    monkeypatch.setattr(module.Address, "answers", answer)
    with following(tmp_path, patience=30) as goes_on:
        assert goes_on
    assert looks[:3] == [False] * 3 and looks[4]
    looks[3].die()
    assert caplog.messages == [f"waiting for the chief at 127.0.0.1:{port}, for up to 30 seconds"]


def test_no_chief(tmp_path, port):
    with pytest.raises(ChiefGone, match=f"no chief has answered at 127.0.0.1:{port} for 0.05 sec"):
        with following(tmp_path / "search", patience=0.05):
            pass


def test_a_chief_with_another_folder(chief, tmp_path):
    with pytest.raises(ChiefGone, match="no chief has begun in .*mine: .* one folder on all"):
        with following(tmp_path / "mine", patience=0.05):
            pass


def test_a_worker_that_comes_too_late(chief, tmp_path, ends):
    chief.end()
    with following(tmp_path, patience=0.05) as goes_on:
        assert not goes_on
    assert not ends


def test_an_earlier_search_in_the_folder_has_ended(tmp_path, port, monkeypatch):
    Chief(tmp_path, port).end()
    answers = module.Address.answers
    chiefs = []

    def answer(address):
        if len(chiefs) == 0:
            chiefs.append(Chief(tmp_path, port))
            return False
        return answers(address)

    monkeypatch.setattr(module.Address, "answers", answer)
    with following(tmp_path, patience=30) as goes_on:
        assert goes_on
    chiefs[0].die()


def test_a_chief_that_fails_has_not_ended_the_search(chief, tmp_path):
    with pytest.raises(ZeroDivisionError), leading(tmp_path):
        raise ZeroDivisionError
    chief.die()
    with pytest.raises(ChiefGone):
        with following(tmp_path, patience=0.05):
            pass


def test_a_worker_does_not_outlive_its_supervisor(chief, tmp_path, monkeypatch, ends):
    monkeypatch.setenv(SUPERVISOR, str(os.getppid()))
    with following(tmp_path):
        assert not ends.came.wait(10 * module._PAUSE)
        monkeypatch.setenv(SUPERVISOR, str(os.getppid() + 1))
        assert ends.came.wait(30)
    assert ends[0] == (1, "the process that supervises this worker is gone")


class Tuner:
    """What of a tuner a worker needs to give a trial up."""

    def __init__(self, folder):
        self.tuner_id = "worker-1"
        self.oracle = make_oracle(SearchSettings("mind/small", tuner="random", max_trials=1))
        self.oracle.verbose = 0
        self.oracle._set_project_dir(str(folder), "trials")
        self.begun = []

    def on_trial_begin(self, trial):
        self.begun.append(trial.trial_id)

    def on_trial_end(self, trial):
        assert trial.message == "killed 3 times"
        self.oracle.end_trial(trial)


def test_a_deadly_trial_has_failed(tmp_path, monkeypatch):
    tuner = Tuner(tmp_path)
    hp = kt.HyperParameters()
    hp.Choice("filters", [8, 16, 32])
    tuner.oracle.update_space(hp)
    open_trial = tuner.oracle.create_trial("worker-1")
    fail_deadly_trial(tuner)
    assert tuner.oracle.ongoing_trials == {"worker-1": open_trial} and not tuner.begun

    monkeypatch.setenv(DIED, "killed 3 times")
    fail_deadly_trial(tuner)
    assert tuner.begun == [open_trial.trial_id] == tuner.oracle.end_order
    assert tuner.oracle.trials[open_trial.trial_id].status == "FAILED"
    assert not tuner.oracle.ongoing_trials
    # Of one trial; the search has no other.
    assert DIED not in os.environ
    monkeypatch.setenv(DIED, "killed 3 times")
    fail_deadly_trial(tuner)
    assert len(tuner.begun) == 1
