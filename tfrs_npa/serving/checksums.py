"""Checksums of a version of an export, and the error of one that is damaged."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import tensorflow as tf

from tfrs_npa._files import atomic_file
from tfrs_npa._quoting import quoted, reason_of
from tfrs_npa.runs.folder import UNREADABLE, checksum
from tfrs_npa.serving.checkpoint import KEPT_DATA

CHECKSUMS = pathlib.Path("assets.extra", "npa", "checksums.json")
_FORMAT = 1
# All that TensorFlow and a refresh read. Warm-up requests are not among it: they may be replaced.
_FILES = ("saved_model.*", "fingerprint.pb", "assets/**/*", "variables/*", "assets.extra/npa/**/*")
# TensorFlow raises what it finds first.
_UNREADABLE = (*UNREADABLE, OSError, RuntimeError, AssertionError, tf.errors.OpError)


class DamagedExportError(ValueError):
    """A version of an export is not what was written."""

    @classmethod
    def of(cls, path: pathlib.Path, reason: object) -> DamagedExportError:
        """Returns the error of a file or folder."""
        remedies = "restore it, remove this version if there is an earlier one, or export again"
        if path.name == KEPT_DATA.name:  # an earlier version has the same file: a refresh links it
            remedies = "restore it, or export again"
        return cls(f"{path} is damaged: {reason_of(reason)}; {remedies} from the run")


def write_sums(version: pathlib.Path, known: Mapping[str, Any]) -> None:
    """Writes size and checksum of each file of a version.

    Args:
        version: Its folder.
        known: What `sums_of` gave for another version that shares some files: these are not read.
    """
    names = {
        file.relative_to(version).as_posix()
        for pattern in _FILES
        for file in version.glob(pattern)
        if file.is_file() and file != version / CHECKSUMS
    }
    sums = {name: known.get(name) or _sum(version / name) for name in sorted(names)}
    # A refresh links files to those of the version before, so this is never written in place.
    with atomic_file(version / CHECKSUMS) as temporary:
        text = json.dumps({"format": _FORMAT, "files": sums}, indent=2) + "\n"
        temporary.write_text(text, encoding="utf-8")


def sums_of(version: pathlib.Path) -> dict[str, dict[str, Any]]:
    """Returns `bytes` and `sha256` of each file, by its name; nothing in earlier versions.

    Raises:
        DamagedExportError: if the file of checksums cannot be read.
        ValueError: if a later version of this package wrote it.
    """
    file = version / CHECKSUMS
    if not os.path.lexists(file):
        return {}
    try:
        if not file.is_file():
            raise ValueError("it is not a file")
        saved = json.loads(file.read_text(encoding="utf-8"))
        is_later, files = saved["format"] > _FORMAT, saved["files"]
        sums = {name: {"bytes": of["bytes"], "sha256": of["sha256"]} for name, of in files.items()}
    except UNREADABLE as error:
        raise DamagedExportError.of(file, error) from error
    if is_later:
        raise ValueError(
            f"{version} is of format {quoted(saved['format'])}, of a later version of tfrs-npa; "
            f"this one reads formats up to {_FORMAT}: update it, or export again"
        )
    return sums


def check_sums(version: pathlib.Path, unread: Collection[pathlib.Path] = ()) -> None:
    """Compares the files of a version with their checksums.

    Args:
        version: Its folder. Those of earlier versions of this package have no checksums.
        unread: Names of large files of which the size alone is compared.

    Raises:
        DamagedExportError: if a file is not what was written; names it.
    """
    for name, expected in sums_of(version).items():
        file = version / name
        if not file.is_file():
            raise DamagedExportError.of(file, "it is missing, or not a file")
        size = file.stat().st_size
        if size != expected["bytes"]:
            reason = f"it has {size:,} bytes instead of {quoted(expected['bytes'])}"
            raise DamagedExportError.of(file, reason)
        if pathlib.Path(name) not in unread and checksum(file) != expected["sha256"]:
            raise DamagedExportError.of(file, "its content is not what was written there")


@contextlib.contextmanager
def naming_damage(version: str | os.PathLike[str]) -> Iterator[None]:
    """Raises what goes wrong while a version is read as an error that names it.

    What has checksums was compared before: this is for versions without.

    Raises:
        DamagedExportError: if the version cannot be read.
    """
    try:
        yield
    except (DamagedExportError, PermissionError, tf.errors.ResourceExhaustedError):
        raise
    except _UNREADABLE as error:
        raise DamagedExportError.of(pathlib.Path(version), error) from error


def _sum(file):
    return {"bytes": file.stat().st_size, "sha256": checksum(file)}
