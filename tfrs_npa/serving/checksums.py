"""Checksums of a version of an export, compared before anything else of it is read."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from tfrs_npa._files import atomic_file
from tfrs_npa._quoting import shortened
from tfrs_npa.runs.folder import checksum

CHECKSUMS = pathlib.Path("assets.extra", "npa", "checksums.json")
# How much of an error a message quotes.
_REASON = 200


class DamagedExportError(ValueError):
    """A version of an export is not what was written."""


def write_checksums(version: pathlib.Path) -> None:
    """Writes size and SHA-256 of each file of a version.

    Values of variables have their sizes alone: TensorFlow keeps checksums of them, in their index,
    and compares them when it reads. So a refresh need not read what it does not change.

    Args:
        version: Folder of the version.
    """
    files = sorted(path for path in version.rglob("*") if path.is_file())
    found = {
        path.relative_to(version).as_posix(): [
            path.stat().st_size,
            None if ".data-" in path.name else checksum(path),
        ]
        for path in files
        if path != version / CHECKSUMS
    }
    with atomic_file(version / CHECKSUMS) as temporary:
        text = json.dumps({"files": found}, indent=2) + "\n"
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def reading(version: str | os.PathLike[str]) -> Iterator[None]:
    """Compares the checksums of a version; has errors of the block name it.

    There are none to compare in what earlier versions of the package wrote, or on another machine.

    Args:
        version: Folder of the version.

    Raises:
        DamagedExportError: if a file is missing or not what was written, or cannot be read in the
            block.
        PermissionError: if it may not be read.
    """
    try:
        _compare(pathlib.Path(version))
        yield
    except (PermissionError, MemoryError):
        raise
    except Exception as error:  # TensorFlow's readers raise errors of any kind
        reason = " ".join(str(error).split()) or type(error).__name__
        reason = reason.replace(f"{os.fspath(version)}{os.sep}", "")
        raise DamagedExportError(
            f"{os.fspath(version)} is damaged: {shortened(reason, _REASON)}; restore it, or export "
            "again from the run"
        ) from error


def load_saved_model(version: str | os.PathLike[str]) -> Any:
    """Returns the SavedModel of a version.

    Args:
        version: Folder of the version.

    Raises:
        DamagedExportError: as `reading`.
    """
    with reading(version):
        return tf.saved_model.load(os.fspath(version))


def _compare(version: pathlib.Path) -> None:
    if not os.path.lexists(version / CHECKSUMS):
        return
    if not (version / CHECKSUMS).is_file():
        raise ValueError(f"{CHECKSUMS} is no file")
    try:
        expected = json.loads((version / CHECKSUMS).read_text(encoding="utf-8"))["files"].items()
        expected = [(name, size, digest) for name, (size, digest) in expected]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{CHECKSUMS} holds no checksums") from error
    for name, size, digest in expected:
        file = version / name
        if not file.is_file():
            raise ValueError(f"{name} is missing")
        if file.stat().st_size != size or digest not in (None, checksum(file)):
            raise ValueError(f"the content of {name} is not what was written there")
