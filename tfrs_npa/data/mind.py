"""MIND, and data in its format: from a name or a folder to data sets."""

from __future__ import annotations

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_datasets as tfds

from tfrs_npa.data.cache import Cache, state_of
from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.data.impressions import Impressions
from tfrs_npa.data.sources import text_columns
from tfrs_npa.data.users import UserIndex
from tfrs_npa.datasets.mind import Builder, find_splits, read_behaviors, read_news

_PREFIX = "mind/"
_READERS = {"news": read_news, "behaviors": read_behaviors}
_CHUNK = 1024


@dataclasses.dataclass(frozen=True, eq=False)
class MindData:
    """Articles and impressions of each split, as the builder `mind` describes them.

    Attributes:
        name: `mind/small` and so on, or the path of the folder.
        news: articles by split (`train`, `validation` and, if there is one, `test`).
        behaviors: impressions by split, in file order.
        reference_auc: for synthetic data, the AUC of `history_only` and of `true_preferences` by
            split and group of users; else empty.
        cache: where that is kept which the methods read; None: they read it again each time.
        files: with a cache, the files of `news` and `behaviors` by table and split.
    """

    name: str
    news: Mapping[str, tf.data.Dataset]
    behaviors: Mapping[str, tf.data.Dataset]
    reference_auc: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    cache: Cache | None = None
    files: Mapping[str, Mapping[str, Sequence[os.PathLike]]] = dataclasses.field(
        default_factory=dict
    )

    def titles(self, split: str) -> dict[str, list[str]]:
        """The columns `news_id` and `title` of the articles of a split."""
        names = ["news_id", "title"]

        def read():
            chunks = [*text_columns(self.news[split], names, "news")]
            return {
                name: list(itertools.chain.from_iterable(chunk[column] for chunk in chunks))
                for column, name in enumerate(names)
            }

        return self._kept("titles", "news", split, read)

    def add_articles(self, catalog: NewsCatalog) -> NewsCatalog:
        """Extends a catalogue by the articles of all splits, and returns it."""
        for split in self.news:
            catalog.extend(self.titles(split))
        return catalog

    def users(self, split: str) -> UserIndex:
        """The users of a split."""

        def read():
            index = UserIndex().adapt(self.behaviors[split])
            return index.ids[len(index.specials) :]

        return UserIndex().adapt({"user_id": self._kept("users", "behaviors", split, read)})

    def impressions(
        self, split: str, catalog: NewsCatalog, users: UserIndex, features: Sequence[str] = ()
    ) -> Impressions:
        """The impressions of a split as integers; see `Impressions.from_dataset`."""
        files = self.files["behaviors"][split] if self.cache else ()
        return Impressions.from_dataset(
            self.behaviors[split], catalog, users, features, cache=self.cache, files=files
        )

    def _kept(self, what: str, table: str, split: str, read: Callable[[], Any]) -> Any:
        if self.cache is None:
            return read()
        return self.cache.json([what, state_of(self.files[table][split])], read)

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
    cache: Cache | None = None,
) -> MindData:
    """Loads a size of MIND by name, or a folder in MIND's format.

    >>> data = load_mind("mind/synthetic")
    >>> sorted(data.behaviors)
    ['test', 'train', 'validation']

    The files of a folder are read once to the end before anything else happens, so that a bad line
    is found at once; their rows are never all in memory. With a cache this is not done again for
    files that were found good.

    Args:
        name_or_folder: `mind/synthetic`, `mind/demo`, `mind/small`, `mind/large`, or a folder with
            `train/`, `valid/` or `dev/`, and possibly `test/` (see `find_splits`).
        data_dir: where TensorFlow Datasets keeps what it has prepared; its own default if None.
        manual_dir: where zips of MIND lie that were fetched by hand.
        cache: where that is kept which is read from it.

    Raises:
        MindFileError: a file is missing, empty or damaged, or has a bad line.
        ValueError: there is no data set of that name.
    """
    name = os.fspath(name_or_folder)
    known = list(dict.fromkeys(_PREFIX + config.size for config in Builder.BUILDER_CONFIGS))
    if name in known:
        return _load_prepared(name, data_dir, manual_dir, cache)
    folder = pathlib.Path(os.path.abspath(name))
    if name.startswith(_PREFIX) or not folder.is_dir():
        what = "data set" if name.startswith(_PREFIX) else "folder"
        raise ValueError(
            f"there is no {what} {name}; give a folder in MIND's format, or {', '.join(known)}"
        )
    splits = find_splits(folder)
    files = {
        table: {split: [path / f"{table}.tsv"] for split, path in splits.items()}
        for table in _READERS
    }
    tables = {
        table: {split: _read(table, file, cache) for split, (file,) in of_splits.items()}
        for table, of_splits in files.items()
    }
    return MindData(str(folder), **tables, cache=cache, files=files)


def _load_prepared(name: str, data_dir, manual_dir, cache) -> MindData:
    if manual_dir is not None and not pathlib.Path(manual_dir).is_dir():
        raise ValueError(f"the manual folder {manual_dir} does not exist")
    tables, metadata, files = {}, {}, {}
    for table in _READERS:
        builder = tfds.builder(f"{name}-{table}", data_dir=data_dir)
        config = tfds.download.DownloadConfig(manual_dir=manual_dir)
        builder.download_and_prepare(download_config=config)
        # Each split is read once or twice: not worth the memory of a cache.
        reading = tfds.ReadConfig(try_autocache=False)
        tables[table] = builder.as_dataset(read_config=reading)
        metadata.update(builder.info.metadata)
        description = builder.data_path / "dataset_info.json"
        files[table] = {
            split: [description, *info.filepaths] for split, info in builder.info.splits.items()
        }
    reference_auc = metadata.get("reference_auc", {})
    return MindData(name, **tables, reference_auc=reference_auc, cache=cache, files=files)


def _read(table: str, path: pathlib.Path, cache: Cache | None) -> tf.data.Dataset:
    """Reads a file as a data set of known cardinality, after a pass that finds what is wrong."""
    read: Callable[..., Iterator[dict]] = _READERS[table]

    # Inside tf.data an error would come out as a stack trace of TensorFlow's.
    def count():
        return sum(1 for _ in read(path, name=str(path)))

    rows = count() if cache is None else cache.json(["rows", state_of([path])], count)
    signature = _signature(Builder(config=f"small-{table}"))

    # Many rows at a time, because TensorFlow takes long over each call.
    def chunks():
        found = read(path, name=str(path))
        while chunk := list(itertools.islice(found, _CHUNK)):
            yield _stacked(chunk, signature)

    dataset = tf.data.Dataset.from_generator(
        chunks, output_signature=tf.nest.map_structure(_batched, signature)
    )
    # The identity, because rows of ragged tensors otherwise do not count as tensors.
    dataset = dataset.unbatch().map(lambda row: tf.nest.map_structure(tf.identity, row))
    return dataset.apply(tf.data.experimental.assert_cardinality(rows))


def _signature(builder: tfds.core.DatasetBuilder):
    """What an element of a table is: the features of the builder, as TensorFlow sees them."""
    return tf.nest.map_structure(
        lambda info: tf.TensorSpec(info.shape, info.tf_dtype),
        builder.info.features.get_tensor_info(),
    )


def _batched(spec: tf.TensorSpec) -> tf.TypeSpec:
    if spec.shape.rank == 0:
        return tf.TensorSpec([None], spec.dtype)
    return tf.RaggedTensorSpec([None, None], spec.dtype)


def _stacked(rows: list, spec):
    if isinstance(spec, Mapping):
        return {name: _stacked([row[name] for row in rows], part) for name, part in spec.items()}
    if spec.shape.rank == 0:
        return tf.constant(rows, spec.dtype)
    values = tf.constant(list(itertools.chain.from_iterable(rows)), spec.dtype)
    return tf.RaggedTensor.from_row_lengths(values, [len(row) for row in rows])
