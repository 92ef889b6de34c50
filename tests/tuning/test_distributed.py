"""A chief and workers on this host, as processes, some of which are killed."""

from __future__ import annotations

import csv
import functools
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import pytest
import yaml

import tfrs_npa
from tfrs_npa.search.folder import SearchFolder

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(tfrs_npa.__file__).parents[1]
TRIALS = 2
SPACE = {
    "preset": "small",
    "others": "pinned",
    "space": {
        "word_embedding_dim": 8,
        "user_embedding_dim": 4,
        "attention_dim": 4,
        "history_length": 10,
        "batch_size": 128,
        "num_filters": [4, 8, 16],
        "dropout": {"min": 0.0, "max": 0.5},
    },
}
# Far more than anything takes, and less than the hour that KerasTuner's workers would wait.
TIMEOUT = 1800
HOOKS = ROOT / "tests" / "cli" / "hooks"


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Of all processes: a cache of their own, the tests' interpreter, and models op by op."""
    variables = {
        **os.environ,
        "PYTHON": sys.executable,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(HOOKS)]),
        "UNTRACED": "1",
        "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("caches")),
    }
    for name in ("TF_NUM_INTRAOP_THREADS", "KERASTUNER_ORACLE_PORT", "KERASTUNER_ORACLE_IP"):
        variables.pop(name, None)
    return variables


@pytest.fixture
def options(mind_folder, tmp_path):
    space = tmp_path / "space.yaml"
    space.write_text(yaml.safe_dump(SPACE))
    options = ["--data", mind_folder, "--space", space, "--tuner", "random", "--epochs", 1]
    return [*map(str, [*options, "--max-trials", TRIALS])]


@pytest.fixture
def start():
    """Starts processes, each with a file for its output; ends those that are left."""
    processes = []

    def start(command, environment, output):
        with open(output, "a") as file:
            process = subprocess.Popen(
                [*map(str, command)], env=environment, stdout=file, stderr=subprocess.STDOUT
            )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.terminate()
        process.wait(TIMEOUT)


def wait_until(condition, *processes):
    """Waits for a condition that holds before any of the processes ends."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert all(process.poll() is None for process in processes)
        assert time.monotonic() < deadline
        time.sleep(0.002)


def oracle(run):
    """The state of the search, as the chief keeps it."""
    path = run / "trials" / "oracle.json"
    return json.loads(path.read_text()) if path.exists() else {"start_order": []}


def children(*parents):
    """The processes that the given ones have started."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True)
    pairs = [map(int, line.split()) for line in listed.stdout.splitlines()]
    return [pid for pid, parent in pairs if parent in parents]


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def assert_complete(run):
    """Each trial is there once, and has ended once."""
    with open(run / "trials.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["trial"] for row in rows] == [str(number) for number in range(TRIALS)]
    assert {row["status"] for row in rows} == {"completed"}
    state = oracle(run)
    assert state["start_order"] == [str(number) for number in range(TRIALS)]
    assert sorted(state["end_order"]) == state["start_order"]
    assert json.loads((run / "results.json").read_text())["trials"] == {
        "completed": TRIALS,
        "failed": 0,
    }


def test_two_workers_one_of_which_is_killed(options, environment, start, tmp_path):
    run, logs, output = tmp_path / "search", tmp_path / "search.logs", tmp_path / "output"
    command = [ROOT / "tuning" / "distributed.sh", 2, "--run", run, *options]
    paused = tmp_path / "paused"
    pause = {"PAUSE_IN_EPOCH": "1", "PAUSE_FILE": str(paused)}
    script = start(command, environment | pause, output)
    # One waits in the trial that it got, so the other has got the other.
    wait_until(lambda: paused.exists() and len(oracle(run)["start_order"]) == TRIALS, script)
    os.kill(int(paused.read_text()), signal.SIGKILL)
    assert script.wait(TIMEOUT) == 0, output.read_text()

    assert_complete(run)
    assert f"Trials: {TRIALS} completed, 0 failed" in output.read_text()
    assert output.read_text() == (logs / "chief.log").read_text()
    texts = [(logs / f"worker-{number}.log").read_text() for number in (1, 2)]
    assert sorted("was killed by signal 9" in text for text in texts) == [False, True]
    # Both had a trial, and the killed one repeated its own.
    assert all("val_auc" in text for text in texts)


def test_a_killed_chief_and_a_search_that_is_resumed(options, environment, start, tmp_path):
    run, paused = tmp_path / "search", tmp_path / "paused"
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    many = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": str(port)}
    # A proxy that is not there, and that nothing here should need.
    many["http_proxy"] = "http://127.0.0.1:9"
    search = [sys.executable, ROOT / "tuning" / "search.py", "--run", run]

    def start_both(*options, **pause):
        variables = environment | many | pause
        for name in ("chief", "worker-1"):
            variables["KERASTUNER_TUNER_ID"] = name
            yield start([*search, *options], dict(variables), tmp_path / name)

    chief, worker = start_both(*options, PAUSE_IN_EPOCH="2", PAUSE_FILE=str(paused))
    wait_until(paused.exists, chief, worker)
    # In the middle of the second trial.
    assert oracle(run)["ongoing_trials"] == {"worker-1": "1"}
    chief.kill()
    assert worker.wait(TIMEOUT) == 69, (tmp_path / "worker-1").read_text()
    last = (tmp_path / "worker-1").read_text().splitlines()[-1]
    assert last.startswith(
        f"tfrs-npa: error: the chief at 127.0.0.1:{port} is gone; `tfrs-npa tune"
    )
    assert not (run / "results.json").exists()

    chief, worker = start_both("--resume")
    assert chief.wait(TIMEOUT) == 0, (tmp_path / "chief").read_text()
    assert worker.wait(TIMEOUT) == 0
    assert "resuming; trials so far: 1 ended, 1 interrupted" in (tmp_path / "chief").read_text()
    assert_complete(run)
    # The files of chief and workers are known to be the search's own.
    SearchFolder.check_free(run, overwrite=True)


def script(*arguments, **variables):
    return subprocess.run(
        [ROOT / "tuning" / "distributed.sh", *map(str, arguments)],
        env={**os.environ, "PYTHON": sys.executable, **variables},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )


@pytest.mark.parametrize("arguments", [(), ("two", "--run", "r"), (0, "--run", "r"), (2, "--data")])
def test_script_refuses(arguments):
    refused = script(*arguments)
    assert refused.returncode == 2 and not refused.stdout
    assert "Usage: " in refused.stderr or "--run DIR is missing" in refused.stderr


def test_script_helps():
    helped = script("--help")
    assert helped.returncode == 0
    assert all(name in helped.stdout for name in ("WORKERS", "--resume", "KERASTUNER_ORACLE_IP"))


# What it starts instead of Python: no search, but it prints the variables of one.
_INTERPRETER = """\
#!{python}
import os, signal, sys, time
if sys.argv[1] == "-c":
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
me = os.environ["KERASTUNER_TUNER_ID"]
print(me, os.environ["KERASTUNER_ORACLE_IP"], os.environ["KERASTUNER_ORACLE_PORT"],
      os.environ.get("TF_NUM_INTRAOP_THREADS"), sys.argv[2:], flush=True)
ends = dict(pair.split("=") for pair in os.environ["ENDS"].split())
if me in ends:
    sys.exit(int(ends[me]))
time.sleep(3600)
"""


@pytest.fixture
def interpreter(tmp_path):
    path = tmp_path / "interpreter"
    path.write_text(_INTERPRETER.format(python=sys.executable))
    path.chmod(0o755)
    return path


def logged(logs):
    return {path.stem: path.read_text().split(maxsplit=4) for path in logs.iterdir()}


def test_script_starts_a_chief_and_workers(interpreter, tmp_path):
    options = ["--run", tmp_path / "search", "--space", "my space.yaml"]
    ended = script(
        *(3, *options), PYTHON=str(interpreter), ENDS="chief=5", KERASTUNER_ORACLE_IP="127.0.0.2"
    )
    assert ended.returncode == 5
    found = logged(tmp_path / "search.logs")
    # The other two may have been ended before they wrote anything.
    assert ended.stdout.split(maxsplit=4) == found["chief"]
    name, host, port, threads, given = found["chief"]
    assert (name, host, threads) == ("chief", "127.0.0.2", "None") and 0 < int(port) < 2**16
    assert given.strip() == str([*map(str, options)])


def test_script_ends_when_its_workers_have_failed(interpreter, tmp_path):
    ends = "worker-1=0 worker-2=137"
    ended = script(
        *(2, "--run", tmp_path / "search"),
        PYTHON=str(interpreter),
        ENDS=ends,
        KERASTUNER_ORACLE_PORT="8765",
        TF_NUM_INTRAOP_THREADS="7",
    )
    assert ended.returncode == 137
    assert "all workers have ended, one with exit code 137" in ended.stderr
    for name, (me, _, port, threads, _) in logged(tmp_path / "search.logs").items():
        assert (me, port, threads) == (name, "8765", "7")


def test_script_shares_the_cores(interpreter, tmp_path):
    script(2, "--run", tmp_path / "search", PYTHON=str(interpreter), ENDS="worker-1=1 worker-2=1")
    threads = [
        what[3] for name, what in logged(tmp_path / "search.logs").items() if name != "chief"
    ]
    assert threads == [str(max(1, os.sysconf("SC_NPROCESSORS_ONLN") // 2))] * 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_script_leaves_nothing_behind(interpreter, tmp_path, number, code):
    process = subprocess.Popen(
        [ROOT / "tuning" / "distributed.sh", "2", "--run", tmp_path / "search"],
        env={**os.environ, "PYTHON": str(interpreter), "ENDS": ""},
        stdout=subprocess.DEVNULL,
        # It is ignored in a job in the background, and then no shell can trap it.
        preexec_fn=functools.partial(signal.signal, number, signal.SIG_DFL),
    )
    logs = tmp_path / "search.logs"
    names = {"chief", "worker-1", "worker-2"}
    wait_until(
        lambda: logs.exists() and names == {n for n, w in logged(logs).items() if w}, process
    )
    started = children(process.pid)
    assert len(started) >= 3
    process.send_signal(number)
    assert process.wait(TIMEOUT) == code
    wait_until(lambda: not any(map(is_running, started)))


@pytest.mark.parametrize("log", ["chief", "worker-1", "worker-2"])
def test_script_can_be_ended_while_it_starts(interpreter, tmp_path, log):
    process = subprocess.Popen(
        [ROOT / "tuning" / "distributed.sh", "2", "--run", tmp_path / "search"],
        env={**os.environ, "PYTHON": str(interpreter), "ENDS": ""},
        stdout=subprocess.DEVNULL,
    )
    # Opened before what it is for has started, so that some of the script is still to come.
    wait_until((tmp_path / "search.logs" / f"{log}.log").exists, process)
    process.terminate()
    assert process.wait(TIMEOUT) == 143
