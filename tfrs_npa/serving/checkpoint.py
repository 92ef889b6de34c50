"""The variables of a version: one part stays as it is, a refresh writes the other.

A TensorFlow checkpoint is an index and data files. That of a version has two data files: what
stays, which all versions of a refreshed export share (by hard links, where the file system has
them), and what a refresh writes. The index of the first part alone is kept aside, so that the next
refresh can combine this part, without reading it, with another second one.
"""

from __future__ import annotations

import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from tfrs_npa.serving.served_articles import ServedArticles

VARIABLES = pathlib.Path("variables", "variables")
KEPT_INDEX = pathlib.Path("assets.extra", "npa", "kept.index")
KEPT_DATA = VARIABLES.with_name("variables.data-00000-of-00002")

# Attribute of the module that is saved.
_ARTICLES = "articles"
# Parts of a checkpoint, and names of its files, as TensorFlow forms them.
_KEPT, _WRITTEN = pathlib.Path("variables", "kept"), pathlib.Path("variables", "written")
_ONLY, _INDEX = ".data-00000-of-00001", ".index"


def read_articles(version: pathlib.Path, articles: ServedArticles) -> None:
    """Reads what a refresh needs from the variables of a version."""
    parts = tf.train.Checkpoint(**{_ARTICLES: articles.parts_to_read})
    status = parts.read(os.fspath(version / VARIABLES)).expect_partial()
    status.assert_existing_objects_matched()


def tokens_type(version: pathlib.Path) -> tf.DType:
    """Returns the type in which a version holds the words of its articles."""
    types = tf.train.load_checkpoint(os.fspath(version / VARIABLES)).get_variable_to_dtype_map()
    return types[f"{_ARTICLES}/tokens/.ATTRIBUTES/VARIABLE_VALUE"]


def check_kept(version: pathlib.Path) -> None:
    """Makes sure that a refresh of a version can combine the part that stays with another one.

    Raises:
        ValueError: if the index of that part is of other variables.
        tf.errors.OpError: if it cannot be read.
    """
    kept = tf.train.load_checkpoint(os.fspath(version / KEPT_INDEX.with_suffix("")))
    both = tf.train.load_checkpoint(os.fspath(version / VARIABLES)).get_variable_to_shape_map()
    for name, shape in kept.get_variable_to_shape_map().items():
        if both.get(name) != shape:
            raise ValueError(f"{KEPT_INDEX.as_posix()} is of other variables")


def put_articles(version: pathlib.Path, articles: ServedArticles) -> None:
    """Writes articles into a SavedModel that was saved without."""
    saved = os.fspath(version / VARIABLES)
    shapes = tf.train.load_checkpoint(saved).get_variable_to_shape_map()
    dtypes = tf.train.load_checkpoint(saved).get_variable_to_dtype_map()
    base = dict(_tensors({f"{_ARTICLES}/base": articles.base}))
    base |= _tensors({f"{_ARTICLES}/base_scored": articles.base_scored})
    others = sorted(shapes.keys() - base.keys() - _written(articles).keys())
    tensors = tf.raw_ops.RestoreV2(
        prefix=saved,
        tensor_names=others,
        shape_and_slices=[""] * len(others),
        dtypes=[dtypes[name] for name in others],
    )
    _save(version / _KEPT, base | dict(zip(others, tensors, strict=True)))
    _file(version / VARIABLES, _ONLY).unlink()
    _combine(version, articles)


def write_articles(old: pathlib.Path, new: pathlib.Path, articles: ServedArticles) -> None:
    """Writes the variables of a version: those of another one, with these articles."""
    (new / VARIABLES).parent.mkdir()
    link(old / KEPT_INDEX, _file(new / _KEPT, _INDEX))
    link(old / KEPT_DATA, _file(new / _KEPT, _ONLY))
    _combine(new, articles)


def link(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Links a file, or copies it where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _combine(version, articles):
    (version / KEPT_INDEX).parent.mkdir(parents=True, exist_ok=True)
    link(_file(version / _KEPT, _INDEX), version / KEPT_INDEX)
    _save(version / _WRITTEN, _written(articles))
    parts = [version / _KEPT, version / _WRITTEN]
    tf.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=[os.fspath(part) for part in parts],
        destination_prefix=os.fspath(version / VARIABLES),
        delete_old_dirs=False,
    )


def _file(prefix, suffix):
    return prefix.with_name(prefix.name + suffix)


def _save(prefix, tensors):
    tf.raw_ops.SaveV2(
        prefix=os.fspath(prefix),
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=list(tensors.values()),
    )


def _written(articles):
    parts = articles.parts_of_refresh
    return dict(_tensors({f"{_ARTICLES}/{name}": part for name, part in parts.items()}))


def _tensors(objects: dict[str, Any]) -> Iterator[tuple[str, tf.Tensor]]:
    """Yields keys of a checkpoint and their values, for objects by their path."""
    for path, value in objects.items():
        if isinstance(value, tf.Variable):
            yield f"{path}/.ATTRIBUTES/VARIABLE_VALUE", value.read_value()
        elif isinstance(value, tf.lookup.experimental.MutableHashTable):
            names = (f"{path}/.ATTRIBUTES/table-{part}" for part in ("keys", "values"))
            yield from zip(names, value.export(), strict=True)
        elif isinstance(value, (tf.Module, dict)):
            parts = value if isinstance(value, dict) else vars(value)
            yield from _tensors({f"{path}/{name}": part for name, part in parts.items()})
