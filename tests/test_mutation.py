"""How `make mutation` continues after an interruption; without Cosmic Ray, which it installs."""

from __future__ import annotations

import importlib.util
import pathlib
import shutil
import subprocess
import sys
import types

import pytest
from coverage import CoverageData

SCRIPT = pathlib.Path(__file__).parents[1] / ".ci" / "mutation.py"
MODULE = pathlib.Path("tfrs_npa", "layers", "module.py")
TESTS = pathlib.Path("tests", "layers", "test_module.py")


class Interrupted(Exception):
    """Raised where Ctrl-C could have come."""


@pytest.fixture
def called(monkeypatch):
    """The steps that were called, each with the module as it was; `exec` leaves a mutant."""
    called = []

    def run(command, cwd=".", **options):
        if command[0] == "git":
            return types.SimpleNamespace(stdout=f"{MODULE}\0{TESTS}".encode())
        if command[0] != "cosmic-ray":  # the tests, which notice every mutant
            return types.SimpleNamespace(returncode=int("--cov=tfrs_npa" not in command))
        module = pathlib.Path(cwd, MODULE)
        called.append((command[1], module.read_text()))
        if command[1] == "init":
            pathlib.Path(command[3]).touch()
        else:
            module.write_text("a mutant")
        return None

    monkeypatch.setattr(subprocess, "run", run)
    return called


@pytest.fixture
def mutation(tmp_path, monkeypatch, called):
    """The script, in a project of one module."""
    (tmp_path / ".ci").mkdir()
    for path in (MODULE, TESTS):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text("original")
    spec = importlib.util.spec_from_file_location("mutation", shutil.copy(SCRIPT, tmp_path / ".ci"))
    mutation = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mutation)
    monkeypatch.setattr(mutation, "sample", lambda *_: None)
    monkeypatch.setattr(mutation, "report", lambda: 0)
    monkeypatch.setattr(sys, "argv", ["mutation.py"])
    return mutation


def run(mutation):
    with pytest.raises(SystemExit):
        mutation.main()


def test_mutants_that_were_not_drawn_are_not_run(mutation, called, monkeypatch):
    def interrupt(*_):
        raise Interrupted

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(mutation, "sample", interrupt)
        mutation.main()
    run(mutation)
    assert [step for step, _ in called] == ["init", "init", "exec"]


def test_there_is_one_mutant_at_a_time(mutation, called):
    run(mutation)
    run(mutation)
    assert called == [("init", "original"), ("exec", "original"), ("exec", "original")]


def test_a_change_of_the_project_is_no_mutant(mutation, monkeypatch):
    run(mutation)
    (mutation.ROOT / MODULE).write_text("changed since")
    monkeypatch.chdir(mutation.COPY)
    assert mutation.tested() == 1
    MODULE.write_text("original")
    assert mutation.tested() == 0


def test_tests_that_reach_a_line(mutation, monkeypatch):
    run(mutation)
    other, user = "tests/layers/test_other.py", "tests/models/test_user.py"
    for name, text in {
        MODULE: "LIMIT = 1\n\n\ndef small(x):\n    return x < LIMIT\n",
        other: "",
        user: "",
    }.items():
        (mutation.PRISTINE / name).parent.mkdir(parents=True, exist_ok=True)
        (mutation.PRISTINE / name).write_text(text)
    data = CoverageData(str(mutation.COVERAGE))
    for context, lines in {
        f"{other}::test_first|run": [1, 4],
        f"{user}::test_some|run": [5],
        f"{user}::test_more|run": [5],
        "tests/data/test_far.py::test_others|run": [5],
    }.items():
        data.set_context(context)
        data.add_lines({str(mutation.PRISTINE / MODULE): lines})
    data.write()
    monkeypatch.chdir(mutation.PRISTINE)
    own = str(TESTS)
    assert mutation.tests_of_line(MODULE, 5) == [own, f"{user}::test_more", f"{user}::test_some"]
    data.set_context(f"{other}::test_first|setup")
    data.add_lines({str(mutation.PRISTINE / MODULE): [5]})
    data.write()
    assert mutation.tests_of_line(MODULE, 5)[1] == other
    # A constant and a signature belong to whoever imports first.
    for line in (1, 4):
        assert mutation.tests_of_line(MODULE, line) == [own, other, user]
