"""Options that several commands share."""

from __future__ import annotations

DATA = "mind/synthetic, mind/demo, mind/small, mind/large, or a folder in MIND's format"


def add_folders(group) -> None:
    """Adds where data is read from and kept."""
    group.add_argument(
        "--data-dir", metavar="DIR", help="where TensorFlow Datasets keeps prepared data"
    )
    group.add_argument("--manual-dir", metavar="DIR", help="where zips fetched by hand lie")
    cache = group.add_mutually_exclusive_group()
    cache.add_argument(
        "--cache-dir",
        metavar="DIR",
        help="where preprocessed data is kept for the next time, 10 GB at most "
        "(default: tfrs-npa in $XDG_CACHE_HOME or ~/.cache)",
    )
    cache.add_argument("--no-cache", action="store_true", help="keep no preprocessed data")


def add_encoding_memory(group) -> None:
    """Adds what encoded titles may take."""
    group.add_argument(
        "--encoding-memory",
        type=float,
        metavar="GIB",
        help="memory for encoded titles; articles that need more are encoded batch by batch, "
        "which is slower and gives the same figures (default: 4)",
    )
