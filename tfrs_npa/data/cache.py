"""Caches preprocessed data on disk."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import pathlib
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_npa._files import atomic_folder, is_temporary
from tfrs_npa.settings import CACHE_BYTES

# Part of every key, so that entries written by another version of this code are ignored.
_FORMAT = 3
_PREFIX = "tfrs-npa-"
_INDEX = "index.json"
_BLOCK = 1 << 22

logger = logging.getLogger(__name__)


class Cache:
    """Arrays by key, in a folder that several processes may use at once.

    An entry is complete or absent: it is written under a temporary name, then moved into place. A
    damaged entry fails its checksum and is made again. A folder that cannot be written to costs a
    warning, and the time to make everything every time.

    >>> cache = Cache("my-cache")
    >>> cache.json(["squares", 3], lambda: [number**2 for number in range(3)])
    [0, 1, 4]

    Args:
        folder: Created if missing, for its owner only. Other files in it are left alone.
        max_bytes: Total size beyond which the least recently used entries are deleted.
    """

    def __init__(self, folder: str | os.PathLike[str], max_bytes: int = CACHE_BYTES):
        self.folder = pathlib.Path(folder)
        self.max_bytes = max_bytes

    def arrays(
        self, key: Any, make: Callable[[], Iterable[Mapping[str, np.ndarray]]]
    ) -> dict[str, np.ndarray]:
        """Returns the arrays of a key; makes them if they are not cached.

        Args:
            key: All that the arrays depend on; anything that JSON can hold.
            make: Returns arrays of numbers by name, in pieces along the first axis. Only one piece
                is in memory at a time.

        Returns:
            The arrays, read-only memory maps; arrays in memory if they could not be kept.

        Raises:
            TypeError: if an array holds anything but numbers.
        """
        text = json.dumps([_FORMAT, key], sort_keys=True)
        entry = self.folder / (_PREFIX + hashlib.sha256(text.encode()).hexdigest()[:40])
        arrays = _load(entry)
        if arrays is None:
            try:
                self._store(entry, make)
            except _SourceError as error:
                raise error.error from error.error.__cause__
            except OSError as error:
                # Another process may have made the same meanwhile.
                if (arrays := _load(entry)) is None:
                    logger.warning("preprocessed data cannot be cached: %s", error)
            else:
                arrays = _load(entry)
        return joined(make()) if arrays is None else arrays

    def json(self, key: Any, make: Callable[[], Any]) -> Any:
        """Returns the value of a key; makes it if it is not cached.

        Args:
            key: All that the value depends on; anything that JSON can hold.
            make: Returns the value; anything that JSON can hold.
        """

        def pieces():
            yield {"json": np.frombuffer(json.dumps(make()).encode(), np.uint8)}

        return json.loads(self.arrays(key, pieces)["json"].tobytes())

    def _store(self, entry: pathlib.Path, make) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Another process may be reading an entry that is good, so only a damaged one is replaced.
        is_damaged = entry.exists()
        with atomic_folder(entry, replace=is_damaged, mode=0o700) as temporary:
            _write(temporary, _marked(make()))
        self._drop_oldest(entry)

    def _drop_oldest(self, newest: pathlib.Path) -> None:
        """Deletes the oldest entries beyond `max_bytes`, and leftovers of killed processes."""
        ages = {}
        for entry in self.folder.iterdir():
            # A temporary name ends with that of the entry.
            if entry.name.startswith(_PREFIX) or is_temporary(entry) and _PREFIX in entry.name:
                with contextlib.suppress(OSError):  # another process deletes too
                    ages[entry] = entry.stat().st_mtime_ns
        total = 0
        for entry in sorted(ages, key=lambda entry: ages[entry], reverse=True):
            with contextlib.suppress(OSError):
                total += sum(file.stat().st_size for file in entry.iterdir())
            if total > self.max_bytes and entry != newest:
                shutil.rmtree(entry, ignore_errors=True)


def default_cache_dir() -> pathlib.Path:
    """Returns where the command line caches data: `tfrs-npa` in the user's cache folder.

    That folder is `$XDG_CACHE_HOME`, or `~/.cache`.
    """
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "tfrs-npa"


def state_of(files: Iterable[str | os.PathLike[str]]) -> list[list[Any]]:
    """Returns the state of files, which changes with them: path, size in bytes, times in ns.

    The times are those of the last change of the content and of the entry in the file system: the
    second cannot be set back, as copying and unpacking programs do with the first.

    Raises:
        OSError: if a file is missing.
    """
    states = []
    for file in files:
        path = os.fspath(file)
        if "://" in path:
            found = tf.io.gfile.stat(path)
            states.append([path, found.length, found.mtime_nsec])
        else:
            found = os.stat(path)
            times = [found.st_mtime_ns, found.st_ctime_ns]
            states.append([os.path.abspath(path), found.st_size, *times])
    return states


def joined(pieces: Iterable[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Joins pieces of arrays by name along their first axis, in memory.

    Beyond the result, one piece is in memory at a time.
    """
    columns: dict[str, np.ndarray] = {}
    for piece in pieces:
        for name, array in piece.items():
            if name not in columns:
                columns[name] = np.array(array, order="C")
                continue
            column, rows = columns[name], len(columns[name])
            if column.dtype != array.dtype or column.shape[1:] != array.shape[1:]:
                columns[name] = np.concatenate([column, array])
                continue
            # In place: the system moves pages of large arrays instead of copying them.
            column.resize((rows + len(array), *column.shape[1:]), refcheck=False)
            column[rows:] = array
    return columns


class _SourceError(Exception):
    """Carries an error of the source past the handling of errors of the cache's own files."""

    def __init__(self, error: OSError):
        super().__init__(str(error))
        self.error = error


def _marked(pieces: Iterable[Mapping[str, np.ndarray]]) -> Iterator[Mapping[str, np.ndarray]]:
    try:
        yield from pieces
    except OSError as error:
        raise _SourceError(error) from error


def _write(folder: pathlib.Path, pieces: Iterable[Mapping[str, np.ndarray]]) -> None:
    index: dict[str, dict[str, Any]] = {}
    with contextlib.ExitStack() as stack:
        files = {}
        for piece in pieces:
            for name, array in piece.items():
                if array.dtype.kind not in "biuf":
                    raise TypeError(f"{name} is of {array.dtype}; a cache holds numbers only")
                if name not in index:
                    file = f"{len(index)}.bin"
                    dtype, shape = array.dtype.str, [0, *array.shape[1:]]
                    index[name] = {"file": file, "dtype": dtype, "shape": shape, "crc": 0}
                    files[name] = stack.enter_context(open(folder / file, "wb"))
                data = _bytes_of(np.ascontiguousarray(array, index[name]["dtype"]))
                files[name].write(data.data)
                index[name]["crc"] = zlib.crc32(data.data, index[name]["crc"])
                index[name]["shape"][0] += len(array)
    text = json.dumps(index)
    (folder / _INDEX).write_text(f"{zlib.crc32(text.encode())} {text}", encoding="utf-8")


def _load(entry: pathlib.Path) -> dict[str, np.ndarray] | None:
    """Returns the arrays of an entry, None if it is absent or damaged."""
    try:
        crc, _, text = _regular(entry / _INDEX).read_text(encoding="utf-8").partition(" ")
        if int(crc) != zlib.crc32(text.encode()):
            return None
        index = json.loads(text)
        arrays = {name: _mapped(entry, **columns) for name, columns in index.items()}
        with contextlib.suppress(OSError):  # a read-only folder
            os.utime(entry)
    except Exception:  # whatever is wrong with it, it is made again
        return None
    return arrays


def _mapped(entry: pathlib.Path, file: str, dtype: str, shape: list[int], crc: int) -> np.ndarray:
    path = _regular(entry / file)
    if 0 in shape:  # an empty file cannot be mapped
        array = np.zeros(shape, dtype)
    else:
        array = np.memmap(path, np.dtype(dtype), "r", shape=tuple(shape))
    if path.stat().st_size != array.nbytes:
        raise ValueError(f"{path} is not of the size it was written with")
    data, found = _bytes_of(array), 0
    for first in range(0, len(data), _BLOCK):
        found = zlib.crc32(data[first : first + _BLOCK].data, found)
    if found != crc:
        raise ValueError(f"{path} is not what was written")
    # A plain array, because small selections from np.memmap are slower.
    return np.asarray(array)


def _regular(path: pathlib.Path) -> pathlib.Path:
    """Returns a path that is a file, not a pipe that would be waited for."""
    if not path.is_file():
        raise FileNotFoundError(path)
    return path


def _bytes_of(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1).view(np.uint8)
