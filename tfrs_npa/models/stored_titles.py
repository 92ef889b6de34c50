"""The encoded titles of a whole catalogue, to be scored together or looked up one by one."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfrs_npa.layers.packed import packed_positions, packed_starts
from tfrs_npa.models.news_encoder import NewsEncoder, TitleFeatures
from tfrs_npa.models.title_blocks import TitleBlocks


class StoredTitles(TitleBlocks):
    """`TitleBlocks` of all articles that a news encoder can encode, with access to each.

    Title `i` is article `i`, so `scores` has columns for padding and the unknown article too.

    Args:
        encoder: The candidate tower.
        dtype: `"float32"` or `"bfloat16"`, how words are kept.
    """

    def __init__(self, encoder: NewsEncoder, dtype: str = "float32"):
        super().__init__(encoder, dtype)
        lengths = encoder.title_lengths()
        articles = np.arange(len(lengths))
        self.update(articles)
        # Rows of the blocks, one title after the other.
        self._rows = tf.Variable(self._untracked.layout.words(articles), trainable=False)
        self._starts = tf.Variable(np.cumsum(lengths, dtype=np.int32) - lengths, trainable=False)
        self._lengths = tf.Variable(lengths, trainable=False)

    def features(self, articles, dtype) -> TitleFeatures:
        """Returns the features of some articles, without encoding anything.

        Args:
            articles: `[titles]` indices of the catalogue.
            dtype: Type of the features.
        """
        starts, lengths = tf.gather(self._starts, articles), tf.gather(self._lengths, articles)
        rows = tf.gather(self._rows, packed_positions(starts, lengths))

        def words(part):
            part = tf.reshape(part, [-1, part.shape[-1]])
            return tf.cast(tf.gather(part, rows), dtype)

        values, keys = words(self._values), None
        if self._personalized:
            keys = values if self._keys is None else words(self._keys)
        terms = tf.cast(tf.gather(self._terms, tf.gather(self._order, articles)), dtype)
        terms = terms if self._terms.shape[1] else None
        return TitleFeatures(values, keys, packed_starts(lengths), lengths, terms)
