"""Fixtures of the command line: its data, a run, and the two ways to start it."""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
from typing import NamedTuple

import numpy as np
import pytest
import yaml

from tfrs_npa.cli import main
from tfrs_npa.config import NPAConfig
from tfrs_npa.data.splits import load_splits
from tfrs_npa.models.npa import NPA
from tfrs_npa.runs.baselines import Baselines
from tfrs_npa.runs.run import Run
from tfrs_npa.settings import TrainingSettings

ROOT = pathlib.Path(__file__).parents[2]
HOOKS = ROOT / "tests" / "cli" / "hooks"
TINY = {
    "word_embedding_dim": 8,
    "user_embedding_dim": 4,
    "num_filters": 8,
    "attention_dim": 4,
    "history_length": 10,
    "learning_rate": 0.01,
    "batch_size": 128,
}
# What depends on the machine that runs the tests.
_NOT_INHERITED = (
    "TF_CPP_MIN_LOG_LEVEL",
    "TF_USE_LEGACY_KERAS",
    "KERASTUNER_TUNER_ID",
    "KERASTUNER_ORACLE_IP",
    "KERASTUNER_ORACLE_PORT",
)
# Far more than anything takes: nothing fails because the machine is busy.
TIMEOUT = 900


class Finished(NamedTuple):
    """A command that succeeded: the folder it wrote, and its two streams."""

    folder: pathlib.Path
    output: str
    messages: str


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory):
    """The folder of the cache, instead of the user's own."""
    path = tmp_path_factory.mktemp("caches")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(path))
        yield path / "tfrs-npa"


@pytest.fixture(scope="module", autouse=True)
def pictures(same_picture):
    """All commands draw, none is tested here for what."""


@pytest.fixture
def data_copy(mind_folder, tmp_path):
    """A copy of `mind_folder` to change."""
    return shutil.copytree(mind_folder, tmp_path / "data")


@pytest.fixture
def without_labels(data_copy):
    """A copy of `mind_folder` whose test split has no labels, as that of MIND-large."""
    _edit(data_copy / "test" / "behaviors.tsv", lambda text: re.sub(r"-[01]\b", "", text))
    return data_copy


# How data changes, and what the message says of it.
_CHANGES = {
    "half of the impressions": "75 train impressions, not 150",
    "flipped labels": "other clicks in the train impressions",
    "a title": "other titles in the articles",
    "validation": "other clicks in the validation impressions",
}


@pytest.fixture(params=_CHANGES)
def changed_data(data_copy, request):
    """A copy of `mind_folder` that differs in something, and what a message says of it."""
    train, validation = data_copy / "train", data_copy / "dev"
    if request.param == "half of the impressions":
        _edit(train / "behaviors.tsv", lambda text: "".join(text.splitlines(True)[:75]))
    elif request.param == "a title":
        _edit(train / "news.tsv", lambda text: re.sub(r"\t\S+", "\tOther", text, count=3))
    else:
        folder = train if "labels" in request.param else validation
        flip = lambda match: "-" + "10"[int(match[1])]  # noqa: E731
        _edit(folder / "behaviors.tsv", lambda text: re.sub(r"-([01])\b", flip, text))
    return data_copy, _CHANGES[request.param]


def _edit(file, change):
    file.write_text(change(file.read_text()))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A file of hyper-parameters that train in seconds."""
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


@pytest.fixture(scope="session")
def run(mind_folder, tmp_path_factory):
    """A run with weights that are far from equal, without any step, as if it had ended."""
    settings = TrainingSettings(str(mind_folder), epochs=1)
    catalog, splits = load_splits(settings)
    model = NPA(NPAConfig(**TINY), catalog, splits.users)
    model.compile(optimizer="sgd")
    generator = np.random.default_rng(3)
    model.set_weights([generator.normal(0, 0.4, w.shape) for w in model.get_weights()])
    path = tmp_path_factory.mktemp("runs") / "untrained"
    baselines = Baselines.of_training(splits.train, catalog, TINY["word_embedding_dim"])
    fingerprint = splits.fingerprint(catalog)
    run = Run.create(path, model, settings, baselines, data_fingerprint=fingerprint)
    run.metrics = {}
    return run.path


@pytest.fixture(scope="session")
def in_process():
    """Runs the command in this process; returns its exit code."""

    def in_process(*arguments):
        try:
            return main([str(argument) for argument in arguments])
        except SystemExit as error:  # argparse
            return error.code

    return in_process


@pytest.fixture(scope="session")
def finish(in_process):
    """Runs the command in this process, for fixtures that several tests share."""

    def finish(folder, *arguments):
        with (
            contextlib.redirect_stdout(io.StringIO()) as output,
            contextlib.redirect_stderr(io.StringIO()) as messages,
        ):
            code = in_process(*arguments)
        assert code == 0, messages.getvalue()
        return Finished(folder, output.getvalue(), messages.getvalue())

    return finish


@pytest.fixture
def command():
    """Starts the command as a process.

    With `untraced`, its models run op by op; with `pause`, an epoch and a file, it stops there.
    """
    processes = []

    def command(*arguments, program=("-m", "tfrs_npa"), untraced=False, pause=None, **variables):
        environment = {k: v for k, v in os.environ.items() if k not in _NOT_INHERITED} | variables
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(HOOKS)])
        environment["UNOPTIMIZED"] = "1"
        if untraced:
            environment["UNTRACED"] = "1"
        if pause:
            environment |= zip(("PAUSE_IN_EPOCH", "PAUSE_FILE"), map(str, pause))
        process = subprocess.Popen(
            [sys.executable, *map(str, [*program, *arguments])],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            # It is ignored in a job in the background.
            preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )
        processes.append(process)
        return process

    yield command
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def process(command):
    """Runs the command as a process to its end; returns its exit code and its two streams."""

    def process(*arguments, **options):
        started = command(*arguments, **options)
        output, messages = started.communicate(timeout=TIMEOUT)
        return started.returncode, output, messages

    return process


@pytest.fixture
def end_in_epoch(command, tmp_path):
    """Runs the command as a process that a signal ends in an epoch; returns as `process`."""
    files = (tmp_path / f"pause{number}" for number in itertools.count())

    def end_in_epoch(epoch, number, *arguments, **options):
        file = next(files)
        started = command(*arguments, pause=(epoch, file), **options)
        deadline = time.monotonic() + TIMEOUT
        while not file.exists():
            assert started.poll() is None and time.monotonic() < deadline, started.communicate()
            time.sleep(0.01)
        started.send_signal(number)
        output, messages = started.communicate(timeout=TIMEOUT)
        return started.returncode, output, messages

    return end_in_epoch


@pytest.fixture(scope="session")
def run_eagerly():
    """A context in which models run op by op: tracing takes most of the time of a tiny training."""

    @contextlib.contextmanager
    def run_eagerly():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(NPA, "compile", functools.partialmethod(NPA.compile, run_eagerly=True))
            yield

    return run_eagerly


@pytest.fixture
def untraced(run_eagerly):
    """Models run op by op in the whole test."""
    with run_eagerly():
        yield


@pytest.fixture(scope="session")
def snapshot():
    """Returns all files of a folder with their content, to tell whether it has changed."""

    def snapshot(folder):
        return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    return snapshot
