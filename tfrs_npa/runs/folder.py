"""Folders written by a command: the base class of run and search folders."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import fnmatch
import hashlib
import json
import os
import pathlib
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import yaml

from tfrs_npa._files import atomic_file, atomic_folder, is_temporary
from tfrs_npa._lock import LOCK_FILE, hand_over
from tfrs_npa._quoting import quoted, reason_of
from tfrs_npa._yaml import read_yaml
from tfrs_npa.settings import DataSettings

_DATA_FILE = "data.json"
_CHECKSUMS_FILE = "checksums.json"
# Of the layout of a folder. Those of version 0.1 say nothing.
_FORMAT = 2
# What readers raise when a file does not hold what they expect.
UNREADABLE = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    RecursionError,
    OverflowError,
    EOFError,
    csv.Error,
    yaml.YAMLError,
    zipfile.BadZipFile,
    zlib.error,
)


class ResultFolder:
    """A folder that a command writes and can resume from, and that other commands read.

    It is created atomically, complete enough to resume from, and only ever replaces a folder of
    the same kind that holds no other files.

    Args:
        path: The folder.

    Raises:
        ValueError: if it does not exist or is of another kind.
    """

    # A subclass says: what it is a folder of; the subcommand of `tfrs-npa` that writes it; its file
    # of settings, and their class; another file that tells its kind; patterns of all its files.
    kind: ClassVar[str]
    command: ClassVar[str]
    settings_name: ClassVar[str]
    settings_type: ClassVar[type[DataSettings]]
    other_name: ClassVar[str]
    file_patterns: ClassVar[tuple[str, ...]]

    def __init__(self, path: str | os.PathLike[str]):
        self.path = pathlib.Path(path)
        if not self._is_at(self.path):
            problem = "does not exist"
            if self.path.exists():
                problem = f"is not the folder of a {self.kind}"
            raise ValueError(
                f"{self.path} {problem}; `tfrs-npa {self.command} --run {self.path}` makes one"
            )

    @property
    def settings(self) -> Any:
        """The settings that the command was given, a `settings_type`."""
        with self.reading(self.settings_name) as file:
            return self.settings_type.from_saved(read_yaml(file))

    @contextlib.contextmanager
    def reading(self, name: str) -> Iterator[pathlib.Path]:
        """Yields a file of the folder, whose content is compared with its checksum if it has one.

        Args:
            name: The name of the file in the folder.

        Raises:
            ValueError: if it is not what was written, or cannot be read in the block; names it.
        """
        file, expected = self.path / name, self._checksums.get(name)
        try:
            if expected is not None and expected != checksum(file):
                raise ValueError("its content is not what was written there")
            yield file
        except (*UNREADABLE, FileNotFoundError, IsADirectoryError) as error:
            raise damaged(file, error) from error

    def has(self, name: str) -> bool:
        """Whether a file is there that some folders do not have.

        Args:
            name: The name of the file in the folder.

        Raises:
            ValueError: if it was written, and is missing.
        """
        file = self.path / name
        is_there = file.exists()
        if not is_there and name in self._checksums:
            raise damaged(file, FileNotFoundError())
        return is_there

    @property
    def _checksums(self) -> dict[str, str]:
        file = self.path / _CHECKSUMS_FILE
        if not file.exists():
            return {}
        try:
            saved = json.loads(file.read_text(encoding="utf-8"))
            is_later, files = saved["format"] > _FORMAT, {**saved["files"]}
        except UNREADABLE as error:
            raise damaged(file, error) from error
        if is_later:
            raise ValueError(
                f"{self.path} is of format {quoted(saved['format'])}, of a later version of "
                f"tfrs-npa; this one reads formats up to {_FORMAT}: update it"
            )
        return files

    @classmethod
    def check_free(cls, path: str | os.PathLike[str], overwrite: bool) -> None:
        """Makes sure that such a folder may be written at `path`.

        Args:
            path: The folder.
            overwrite: Whether it may replace a folder of the same kind.

        Raises:
            ValueError: if there is a folder of the same kind and `overwrite` is false, or it holds
                a file that is not its own, or anything else exists there.
        """
        path = pathlib.Path(path)
        if not path.exists() or path.is_dir() and not {*os.listdir(path)} - {LOCK_FILE}:
            return
        if not cls._is_at(path):
            raise ValueError(
                f"{path} exists and is not the folder of a {cls.kind}; give another folder"
            )
        if not overwrite:
            raise ValueError(
                f"{path} holds a {cls.kind} already; use --resume, --overwrite or another folder"
            )
        foreign = cls._foreign_file(path)
        if foreign is not None:
            raise ValueError(
                f"{path} cannot be overwritten: {foreign} is not a file of a {cls.kind}; move it "
                "elsewhere, or give another folder"
            )

    @property
    def data_fingerprint(self) -> dict[str, Any] | None:
        """The fingerprint of the data (`Splits.fingerprint`); None in folders of older versions."""
        if not self.has(_DATA_FILE):
            return None
        with self.reading(_DATA_FILE) as file:
            saved = json.loads(file.read_text(encoding="utf-8"))
            if not all(isinstance(part, dict) for part in [saved, *saved.values()]):
                raise ValueError("it is not a fingerprint")
            return saved

    def save_data_fingerprint(self, fingerprint: Mapping[str, Any]) -> None:
        """Saves the fingerprint of the data, for `require_same_data`.

        Args:
            fingerprint: The result of `Splits.fingerprint`.
        """
        write_data_fingerprint(self.path, fingerprint)

    def require_same_data(
        self, data: str, fingerprint: Mapping[str, Any], others: Sequence[str] = ()
    ) -> None:
        """Makes sure that the data is the same as when the command was started.

        Args:
            data: Name of the data.
            fingerprint: The result of `Splits.fingerprint` now.
            others: Differences that were found in other ways, in words.

        Raises:
            ValueError: if it is not; says what differs.
        """
        before = self.data_fingerprint
        differ = [*others, *([] if before is None else differences(before, fingerprint))]
        if differ:
            raise ValueError(
                f"{data} has changed since {self.path} was started: {'; '.join(differ)}. Restore "
                f"the data to resume this {self.kind}, or start another one with --overwrite"
            )

    @classmethod
    @contextlib.contextmanager
    def _created(
        cls, path: str | os.PathLike[str], settings: DataSettings, overwrite: bool
    ) -> Iterator[pathlib.Path]:
        """Yields a temporary folder with the settings, moved to `path` if the block does not raise.

        Raises:
            ValueError: as `check_free`.
        """
        cls.check_free(path, overwrite)
        with atomic_folder(path, replace=overwrite) as temporary:
            text = yaml.safe_dump(dataclasses.asdict(settings), sort_keys=False)
            (temporary / cls.settings_name).write_text(text, encoding="utf-8")
            yield temporary
            cls.check_free(path, overwrite)  # again: writing takes a while
            hand_over(path, temporary)
            if not overwrite:  # so that only an empty folder is replaced
                pathlib.Path(path, LOCK_FILE).unlink(missing_ok=True)

    @classmethod
    def _is_at(cls, path: pathlib.Path) -> bool:
        return (path / cls.settings_name).is_file() and (path / cls.other_name).is_file()

    @classmethod
    def _foreign_file(cls, path: pathlib.Path) -> pathlib.Path | None:
        """Returns a file that no command of this kind writes; None if there is none."""
        own = (cls.settings_name, cls.other_name, _DATA_FILE, _CHECKSUMS_FILE, LOCK_FILE)
        patterns = (*own, *cls.file_patterns)
        for folder, subfolders, files in os.walk(path):
            links = [name for name in subfolders if os.path.islink(os.path.join(folder, name))]
            for file in (pathlib.Path(folder, name) for name in [*files, *links]):
                name = file.relative_to(path).as_posix()
                if not is_temporary(file) and not any(fnmatch.fnmatch(name, p) for p in patterns):
                    return file
        return None


def damaged(file: pathlib.Path, error: Exception) -> ValueError:
    """Returns the error of a file in a folder that cannot be read."""
    if isinstance(error, FileNotFoundError):
        return ValueError(f"{file} is missing; restore it, or start over with --overwrite")
    text = str(error).removeprefix(f"{file}:").removeprefix(f"{file} ").strip()
    reason = reason_of(text or error)
    return ValueError(f"{file} is damaged: {reason}; restore it, or start over with --overwrite")


def checksum(file: pathlib.Path) -> str:
    """Returns the SHA-256 of a file."""
    with file.open("rb") as opened:
        digest = hashlib.sha256()
        while block := opened.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def write_checksums(folder: pathlib.Path, names: Sequence[str]) -> None:
    """Writes the checksums that `ResultFolder.reading` compares.

    Args:
        folder: The folder.
        names: Patterns of the files in it that are not going to change.
    """
    files = sorted(file for name in names for file in folder.glob(name))
    sums = {file.relative_to(folder).as_posix(): checksum(file) for file in files}
    with atomic_file(folder / _CHECKSUMS_FILE) as temporary:
        text = json.dumps({"format": _FORMAT, "files": sums}, indent=2) + "\n"
        temporary.write_text(text, encoding="utf-8")


def write_data_fingerprint(folder: pathlib.Path, fingerprint: Mapping[str, Any]) -> None:
    """Writes the file that `ResultFolder.data_fingerprint` reads."""
    with atomic_file(folder / _DATA_FILE) as temporary:
        temporary.write_text(json.dumps(fingerprint, indent=2) + "\n", encoding="utf-8")


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Says what differs between two results of `Splits.fingerprint`, a phrase for each."""
    phrases = []
    for name in before.keys() | now.keys():
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        if old is None or new is None:
            phrases.append(f"{name} {'is new' if old is None else 'is gone'}")
        elif old["count"] != new["count"]:
            phrases.append(f"{new['count']:,} {name}, not {old['count']:,}")
        else:
            names = dict.fromkeys([*old, *new])
            columns = [column for column in names if old.get(column) != new.get(column)]
            phrases.append(f"other {' and '.join(columns)} in the {name}")
    return sorted(phrases)
