"""The script that starts a cluster on this host, with processes that do no training.

`tests/runs/test_strategies.py` has those of a training.
"""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

SCRIPT = pathlib.Path(__file__).parents[2] / "examples" / "cluster.sh"
# Far more than anything takes: nothing fails because the machine is busy.
TIMEOUT = 600
# What it starts instead of Python: it prints what it was told, and ends when the test says so.
_INTERPRETER = """\
#!{python}
import json, os, pathlib, sys, time
if sys.argv[1] == "-c":
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
config = json.loads(os.environ["TF_CONFIG"])
print(json.dumps([config, os.environ["TF_NUM_INTRAOP_THREADS"], sys.argv[1:]]), flush=True)
me = pathlib.Path(os.environ["FOLDER"], "{{type}}-{{index}}".format(**config["task"]))
pathlib.Path(f"{{me}}.{{os.getpid()}}").write_text("")
while not me.exists():
    time.sleep(0.01)
sys.exit(int(me.read_text()))
"""


def wait_until(condition):
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Cluster:
    """The script with the processes that it starts."""

    def __init__(self, path):
        self.run, self.folder = path / "run", path / "tasks"
        self.folder.mkdir()
        self.interpreter = path / "interpreter"
        self.interpreter.write_text(_INTERPRETER.format(python=sys.executable))
        self.interpreter.chmod(0o755)

    def start(self, *arguments, **variables):
        own = {"PYTHON": str(self.interpreter), "FOLDER": str(self.folder)}
        self.script = subprocess.Popen(
            [str(SCRIPT), *map(str, arguments)],
            env={**os.environ, **own, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def processes(self, task="*"):
        """The ids of the processes that a task has had."""
        return [int(path.suffix[1:]) for path in self.folder.glob(f"{task}.*")]

    def end(self, task, code):
        written = self.folder / "code"
        written.write_text(str(code))
        written.rename(self.folder / task)

    def finished(self):
        """The exit code of the script, and its two streams."""
        output, messages = self.script.communicate(timeout=TIMEOUT)
        return self.script.returncode, output, messages

    def told(self):
        """What the processes were told, by task."""
        logs = self.run.with_suffix(".logs").iterdir()
        return {log.stem: [*map(json.loads, log.read_text().splitlines())] for log in logs}


@pytest.fixture
def cluster(tmp_path):
    cluster = Cluster(tmp_path)
    yield cluster
    cluster.script.terminate()
    cluster.script.communicate(timeout=TIMEOUT)


def test_parameter_servers(cluster):
    options = ["--run", str(cluster.run), "--data", "my data"]
    cluster.start(2, 1, *options, TF_NUM_INTRAOP_THREADS="7")
    wait_until(lambda: len(cluster.processes()) == 4)
    cluster.end("chief-0", 5)
    code, output, messages = cluster.finished()
    assert code == 5 and not messages
    told = cluster.told()
    assert [json.loads(output)] == told["chief-0"]
    assert told.keys() == {"chief-0", "worker-0", "worker-1", "ps-0"}
    command = ["-m", "tfrs_npa", "train", "--strategy", "parameter-server", *options]
    clusters = [config["cluster"] for ((config, _, _),) in told.values()]
    assert all(tasks == clusters[0] for tasks in clusters)
    assert {job: len(found) for job, found in clusters[0].items()} == {
        **{"chief": 1, "worker": 2, "ps": 1}
    }
    assert len({address for found in clusters[0].values() for address in found}) == 4
    for name, ((config, threads, given),) in told.items():
        assert "{type}-{index}".format(**config["task"]) == name
        assert threads == "7" and given == command


def test_workers_alone(cluster):
    cluster.start(2, 0, f"--run={cluster.run}")
    wait_until(lambda: len(cluster.processes()) == 2)
    for task in ("worker-1", "worker-0"):
        cluster.end(task, 0)
    code, output, messages = cluster.finished()
    assert code == 0, messages
    told = cluster.told()
    assert told.keys() == {"worker-0", "worker-1"} and [json.loads(output)] == told["worker-0"]
    threads = str(max(1, os.sysconf("SC_NPROCESSORS_ONLN") // 2))
    for ((config, given_threads, given),) in told.values():
        assert config["cluster"].keys() == {"worker"} and "multi-worker" in given
        assert given_threads == threads


def test_a_killed_worker_is_restarted(cluster):
    cluster.start(2, 1, "--run", cluster.run)
    wait_until(lambda: len(cluster.processes()) == 4)
    os.kill(cluster.processes("worker-1")[0], signal.SIGKILL)
    wait_until(lambda: len(cluster.processes("worker-1")) == 2)
    for task in ("worker-0", "worker-1", "ps-0", "chief-0"):
        cluster.end(task, 0)
    code, _, messages = cluster.finished()
    assert code == 0 and messages.count("restarted") == 1
    assert "worker 1 was killed by signal 9; restarted" in messages
    assert len(cluster.processes()) == 5


def test_nothing_is_left_behind(cluster):
    cluster.start(1, 1, "--run", cluster.run)
    wait_until(lambda: len(cluster.processes()) == 3)
    cluster.script.terminate()
    assert cluster.finished()[0] == 143
    for process in cluster.processes():
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


@pytest.mark.parametrize("arguments", [(), (1,), ("one", 1), (0, 1, "--run", "r"), (1, 1, "--run")])
def test_refused(cluster, arguments):
    cluster.start(*arguments)
    code, output, messages = cluster.finished()
    assert code == 2 and not output
    assert "Usage: " in messages or "error: " in messages


def test_help(cluster):
    cluster.start("--help")
    code, output, _ = cluster.finished()
    assert code == 0 and "WORKERS" in output and "--resume" in output
