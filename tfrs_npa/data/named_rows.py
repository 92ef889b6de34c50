"""Arrays from elsewhere: `.npy` files, and the text files with the names of their rows."""

from __future__ import annotations

import os

import numpy as np

from tfrs_npa._quoting import quoted, reason_of

_MAGIC = b"\x93NUMPY"


def require_regular_file(path: str | os.PathLike[str]) -> None:
    """Raises a ValueError if something else than a file is at `path`, such as a pipe.

    Raises:
        FileNotFoundError: if nothing is there.
    """
    os.stat(path)
    if not os.path.isfile(path):
        raise ValueError(f"{os.fspath(path)} is not a regular file")


def load_array(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads an `.npy` file of numbers; its size is known to be that of the array beforehand.

    Args:
        path: The file, without pickled objects.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not an array of numbers that NumPy saved, or is truncated.
    """
    require_regular_file(path)
    path = os.fspath(path)
    with open(path, "rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise ValueError(f"{path} is not an array that numpy.save wrote")
    try:
        # A map takes no memory, and cannot be larger than the file.
        with np.errstate(over="ignore"):
            mapped = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # of the header, which NumPy reads by Python's own tokenizer
        raise ValueError(
            f"{path} is damaged, or no array of numbers: {reason_of(error)}"
        ) from error
    if mapped.dtype.kind not in "biuf":
        raise ValueError(f"{path} has to hold numbers; it holds {quoted(mapped.dtype)}")
    return np.array(mapped)


def read_named_rows(
    path: str | os.PathLike[str], names_path: str | os.PathLike[str], names: str
) -> tuple[list[str], np.ndarray]:
    """Reads a NumPy array of vectors and the text file with the names of its rows, one a line.

    Args:
        path: An `.npy` file of numbers `[rows, dim]`.
        names_path: The names in the order of the rows, in UTF-8.
        names: What they are, in error messages.

    Returns:
        The names, and the array as float32.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: if the array is not `[rows, dim]`, there are more or fewer names than rows, a
            name is repeated, or a number is not finite.
    """
    vectors = load_array(path)
    path, names_path = os.fspath(path), os.fspath(names_path)
    require_regular_file(names_path)
    with open(names_path, "rb") as file:
        content = file.read()
    try:
        # Errors of utf-8-sig do not count the bytes of the mark that it removes.
        text = content.decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{names_path}:{number}: not UTF-8; convert the file to UTF-8") from error
    found = text.removesuffix("\n").split("\n")
    if vectors.ndim != 2 or len(vectors) != len(found) or not vectors.shape[1]:
        raise ValueError(
            f"{names_path} has {len(found):,} {names}, so {path} should be an array of shape "
            f"({len(found)}, dim), but it is {quoted(vectors.shape)}"
        )
    first_line: dict[str, int] = {}
    for number, name in enumerate(found, start=1):
        if first_line.setdefault(name, number) != number:
            raise ValueError(
                f"{names_path}:{number}: {quoted(name)} is on line {first_line[name]} already"
            )
    with np.errstate(over="ignore"):
        vectors = vectors.astype(np.float32, copy=False)
    row = first_not_finite(vectors)
    if row is not None:
        raise ValueError(
            f"{path}: row {row} (the first is 0), of {quoted(found[row])} on line {row + 1} of "
            f"{names_path}, holds a number that is not finite; leave both out"
        )
    return found, vectors


def first_not_finite(vectors: np.ndarray) -> int | None:
    """Returns the first row of `[rows, dim]` with a number that is not finite, if there is one."""
    wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    return int(wrong[0]) if len(wrong) else None
