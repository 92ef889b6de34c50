"""Article ids in a graph: the articles of a catalogue, and which of them are indexed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tfrs_npa.data.catalog import UNKNOWN_ARTICLE, NewsCatalog
from tfrs_npa.layers.untracked import Untracked


class IndexedArticles(tf.Module):
    """The ids of indexed articles, and the indices of all articles of a catalogue.

    Another catalogue or another choice of articles needs no new trace.

    Attributes:
        ids: `[indexed]` strings, in the order of the catalogue.
        indices: `[indexed]` their int32 indices in it.
    """

    def __init__(self):
        super().__init__(name="indexed_articles")
        # One table for good: a static one would be another, and a new trace, for each catalogue.
        self._table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int32, UNKNOWN_ARTICLE)
        self.ids = tf.Variable(tf.zeros([0], tf.string), trainable=False, shape=[None])
        self.indices = tf.Variable(tf.zeros([0], tf.int32), trainable=False, shape=[None])
        # Position of each article of the catalogue among the indexed ones, or -1.
        self._positions = tf.Variable(tf.zeros([0], tf.int32), trainable=False, shape=[None])
        # What the table holds.
        self._untracked = Untracked(catalog=None, ids=[])

    def knows(self, catalog: NewsCatalog) -> bool:
        """Whether this is the catalogue of the last update, though it may have grown."""
        held = self._untracked
        return catalog is held.catalog and catalog.ids[: len(held.ids)] == held.ids

    def update(self, catalog: NewsCatalog, indices: np.ndarray) -> None:
        """Indexes articles of a catalogue.

        Args:
            catalog: The catalogue; it replaces the previous one.
            indices: `[indexed]` the articles to index, ascending.
        """
        self.prepare(catalog, catalog.ids, indices)()

    def prepare(
        self, catalog: NewsCatalog, ids: Sequence[str], indices: np.ndarray
    ) -> Callable[[], None]:
        """Returns a function that indexes articles, which takes milliseconds.

        Args:
            catalog: As in `update`.
            ids: The ids of all articles by index, which the catalogue will have by then.
            indices: As in `update`.
        """
        held = self._untracked
        known = len(held.ids) if self.knows(catalog) else 0
        ids = list(ids)
        gone = tf.constant([] if known else list(set(held.ids).difference(ids)), tf.string)
        new = tf.constant(ids[known:], tf.string)
        numbers = tf.range(known, len(ids), dtype=tf.int32)
        positions = np.full(len(ids), -1, np.int32)
        positions[indices] = np.arange(len(indices))
        values = [
            (self._positions, tf.constant(positions)),
            (self.indices, tf.constant(indices, tf.int32)),
            (self.ids, tf.constant([ids[index] for index in indices], tf.string)),
        ]

        def index():
            if len(gone):
                self._table.remove(gone)
            if len(new):
                self._table.insert(new, numbers)
            held.catalog, held.ids = catalog, ids
            for variable, value in values:
                variable.assign(value)

        return index

    def all_ids(self) -> list[str]:
        """Returns the ids of all articles by their indices, as the table has them."""
        ids, indices = self._table.export()
        by_index = ids.numpy()[np.argsort(indices)]
        return [news_id.decode() for news_id in by_index]

    def lookup(self, ids):
        """Returns the indices of articles in the catalogue.

        Args:
            ids: Strings of any shape.

        Returns:
            int32 of the same shape, 0 at `""` and 1 for unknown articles.
        """
        # The lookup of a mutable table loses the shape.
        return tf.ensure_shape(self._table.lookup(ids), ids.shape)

    def lookup_with_titles(self, ids, titles, first):
        """Returns the indices of articles, with further ones for unknown articles with a title.

        Args:
            ids: `[rows, width]` strings.
            titles: `[rows, width]` strings, the titles of those that are not known, `""` where
                there is none; those of known articles do not count.
            first: The number of articles that can be encoded, a scalar: the first index beyond.

        Returns:
            The indices, as `lookup` gives them, but `first` and more for unknown articles with a
            title; and `[n]` strings, the distinct titles that these stand for.
        """
        indices = self.lookup(ids)
        slots = tf.where((indices == UNKNOWN_ARTICLE) & (titles != ""))
        distinct, numbers = tf.unique(tf.gather_nd(titles, slots))
        return tf.tensor_scatter_nd_update(indices, slots, first + numbers), distinct

    def positions(self, ids):
        """Returns the positions of articles among the indexed ones.

        Args:
            ids: `[rows, width]` strings.

        Returns:
            `[rows, width]` int32, -1 for those that are not indexed.
        """
        return tf.gather(self._positions, self.lookup(ids))

    def places(self, indices):
        """Returns the positions among the indexed articles, as `positions`, of indices `[n]`."""
        known = tf.size(self._positions)
        positions = tf.gather(self._positions, tf.where(indices < known, indices, 0))
        return tf.where(indices < known, positions, -1)

    def mask(self, ids):
        """Returns which indexed articles are among `ids`.

        Args:
            ids: `[rows, width]` strings, of which those that are not indexed do not count.

        Returns:
            `[rows, indexed]` booleans.
        """
        positions = self.positions(ids)
        found = tf.where(positions >= 0)
        columns = tf.cast(tf.gather_nd(positions, found), tf.int64)
        shape = tf.stack([tf.shape(ids)[0], tf.size(self.ids)])
        return tf.tensor_scatter_nd_update(
            tf.zeros(shape, tf.bool),
            tf.stack([found[:, 0], columns], axis=1),
            tf.ones_like(columns, tf.bool),
        )
