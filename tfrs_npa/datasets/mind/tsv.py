"""Reads and writes `news.tsv` and `behaviors.tsv`, the two files of a MIND split.

Both are plain tab-separated UTF-8 text: no header, and no quoting, so that a quotation mark in a
title is just a quotation mark. One line is in memory at a time.

Blanks separate the ids of a list, and nothing else does: any other white space is part of an id. In
a file with labels, the label of a candidate is what follows its last hyphen: `N1--1` is a click on
`N1-`.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import io
import logging
import os
import pathlib
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO, cast

from etils import epath

from tfrs_npa._quoting import quoted

from .errors import MindFileError

logger = logging.getLogger(__name__)

NEWS_COLUMNS = (
    "news_id",
    "category",
    "subcategory",
    "title",
    "abstract",
    "url",
    "title_entities",
    "abstract_entities",
)
BEHAVIORS_COLUMNS = ("impression_id", "user_id", "time", "history", "impressions")

LONGEST_ID = 1024
"""Most bytes that an id may have in UTF-8; what is longer is another column or a broken line."""
LONGEST_LINE = 1 << 24
"""Most bytes of a line; reading stops there, so that a file without line ends fills no memory."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_CLICKED = {"-0": 0, "-1": 1}
_TIME = re.compile(r"(\d\d?)/(\d\d?)/(\d{4}) (\d\d?):(\d\d):(\d\d) ([AP])M", re.ASCII)
_LARGEST_INT64 = 2**63 - 1


class _FieldError(Exception):
    """What is wrong with one field; the reader of the line knows where that is."""


def read_news(
    source: str | os.PathLike[str] | BinaryIO, *, name: str | None = None
) -> Iterator[dict[str, str]]:
    """Yields the articles of a `news.tsv`, in file order.

    When a news id is repeated, its first article is kept, and the number of the others is logged
    as one warning at the end.

    Args:
        source: Path of the file, or a file opened for reading bytes.
        name: What error messages call the file; its path when left out.

    Yields:
        `news_id`, `category`, `subcategory`, `title`, `abstract`, `url`, `title_entities` and
        `abstract_entities`, all strings.

    Raises:
        MindFileError: The file is missing, empty, not UTF-8, or has a bad line.

    Example:
        >>> for article in read_news("MINDsmall_train/news.tsv"):
        ...     print(article["news_id"], article["title"])
    """
    name = name or _name_of(source)
    seen = set()
    repeated = 0
    for fields in read_articles(source, name):
        if fields[0] in seen:
            repeated += 1
            continue
        seen.add(fields[0])
        yield dict(zip(NEWS_COLUMNS, fields))
    warn_of_repeated(name, repeated)


def read_articles(source: Any, name: str, first_line: int = 1) -> Iterator[list[str]]:
    """Yields the fields of the lines of a `news.tsv`; repeated news ids are still among them.

    Args:
        source: As in `read_news`, or some lines.
        name: What error messages call the file.
        first_line: The number of the first line; if it is more than 1, there may be no lines.

    Raises:
        MindFileError: as `read_news`.
    """
    for line, fields in _read_rows(source, name, NEWS_COLUMNS, first_line):
        if not fields[0] or " " in fields[0]:
            raise MindFileError(
                f"news_id {quoted(fields[0])} is empty or holds a space", name, line
            )
        try:
            _short("news_id", fields[:1])
        except _FieldError as error:
            raise MindFileError(str(error), name, line) from None
        yield fields


def warn_of_repeated(name: str, number: int) -> None:
    """Logs a warning if lines of a `news.tsv` were left out, because their ids are repeated."""
    if number:
        logger.warning(
            "%s: %d lines repeat a news_id of an earlier line and were left out.", name, number
        )


def read_behaviors(
    source: str | os.PathLike[str] | Iterable[bytes],
    *,
    name: str | None = None,
    first_line: int = 1,
    labelled: bool | None = None,
) -> Iterator[dict[str, Any]]:
    """Yields the impressions of a `behaviors.tsv`, in file order.

    Args:
        source: Path of the file, a file opened for reading bytes, or some lines of one.
        name: What error messages call the file; its path when left out.
        first_line: The number of the first line; if it is more than 1, there may be no lines.
        labelled: Whether the lines before the first have labels; None: there are none.

    Yields:
        `impression_id` (int), `user_id` (str), `time` (int, seconds since the epoch, UTC),
        `history` (news ids, oldest first, possibly none) and `candidates`, a dict of two lists of
        the same length: `news_id` and `clicked` (1, 0, or -1 in a file without labels).

    Raises:
        MindFileError: The file is missing, empty, not UTF-8, or has a bad line.

    Example:
        >>> for impression in read_behaviors("MINDsmall_dev/behaviors.tsv"):
        ...     print(impression["user_id"], sum(impression["candidates"]["clicked"]))
    """
    name = name or _name_of(source)
    file_is_labelled = labelled
    for line, fields in _read_rows(source, name, BEHAVIORS_COLUMNS, first_line):
        try:
            impression = _parse_impression(fields)
        except _FieldError as error:
            raise MindFileError(str(error), name, line) from None
        is_labelled = impression["candidates"]["clicked"][0] >= 0
        if file_is_labelled is None:
            file_is_labelled = is_labelled
        elif file_is_labelled != is_labelled:
            raise MindFileError(
                f"{'has' if is_labelled else 'has no'} labels, unlike the lines before it; label "
                "every candidate of the file (N123-1, N456-0), or none (N123, N456)",
                name,
                line,
            )
        yield impression


def write_news(path: str | os.PathLike[str], articles: Iterable[dict[str, str]]) -> None:
    """Writes a `news.tsv`, the inverse of `read_news`.

    Args:
        path: Where to write; missing folders are made. The file appears once it is complete.
        articles: What `read_news` yields.

    Raises:
        ValueError: A field holds a tab or a line break, which the format cannot express.
    """
    _write_rows(path, ([article[column] for column in NEWS_COLUMNS] for article in articles))


def write_behaviors(path: str | os.PathLike[str], impressions: Iterable[dict[str, Any]]) -> None:
    """Writes a `behaviors.tsv`, the inverse of `read_behaviors`.

    Args:
        path: Where to write; missing folders are made. The file appears once it is complete.
        impressions: What `read_behaviors` yields.

    Raises:
        ValueError: A field holds what the format cannot express.
    """
    _write_rows(path, map(_format_impression, impressions))


def _name_of(source: Any) -> str:
    # The name of a path is its last part.
    return str(source if isinstance(source, os.PathLike) else getattr(source, "name", source))


def is_regular_file(path: epath.PathLike) -> bool:
    """Whether there is a file, which can be read without waiting for whoever writes to it."""
    # For `epath`, a pipe is a file too.
    return epath.Path(path).is_file() if "://" in os.fspath(path) else os.path.isfile(path)


@contextlib.contextmanager
def opened(source: Any, name: str) -> Iterator[Any]:
    """Opens a path for reading bytes; what is open, or lines, it takes as they are.

    Raises:
        MindFileError: There is no such file, or it is a folder, a pipe or a device.
    """
    if not isinstance(source, (str, os.PathLike)):
        yield buffered(source) if hasattr(source, "readline") else source
        return
    path = epath.Path(source)
    if not is_regular_file(path):
        if os.path.exists(path):
            raise MindFileError("not a regular file; give a file, not a folder or a pipe", name)
        raise MindFileError("no such file; a split is a folder with news.tsv, behaviors.tsv", name)
    with path.open("rb") as file:
        yield buffered(file)


def buffered(file: Any) -> BinaryIO:
    """Returns a file whose lines can be read up to a length; those of TensorFlow's cannot.

    `epath` opens `gs://` with TensorFlow.
    """
    if isinstance(file, io.IOBase):
        return cast(BinaryIO, file)
    return io.BufferedReader(_Bytes(file), buffer_size=1 << 20)


class _Bytes(io.RawIOBase):
    """A file that has `read`, `seek` and `tell`, as Python's buffers take it."""

    def __init__(self, file: Any):
        super().__init__()
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        read: bytes = self._file.read(len(buffer))
        buffer[: len(read)] = read
        return len(read)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._file.seek(offset, whence)
        return self.tell()

    def tell(self) -> int:
        return int(self._file.tell())


def bounded_lines(file: BinaryIO) -> Iterator[bytes]:
    """Returns the lines of a file; of one that is longer than `LONGEST_LINE`, a byte more."""
    return iter(functools.partial(file.readline, LONGEST_LINE + 1), b"")


def _read_rows(
    source: Any, name: str, columns: tuple[str, ...], first_line: int = 1
) -> Iterator[tuple[int, list[str]]]:
    """Yields line numbers and fields, as many as there are columns."""
    rows = 0
    empty_line = None
    with opened(source, name) as file:
        # Bytes, because text mode cannot tell the line of a wrong byte, and takes a lone carriage
        # return for the end of a line.
        lines = bounded_lines(file) if hasattr(file, "readline") else file
        for number, line in enumerate(lines, first_line):
            if len(line) > LONGEST_LINE:
                raise MindFileError(
                    f"the line has more than {LONGEST_LINE:,} bytes; look for line ends that are "
                    "missing",
                    name,
                    number,
                )
            if number == 1:
                line = line.removeprefix(BYTE_ORDER_MARK)
            try:
                row = line.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise MindFileError(
                    f"not UTF-8: byte {line[error.start]:#04x} at position {error.start + 1} of the"
                    " line; convert the file to UTF-8",
                    name,
                    number,
                ) from None
            if not row:
                empty_line = empty_line or number
                continue
            if empty_line:
                raise MindFileError("the line is empty; remove it", name, empty_line)
            fields = row.split("\t")
            if len(fields) != len(columns):
                raise MindFileError(
                    f"{len(fields)} columns instead of {len(columns)} ({', '.join(columns)}); look "
                    "for a tab or a line break inside a field, the format cannot express them",
                    name,
                    number,
                )
            if number == 1 and is_header(fields, columns):
                raise MindFileError(
                    f"a header, {quoted(row)}; the format has none: remove the line", name, number
                )
            rows += 1
            yield number, fields
    if not rows and first_line == 1:
        raise MindFileError("the file is empty; download it again", name)


def is_header(fields: Sequence[str], columns: Sequence[str]) -> bool:
    """Whether a line names the columns: the first one, or any two of them."""
    # No name is longer, but a field can be.
    names = [re.sub(r"[\s_-]", "", field[:64]).lower() for field in fields]
    is_name = [name == column.replace("_", "") for name, column in zip(names, columns)]
    return is_name[0] or sum(is_name) > 1


def _parse_impression(fields: list[str]) -> dict[str, Any]:
    impression_id, user_id, time, history, candidates = fields
    if not user_id:
        raise _FieldError("user_id is empty; give visitors without an account an id of their own")
    return {
        "impression_id": _parse_impression_id(impression_id),
        "user_id": _short("user_id", [user_id])[0],
        "time": _parse_time(time),
        "history": _short("history", _words(history)),
        "candidates": _parse_candidates(candidates),
    }


def _words(text: str) -> list[str]:
    """Returns what blanks separate."""
    return [word for word in text.split(" ") if word]


def _short(what: str, ids: list[str]) -> list[str]:
    """Returns ids; none may be longer than `LONGEST_ID`, or hold what files of ids cannot."""
    for one in ids:
        if "\r" in one:
            raise _FieldError(f"{what} has an id with a carriage return, {quoted(one)}; remove it")
        # A character has at most four bytes.
        if len(one) > LONGEST_ID // 4 and len(one.encode()) > LONGEST_ID:
            raise _FieldError(
                f"{what} has an id of {len(one.encode()):,} bytes, {quoted(one)}; at most "
                f"{LONGEST_ID:,} are allowed: look for a separator that is missing"
            )
    return ids


def _parse_impression_id(text: str) -> int:
    number = -1
    # The number of digits is looked at first: Python reads no more than 4,300 of them.
    if text.isascii() and text.isdigit() and len(text.lstrip("0")) <= len(str(_LARGEST_INT64)):
        number = int(text.lstrip("0") or "0")
    if not 0 <= number <= _LARGEST_INT64:
        raise _FieldError(f"impression_id {quoted(text)} is not a whole number from 0 to 2^63 - 1")
    return number


def _parse_time(text: str) -> int:
    # Not strptime: what it takes for AM and PM depends on the user's locale.
    match = _TIME.fullmatch(text)
    if match and 1 <= int(match[4]) <= 12:
        month, day, year, hour, minute, second = map(int, match.groups()[:6])
        hour = hour % 12 + (12 if match[7] == "P" else 0)
        with contextlib.suppress(ValueError):
            moment = datetime.datetime(
                year, month, day, hour, minute, second, tzinfo=datetime.timezone.utc
            )
            return int(moment.timestamp())
    raise _FieldError(
        f"time {quoted(text)} is not like '11/15/2019 8:55:22 AM' (month/day/year, UTC)"
    )


def _parse_candidates(text: str) -> dict[str, list[Any]]:
    pairs = _words(text)
    if not pairs:
        raise _FieldError("the impression has no candidates; leave it out")
    news_ids = [pair[:-2] for pair in pairs]
    try:
        clicked = [_CLICKED[pair[-2:]] for pair in pairs]
    except KeyError:
        if "-" not in text:
            return {"news_id": _short("candidates", pairs), "clicked": [-1] * len(pairs)}
        bad = next(pair for pair in pairs if pair[-2:] not in _CLICKED)
        raise _FieldError(
            f"candidate {quoted(bad)} does not end in -1 (clicked) or -0 (not clicked), as the "
            "candidates of a file with labels do"
        ) from None
    if "" in news_ids:
        raise _FieldError(f"candidate {quoted(pairs[news_ids.index('')])} has no news id")
    return {"news_id": _short("candidates", news_ids), "clicked": clicked}


def _format_impression(impression: dict[str, Any]) -> list[str]:
    news_ids = impression["candidates"]["news_id"]
    clicked = [int(value) for value in impression["candidates"]["clicked"]]
    for news_id in [*impression["history"], *news_ids]:
        if not news_id or " " in news_id:
            raise ValueError(f"news id {quoted(news_id)} is empty or holds a space")
    if set(clicked) == {-1}:
        candidates = " ".join(news_ids)
        if "-" in candidates:
            raise ValueError(
                "without labels, a news id cannot hold a hyphen: " + quoted(candidates)
            )
    elif set(clicked) <= {0, 1}:
        pairs = zip(news_ids, clicked, strict=True)
        candidates = " ".join(f"{news_id}-{label}" for news_id, label in pairs)
    else:
        raise ValueError(f"clicked is {quoted(clicked)}; expected 0s and 1s, or -1 for all")
    time = datetime.datetime.fromtimestamp(impression["time"], datetime.timezone.utc)
    return [
        str(impression["impression_id"]),
        impression["user_id"],
        f"{time.month}/{time.day}/{time.year:04} {time.hour % 12 or 12}:{time:%M:%S} "
        f"{'PM' if time.hour >= 12 else 'AM'}",
        " ".join(impression["history"]),
        candidates,
    ]


def _write_rows(path: str | os.PathLike[str], rows: Iterable[list[str]]) -> None:
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            for number, fields in enumerate(rows, 1):
                row = "\t".join(fields)
                if row.count("\t") != len(fields) - 1 or "\n" in row or "\r" in row:
                    raise ValueError(
                        f"{path}, line {number}: a tab or line break in {quoted(fields)}"
                    )
                file.write(row.encode("utf-8") + b"\n")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
