"""The supervisor of a worker, with tiny processes instead of workers."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

import tfrs_npa
from tfrs_npa.search.supervisor import ANOTHER_CHIEF, DIED, SUPERVISOR, Supervisor, supervise

# Far more than anything takes: nothing fails because the machine is busy.
TIMEOUT = 600
ROOT = pathlib.Path(tfrs_npa.__file__).parents[1]
# What a worker does at its first start, its second and so on: an exit code, or a signal to itself
# as a negative number; "+" before it: a trial was finished meanwhile.
WORKER = f"""
import os, pathlib, sys
folder, *course = sys.argv[1:]
starts = pathlib.Path(folder, "starts")
with starts.open("a") as file:
    print(os.environ["{SUPERVISOR}"], os.environ.get("{DIED}", ""), sep="|", file=file)
does = course[len(starts.read_text().splitlines()) - 1]
if does[0] == "+":
    progress = pathlib.Path(folder, "progress")
    count = int(progress.read_text()) if progress.exists() else 0
    progress.write_text(str(count + 1))
    os.utime(progress, (count + 1, count + 1))
code = int(does.strip("+"))
if code < 0:
    os.kill(os.getpid(), -code)
sys.exit(code)
"""
KILLED, CRASHED, GONE = "-9", "1", "69"


def run(folder, *course):
    """The exit code of a supervisor, and the variables that each of its workers was given."""
    command = [sys.executable, "-S", "-E", "-c", WORKER, str(folder), *course]
    code = Supervisor(command, folder / "progress", "worker-1").run()
    starts = [line.split("|") for line in (folder / "starts").read_text().splitlines()]
    assert {int(pid) for pid, _ in starts} == {os.getpid()}
    return code, [died for _, died in starts]


@pytest.mark.parametrize("code", [0, 2, 69, 130])
def test_an_exit_code_of_its_own_is_passed_on(tmp_path, capsys, code):
    assert run(tmp_path, str(code)) == (code, [""])
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("death", "message"),
    [(KILLED, "was killed by signal 9 (out of memory?)"), (CRASHED, "crashed")],
)
def test_restarts_what_died(tmp_path, capsys, death, message):
    assert run(tmp_path, death, "0") == (0, ["", ""])
    assert capsys.readouterr().err == (
        f"tfrs-npa: warning: worker-1 {message}; restarted, it repeats its trial\n"
    )


def test_gives_up_a_trial_and_then_itself(tmp_path, capsys):
    code, died = run(tmp_path, KILLED, CRASHED, KILLED, KILLED, "0")
    assert code == 128 + 9
    assert died == [
        "",
        "",
        "",
        "its worker was killed by signal 9 (out of memory?) 3 times in a row",
    ]
    *_, given_up, ended = capsys.readouterr().err.splitlines()
    assert given_up.endswith("; restarted, it gives its trial up as failed")
    assert "4 times in a row without a finished trial: not restarted" in ended


def test_continues_when_the_deadly_trial_is_given_up(tmp_path):
    course = [KILLED, KILLED, KILLED, "+" + KILLED, KILLED, "0"]
    code, died = run(tmp_path, *course)
    assert code == 0
    assert [bool(reason) for reason in died] == [False, False, False, True, False, False]


def test_counts_only_deaths_without_a_finished_trial(tmp_path):
    code, died = run(tmp_path, *["+" + KILLED] * 6, "0")
    assert (code, died) == (0, [""] * 7)


def test_another_chief_is_not_a_death(tmp_path):
    code, died = run(tmp_path, KILLED, KILLED, *[str(ANOTHER_CHIEF)] * 3, "0")
    assert (code, died) == (0, [""] * 6)


SUPERVISING = """
import pathlib, signal, sys
# Some may be ignored where the tests run (nohup, a job in the background).
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
from tfrs_npa.search.supervisor import Supervisor
assert "tensorflow" not in sys.modules
worker = '''
import os, pathlib, sys, time
path = pathlib.Path(sys.argv[1])
path.with_suffix(".tmp").write_text(str(os.getpid()))
try:
    # The signal follows as soon as the file is there.
    path.with_suffix(".tmp").rename(path)
    time.sleep(3600)
except KeyboardInterrupt:
    sys.exit(130)
'''
command = [sys.executable, "-S", "-E", "-c", worker, sys.argv[1]]
sys.exit(Supervisor(command, pathlib.Path(sys.argv[1] + ".progress"), "worker-1").run())
"""


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_forwards_signals_and_restarts_nothing(tmp_path, number, code):
    process = subprocess.Popen(
        [sys.executable, "-c", SUPERVISING, tmp_path / "pid"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + TIMEOUT
    while not (tmp_path / "pid").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    worker = int((tmp_path / "pid").read_text())
    process.send_signal(number)
    _, messages = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, messages) == (code, "")
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"KERASTUNER_TUNER_ID": "worker-1"},
        {"KERASTUNER_TUNER_ID": "worker-1", "KERASTUNER_ORACLE_IP": "127.0.0.1"},
        {
            "KERASTUNER_TUNER_ID": "chief",
            "KERASTUNER_ORACLE_IP": "127.0.0.1",
            "KERASTUNER_ORACLE_PORT": "8000",
        },
        {
            "KERASTUNER_TUNER_ID": "worker-1",
            "KERASTUNER_ORACLE_IP": "127.0.0.1",
            "KERASTUNER_ORACLE_PORT": "8000",
            SUPERVISOR: "1",
        },
    ],
)
def test_supervises_nothing_but_a_worker(tmp_path, monkeypatch, environment):
    for name in ("TUNER_ID", "ORACLE_IP", "ORACLE_PORT"):
        monkeypatch.delenv(f"KERASTUNER_{name}", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert supervise(tmp_path) is None


def test_runs_the_command_of_its_process(tmp_path):
    # The second process has the same options, and a supervisor.
    code = (
        "import os, sys; from tfrs_npa.search.supervisor import supervise; "
        "code = supervise(sys.argv[1]); print(sys.argv[1:], code, flush=True); sys.exit(code or 7)"
    )
    many = {"TUNER_ID": "worker-1", "ORACLE_IP": "127.0.0.1", "ORACLE_PORT": "8000"}
    process = subprocess.run(
        [sys.executable, "-c", code, tmp_path, "--resume"],
        env={**os.environ, "PYTHONPATH": str(ROOT)}
        | {f"KERASTUNER_{name}": value for name, value in many.items()},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    options = [str(tmp_path), "--resume"]
    assert process.stdout.splitlines() == [f"{options} None", f"{options} 7"]
    assert process.returncode == 7
