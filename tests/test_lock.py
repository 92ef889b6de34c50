"""Locks on folders, between real processes."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import sys
import textwrap

import pytest

from tfrs_npa._lock import LOCK_FILE, hand_over, locked

HOLD = """
    import sys, time
    from tfrs_npa._lock import locked
    with locked(sys.argv[1], "run"):
        print("held", flush=True)
        time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of `run`."""
    command = [sys.executable, "-c", textwrap.dedent(HOLD), str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_another_process_is_named(tmp_path, holder):
    message = rf"run is in use by process {holder.pid} on .*, since 2.*two commands cannot"
    with pytest.raises(ValueError, match=message), locked(tmp_path / "run", "run"):
        pass


def test_a_lock_ends_with_its_process(tmp_path, holder):
    holder.kill()
    holder.wait()
    with locked(tmp_path / "run", "run"):
        assert f'"process": {os.getpid()}' in (tmp_path / "run" / LOCK_FILE).read_text()
    assert not list((tmp_path / "run").iterdir())


def test_nothing_stays_of_a_folder_that_nothing_was_written_into(tmp_path):
    with pytest.raises(RuntimeError), locked(tmp_path / "run", "run"):
        assert (tmp_path / "run").is_dir()
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    (tmp_path / "run").mkdir()
    with locked(tmp_path / "run", "run"):
        (tmp_path / "run" / "file").touch()
    assert (tmp_path / "run" / "file").exists()


def test_a_folder_that_is_replaced_stays_locked(tmp_path):
    run, other = tmp_path / "run", tmp_path / "other"
    with locked(run, "run"):
        other.mkdir()
        hand_over(run, other)
        os.rename(run, tmp_path / "before")
        os.rename(other, run)
        with pytest.raises(ValueError, match=f"process {os.getpid()}"), locked(run, "run"):
            pass
    with locked(run, "run"):
        pass


def test_the_lock_of_another_folder_stays(tmp_path):
    """Somebody has removed the folder, and another process has made it again."""
    run = tmp_path / "run"
    with locked(run, "run"):
        shutil.rmtree(run)
        with locked(run, "run"):
            other = run / LOCK_FILE
            assert other.exists()
            kept = tmp_path / "kept"
            os.link(other, kept)
        os.makedirs(run)
        os.rename(kept, other)
    assert other.exists()


def test_without_locks_of_the_file_system(tmp_path, monkeypatch):
    def flock(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    with locked(tmp_path / "run", "run"), locked(tmp_path / "run", "run"):
        pass
    assert not list((tmp_path / "run").iterdir())


def test_a_lock_that_cannot_be_written_is_named(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(OSError) as caught, locked(tmp_path / "run", "run"):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    error = caught.value
    assert (error.errno, error.filename) == (errno.EFBIG, str(tmp_path / "run" / LOCK_FILE))
    assert not list(tmp_path.iterdir())


HELP = """
    import sys
    sys.modules["fcntl"] = None  # which raises an ImportError
    from tfrs_npa._lock import locked
    from tfrs_npa.cli import main
    with locked(sys.argv[1], "run"), locked(sys.argv[1], "run"):
        main(["--help"])
"""


def test_without_locks_of_the_system(tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(HELP), str(tmp_path / "run")]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.stdout.startswith("usage: tfrs-npa"), process.stderr
    assert not list(tmp_path.iterdir())
