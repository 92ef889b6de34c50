"""Encoded titles: some are scored together, all can be looked up one by one."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfrs_npa.layers.packed import packed_positions, packed_starts
from tfrs_npa.models.news_encoder import NewsEncoder, TitleFeatures
from tfrs_npa.models.title_blocks import TitleBlocks
from tfrs_npa.models.title_layout import TitleLayout


class StoredTitles(TitleBlocks):
    """`TitleBlocks` with access to each title, as it is kept: that is what scores are of.

    Args:
        encoder: The candidate tower.
        dtype: `"float32"` or `"bfloat16"`, how words are kept.
    """

    _is_of_encoder = False

    def __init__(self, encoder: NewsEncoder, dtype: str = "float32"):
        super().__init__(encoder, dtype)

        def variable():
            return tf.Variable(tf.zeros([0], tf.int32), trainable=False, shape=[None])

        # Of each listed article: its place among the terms, its words, and where its rows begin.
        self._places, self._lengths, self._starts = variable(), variable(), variable()
        # Rows of the blocks, one title after the other.
        self._rows = variable()

    @property
    def count(self):
        """How many articles are listed, a scalar."""
        return tf.size(self._lengths)

    def store(self, listed: np.ndarray, scored: np.ndarray) -> None:
        """Encodes articles of the encoder, those that are not stored yet.

        Args:
            listed: `[listed]` the articles that `features` is about, ascending.
            scored: `[scored]` the articles that scores are about, ascending; others of the encoder
                may be among them.
        """
        articles = _scored_first(listed, scored)
        self.update(articles, scored=len(scored))
        by_article = np.argsort(articles)
        titles = by_article[np.searchsorted(articles, listed, sorter=by_article)]
        layout, lengths = self._untracked.layout, self._untracked.encoder.title_lengths()[listed]
        self._places.assign(layout.order[titles])
        self._rows.assign(layout.words(titles))
        self._starts.assign(np.cumsum(lengths, dtype=np.int32) - lengths)
        self._lengths.assign(lengths)

    def mark_restored(self, listed: np.ndarray, scored: np.ndarray) -> None:
        """Records that the variables came from a checkpoint, and what `store` was given last."""
        own = self._untracked
        own.articles = _scored_first(listed, scored)
        own.layout = TitleLayout(own.encoder.title_lengths()[own.articles], len(scored))

    def _block_scores(self, users, is_rounded):
        """There may be no titles; see `TitleBlocks`."""
        block_scores = super()._block_scores
        nothing = [tf.zeros([0, tf.shape(users)[0]])] * (1 + is_rounded)
        return tf.cond(
            tf.size(self.order) > 0, lambda: block_scores(users, is_rounded), lambda: nothing
        )

    def features(self, titles, dtype) -> TitleFeatures:
        """Returns the features of some articles, without encoding anything.

        Their keys are to be compared with a `PersonalizedAttention.folded_query`.

        Args:
            titles: `[titles]` places of articles among those that are listed.
            dtype: Type of the features.
        """
        starts, lengths = tf.gather(self._starts, titles), tf.gather(self._lengths, titles)
        rows = tf.gather(self._rows, packed_positions(starts, lengths))

        def words(part):
            part = tf.reshape(part, [-1, part.shape[-1]])
            return tf.cast(tf.gather(part, rows), dtype)

        values, keys = words(self._values), None
        if self._personalized:
            keys = values if self._keys is None else words(self._keys)
        terms = tf.cast(tf.gather(self._terms, tf.gather(self._places, titles)), dtype)
        terms = terms if self._terms.shape[1] else None
        return TitleFeatures(values, keys, packed_starts(lengths), lengths, terms)


def _scored_first(listed, scored):
    return np.concatenate([scored, np.setdiff1d(listed, scored)]).astype(np.int32)
