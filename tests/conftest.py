"""What tests of scripts share: data to run them on, and how a user runs them."""

from __future__ import annotations

import contextlib
import csv
import gc
import io
import multiprocessing
import os
import pathlib
import runpy
import signal
import subprocess
import sys
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tfrs_npa  # noqa: F401  chooses Keras 2 before any test imports TensorFlow
from tfrs_npa.datasets.mind import SyntheticWorld, write_behaviors, write_news

ROOT = pathlib.Path(__file__).parents[1]


# Few tests that take long, and of which others would wait for the last.
_FIRST = ("models/test_strategies.py", "runs/test_strategies.py", "cli/test_tune.py")
_FIRST += ("tuning/test_distributed.py", "cli/test_train.py", "runs/test_train.py")
_FIRST += ("serving/test_module.py", "test_keras_selection.py")


def pytest_collection_modifyitems(items):
    """Begins with the longest files, for `--no-loadscope-reorder`."""
    items.sort(key=lambda item: not item.path.as_posix().endswith(_FIRST))


def pytest_collection_finish():
    """Saves what takes up to a quarter of the CPU seconds of tests that trace graphs.

    Grappler, whose gain tiny graphs do not live to see; the processes that tests start have it. And
    looking for garbage among all that is imported.
    """
    if "tensorflow" in sys.modules:
        optimizer = sys.modules["tensorflow"].config.optimizer
        optimizer.set_experimental_options({"disable_meta_optimizer": True})
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@pytest.fixture(scope="session")
def mind_folder(tmp_path_factory):
    """A folder in MIND's format, with 40 impressions to report on."""
    path = tmp_path_factory.mktemp("mind-format")
    world = SyntheticWorld(users=60, articles=150, impressions=(150, 40, 40))
    for split, name in {"train": "train", "validation": "dev", "test": "test"}.items():
        write_news(path / name / "news.tsv", world.news(split))
        write_behaviors(path / name / "behaviors.tsv", world.behaviors(split))
    return path


@pytest.fixture(scope="session")
def parquet_log(tmp_path_factory):
    """A folder with `log.parquet`, of several days, and `news.parquet`."""
    path = tmp_path_factory.mktemp("parquet")
    world = SyntheticWorld(users=60, articles=150, impressions=(150, 40, 40))
    log = [row for split in ("train", "validation") for row in world.behaviors(split)]
    columns = {name: [row[name] for row in log] for name in ("user_id", "history", "time")}
    columns["candidates"] = [row["candidates"]["news_id"] for row in log]
    columns["clicked"] = [row["candidates"]["clicked"] for row in log]
    pq.write_table(pa.table(columns), path / "log.parquet", row_group_size=64)
    articles = {row["news_id"]: row for row in [*world.news("train"), *world.news("validation")]}
    news = [{name: row[name] for name in ("news_id", "title")} for row in articles.values()]
    pq.write_table(pa.Table.from_pylist(news), path / "news.parquet")
    return path


@pytest.fixture(scope="session")
def new_fields():
    """Hyper-parameters that configurations of earlier versions do not have."""
    names = "center_words residual unit_vectors logit_scale user_interest background_titles"
    more = "item_bias mean_weight temperature warmup_steps uniform_attention history_rows"
    return (*names.split(), *more.split(), "user_learning_rate", "unknown_articles")


class Script:
    """A script of the project that keeps its results in a CSV file."""

    def __init__(self, path, *always):
        self.path = ROOT / path
        self.always = always

    def run(self, *options):
        """Starts it as a process; returns what it wrote to the two streams."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        # This process has chosen Keras 2 already; a user's has not.
        environment.pop("TF_USE_LEGACY_KERAS", None)
        process = subprocess.run(
            [sys.executable, self.path, *map(str, [*self.always, *options])],
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert process.returncode == 0, process.stderr
        return process.stdout, process.stderr

    def names(self):
        """What it defines."""
        sys.path.insert(0, str(self.path.parent))
        try:
            return runpy.run_path(str(self.path))
        finally:
            sys.path.remove(str(self.path.parent))

    def read(self, path):
        with open(path, newline="") as file:
            return list(csv.DictReader(file))

    def write(self, path, rows):
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


@pytest.fixture(scope="session")
def make_script():
    """Makes a `Script` from its path in the project and the options it always gets."""
    return Script


@pytest.fixture(scope="session")
def run_here():
    """Runs the `main` of a module as a command; returns what it wrote to the two streams."""

    def run(module, *options):
        out, err = io.StringIO(), io.StringIO()
        try:
            with (
                pytest.MonkeyPatch.context() as patch,
                contextlib.redirect_stdout(out),
                contextlib.redirect_stderr(err),
            ):
                patch.setattr(sys, "argv", [module.__file__, *map(str, options)])
                module.main()
        except BaseException:
            sys.stderr.write(err.getvalue())
            raise
        return out.getvalue(), err.getvalue()

    return run


# Does in a forked process what `python FILE` and `python -m MODULE` do.
_PROGRAM = """
import faulthandler, os, runpy, sys, tempfile
os.environ.clear()
os.environ.update(environment)
tempfile.tempdir = None  # that of this environment
log = os.open(log, os.O_WRONLY | os.O_APPEND)
os.dup2(log, 1)
os.dup2(log, 2)
faulthandler.enable()  # a crash of native code says which line it came from
sys.argv = arguments
if arguments[0] == "-m":
    del sys.argv[0]
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
else:
    sys.path.insert(0, os.path.dirname(arguments[0]))
    runpy.run_path(arguments[0], run_name="__main__")
"""


class Forked:
    """A process as `subprocess.Popen` starts it, which finds TensorFlow imported."""

    def __init__(self, arguments, environment, log):
        pathlib.Path(log).write_text("")
        names = {"environment": dict(environment), "log": str(log)}
        names["arguments"] = [*map(str, arguments)]
        context = multiprocessing.get_context("forkserver")
        # For the first of them, which starts the server.
        context.set_forkserver_preload(["tfrs_npa.runs.train", "tfrs_npa.cli", "keras_tuner"])
        self._process = context.Process(target=exec, args=(_PROGRAM, names), daemon=True)
        self._process.start()
        self.pid = self._process.pid

    def poll(self):
        return self._process.exitcode

    def wait(self, timeout=None):
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout)
        return self._process.exitcode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)


@pytest.fixture(scope="session")
def fork():
    """Starts a script, or a module after `-m`, as a process; its streams go to a file.

    Processes come from a server that has imported TensorFlow, which would take them longer than
    what most of them do. What is about imports, or the environment at that time, is not for it.
    """
    return Forked


class Ends(list):
    """Exit codes and messages with which a process would have ended."""

    def __init__(self):
        self.came = threading.Event()

    def __call__(self, *how):
        self.append(how)
        self.came.set()


@pytest.fixture
def record_ends(monkeypatch):
    """Has a module look often at other processes, and record how it would end this one.

    The test continues, and may wait for that.
    """

    def record(module):
        ends = Ends()
        monkeypatch.setattr(module, "PAUSE", 0.02)
        monkeypatch.setattr(module, "end_process", ends)
        return ends

    return record


@pytest.fixture(scope="session")
def _drawn():
    """The pictures that `same_picture` has drawn."""
    return []


@pytest.fixture(scope="module")
def same_picture(_drawn):
    """Draws the first of all pictures in files, and writes it again for each of the others.

    Drawing takes a quarter of a tiny training; tests/runs/test_pictures.py looks at the pictures.
    """
    from matplotlib.figure import Figure

    draw = Figure.savefig

    def save(figure, file, **options):
        if not _drawn:
            draw(figure, file, **options)
            _drawn.append(pathlib.Path(file).read_bytes())
        pathlib.Path(file).write_bytes(_drawn[0])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", save)
        yield


@pytest.fixture(scope="module")
def eager_functions():
    """Saves the tracing, which takes longer than everything else on little data."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)
