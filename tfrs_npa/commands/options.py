"""What options that several commands share stand for."""

from __future__ import annotations

import argparse

from tfrs_npa.data.cache import Cache, default_cache_dir


def cache_of(options: argparse.Namespace) -> Cache | None:
    """The cache that `--cache-dir` and `--no-cache` ask for."""
    return None if options.no_cache else Cache(options.cache_dir or default_cache_dir())
