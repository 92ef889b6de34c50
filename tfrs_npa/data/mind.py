"""MIND, and data in its format: from a name or a folder to data sets."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tensorflow as tf
import tensorflow_datasets as tfds

from tfrs_npa.datasets.mind import Builder, find_splits, read_behaviors, read_news

_PREFIX = "mind/"
_READERS = {"news": read_news, "behaviors": read_behaviors}


@dataclasses.dataclass(frozen=True, eq=False)
class MindData:
    """Articles and impressions of each split, as the builder `mind` describes them.

    Attributes:
        name: `mind/small` and so on, or the path of the folder.
        news: articles by split (`train`, `validation` and, if there is one, `test`).
        behaviors: impressions by split, in file order.
        reference_auc: for synthetic data, the AUC of `history_only` and of `true_preferences` by
            split and group of users; else empty.
    """

    name: str
    news: Mapping[str, tf.data.Dataset]
    behaviors: Mapping[str, tf.data.Dataset]
    reference_auc: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def is_labelled(self, split: str) -> bool:
        """Whether the clicks of a split are known, judged by its first impression."""
        first = next(self.behaviors[split].take(1).as_numpy_iterator())
        return bool((first["candidates"]["clicked"] >= 0).all())

    @property
    def report_split(self) -> str:
        """The split that figures are reported on: `test` where it is labelled, or `validation`."""
        if "test" in self.behaviors and self.is_labelled("test"):
            return "test"
        return "validation"


def load_mind(
    name_or_folder: str | os.PathLike,
    data_dir: str | os.PathLike | None = None,
    manual_dir: str | os.PathLike | None = None,
) -> MindData:
    """Loads a size of MIND by name, or a folder in MIND's format.

    >>> data = load_mind("mind/synthetic")
    >>> sorted(data.behaviors)
    ['test', 'train', 'validation']

    The files of a folder are read once to the end before anything else happens, so that a bad line
    is found at once; their rows are never all in memory.

    Args:
        name_or_folder: `mind/synthetic`, `mind/demo`, `mind/small`, `mind/large`, or a folder with
            `train/`, `valid/` or `dev/`, and possibly `test/` (see `find_splits`).
        data_dir: where TensorFlow Datasets keeps what it has prepared; its own default if None.
        manual_dir: where zips of MIND lie that were fetched by hand.

    Raises:
        MindFileError: a file is missing, empty or damaged, or has a bad line.
        ValueError: there is no data set of that name.
    """
    name = os.fspath(name_or_folder)
    known = list(dict.fromkeys(_PREFIX + config.size for config in Builder.BUILDER_CONFIGS))
    if name in known:
        return _load_prepared(name, data_dir, manual_dir)
    folder = pathlib.Path(os.path.abspath(name))
    if name.startswith(_PREFIX) or not folder.is_dir():
        what = "data set" if name.startswith(_PREFIX) else "folder"
        raise ValueError(
            f"there is no {what} {name}; give a folder in MIND's format, or {', '.join(known)}"
        )
    splits = find_splits(folder)
    news, behaviors = (
        {split: _read(table, path / f"{table}.tsv") for split, path in splits.items()}
        for table in ("news", "behaviors")
    )
    return MindData(str(folder), news, behaviors)


def _load_prepared(name: str, data_dir, manual_dir) -> MindData:
    if manual_dir is not None and not pathlib.Path(manual_dir).is_dir():
        raise ValueError(f"the manual folder {manual_dir} does not exist")
    tables, metadata = {}, {}
    for table in _READERS:
        builder = tfds.builder(f"{name}-{table}", data_dir=data_dir)
        config = tfds.download.DownloadConfig(manual_dir=manual_dir)
        builder.download_and_prepare(download_config=config)
        # Each split is read once or twice: not worth the memory of a cache.
        reading = tfds.ReadConfig(try_autocache=False)
        tables[table] = builder.as_dataset(read_config=reading)
        metadata.update(builder.info.metadata)
    return MindData(name, **tables, reference_auc=metadata.get("reference_auc", {}))


def _read(table: str, path: pathlib.Path) -> tf.data.Dataset:
    """Reads a file as a data set of known cardinality, after a pass that finds what is wrong."""
    read: Callable[..., Iterator[dict]] = _READERS[table]
    # Inside tf.data an error would come out as a stack trace of TensorFlow's.
    rows = sum(1 for _ in read(path, name=str(path)))
    dataset = tf.data.Dataset.from_generator(
        lambda: read(path, name=str(path)),
        output_signature=_signature(Builder(config=f"small-{table}")),
    )
    return dataset.apply(tf.data.experimental.assert_cardinality(rows))


def _signature(builder: tfds.core.DatasetBuilder):
    """What an element of a table is: the features of the builder, as TensorFlow sees them."""
    return tf.nest.map_structure(
        lambda info: tf.TensorSpec(info.shape, info.tf_dtype),
        builder.info.features.get_tensor_info(),
    )
