"""Scripts that start the processes of a cluster, with processes that do no training.

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
import yaml

from tfrs_npa.runs.processes import GONE

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
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
            [str(EXAMPLES / "cluster.sh"), *map(str, arguments)],
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
    cluster.start(2, 0, "--run", cluster.run)
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


@pytest.mark.parametrize(
    "arguments",
    [(), (1,), ("one", 1), (0, 1, "--run", "r"), (1, 1, "--run"), (1, 1, "--data", "d")],
)
def test_refused(cluster, arguments):
    cluster.start(*arguments)
    code, output, messages = cluster.finished()
    assert code == 2 and not output
    assert "Usage: " in messages or "error: " in messages


def test_help(cluster):
    cluster.start("--help")
    code, output, _ = cluster.finished()
    assert code == 0 and "WORKERS" in output and "--resume" in output


def executable(path, text):
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def slurm(tmp_path):
    """Runs `slurm.sh` with Slurm's commands replaced; returns what each process was told."""
    hosts = [f"node{index}" for index in range(4)]
    folder = tmp_path / "bin"
    folder.mkdir()
    executable(folder / "scontrol", f"#!/bin/sh\nprintf '%s\\n' {' '.join(hosts)}\n")
    executable(
        folder / "srun",
        '#!/bin/sh\nshift\nfor id in 0 1 2 3; do SLURM_PROCID=$id "$@" || exit; done\n',
    )
    # A worker that has not been killed yet kills itself.
    executable(
        folder / "tfrs-npa",
        '#!/bin/sh\necho "$TF_CONFIG" "$@"\n'
        'case $TF_CONFIG in *\'"type": "worker"\'*) [ -e killed ] || '
        "{ touch killed; kill -9 $$; } ;; esac\n",
    )

    def run(*arguments):
        environment = {
            **os.environ,
            "PATH": f"{folder}:{os.environ['PATH']}",
            "SLURM_JOB_NODELIST": "node[0-3]",
            "SLURM_JOB_ID": "100007",
        }
        finished = subprocess.run(
            ["bash", str(EXAMPLES / "slurm.sh"), *arguments],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        lines = [line.partition(" train ") for line in finished.stdout.splitlines()]
        told = [(json.loads(config), options) for config, _, options in lines]
        return finished.returncode, told

    return run


def test_slurm_with_parameter_servers(slurm, tmp_path):
    code, told = slurm("1", "--run", "r", "--data", "d")
    assert code == 0
    # The first worker was killed, and restarted.
    assert [(config["task"]["type"], config["task"]["index"]) for config, _ in told] == [
        *[("chief", 0), ("worker", 0), ("worker", 0), ("worker", 1), ("ps", 0)]
    ]
    tasks = {"chief": ["node0:20007"], "worker": ["node1:20007", "node2:20007"]}
    assert all(config["cluster"] == tasks | {"ps": ["node3:20007"]} for config, _ in told)
    assert {options for _, options in told} == {
        "--strategy parameter-server --run r --data d",
    }
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "training.yaml").touch()
    _, told = slurm("1", "--run", "r", "--data", "d")
    assert {options for _, options in told} == {"--strategy parameter-server --run r --resume"}


def test_slurm_with_workers_alone(slurm, tmp_path):
    code, ((config, options),) = slurm("0", "--run", "r")
    assert code == 137 and options == "--strategy multi-worker --run r"
    assert config["cluster"] == {"worker": [f"node{index}:20007" for index in range(4)]}
    (tmp_path / "killed").touch()
    assert [config["task"]["index"] for config, _ in slurm("0", "--run", "r")[1]] == [0, 1, 2, 3]


def test_kubernetes_has_a_pod_for_each_task():
    text = (EXAMPLES / "kubernetes.yaml").read_text()
    configuration, service, *jobs = yaml.safe_load_all(text)
    tasks = json.loads(configuration["data"]["CLUSTER"])
    pods = {}
    for job in jobs:
        name, spec = job["metadata"]["name"], job["spec"]
        pod = spec["template"]["spec"]
        assert pod["subdomain"] == service["metadata"]["name"]
        assert service["spec"]["selector"] == spec["template"]["metadata"]["labels"]
        ((container,), (task,)) = pod["containers"], pod["containers"][0]["env"]
        hosts = [f"{name}-{index}.{pod['subdomain']}:2222" for index in range(spec["completions"])]
        pods[task["value"]] = hosts
        assert container["volumeMounts"][0]["mountPath"] == "/npa"
    assert pods == tasks


def test_kubernetes_replaces_what_was_lost_and_no_error():
    text = (EXAMPLES / "kubernetes.yaml").read_text()
    assert "Not run by\n# us" in text
    for job in [*yaml.safe_load_all(text)][2:]:
        spec = job["spec"]
        pod = spec["template"]["spec"]
        # What a failure policy, and a limit for each index, need.
        assert pod["restartPolicy"] == "Never" and spec["completionMode"] == "Indexed"
        assert "backoffLimit" not in spec and spec["backoffLimitPerIndex"] > 1
        assert spec["maxFailedIndexes"] == 0
        disrupted, failed = spec["podFailurePolicy"]["rules"]
        assert disrupted == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
        codes = failed["onExitCodes"]
        assert failed["action"] == "FailJob" and codes["operator"] == "In"
        assert codes["containerName"] == pod["containers"][0]["name"]
        assert codes["values"] == [1, 2] and GONE not in codes["values"]


def test_the_script_of_kubernetes_says_which_task_it_is(tmp_path):
    text = (EXAMPLES / "kubernetes.yaml").read_text()
    data = next(iter(yaml.safe_load_all(text)))["data"]
    executable(tmp_path / "tfrs-npa", '#!/bin/sh\necho "$TF_CONFIG"\n')
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "CLUSTER": data["CLUSTER"],
        "TASK": "worker",
        "JOB_COMPLETION_INDEX": "1",
    }
    output = subprocess.run(
        ["bash", "-c", data["train.sh"]], env=environment, capture_output=True, check=True
    )
    config = json.loads(output.stdout)
    assert config == {
        "cluster": json.loads(data["CLUSTER"]),
        "task": {"type": "worker", "index": 1},
    }
