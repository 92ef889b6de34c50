"""The files of a folder in MIND's format, read a block of lines at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import tensorflow as tf

from tfrs_npa.data.chunk import Chunk
from tfrs_npa.datasets.mind import Builder, read_behaviors, read_news
from tfrs_npa.datasets.mind.blocks import count_impressions, read_columns, read_news_columns


class TsvTable:
    """The rows of a `news.tsv` or `behaviors.tsv`, as dicts; they are never all in memory.

    Args:
        path: The file.
        rows: How many rows it has, see `count`.
    """

    table: ClassVar[str]
    read: ClassVar[Callable[..., Iterator[dict[str, Any]]]]

    def __init__(self, path: str | os.PathLike[str], rows: int):
        self.path, self._rows = path, rows

    def __len__(self) -> int:
        return self._rows

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return type(self).read(self.path, name=os.fspath(self.path))

    @staticmethod
    def count(path: str | os.PathLike[str]) -> int:
        """Returns how many rows a file has, each of which is checked.

        Raises:
            MindFileError: it is missing, empty or has a bad line.
        """
        raise NotImplementedError

    @property
    def element_spec(self):
        """The specification of a row: the features of the builder, as TensorFlow sees them."""
        features = Builder(config=f"small-{self.table}").info.features
        return tf.nest.map_structure(
            lambda info: tf.TensorSpec(info.shape, info.tf_dtype), features.get_tensor_info()
        )


class TsvLog(TsvTable):
    """The impressions of a `behaviors.tsv`; args as `TsvTable`."""

    table, read = "behaviors", staticmethod(read_behaviors)

    @staticmethod
    def count(path: str | os.PathLike[str]) -> int:
        """As `TsvTable.count`; of impressions."""
        return count_impressions(path)

    def chunks(self, features: Sequence[str] = ()) -> Iterator[Chunk]:
        """Reads the impressions.

        Args:
            features: `time`, to keep it, or nothing.

        Yields:
            Consecutive impressions.

        Raises:
            MindFileError: as `count`.
        """
        for columns in read_columns(self.path):
            yield Chunk.of_columns(columns, features)


class TsvNews(TsvTable):
    """The articles of a `news.tsv`; args as `TsvTable`."""

    table, read = "news", staticmethod(read_news)

    @staticmethod
    def count(path: str | os.PathLike[str]) -> int:
        """As `TsvTable.count`; of articles."""
        return sum(len(ids) for (ids,) in read_news_columns(path, ["news_id"]))

    def text_columns(self, names: Sequence[str]) -> Iterator[tuple[list[str], ...]]:
        """Yields columns of the articles, many rows at a time.

        Raises:
            MindFileError: as `count`.
        """
        return read_news_columns(self.path, names)
