"""What a version of an export says of itself, compared with the variables that it has."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfrs_npa._quoting import quoted
from tfrs_npa.config import NPAConfig
from tfrs_npa.runs.folder import UNREADABLE
from tfrs_npa.serving.checkpoint import VARIABLES
from tfrs_npa.serving.checksums import DamagedExportError
from tfrs_npa.serving.versions import DESCRIPTION, EARLIER_FORMATS, FORMAT

_COUNTS = ("articles", "users", "vector_dim")
# Variables of a checkpoint: the vectors of articles, and where the titles of the export lie.
_VECTORS, _BASE = (
    f"articles/{name}/.ATTRIBUTES/VARIABLE_VALUE" for name in ("vectors", "base/_listed")
)
_DTYPES = ("float32", "bfloat16")


def read_description(version: pathlib.Path) -> dict[str, Any]:
    """Returns the description of a version.

    Raises:
        DamagedExportError: if it cannot be read, or has values that `export` does not write.
        ValueError: if there is none, or it is of an unknown format.
    """
    file, description = version / DESCRIPTION, {}
    try:
        if file.is_file():
            description = json.loads(file.read_text(encoding="utf-8"))
        if description.get("format") in (*EARLIER_FORMATS, FORMAT):
            _check(description)
            return dict(description)
    except UNREADABLE as error:
        raise DamagedExportError.of(file, error) from error
    raise ValueError(
        f"{version} was written by another version of tfrs_npa and cannot be refreshed: "
        "export again from the run"
    )


def check_variables(version: pathlib.Path, description: Mapping[str, Any]) -> None:
    """Makes sure that the variables of a version have the described sizes, before any is made.

    Raises:
        ValueError: if they do not; says what differs.
    """
    config = NPAConfig.from_saved(description["config"])
    saved = tf.train.load_checkpoint(os.fspath(version / VARIABLES))
    shapes = saved.get_variable_to_shape_map()
    users = [description["users"], config.user_embedding_dim]
    if users not in shapes.values():
        raise ValueError(f"users and user_embedding_dim are {users}: no variable has that shape")
    kernel = [config.window_size, config.word_embedding_dim, config.num_filters]
    if kernel not in shapes.values():
        names = "window_size, word_embedding_dim and num_filters"
        raise ValueError(f"{names} are {kernel}: no variable has that shape")
    vectors = shapes.get(_VECTORS, [None, None])[1]
    if vectors != description["vector_dim"]:
        raise ValueError(f"vector_dim is {description['vector_dim']}, the vectors have {vectors}")
    encoded = description["articles"]
    if description["format"] == FORMAT and shapes[_BASE][0] != encoded:
        raise ValueError(f"articles is {encoded:,}; {shapes[_BASE][0]:,} were encoded")


def _check(description: Mapping[str, Any]) -> None:
    for name in _COUNTS:
        value = description[name]
        is_none = value is None and name == "vector_dim"
        if not is_none and (type(value) is not int or value < 1):
            raise ValueError(f"{name} is {quoted(value)}")
    if description["dtype"] not in _DTYPES:
        raise ValueError(f"dtype is {quoted(description['dtype'])}")
    NPAConfig.from_saved(description["config"])
