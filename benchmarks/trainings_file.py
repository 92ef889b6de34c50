"""A CSV file with a row for each training, so that a long comparison can go on where it stopped."""

from __future__ import annotations

import csv
import pathlib

from tfrs_npa.data.files import replacing


def read_rows(path: pathlib.Path | None, column: str) -> list[dict[str, str]]:
    """Returns the rows of a file, none if there is no file.

    Raises:
        ValueError: if the file has no such column.
    """
    if path is None or not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        if column not in (rows.fieldnames or ()):
            raise ValueError(f"{path} holds something else than results; name another file")
        return list(rows)


def write_rows(path: pathlib.Path, rows: list[dict[str, str]]) -> None:
    """Writes the rows, which may have different columns."""
    names = dict.fromkeys(name for row in rows for name in row)
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
