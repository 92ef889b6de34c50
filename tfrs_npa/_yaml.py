"""Reads YAML from elsewhere: small, flat, and without what makes a short text expand."""

from __future__ import annotations

import os
from typing import Any

import yaml

from tfrs_npa._quoting import reason_of

LONGEST_FILE = 1 << 18
"""Most bytes of a file."""
_DEEPEST = 16
# What PyYAML raises for values such as `!!int ""`, 2000-13-01 or numbers of thousands of digits.
_ERRORS = (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError)


def read_yaml(path: str | os.PathLike[str]) -> Any:
    """Returns what a YAML file holds.

    Args:
        path: A regular file in UTF-8, of at most 256 KiB.

    Raises:
        ValueError: if it is not that, or not YAML as `parse_yaml` takes it; names the file.
        OSError: if it cannot be read.
    """
    path = os.fspath(path)
    with open(path, "rb", opener=_without_waiting) as file:
        if not os.path.isfile(path):
            raise ValueError(f"{path} is not a regular file")
        content = file.read(LONGEST_FILE + 1)
    if len(content) > LONGEST_FILE:
        raise ValueError(
            f"{path} has more than {LONGEST_FILE:,} bytes, which no file of values has"
        )
    try:
        # Errors of utf-8-sig do not count the bytes of the mark that it removes.
        text = content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not YAML: not UTF-8 at byte {error.start}") from error
    return parse_yaml(text, path)


def parse_yaml(text: str, name: str) -> Any:
    """Returns what YAML text holds.

    Args:
        text: The text.
        name: What error messages call it.

    Raises:
        ValueError: if it is not YAML; if it has aliases, with which a few bytes can expand to
            gigabytes, or tags, or is nested deeper than any of our files.
    """
    try:
        _require_plain(text)
        return yaml.safe_load(text)
    except _ERRORS as error:
        raise ValueError(f"{name} is not YAML: {_reason(error)}") from error


def _require_plain(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise ValueError(f"line {event.start_mark.line + 1} has an alias; write the value out")
        if getattr(event, "tag", None):
            raise ValueError(
                f"line {event.start_mark.line + 1} has a tag, {event.tag}; leave it out"
            )
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise ValueError(f"line {event.start_mark.line + 1} is nested {depth} levels deep")


def _reason(error: Exception) -> str:
    """Returns what is wrong and the line of it, without where PyYAML had started to look."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return reason_of(f"{error.problem} in line {error.problem_mark.line + 1}")
    return reason_of(error)


def _without_waiting(path: str, flags: int) -> int:
    """Opens a pipe without waiting for whoever writes to it."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
