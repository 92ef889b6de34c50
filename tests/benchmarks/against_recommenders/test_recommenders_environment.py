import os
import sys

import pytest

ECHO = """
import json, os, sys
print("started", sys.argv[1:], file=sys.stderr)
for line in sys.stdin:
    request = json.loads(line)
    if request["command"] == "die":
        sys.exit("out of order")
    legacy = os.environ.get("TF_USE_LEGACY_KERAS")
    print(json.dumps({**request, "process": os.getpid(), "legacy": legacy}), flush=True)
"""


@pytest.fixture
def environment(benchmark):
    return benchmark("against_recommenders.recommenders_environment")


@pytest.fixture
def worker(environment, tmp_path, monkeypatch):
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "1")
    script = tmp_path / "echo.py"
    script.write_text(ECHO)
    with environment.Worker(sys.executable, tmp_path, 30, script) as worker:
        yield worker


def _interpreter(path, answer):
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\necho '{answer}'\n")
    path.chmod(0o755)
    return path


def test_commands_are_answered_in_order(worker):
    for steps in range(3):
        answer = worker("train", steps=steps)
        assert answer | {"process": 1} == {
            "command": "train",
            "steps": steps,
            "process": 1,
            "legacy": None,
        }


def test_a_worker_that_ends_is_reported_with_its_log(worker, environment):
    for _ in range(2):
        with pytest.raises(environment.RecommendersError, match="(?s)with 1 .*out of order"):
            worker("die")


def test_a_worker_ends_with_its_block(environment, tmp_path):
    script = tmp_path / "echo.py"
    script.write_text(ECHO)
    with environment.Worker(sys.executable, tmp_path, 10, script) as worker:
        process = worker("hello")["process"]
        os.kill(process, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    assert "'--title-length', '10'" in (tmp_path / "recommenders_10.log").read_text()


def test_a_complete_environment_is_kept(environment, tmp_path):
    interpreter = _interpreter(tmp_path / "venv" / "bin" / "python", "1.2.1")
    assert environment.prepare(tmp_path / "venv", "no-such-python") == interpreter


@pytest.mark.parametrize(
    ("version", "message"), [(None, "is missing"), ("3 12", "is Python 3.12"), ("3 8", "3.8")]
)
def test_an_unsuitable_interpreter(environment, tmp_path, version, message):
    python = tmp_path / "bin" / "python"
    if version:
        _interpreter(python, version)
    with pytest.raises(RuntimeError, match=f"{message}.*--recommenders-python"):
        environment.prepare(tmp_path / "venv", str(python))
    assert not (tmp_path / "venv").exists()
