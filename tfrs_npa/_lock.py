"""A lock on a folder, which ends with the process that holds it."""

from __future__ import annotations

import contextlib
import datetime
import errno
import json
import os
import pathlib
import platform
from collections.abc import Iterator
from typing import IO

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

from tfrs_npa._files import restore

LOCK_FILE = ".lock"


@contextlib.contextmanager
def locked(folder: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Keeps other processes from writing into a folder until the block ends.

    The lock is the system's, on the file `.lock` in the folder: it ends with this process, however
    that ends. The folder is created if it is missing, and removed if nothing was written into it.
    It may be replaced meanwhile by another one, see `hand_over`. Nothing is locked where the file
    system has no locks, and nothing is done where the operating system has none.

    >>> with locked("runs/mine", "run"):
    ...     ...

    Args:
        folder: The folder.
        what: What is written into it, for the message.

    Raises:
        ValueError: if another process, or another thread, holds the lock; says which.
        OSError: if the lock cannot be written, for example because there is no space left.
    """
    folder = pathlib.Path(os.path.realpath(folder))
    restore(folder)
    if fcntl is None:
        yield
        return
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    file = _acquired(folder, what)
    try:
        _write_holder(file)
        yield
    finally:
        # While it is locked: who opened it before sees then that it is gone.
        with contextlib.suppress(FileNotFoundError):
            if _is_at(file, folder / LOCK_FILE):
                (folder / LOCK_FILE).unlink()
                if is_new and not os.listdir(folder):
                    folder.rmdir()
        file.close()


def hand_over(folder: str | os.PathLike[str], successor: str | os.PathLike[str]) -> None:
    """Has the lock on a folder hold for another one, which is about to take its place.

    Args:
        folder: The folder, whose lock this process holds; nothing happens if it has none.
        successor: The other folder, in the same file system.
    """
    lock = pathlib.Path(os.path.realpath(folder), LOCK_FILE)
    # A link to the same file, which is what the system has locked.
    with contextlib.suppress(OSError):  # there is none, or the file system has no links
        os.link(lock, pathlib.Path(successor, LOCK_FILE))


def _acquired(folder: pathlib.Path, what: str) -> IO[bytes]:
    path = folder / LOCK_FILE
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        # Without a buffer, which would be written again, and fail again, when it is closed.
        try:
            file = path.open("a+b", buffering=0)
        except FileNotFoundError:  # somebody else has removed the empty folder
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = _holder(file)
            file.close()
            raise ValueError(
                f"{folder} is in use{holder}: two commands cannot write one {what}. Wait until the "
                "other has ended, or give another folder"
            ) from error
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
        # The folder may have been replaced, or the file removed, between the two.
        with contextlib.suppress(FileNotFoundError):
            if _is_at(file, path):
                return file
        file.close()


def _is_at(file: IO[bytes], path: pathlib.Path) -> bool:
    return os.path.samestat(os.stat(path), os.fstat(file.fileno()))


def _write_holder(file: IO[bytes]) -> None:
    started = datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    holder = {"process": os.getpid(), "host": platform.node(), "started": started}
    file.truncate(0)
    try:
        file.write(json.dumps(holder).encode())
    except OSError as error:  # which does not name the file
        raise OSError(error.errno, error.strerror, file.name) from error


def _holder(file: IO[bytes]) -> str:
    """Says who holds a lock, if that can be read."""
    file.seek(0)
    try:
        found = json.loads(file.read(1000))
        return f" by process {found['process']} on {found['host']}, since {found['started']}"
    except (ValueError, TypeError, KeyError):
        return " by another process"  # which has not written who it is yet
