"""What options that several commands share stand for."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from tfrs_npa.data.cache import Cache, default_cache_dir
from tfrs_npa.data.mind import MindData, load_mind
from tfrs_npa.data.settings import DataSettings
from tfrs_npa.run import Run

_PATHS = ("data_dir", "manual_dir", "word_vectors", "word_list")


def cache_of(options: argparse.Namespace) -> Cache | None:
    """The cache that `--cache-dir` and `--no-cache` ask for."""
    return None if options.no_cache else Cache(options.cache_dir or default_cache_dir())


def data_of(options: argparse.Namespace, run: Run, cache: Cache | None) -> MindData:
    """The data that `--data` names, or that the run was trained with."""
    name, data_dir, manual_dir = options.data, options.data_dir, options.manual_dir
    if name is None:
        settings = run.settings
        name = settings.data
        data_dir = data_dir or settings.data_dir
        manual_dir = manual_dir or settings.manual_dir
    return load_mind(name, data_dir, manual_dir, cache)


def require_split(data: MindData, split: str) -> None:
    """Raises a ValueError if the data has no such split."""
    if split not in data.behaviors:
        raise ValueError(f"{data.name} has no split {split}; it has {', '.join(data.behaviors)}")


def settings_given(options: argparse.Namespace, kind: type[DataSettings]) -> dict[str, Any]:
    """The values that the options give to settings of a kind, by name; paths are absolute."""
    names = [field.name for field in dataclasses.fields(kind)]
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    paths = [name for name in _PATHS if name in given]
    if "data" in given and not given["data"].startswith("mind/"):
        paths.append("data")
    return given | {name: os.path.abspath(given[name]) for name in paths}


def require_same(
    folder: str, had: Mapping[str, Any], given: Mapping[str, Any], others: Sequence[str] = ()
) -> None:
    """Raises a ValueError if something is to go on with other options than it was begun with.

    Args:
        folder: what was begun.
        had: all that it was begun with, by name.
        given: what is given now.
        others: what else differs, in words.
    """
    differ = [f"{name} {had[name]!r}, not {v!r}" for name, v in given.items() if had[name] != v]
    differ += others
    if differ:
        raise ValueError(
            f"{folder} was begun with {', '.join(differ)}; --resume alone takes all from it"
        )
