"""Article ids in a graph: which articles there are, and which of them are indexed."""

from __future__ import annotations

import types

import numpy as np
import tensorflow as tf

from tfrs_npa.config import NPAConfig
from tfrs_npa.data.catalog import PADDING, UNKNOWN_ARTICLE, NewsCatalog


class IndexedArticles(tf.Module):
    """The ids of indexed articles, and the numbers of all articles of a catalogue.

    Another catalogue or another choice of articles needs no new trace.

    Attributes:
        ids: `[indexed]` strings, in the order of the catalogue.
        numbers: `[indexed]` their int32 numbers in it.
    """

    def __init__(self):
        super().__init__(name="indexed_articles")
        # One table for good: a static one would be another, and a new trace, for each catalogue.
        self._table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int32, UNKNOWN_ARTICLE)
        self.ids = tf.Variable(tf.zeros([0], tf.string), trainable=False, shape=[None])
        self.numbers = tf.Variable(tf.zeros([0], tf.int32), trainable=False, shape=[None])
        # Of each article of the catalogue, its place among the indexed ones, or -1.
        self._places = tf.Variable(tf.zeros([0], tf.int32), trainable=False, shape=[None])
        # In a namespace, which a SavedModel does not look into: what the table holds.
        self._here = types.SimpleNamespace(catalog=None, ids=[])

    def knows(self, catalog: NewsCatalog) -> bool:
        """Whether this is the catalogue that was taken up, though it may have grown."""
        here = self._here
        return catalog is here.catalog and catalog.ids[: len(here.ids)] == here.ids

    def update(self, catalog: NewsCatalog, numbers: np.ndarray) -> None:
        """Takes up the articles of a catalogue.

        Args:
            catalog: The catalogue. If it is another one, the old one is forgotten.
            numbers: `[indexed]` the articles to index, ascending.
        """
        here = self._here
        known = len(here.ids) if self.knows(catalog) else 0
        gone = [] if known else list(set(here.ids).difference(catalog.ids))
        if gone:
            self._table.remove(tf.constant(gone))
        new = catalog.ids[known:]
        if new:
            self._table.insert(tf.constant(new), tf.range(known, known + len(new), dtype=tf.int32))
        here.catalog, here.ids = catalog, list(catalog.ids)
        places = np.full(len(catalog), -1, np.int32)
        places[numbers] = np.arange(len(numbers))
        self._places.assign(places)
        self.numbers.assign(numbers.astype(np.int32))
        self.ids.assign(np.array([catalog.ids[number] for number in numbers], object))

    def histories(self, ids, config: NPAConfig):
        """Returns what the query tower reads.

        Args:
            ids: `[batch, clicks]` strings, oldest first, `""` at padding.
            config: Hyper-parameters.

        Returns:
            `[batch, history]` int32 numbers of the latest `history_length` articles, padded on the
            right with 0; always as wide as `history_length` where padding takes part.
        """
        numbers = self._numbers(ids)
        clicks = tf.ragged.boolean_mask(numbers, numbers != PADDING)
        width = None if config.mask_padding else config.history_length
        return clicks[:, -config.history_length :].to_tensor(PADDING, shape=[None, width])

    def places(self, ids):
        """Returns where articles are among the indexed ones.

        Args:
            ids: `[rows, width]` strings.

        Returns:
            `[rows, width]` int32, -1 for those that are not indexed.
        """
        return tf.gather(self._places, self._numbers(ids))

    def mask(self, ids):
        """Returns which indexed articles are among `ids`.

        Args:
            ids: `[rows, width]` strings, of which those that are not indexed do not count.

        Returns:
            `[rows, indexed]` booleans.
        """
        places = self.places(ids)
        found = tf.where(places >= 0)
        columns = tf.cast(tf.gather_nd(places, found), tf.int64)
        shape = tf.stack([tf.shape(ids)[0], tf.size(self.ids)])
        return tf.tensor_scatter_nd_update(
            tf.zeros(shape, tf.bool),
            tf.stack([found[:, 0], columns], axis=1),
            tf.ones_like(columns, tf.bool),
        )

    def _numbers(self, ids):
        # The lookup of such a table forgets the shape.
        return tf.ensure_shape(self._table.lookup(ids), ids.shape)
