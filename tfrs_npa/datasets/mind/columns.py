"""Lines of `news.tsv` and `behaviors.tsv` as columns, many lines at once.

The formats are those of `tsv.py`. What is unusual or could be wrong is left to its readers, which
take a line at a time: they know what else is good, and say what is bad.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from .tsv import (
    BEHAVIORS_COLUMNS,
    BYTE_ORDER_MARK,
    LONGEST_ID,
    LONGEST_LINE,
    NEWS_COLUMNS,
    is_header,
)

_BLANK, _HYPHEN, _ZERO, _ONE = b" -01"
_TIME = (
    r"^(?P<month>[0-9]{1,2})/(?P<day>[0-9]{1,2})/(?P<year>[0-9]{4}) "
    r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2}) (?P<half>[AP])M$"
)


class UnusualLines(Exception):
    """Lines have to be read one at a time."""


class ImpressionColumns(NamedTuple):
    """Consecutive impressions, lists packed one after the other.

    `impression_id`, `time` and the lengths of the lists are `int64 [impressions]`, `clicked` is
    `int8 [candidates]`: 1, 0, or -1 in a file without labels. Ids are Arrow arrays of strings,
    those of candidates with a dictionary.
    """

    impression_id: np.ndarray
    user_id: pa.Array
    time: np.ndarray
    history: pa.Array
    history_lengths: np.ndarray
    candidates: pa.Array
    candidate_lengths: np.ndarray
    clicked: np.ndarray


def checked_impressions(lines: bytes, labelled: bool | None) -> ImpressionColumns:
    """Returns the impressions of lines; `candidates` still has what is in the file, such as `N1-0`.

    Args:
        lines: The lines, with their ends.
        labelled: Whether they have to have labels; None: all or none.

    Raises:
        UnusualLines: Some may be bad, or are not as simple as most.
    """
    impression_id, user_id, time, history, impressions = _fields(lines, BEHAVIORS_COLUMNS)
    _require_ids(user_id)
    _require(pc.all(pc.ascii_is_decimal(impression_id)).as_py())
    clicks, history_lengths = _words(history)
    candidates, candidate_lengths = _words(impressions)
    _require(candidate_lengths.min() > 0)
    _require_short(clicks)
    _require_short(candidates)
    return ImpressionColumns(
        _whole_numbers(impression_id),
        user_id,
        _seconds(time),
        clicks,
        history_lengths,
        candidates,
        candidate_lengths,
        _labels(candidates, labelled),
    )


def parsed_impressions(lines: bytes, labelled: bool | None) -> ImpressionColumns:
    """Returns the impressions of lines; as `checked_impressions`, but `candidates` holds ids."""
    found = checked_impressions(lines, labelled)
    # The label at the end of distinct candidates is removed once.
    coded = found.candidates.dictionary_encode()
    if found.clicked[0] >= 0:
        ids = pc.utf8_slice_codeunits(coded.dictionary, 0, -2)
        coded = pa.DictionaryArray.from_arrays(coded.indices, ids)
    return found._replace(candidates=coded)


def parsed_news(lines: bytes) -> list[pa.Array]:
    """Returns the columns of a `news.tsv`, strings; repeated ids are still in it.

    Args:
        lines: Lines of the file, with their ends.

    Raises:
        UnusualLines: Some may be bad, or are not as simple as most.
    """
    columns = _fields(lines, NEWS_COLUMNS)
    _require_ids(columns[0])
    _require(not (_text(columns[0]) == _BLANK).any())
    _require(not is_header([column[0].as_py() for column in columns], NEWS_COLUMNS))
    return columns


def columns_of_rows(rows: Iterable[dict[str, Any]]) -> ImpressionColumns:
    """Returns the impressions that `read_behaviors` yields."""
    found = list(rows)
    history, history_lengths = _packed([row["history"] for row in found])
    candidates, candidate_lengths = _packed([row["candidates"]["news_id"] for row in found])
    clicked = itertools.chain.from_iterable(row["candidates"]["clicked"] for row in found)
    return ImpressionColumns(
        np.array([row["impression_id"] for row in found], np.int64),
        pa.array([row["user_id"] for row in found], pa.string()),
        np.array([row["time"] for row in found], np.int64),
        history,
        history_lengths,
        candidates,
        candidate_lengths,
        np.fromiter(clicked, np.int8),
    )


def _packed(lists: list[list[str]]) -> tuple[pa.Array, np.ndarray]:
    values = pa.array(itertools.chain.from_iterable(lists), pa.string())
    return values, np.fromiter(map(len, lists), np.int64)


def _require(is_usual: bool) -> None:
    if not is_usual:
        raise UnusualLines


def _require_ids(ids: pa.Array) -> None:
    _require(pc.min(pc.binary_length(ids)).as_py() > 0)
    _require_short(ids)


def _require_short(ids: pa.Array) -> None:
    """Ids, with or without a label, that are surely not too long."""
    _require((pc.max(pc.binary_length(ids)).as_py() or 0) <= LONGEST_ID)


def _fields(lines: bytes, columns: tuple[str, ...]) -> list[pa.Array]:
    """Returns the fields of lines, as strings in UTF-8."""
    _require(len(lines) <= LONGEST_LINE)  # so that no line can be longer
    text = lines.replace(b"\r\n", b"\n") if b"\r" in lines else lines
    if text.endswith(b"\n\n"):  # empty lines at the end of a file are good
        text = text.rstrip(b"\n")
    # Arrow takes a carriage return for the end of a line, and skips a byte-order mark.
    _require(text not in (b"", b"\n") and b"\r" not in text)
    _require(not text.startswith(BYTE_ORDER_MARK))
    try:
        table = csv.read_csv(
            pa.BufferReader(text),
            csv.ReadOptions(
                column_names=columns, use_threads=False, block_size=max(len(text), 1 << 10)
            ),
            csv.ParseOptions(
                delimiter="\t", quote_char=False, double_quote=False, ignore_empty_lines=False
            ),
            csv.ConvertOptions(column_types=dict.fromkeys(columns, pa.string())),
        )
    except pa.ArrowInvalid as error:
        raise UnusualLines from error
    return [_joined(column) for column in table.columns]


def _joined(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def _words(column: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """Returns what blanks separate, row by row, and how many words each row has."""
    lists = pc.split_pattern(column, " ")
    words, lengths = lists.flatten(), pc.list_value_length(lists).to_numpy().astype(np.int64)
    # An empty row, or blanks side by side.
    is_word = np.diff(_offsets(words)) > 0
    if is_word.all():
        return words, lengths
    row_of = np.repeat(np.arange(len(lengths)), lengths)
    words = words.filter(pa.array(is_word))
    return words, np.bincount(row_of[is_word], minlength=len(lengths))


def _whole_numbers(texts: pa.Array) -> np.ndarray:
    try:
        return texts.cast(pa.int64()).to_numpy()
    except pa.ArrowInvalid as error:
        raise UnusualLines from error


def _labels(candidates: pa.Array, labelled: bool | None) -> np.ndarray:
    """Returns the labels that candidates end in, -1 of those without."""
    text, ends = _text(candidates), _offsets(candidates)[1:] - _offsets(candidates)[0]
    if labelled is None:
        labelled = _HYPHEN in text[: ends[0]]
    if not labelled:
        _require(not (text == _HYPHEN).any())
        return np.full(len(candidates), -1, np.int8)
    lengths, labels = np.diff(ends, prepend=0), text[ends - 1]
    # An id, a hyphen, a digit.
    _require(bool((lengths > 2).all() and (text[ends - 2] == _HYPHEN).all()))
    _require(bool(((labels == _ZERO) | (labels == _ONE)).all()))
    return (labels - _ZERO).astype(np.int8)


def _seconds(times: pa.Array) -> np.ndarray:
    """Returns seconds since the epoch, UTC, of times like `11/15/2019 8:55:22 AM`."""
    found = pc.extract_regex(times, _TIME)
    _require(found.null_count == 0)
    fields = zip(found.type.names, found.flatten(), strict=True)
    of = {name: field for name, field in fields}
    is_pm = pc.equal(of.pop("half"), "P").to_numpy(zero_copy_only=False)
    of = {name: field.cast(pa.int64()).to_numpy() for name, field in of.items()}
    months = ((of["year"] - 1970) * 12 + of["month"] - 1).astype("datetime64[M]")
    first, after = months.astype("datetime64[D]"), (months + 1).astype("datetime64[D]")
    days = first + (of["day"] - 1)
    is_good = (of["year"] >= 1) & (of["month"] >= 1) & (of["month"] <= 12)
    is_good &= (of["day"] >= 1) & (days < after) & (of["hour"] >= 1) & (of["hour"] <= 12)
    is_good &= (of["minute"] < 60) & (of["second"] < 60)
    _require(bool(is_good.all()))
    hours = of["hour"] % 12 + 12 * is_pm
    return days.astype(np.int64) * 86_400 + hours * 3600 + of["minute"] * 60 + of["second"]


def _offsets(strings: pa.Array) -> np.ndarray:
    """Where strings start and end in their buffer, `[strings + 1]`."""
    found = np.frombuffer(strings.buffers()[1], np.int32)
    return found[strings.offset : strings.offset + len(strings) + 1]


def _text(strings: pa.Array) -> np.ndarray:
    """The bytes of strings, one after the other."""
    offsets, buffer = _offsets(strings), strings.buffers()[2]
    return np.frombuffer(buffer or b"", np.uint8)[offsets[0] : offsets[-1]]
