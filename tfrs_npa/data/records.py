"""Examples that TensorFlow Datasets has prepared, parsed many at a time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_datasets as tfds
from tensorflow_datasets.core import file_adapters

from tfrs_npa._quoting import reason_of
from tfrs_npa.data.chunk import Chunk, texts_of
from tfrs_npa.data.pipelines import without_autotuning

_BATCH = 2048
_HISTORY, _NEWS_ID, _CLICKED = "history", "candidates/news_id", "candidates/clicked"


class PreparedTable:
    """The examples of a split of `mind`, in file order; they are never all in memory.

    TFDS parses examples one by one, which takes several times as long as all else.

    Args:
        builder: The prepared builder.
        split: The split.

    Attributes:
        dataset: The examples as TFDS reads them.
        files: All files that they are read from.

    Raises:
        ValueError: if the prepared files are damaged, here or while they are read; names their
            folder.
    """

    def __init__(self, builder: tfds.core.DatasetBuilder, split: str):
        self._folder = os.fspath(builder.data_path)
        # Each split is read once or twice: not worth the memory of TFDS's own cache.
        reading = tfds.ReadConfig(try_autocache=False)
        with naming_damage(self._folder):
            self.dataset = builder.as_dataset(split=split, read_config=reading)
            info = builder.info
            self._shards = [str(path) for path in info.splits[split].filepaths]
            self.files = [str(builder.data_path / "dataset_info.json"), *self._shards]
            self._rows = info.splits[split].num_examples
            self._adapter = file_adapters.ADAPTER_FOR_FORMAT[info.file_format]
            self._specs = dict(_flat(info.features.get_serialized_info()))
            _require_files(self._shards)

    def __len__(self) -> int:
        return self._rows

    def __iter__(self) -> Iterator[Any]:
        with naming_damage(self._folder):
            yield from self.dataset

    @property
    def element_spec(self):
        """The specification of an example."""
        return self.dataset.element_spec

    def chunks(self, features: Sequence[str] = ()) -> Iterator[Chunk]:
        """Reads the impressions; args as those of `tfrs_npa.data.conversion.convert`."""
        names = ["impression_id", "user_id", _HISTORY, _NEWS_ID, _CLICKED, *features]
        for batch in self._batches(names):
            history, news_id, clicked = (batch[name] for name in (_HISTORY, _NEWS_ID, _CLICKED))
            chunk = Chunk.of_tensors(batch, history, news_id, clicked, features)
            yield chunk.checked("impression {}", chunk.impression_id)

    def text_columns(self, names: Sequence[str]) -> Iterator[tuple[list[str], ...]]:
        """Yields columns of the examples, many rows at a time."""
        for batch in self._batches(names):
            yield tuple(texts_of(batch[name]) for name in names)

    def _batches(self, names: Sequence[str]) -> Iterator[Mapping[str, tf.Tensor]]:
        rows = 0
        with naming_damage(self._folder):
            _require_files(self._shards)
            specs = {name: self._specs[name] for name in names}
            for shard in self._shards:
                batches = self._adapter.make_tf_data(shard).batch(_BATCH)
                parsed = batches.map(lambda batch: tf.io.parse_example(batch, specs))
                for batch in without_autotuning(parsed.prefetch(1)):
                    rows += int(batch[names[0]].shape[0])
                    yield batch
            if rows != self._rows:
                raise ValueError(f"{rows:,} examples instead of {self._rows:,}")


@contextlib.contextmanager
def naming_damage(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Has whatever TFDS and TensorFlow raise for prepared files name their folder.

    Args:
        folder: The folder.
    """
    try:
        yield
    except (MemoryError, PermissionError):
        raise  # the data may be whole
    except Exception as error:  # of many kinds, none of which says where
        raise ValueError(
            f"{os.fspath(folder)}: the prepared data cannot be read ({reason_of(error)}); if "
            "it is damaged, remove the folder, and it is prepared again"
        ) from error


def _require_files(shards: Sequence[str]) -> None:
    for shard in shards:
        if "://" not in shard and not os.path.isfile(shard):
            raise ValueError(f"{os.path.basename(shard)} is missing or no file")


def _flat(info: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yields how each feature is kept in an example, lists by their name `a/b`."""
    for name, part in info.items():
        if isinstance(part, Mapping):
            yield from _flat(part, f"{prefix}{name}/")
        elif part.shape:
            yield prefix + name, tf.io.RaggedFeature(part.tf_dtype, row_splits_dtype=tf.int64)
        else:
            yield prefix + name, tf.io.FixedLenFeature([], part.tf_dtype)
