"""Finds the splits of a plain folder in MIND's format."""

from __future__ import annotations

import os
import pathlib

from tfrs_npa._quoting import listed

from .errors import MindFileError

# What the folder of a split may be called, also after the name of the zip that it came from
# (MINDsmall_train, MINDlarge_dev).
_FOLDERS = {
    "train": ("train",),
    "validation": ("valid", "dev", "validation"),
    "test": ("test",),
}
_FILES = ("news.tsv", "behaviors.tsv")


def find_splits(folder: str | os.PathLike[str]) -> dict[str, pathlib.Path]:
    """Finds the splits of a folder in MIND's format.

    Such a folder holds `train/`, `valid/` or `dev/`, and possibly `test/`, or the same after the
    name of a zip of MIND (`MINDsmall_train/`, `MINDsmall_dev/`). In each of them are `news.tsv`
    and `behaviors.tsv`.

    Args:
        folder: The folder.

    Returns:
        The folder of each split: `train`, `validation` and, if there is one, `test`.

    Raises:
        MindFileError: A split or a file is missing, or two folders could be the same split.

    Example:
        >>> splits = find_splits("my-data")
        >>> impressions = read_behaviors(splits["validation"] / "behaviors.tsv")
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise MindFileError(f"no such folder; {_expected()}", folder)
    subfolders = sorted(path for path in folder.iterdir() if path.is_dir())
    splits = {}
    for split, names in _FOLDERS.items():
        found = [path for path in subfolders if _is_split(path.name, names)]
        if len(found) > 1:
            folders = " and ".join(f"{path.name}/" for path in found[:3])
            raise MindFileError(f"{folders} could all be {split}; keep one of them here", folder)
        if found:
            splits[split] = found[0]
        elif split != "test":
            present = listed(f"{path.name}/" for path in subfolders) or "no folders"
            raise MindFileError(f"no {split} split among {present}; {_expected()}", folder)
    for path in splits.values():
        for name in _FILES:
            if not (path / name).is_file():
                raise MindFileError(f"no such file; {_expected()}", path / name)
    return splits


def _is_split(name: str, names: tuple[str, ...]) -> bool:
    return name in names or (
        name.startswith("MIND") and name.endswith(tuple(f"_{n}" for n in names))
    )


def _expected() -> str:
    train, validation, test = (
        " or ".join(f"{name}/" for name in names) for names in _FOLDERS.values()
    )
    return (
        f"expected {train}, {validation} and, if there is one, {test} (or MINDsmall_train/ and so "
        f"on), each with {' and '.join(_FILES)}"
    )
