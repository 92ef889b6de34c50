"""The encoded titles of a whole catalogue: some are scored together, all can be looked up."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfrs_npa.layers.packed import packed_positions, packed_starts
from tfrs_npa.models.news_encoder import NewsEncoder, TitleFeatures
from tfrs_npa.models.title_blocks import TitleBlocks


class StoredTitles(TitleBlocks):
    """`TitleBlocks` of all articles that a news encoder can encode, with access to each.

    Args:
        encoder: The candidate tower.
        dtype: `"float32"` or `"bfloat16"`, how words are kept.
    """

    def __init__(self, encoder: NewsEncoder, dtype: str = "float32"):
        super().__init__(encoder, dtype)

        def variable():
            return tf.Variable(tf.zeros([0], tf.int32), trainable=False, shape=[None])

        # By article: its place among the terms, its words, and where the rows of these begin.
        self._places, self._lengths, self._starts = variable(), variable(), variable()
        # Rows of the blocks, one title after the other.
        self._rows = variable()

    def store(self, scored: np.ndarray) -> None:
        """Encodes all articles of the encoder that are not stored yet.

        Args:
            scored: `[scored]` the articles that `scores` is about, ascending.
        """
        lengths = self._untracked.encoder.title_lengths()
        others = np.setdiff1d(np.arange(len(lengths)), scored)
        articles = np.concatenate([scored, others]).astype(np.int32)
        self.update(articles, scored=len(scored))
        titles, layout = np.argsort(articles), self._untracked.layout
        self._places.assign(layout.order[titles])
        self._rows.assign(layout.words(titles))
        self._starts.assign(np.cumsum(lengths, dtype=np.int32) - lengths)
        self._lengths.assign(lengths)

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
        terms = tf.cast(tf.gather(self._terms, tf.gather(self._places, articles)), dtype)
        terms = terms if self._terms.shape[1] else None
        return TitleFeatures(values, keys, packed_starts(lengths), lengths, terms)
