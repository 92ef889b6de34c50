"""The format of `prediction.txt`, which the MIND leaderboard takes.

It has a line for each impression of a `behaviors.tsv`, in its order:
`impression_id [rank of the first candidate,rank of the second,...]`, where 1 is the best.
"""

from __future__ import annotations

import collections
import functools
import os
import pathlib
import re
from collections.abc import Iterator

import numpy as np

from tfrs_npa._quoting import quoted

from .errors import MindFileError
from .tsv import LONGEST_LINE

_LINE = re.compile(r"(\d{1,19}) \[(\d{1,9}(?:,\d{1,9})*)\]", re.ASCII)
_LARGEST_INT64 = 2**63 - 1


def prediction_lines(
    impression_ids: np.ndarray, ranks: np.ndarray, splits: np.ndarray
) -> Iterator[str]:
    """Yields the lines of a `prediction.txt`, with their line breaks.

    Args:
        impression_ids: `int64 [impressions]`.
        ranks: `int64 [candidates]` of all impressions, packed.
        splits: `int64 [impressions + 1]`; impression `i` has `ranks[splits[i] : splits[i + 1]]`.
    """
    texts = [str(rank) for rank in ranks.tolist()]
    bounds = splits.tolist()
    for impression_id, start, end in zip(
        impression_ids.tolist(), bounds[:-1], bounds[1:], strict=True
    ):
        yield f"{impression_id} [{','.join(texts[start:end])}]\n"


def read_predictions(path: str | os.PathLike[str]) -> Iterator[tuple[int, list[int]]]:
    """Reads a `prediction.txt`.

    Args:
        path: the file; a line of it is in memory at a time, and all impression ids.

    Yields:
        For each line, the impression id and the ranks of its candidates: each number from 1 to
        that of the candidates once.

    Raises:
        MindFileError: the file is missing or empty; a line is not in the format, lacks a rank, has
            one twice, or has the impression of an earlier line. Says which line.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise MindFileError("no such file; `tfrs-npa predict` writes one", path)
    lines: dict[int, int] = {}
    # Any byte is a character of latin-1, so that a wrong one has a line as any other error.
    with path.open(encoding="latin-1", newline="\n") as file:
        bounded = iter(functools.partial(file.readline, LONGEST_LINE + 1), "")
        for number, line in enumerate(bounded, start=1):
            if len(line) > LONGEST_LINE:
                raise MindFileError(
                    f"the line has more than {LONGEST_LINE:,} bytes; look for line ends that are "
                    "missing",
                    path,
                    number,
                )
            match = _LINE.fullmatch(line.rstrip("\r\n"))
            if match is None or int(match[1]) > _LARGEST_INT64:
                shown = quoted(line.rstrip("\r\n"))
                message = f"{shown} is not like '17 [2,1,3]', an impression id and its ranks"
                raise MindFileError(message, path, number)
            impression_id = int(match[1])
            if impression_id in lines:
                message = f"repeats impression {impression_id} of line {lines[impression_id]}"
                raise MindFileError(message, path, number)
            lines[impression_id] = number
            ranks = [int(rank) for rank in match[2].split(",")]
            if sorted(ranks) != list(range(1, len(ranks) + 1)):
                raise MindFileError(_wrong_ranks(ranks), path, number)
            yield impression_id, ranks
    if not lines:
        raise MindFileError("the file is empty", path)


def _wrong_ranks(ranks: list[int]) -> str:
    expected, times = set(range(1, len(ranks) + 1)), collections.Counter(ranks)
    wrong = next(rank for rank in ranks if rank not in expected or times[rank] > 1)
    what = "is there twice" if wrong in expected else "is too large" if wrong else "is no rank"
    return (
        f"rank {wrong} {what}, rank {min(expected.difference(ranks))} is missing: each from 1 to "
        f"{len(ranks)}, the number of candidates, has to be there once"
    )
