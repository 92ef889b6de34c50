"""The articles of a SavedModel: what changes when some come and others go."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.layers.packed import selected
from tfrs_npa.layers.untracked import Untracked
from tfrs_npa.models.news_encoder import NewsEncoder, TitleFeatures, joined
from tfrs_npa.models.title_blocks import TitleBlocks
from tfrs_npa.models.title_encoding import TitleEncoding
from tfrs_npa.retrieval.indexed_articles import IndexedArticles


class ServedArticles(tf.Module):
    """Articles by their ids, their titles and words, and these encoded.

    Everything is in a table and in variables of any length, so that the graph of a SavedModel is
    the same whatever its articles are. Encoded titles are in two places: `base` has those of the
    export, which no refresh reads or writes, and `added` those of all refreshes since.

    Args:
        tower: The candidate tower, which is given these articles.
        dtype: `"float32"` or `"bfloat16"`, how encoded titles are kept.

    Attributes:
        indexed: `IndexedArticles`: all articles; those that may be recommended are indexed.
        titles: `[articles]` strings.
        tokens: `[articles, title_length]` their words.
        vectors: `[articles, dim]` the vectors of the articles, or None.
        base: `TitleBlocks` of the first articles.
        base_scored: Indices of those of them that could be recommended at first, ascending.
        added: `TitleBlocks` of the articles after them, and of those that may be recommended now,
            but could not at first.
    """

    def __init__(self, tower: NewsEncoder, dtype: str):
        super().__init__(name="articles")

        def variable(dtype):
            return tf.Variable(tf.zeros([0], dtype), trainable=False, shape=[None])

        self.indexed = IndexedArticles()
        self._untracked = Untracked(tower=tower)
        self.titles = variable(tf.string)
        self.tokens, *vectors = tower.article_tables
        self.vectors = vectors[0] if vectors else None
        self.base, self.base_scored = TitleBlocks(tower, dtype, is_source=True), variable(tf.int32)
        self.added = TitleBlocks(tower, dtype, is_source=True)
        # Of each article that may be recommended: its row in the scores of base and added.
        self._rows = variable(tf.int32)
        # With these, others can be encoded.
        self._encoder_weights = list(tower.weights)
        self._title_length = tower.config.title_length

    def start(self, catalog: NewsCatalog, recommendable: np.ndarray) -> None:
        """Encodes all articles.

        Args:
            catalog: The articles.
            recommendable: Indices of those that may be recommended, ascending.
        """
        self._assign(catalog, recommendable)
        self.base.update(recommendable, np.arange(len(catalog)))
        self.base_scored.assign(recommendable)
        self._add(len(catalog), catalog, recommendable)

    def refresh(self, base: int, catalog: NewsCatalog, recommendable: np.ndarray) -> None:
        """Encodes the articles that are not stored yet.

        Args:
            base: Number of articles that `start` had.
            catalog: All articles of before, and those that are new after them.
            recommendable: Indices of those that may be recommended, ascending.
        """
        scored, listed = self._to_add(base, self.titles.numpy().size, self.recommendable)
        self.added.mark_restored(scored, listed)
        self._assign(catalog, recommendable)
        self._add(base, catalog, recommendable)

    @property
    def recommendable(self) -> np.ndarray:
        """Indices of the articles that may be recommended."""
        return self.indexed.indices.numpy()

    @property
    def parts_of_refresh(self) -> Mapping[str, tf.Variable | tf.Module]:
        """What `refresh` writes, by attribute."""
        names = ["indexed", "titles", "tokens", "added", "_rows"]
        if self.vectors is not None:
            names.append("vectors")
        return {name: getattr(self, name) for name in names}

    @property
    def parts_to_read(self) -> tf.train.Checkpoint:
        """What a `refresh` reads first: of `base`, only where each title lies."""
        return tf.train.Checkpoint(
            **self.parts_of_refresh,
            base=tf.train.Checkpoint(order=self.base.order),
            base_scored=self.base_scored,
            _encoder_weights=self._encoder_weights,
        )

    def _assign(self, catalog, recommendable):
        self.titles.assign(np.array(catalog.titles, object))
        tokens = catalog.tokens(self._title_length)
        self._untracked.tower.set_articles(tokens, catalog.vectors())
        self.indexed.update(catalog, recommendable)

    def _to_add(self, base, articles, recommendable):
        listed = np.arange(base, articles)
        return np.setdiff1d(recommendable, self.base_scored.numpy()), listed

    def _add(self, base, catalog, recommendable):
        scored, listed = self._to_add(base, len(catalog), recommendable)
        self.added.update(scored, listed)
        rows = np.zeros(len(catalog), np.int32)
        base_scored = self.base_scored.numpy()
        rows[base_scored] = self.base.order
        rows[scored] = len(base_scored) + self.added.order.numpy()
        self._rows.assign(rows[recommendable])

    def lookup_with_titles(self, ids, titles):
        """Returns indices and further titles, see `IndexedArticles.lookup_with_titles`."""
        return self.indexed.lookup_with_titles(ids, titles, tf.size(self.titles))

    def scores(self, users):
        """Scores all articles that may be recommended.

        Args:
            users: As `TitleBlocks.scores`.

        Returns:
            `[batch, recommendable]` float32, in the order of `indexed`.
        """
        return self._ordered([titles.block_scores(users) for titles in (self.base, self.added)])

    def rounded_scores(self, users):
        """Scores them roughly, see `TitleBlocks.rounded_scores`."""
        found = [titles.rounded_block_scores(users) for titles in (self.base, self.added)]
        return [self._ordered(parts) for parts in zip(*found)]

    @property
    def encoding(self) -> TitleEncoding:
        """What is kept of encoded titles."""
        return self.base.encoding

    @property
    def is_rounded(self) -> bool:
        """Whether encoded titles are bfloat16."""
        return self.base.is_rounded

    def _ordered(self, rows):
        return tf.transpose(tf.gather(tf.concat(rows, axis=0), self._rows))

    def features(self, articles, further: TitleFeatures | None, dtype):
        """Returns the features of articles, see `TitleBlocks.features`.

        Args:
            articles: `[n]` int32 indices; beyond the catalogue, of `further` titles.
            further: Features of titles that are in no catalogue, or None.
            dtype: Type of the features.

        Returns:
            The pair of `TitleFeatures` and `[n]`, the title of each article in them.
        """
        known = tf.size(self.titles)
        is_known = articles < known
        distinct = tf.sort(tf.unique(selected(articles, is_known))[0])
        base = self.base.count
        in_base = distinct < base
        parts = [
            self.base.features(selected(distinct, in_base), dtype),
            self.added.features(selected(distinct, ~in_base) - base, dtype),
        ]
        if further is not None:
            parts.append(further)
        titles = tf.where(
            is_known, tf.searchsorted(distinct, articles), tf.size(distinct) + articles - known
        )
        return joined(parts), titles
