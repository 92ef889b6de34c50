"""What options that several commands share stand for."""

from __future__ import annotations

import argparse

from tfrs_npa.data.cache import Cache, default_cache_dir
from tfrs_npa.data.mind import MindData, load_mind
from tfrs_npa.run import Run


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
