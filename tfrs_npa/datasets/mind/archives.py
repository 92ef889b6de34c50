"""Reads a split of MIND from a zip, without extracting it, or from a folder."""

from __future__ import annotations

import contextlib
import io
import pathlib
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO, cast

from etils import epath

from .errors import MindFileError

TABLES = ("behaviors", "news")


class Archive:
    """One split of MIND as it is published: a zip, or the folder that it was extracted to.

    The two files may lie at the top or in a folder. They are read straight from the zip.

    Args:
        path: The zip or the folder.

    Raises:
        MindFileError: The zip is damaged, or `news.tsv` or `behaviors.tsv` is missing.

    Example:
        >>> archive = Archive("MINDsmall_train.zip")
        >>> with archive.open("news") as file:
        ...     articles = list(read_news(file, name=archive.name("news")))
    """

    def __init__(self, path: epath.PathLike):
        self._path = epath.Path(path)
        self._is_folder = self._path.is_dir()
        if self._is_folder:
            sizes = {
                str(file.relative_to(self._path)): file.stat().length
                for pattern in ("*.tsv", "*/*.tsv")
                for file in self._path.glob(pattern)
            }
        else:
            with self._opened_zip() as archive:
                sizes = {member.filename: member.file_size for member in archive.infolist()}
        self._members = {table: self._find(f"{table}.tsv", list(sizes)) for table in TABLES}
        self._sizes = {table: sizes[member] for table, member in self._members.items()}

    def name(self, table: str) -> str:
        """Returns the path of `news` or `behaviors`, that of the zip included."""
        return f"{self._path}/{self._members[table]}"

    def size(self, table: str) -> int:
        """Returns the size of `news` or `behaviors` in bytes, extracted."""
        return self._sizes[table]

    @contextlib.contextmanager
    def open(self, table: str) -> Iterator[BinaryIO]:
        """Opens `news` or `behaviors` for reading bytes.

        Raises:
            MindFileError: The zip turns out to be damaged, here or while it is read.
        """
        if self._is_folder:
            with (self._path / self._members[table]).open("rb") as file:
                yield file
        else:
            with self._opened_zip() as archive, archive.open(self._members[table]) as member:
                # The members of a zip look for line ends in Python, a buffer does so in C.
                yield io.BufferedReader(cast(io.RawIOBase, member), buffer_size=1 << 20)

    @contextlib.contextmanager
    def _opened_zip(self) -> Iterator[zipfile.ZipFile]:
        try:
            with self._path.open("rb") as file, zipfile.ZipFile(file) as archive:
                yield archive
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise MindFileError(
                f"the zip is truncated or damaged ({error}); delete it and download it again",
                self._path,
            ) from error

    def _find(self, name: str, members: list[str]) -> str:
        paths = map(pathlib.PurePosixPath, members)
        found = [path for path in paths if path.name == name and "__MACOSX" not in path.parts]
        if len(found) != 1:
            raise MindFileError(
                f"expected one {name}, at the top or in a folder; found {len(found)} among "
                f"{', '.join(members) or 'no files'}; download it again",
                self._path,
            )
        return str(found[0])
