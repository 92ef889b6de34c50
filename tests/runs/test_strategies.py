"""Trainings in the processes of a cluster, some of which are killed."""

from __future__ import annotations

import json
import os
import pathlib
import re
import signal
import socket
import time

import pytest
import tensorflow as tf

import tfrs_npa
from tfrs_npa.config import NPAConfig
from tfrs_npa.data.loading import load_mind
from tfrs_npa.runs import strategies
from tfrs_npa.runs.evaluation import evaluate_model
from tfrs_npa.runs.processes import ATTEMPTS, CONNECT_TIMEOUT, GONE, PAUSE
from tfrs_npa.runs.run import Run, load_run
from tfrs_npa.runs.strategies import TaskGone
from tfrs_npa.runs.train import resume, train
from tfrs_npa.settings import TrainingSettings

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(tfrs_npa.__file__).parents[1]
# Far more than anything takes: nothing fails because the machine is busy.
TIMEOUT = 900
EPOCHS = 5
# Few ops to trace; so many steps that an epoch takes longer than killing a process.
CONFIG = NPAConfig.preset("paper").replace(
    word_embedding_dim=8,
    user_embedding_dim=4,
    num_filters=8,
    attention_dim=4,
    title_length=10,
    history_length=10,
    learning_rate=0.01,
    batch_size=8,
)
CHIEF, WORKER, PS = ("chief", 0), ("worker", 0), ("ps", 0)


class Processes:
    """Processes with tasks of a cluster, on this host."""

    def __init__(self, fork, folder, cache, strategy, tasks):
        self._fork, self._folder, self._cache = fork, folder, cache
        self._strategy, self._tasks = strategy, tasks
        self._cluster, self._running, self.logs = {}, {}, {}
        self._temporary = folder / "temporary"
        self._temporary.mkdir()
        probes = []
        for job, _ in tasks:
            probes.append(socket.create_server(("127.0.0.1", 0)))
            address = "{}:{}".format(*probes[-1].getsockname())
            self._cluster.setdefault(job, []).append(address)
        for probe in probes:
            probe.close()

    def start(self, *options, tasks=None):
        """Starts tasks, by default all, with these options of `tfrs-npa train`."""
        for job, index in tasks or self._tasks:
            config = {"cluster": self._cluster, "task": {"type": job, "index": index}}
            environment = {
                **os.environ,
                "TF_CONFIG": json.dumps(config),
                "PYTHONPATH": str(ROOT),
                "XDG_CACHE_HOME": str(self._cache),
                "TMPDIR": str(self._temporary),
                "TF_NUM_INTRAOP_THREADS": "1",
            }
            command = ["-m", "tfrs_npa", "train", "--strategy", self._strategy, *options]
            self.logs[job, index] = self._folder / f"{job}-{index}.log"
            self._running[job, index] = self._fork(command, environment, self.logs[job, index])

    def wait_for(self, task, line):
        """Waits until a task has written a line."""
        deadline = time.monotonic() + TIMEOUT
        while not re.search(line, self.logs[task].read_text()):
            running = all(process.poll() is None for process in self._running.values())
            assert running and time.monotonic() < deadline, self.texts()
            time.sleep(0.01)

    def kill(self, task):
        """Kills a task as the kernel does that runs out of memory."""
        self._running[task].send_signal(signal.SIGKILL)
        assert self.code(task) == -signal.SIGKILL

    def end(self, task):
        """Ends a task that waits for others, or has ended because it saw them end."""
        process = self._running.pop(task)
        process.kill()
        process.wait()

    def code(self, task):
        """Waits for the end of a task; returns its exit code."""
        return self._running.pop(task).wait(TIMEOUT)

    def temporary_folders(self):
        """Those that the processes have now."""
        return [*self._temporary.glob("tfrs-npa-run-*")]

    def texts(self):
        return {task: log.read_text() for task, log in self.logs.items()}

    def close(self):
        for task in [*self._running]:
            self.end(task)


@pytest.fixture
def processes(fork, tmp_path, tmp_path_factory):
    started = []

    def processes(strategy, *tasks):
        cache = tmp_path_factory.mktemp("cache")
        started.append(Processes(fork, tmp_path, cache, strategy, tasks))
        return started[-1]

    yield processes
    for cluster in started:
        cluster.close()


@pytest.fixture
def options(mind_folder, tmp_path):
    """Those of a training without validation."""
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG.to_yaml())
    return ["--data", mind_folder, "--config", file, "--epochs", EPOCHS, "--holdout", "none"]


def assert_complete(run):
    """A run of one machine comes out, whose model is what was measured."""
    run = Run(run)
    assert [row["epoch"] for row in run.history] == [*range(1, EPOCHS + 1)]
    losses = [row["loss"] for row in run.history]
    assert losses[-1] < losses[0]
    assert {path.name for path in (run.path / "checkpoints").iterdir()} == {
        "best.weights.h5",
        "last.weights.h5",
        "previous.weights.h5",
    }
    model = load_run(run.path)
    data = load_mind(run.settings.data)
    test = data.impressions("test", model.catalog, model.users)
    tf.config.run_functions_eagerly(True)
    try:
        evaluation = evaluate_model(model, data, "test", test, run.baselines)
    finally:
        tf.config.run_functions_eagerly(False)
    assert evaluation["metrics"]["npa"] == pytest.approx(run.metrics["metrics"]["npa"], abs=1e-5)


def test_parameter_servers(processes, options, tmp_path):
    run, others = tmp_path / "run", ("worker", 1)
    cluster = processes("parameter-server", WORKER, others, PS, CHIEF)
    cluster.start("--run", run, *options, "--user-buckets", 100)
    cluster.wait_for(CHIEF, "epoch 1 of ")
    cluster.kill(others)
    cluster.wait_for(CHIEF, "epoch 2 of ")  # by the worker that is left
    cluster.kill(WORKER)
    cluster.start("--run", run, *options, tasks=[WORKER, others])
    cluster.wait_for(CHIEF, "epoch 3 of ")  # by those in their places
    cluster.kill(PS)
    cluster.start("--run", run, "--resume", tasks=[PS])
    assert cluster.code(CHIEF) == cluster.code(others) == GONE, cluster.texts()
    lost = r"error: ps 0 at \S+ (is gone|was restarted). .* --resume: "
    assert re.search(lost, cluster.texts()[CHIEF])
    assert re.search(r"error: chief 0 at \S+ is gone. Start this ", cluster.texts()[others])

    cluster.end(PS)
    cluster.start("--run", run, "--resume")
    cluster.wait_for(CHIEF, "epoch 4 of ")
    assert "resuming after epoch 3 of 5" in cluster.texts()[CHIEF]
    cluster.kill(CHIEF)
    codes = [cluster.code(task) for task in (WORKER, others, PS)]
    assert codes == 3 * [GONE], cluster.texts()

    cluster.start("--run", run, "--resume")
    cluster.wait_for(CHIEF, "resuming after epoch 4 of 5")
    cluster.kill(others)
    # Those that are left end, with another missing.
    codes = [cluster.code(task) for task in (CHIEF, WORKER, PS)]
    assert codes == [0, 0, 0], cluster.texts()
    assert_complete(run)
    assert load_run(run).users.buckets == 100


def test_workers_in_step(processes, options, tmp_path):
    run, others = tmp_path / "run", ("worker", 1)
    cluster = processes("multi-worker", WORKER, others)
    cluster.start("--run", run, *options)
    cluster.wait_for(WORKER, "epoch 1 of ")
    cluster.kill(others)
    assert cluster.code(WORKER) == GONE, cluster.texts()
    assert re.search(r"error: worker 1 at \S+ is gone. .* --resume: ", cluster.texts()[WORKER])

    cluster.start("--run", run, "--resume")
    cluster.wait_for(WORKER, "epoch 2 of ")
    cluster.kill(WORKER)  # which writes the run
    cluster.start("--run", run, "--resume", tasks=[WORKER])
    assert cluster.code(others) == GONE, cluster.texts()
    lost = r"error: worker 0 at \S+ (is gone|was restarted). .* --resume: "
    assert re.search(lost, cluster.texts()[others])

    cluster.end(WORKER)
    cluster.start("--run", run, "--resume")
    assert cluster.code(WORKER) == cluster.code(others) == 0, cluster.texts()
    texts = cluster.texts()
    assert all("resuming after epoch 2 of 5" in text for text in texts.values())
    assert "Run: " in texts[WORKER] and "Run: " not in texts[others]
    assert not cluster.temporary_folders()  # those of the killed were removed too
    assert_complete(run)


def test_all_devices_of_a_machine(mind_folder, tmp_path, eager_functions):
    """This process has one: as without a strategy."""
    settings = TrainingSettings(str(mind_folder), epochs=1, holdout="none")
    config = CONFIG.replace(batch_size=128)
    runs = {name: tmp_path / str(name) for name in (None, "mirrored")}
    plain, mirrored = (train(run, settings, config, strategy=name) for name, run in runs.items())
    assert mirrored["metrics"]["npa"] == pytest.approx(plain["metrics"]["npa"], abs=1e-6)
    again = resume(runs["mirrored"])
    assert again["metrics"]["npa"] == pytest.approx(plain["metrics"]["npa"], abs=1e-6)


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (tf.errors.UnavailableError, TaskGone),
        (tf.errors.NotFoundError, tf.errors.NotFoundError),
        (tf.errors.InvalidArgumentError, tf.errors.InvalidArgumentError),
    ],
)
def test_an_error_of_tensorflow_leaves_the_watch_its_time(monkeypatch, error, raised):
    """Which ends the process, if another is gone: the error may be what a restarted one says."""
    slept = []
    monkeypatch.setattr(strategies.time, "sleep", slept.append)
    with pytest.raises(raised), strategies._errors_explained():
        raise error(None, None, "why")
    assert len(slept) == 1 and slept[0] > ATTEMPTS * PAUSE + CONNECT_TIMEOUT


def test_a_server_does_not_train(monkeypatch, mind_folder, tmp_path):
    cluster = {"chief": ["127.0.0.1:1"], "worker": ["127.0.0.1:2"], "ps": ["127.0.0.1:3"]}
    task = {"type": "ps", "index": 0}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
    settings = TrainingSettings(str(mind_folder))
    with pytest.raises(ValueError, match="this process is ps 0 of TF_CONFIG, which serves the"):
        train(tmp_path / "run", settings, CONFIG, strategy="parameter-server")
