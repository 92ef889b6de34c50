"""Files and folders that appear whole: written under a temporary name, then moved into place.

What is moved is on the disk before it replaces anything: after a power failure there is the old
content or the new one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import shutil
import time
import uuid
from collections.abc import Iterator

_YOUNG = 60  # seconds
# In the temporary name of a folder that is being replaced: until another one is there, it is all
# that there is.
_ASIDE = ".aside.tmp."


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Yields a temporary path, moved to `path` when the block ends without an error.

    With several names in one `with` statement, all files are complete before the first is moved.

    >>> with atomic_file("metrics.json") as temporary:
    ...     temporary.write_text("{}")

    Args:
        path: The file to write, replaced if it exists; missing parent folders are created.

    Yields:
        The temporary path to write to, which ends with the name of `path`. It is removed if the
        block raises.

    Raises:
        ValueError: if something other than a regular file exists at `path`.
    """
    path = require_replaceable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
        _flush(path.parent)
    except OSError as error:
        _raise_about(error, temporary, path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(
    path: str | os.PathLike[str], replace: bool = False, mode: int = 0o777
) -> Iterator[pathlib.Path]:
    """Yields a temporary folder, moved to `path` when the block ends without an error.

    Args:
        path: The folder to write, or a link to it; missing parent folders are created.
        replace: Whether anything that exists there is replaced as a whole.
        mode: Permissions of the folder, as `os.mkdir` takes them.

    Yields:
        The temporary folder, already created. It is removed if the block raises.

    Raises:
        OSError: if something other than an empty folder exists there and `replace` is false.
    """
    path = pathlib.Path(os.path.realpath(path))
    temporary = _temporary(path)
    replaced = temporary.with_name(temporary.name.replace(".tmp.", _ASIDE, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary.mkdir(mode)
    try:
        yield temporary
        _flush_all(temporary)
        if not (replace and os.path.lexists(path)):
            os.rename(temporary, path)
            _flush(path.parent)
            return
        os.replace(path, replaced)
        try:
            os.replace(temporary, path)
        except BaseException:
            os.replace(replaced, path)
            raise
        _flush(path.parent)
        _remove(replaced)
    except OSError as error:
        _raise_about(error, temporary, path)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def restore(path: pathlib.Path) -> None:
    """Puts a folder back if the process that replaced it died between the two moves.

    Args:
        path: The folder; nothing happens if something exists there.
    """
    if os.path.lexists(path):
        return
    with contextlib.suppress(OSError):  # there is none, or it is not ours
        beside = path.parent.iterdir()
        aside = [other for other in beside if other.name.endswith(f"{_ASIDE}{path.name}")]
        if aside:
            os.rename(max(aside, key=lambda other: other.stat().st_ctime), path)


def remove_folder(path: pathlib.Path) -> None:
    """Removes a folder and all that is in it; it is there as a whole, or not at all."""
    temporary = _temporary(path)
    os.replace(path, temporary)
    shutil.rmtree(temporary)


def require_replaceable(path: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the file that writing to `path` would replace: its target, if it is a link.

    Raises:
        ValueError: if something other than a regular file exists there, such as a folder or a
            device.
    """
    # The path itself is tested: the target of /dev/stdout may have no path of its own.
    if os.path.exists(path) and not os.path.isfile(path):
        raise ValueError(f"{path} exists and is not a regular file; give another name")
    return pathlib.Path(os.path.realpath(path))


def is_temporary(path: pathlib.Path) -> bool:
    """Whether a file or folder was left behind by an interrupted write, of older versions too."""
    name = path.name
    return name.startswith(".") and (".tmp." in name or name.endswith(".tmp"))


def sweep(folder: str | os.PathLike[str]) -> None:
    """Removes what writers that are dead left in a folder, and beside it under its name.

    Args:
        folder: A folder that no other process writes into: the caller has locked it. What is
            younger than a minute stays: pictures are written without a lock.
    """
    folder = pathlib.Path(os.path.realpath(folder))
    if not folder.exists():
        return
    found = []
    with contextlib.suppress(PermissionError):  # the folder above may belong to somebody else
        beside = folder.parent.iterdir()
        found += [path for path in beside if path.name.endswith(f".tmp.{folder.name}")]
    for inside, folders, files in os.walk(folder):
        found += [pathlib.Path(inside, name) for name in [*folders, *files]]
    for path in filter(is_temporary, found):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.lstat().st_mtime > _YOUNG:
                _remove(path)


def _raise_about(error: OSError, temporary: pathlib.Path, path: pathlib.Path) -> None:
    """Raises an error of writing, such as a full disk, that names what was to be written."""
    if error.args and error.errno is None and type(error) is OSError:  # of NumPy
        raise OSError(f"{path} cannot be written: {error}") from error
    file = os.fspath(path if error.filename is None else error.filename)
    file = file.replace(os.fspath(temporary), os.fspath(path))
    if error.errno is not None and type(error).__module__ == "builtins" and file != error.filename:
        raise OSError(error.errno, error.strerror, file) from error


def _flush(path: pathlib.Path) -> None:
    """Waits until a file, or the entries of a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems cannot do so with folders, or at all.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
    finally:
        os.close(descriptor)


def _flush_all(path: pathlib.Path) -> None:
    for folder, _, files in os.walk(path):
        for file in files:
            _flush(pathlib.Path(folder, file))
        _flush(pathlib.Path(folder))


def _remove(path: pathlib.Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _temporary(path: pathlib.Path) -> pathlib.Path:
    # The name comes last, because some writers choose the format by the suffix.
    return path.with_name(f".{uuid.uuid4().hex[:12]}.tmp.{path.name}")
