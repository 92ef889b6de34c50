"""Reads a split of MIND from a zip, without extracting it, or from a folder."""

from __future__ import annotations

import contextlib
import io
import lzma
import pathlib
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, BinaryIO

from etils import epath

from tfrs_npa._quoting import listed, shortened

from .errors import MindFileError
from .tsv import buffered, is_regular_file

TABLES = ("behaviors", "news")
# Text of MIND shrinks to a fourth; what unpacks to far more than it has in the zip was made to fill
# memory and disk.
_MOST_TIMES, _LEAST_BYTES = 200, 64 << 20
# What a damaged zip raises. OSError is bzip2's, and that of an offset beyond the file; MemoryError
# is LZMA's, which is told how much memory it needs.
_DAMAGE: tuple[type[Exception], ...] = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError)
_DAMAGE += (UnicodeError, OSError, MemoryError)


class Archive:
    """One split of MIND as it is published: a zip, or the folder that it was extracted to.

    The two files may lie at the top or in a folder. They are read straight from the zip.

    Args:
        path: The zip or the folder.

    Raises:
        MindFileError: The zip is damaged, encrypted, compressed in a way that Python does not know,
            or made to unpack to far more than it is; or `news.tsv` or `behaviors.tsv` is missing,
            or there twice.

    Example:
        >>> archive = Archive("MINDsmall_train.zip")
        >>> with archive.open("news") as file:
        ...     articles = list(read_news(file, name=archive.name("news")))
    """

    def __init__(self, path: epath.PathLike):
        self._path = epath.Path(path)
        self._is_folder = self._path.is_dir()
        # Only these are ever opened: reading a pipe would wait for whoever writes to it.
        if not (self._is_folder or is_regular_file(self._path)):
            raise MindFileError("neither a folder nor a regular file; give a zip", self._path)
        if self._is_folder:
            sizes = [
                (str(file.relative_to(self._path)), file.stat().length)
                for pattern in ("*.tsv", "*/*.tsv")
                for file in self._path.glob(pattern)
                if is_regular_file(file)
            ]
        else:
            with self._opened_zip() as archive:
                members = [member for member in archive.infolist() if not member.is_dir()]
            sizes = [(member.filename, member.file_size) for member in members]
        self._members = {
            table: self._find(f"{table}.tsv", [name for name, _ in sizes]) for table in TABLES
        }
        self._sizes = {table: dict(sizes)[member] for table, member in self._members.items()}
        if not self._is_folder:
            chosen = set(self._members.values())
            self._require_modest([member for member in members if member.filename in chosen])

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
                yield buffered(file)
        else:
            with self._opened_zip() as archive, self._opened_member(archive, table) as member:
                # The members of a zip look for line ends in Python, a buffer does so in C.
                yield io.BufferedReader(member, buffer_size=1 << 20)

    @contextlib.contextmanager
    def _opened_zip(self) -> Iterator[zipfile.ZipFile]:
        with self._path.open("rb") as file:
            with _clear_errors(self._path):
                archive = zipfile.ZipFile(file)
            with archive:
                yield archive

    def _opened_member(self, archive: zipfile.ZipFile, table: str) -> _Member:
        with _clear_errors(self._path):
            return _Member(archive.open(self._members[table]), self._path)

    def _require_modest(self, members: list[zipfile.ZipInfo]) -> None:
        for member in members:
            most = max(_LEAST_BYTES, _MOST_TIMES * member.compress_size)
            if member.file_size > most:
                name = shortened(member.filename, 60)
                raise MindFileError(
                    f"{name} would unpack to {member.file_size:,} bytes from "
                    f"{member.compress_size:,}, which no text of MIND does; delete the zip and "
                    "download it again, or give the folder that you extract it to",
                    self._path,
                )

    def _find(self, name: str, members: list[str]) -> str:
        paths = [(member, pathlib.PurePosixPath(member)) for member in members]
        found = [
            member for member, path in paths if path.name == name and "__MACOSX" not in path.parts
        ]
        if len(found) != 1:
            raise MindFileError(
                f"expected one {name}, at the top or in a folder; found {len(found)} among "
                f"{listed(members) or 'no files'}; download it again",
                self._path,
            )
        return found[0]


class _Member(io.RawIOBase):
    """A member of a zip, whose damage is an error that names the zip."""

    def __init__(self, member: IO[bytes], path: epath.Path):
        super().__init__()
        self._member, self._path = member, path

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        with _clear_errors(self._path):
            read = self._member.read(len(buffer))
        buffer[: len(read)] = read
        return len(read)

    def close(self) -> None:
        self._member.close()
        super().close()


@contextlib.contextmanager
def _clear_errors(path: epath.Path) -> Iterator[None]:
    """Has errors of `zipfile` name the zip, and say what to do."""
    try:
        yield
    except _DAMAGE as error:
        raise MindFileError(
            f"the zip is truncated or damaged ({_reason(error)}); delete it and download it again",
            path,
        ) from error
    except (NotImplementedError, RuntimeError) as error:
        raise MindFileError(
            f"the zip cannot be read ({_reason(error)}); pack its files again, without a password, "
            "and with deflate, the usual compression",
            path,
        ) from error


def _reason(error: Exception) -> str:
    return shortened(str(error) or type(error).__name__, 150)
