"""The error for files that are not in MIND's format."""

from __future__ import annotations

from typing import Any


class MindFileError(ValueError):
    """A file is not in MIND's format: says where, what is wrong, and what to do.

    Attributes:
        file: Path of the file; for a member of a zip, the path of the zip and the member's name.
        line: Line number, the first line being 1; None when the fault is not in one line.
    """

    def __init__(self, message: str, file: Any = None, line: int | None = None):
        where = "".join([f"{file}" if file else "", f", line {line}" if line else ""])
        super().__init__(f"{where}: {message}" if where else message)
        self.file = file
        self.line = line
