"""The versions of an export: folders that have a number for their name, and what is in one."""

from __future__ import annotations

import pathlib

from tfrs_npa._files import remove_folder

# What a refresh reads apart from the SavedModel, where TensorFlow Serving looks for nothing: the
# words of titles, and all else.
WORDS = pathlib.Path("assets.extra", "npa", "words")
DESCRIPTION = pathlib.Path("assets.extra", "npa", "export.json")
# Another one whenever what a refresh reads has changed, such as the layout of encoded titles.
FORMAT = 2
# Those before it from which a model can be had.
EARLIER_FORMATS = (1,)


def versions_of(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the folders of all versions, by their numbers."""
    paths = [path for path in folder.glob("*") if path.name.isdecimal()]
    return sorted(paths, key=lambda path: int(path.name))


def next_version(folder: pathlib.Path) -> int:
    """Returns one more than the highest version, or 1."""
    return max((int(path.name) for path in versions_of(folder)), default=0) + 1


def remove_old_versions(folder: pathlib.Path, keep: int) -> None:
    """Removes all versions that `export` wrote but the last `keep`, at least 1."""
    ours = [path for path in versions_of(folder) if (path / DESCRIPTION).is_file()]
    for path in ours[:-keep]:
        remove_folder(path)
