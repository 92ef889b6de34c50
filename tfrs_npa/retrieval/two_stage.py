"""The best articles of a user from a catalogue that is too large to score all of it."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_npa.data.users import UNKNOWN_USER
from tfrs_npa.models.npa import NPA
from tfrs_npa.models.title_blocks import TitleBlocks
from tfrs_npa.models.traced import Traced
from tfrs_npa.retrieval.top_k import ArticleTopK, best, without_gradients
from tfrs_npa.settings import DEFAULT_K

# Titles that are encoded at a time.
_CHUNK = 4096


class TwoStageTopK(ArticleTopK):
    """Top K articles in two stages: a shortlist by average vectors, then NPA's own ranking.

    Each article has one vector for everyone, the one that the unknown user sees, and a stock layer
    finds those with the largest product with the user vector. What it finds is scored exactly. So
    scores are right, but an article that is not on the shortlist is missed: `recall` says how often
    that happens, which depends on the model and on the length of the shortlist. For users that the
    model does not know, and without personalised attention over words, nothing is missed by
    `BruteForce`. Excluded articles do not count towards the shortlist. `candidates` of a call take
    its place: all of them are encoded and ranked, however many.

    It takes `4 * num_filters` bytes for an article (in `BruteForce`), where `PersonalizedTopK`
    takes more than that for each word; titles of a shortlist are encoded when it is ranked. So this
    is for catalogues whose words do not fit into memory: `PersonalizedTopK` ranks tens of thousands
    of articles as fast.

    Example:
        >>> index = TwoStageTopK(model, k=10, shortlist=500).index()
        >>> queries = {"user_id": ["U1", "U2"], "history": [["N1", "N2"], ["N7", ""]]}
        >>> scores, ids = index(queries)
        >>> index.recall(queries, k=10)
        0.95

    Args:
        model: A trained model. Its catalogue grows by the articles that the layer is given.
        k: Number of articles to return, unless a call says otherwise.
        shortlist: Articles to rank; all, if there are fewer.
        retrieval: The layer of the first stage, a `tfrs.layers.factorized_top_k.TopK` without a
            query model; None: `ScaNN` where it is installed, else `BruteForce`, which each `index`
            makes again. Queries wait while a layer that is given indexes the vectors of articles.
        name: Name of the layer.

    Raises:
        ValueError: if k is less than 1 or more than `shortlist`.
    """

    _limit = "the length of the shortlist"

    def __init__(
        self,
        model: NPA,
        k: int = DEFAULT_K,
        shortlist: int = 500,
        retrieval: tfrs.layers.factorized_top_k.TopK | None = None,
        name: str | None = None,
    ):
        super().__init__(model, k, name)
        if k > shortlist:
            raise ValueError(f"k is {k}; the shortlist has only {shortlist} articles.")
        self._untracked.shortlist = shortlist
        self._untracked.makes_retrieval = retrieval is None
        self._untracked.retrieval = _stock_layer(shortlist) if retrieval is None else retrieval
        blocks = TitleBlocks(model.candidate_tower)
        self._untracked.width, self._untracked.blocks = blocks.width, blocks
        self._untracked.average = Traced(
            self._average,
            [
                tf.TensorSpec([None], tf.int32),
                [
                    tf.TensorSpec(table.shape, table.dtype)
                    for table in model.candidate_tower.article_tables
                ],
            ],
            model.user_embedding,
            autograph=False,
        )
        number, positions = tf.TensorSpec([], tf.int32), tf.TensorSpec([None, None], tf.int32)
        self._untracked.rank = Traced(
            without_gradients(self._rank),
            [
                tf.TensorSpec([None, self._untracked.width], tf.float32),
                positions,
                positions,
                number,
                number,
                number,
            ],
            model.user_embedding,
        )

    def is_exact(self) -> bool:
        """False: the scores are right, but articles may be missing."""
        return False

    @property
    def resources(self) -> tf.Module:
        """Everything that its graph reads, see `ArticleTopK.resources`."""
        retrieval = self._untracked.retrieval
        return self._resources(retrieval=[*retrieval.variables, *retrieval.submodules])

    def recall(self, queries, k: int | None = None) -> float:
        """Measures how much of the exact answer is found, by scoring every article.

        Titles are encoded and given up again chunk by chunk, so that this takes time, not memory.

        Args:
            queries: As in `call`.
            k: As in `call`, a number.

        Returns:
            The share of the exact top k articles that `call` returns, a mean over users.

        Raises:
            ValueError: as `call`.
        """
        own = self._untracked
        with self.unchanged():
            _, found = self(queries, k)
            users = own.embed(*self._features(queries))
            indices, ids = own.indices, own.articles.ids.read_value()
        blocks, scores = TitleBlocks(own.model.candidate_tower), []
        for first in range(0, len(indices), _CHUNK):
            blocks.update(indices[first : first + _CHUNK], from_scratch=True)
            scores.append(blocks.scores(users))
        scores, k = tf.concat(scores, axis=1), found.shape[1]
        _, exact = best(scores, tf.zeros([1, 1], tf.bool), ids, k)
        pairs = zip(found.numpy(), exact.numpy(), strict=True)
        return float(np.mean([len(set(a) & set(b)) / k for a, b in pairs]))

    def _encode(self, indices, tables, from_scratch):
        own = self._untracked
        vectors = [
            own.average(tf.constant(indices[first : first + _CHUNK], tf.int32), tables)
            for first in range(0, len(indices), _CHUNK)
        ]
        vectors, positions = tf.concat(vectors, axis=0), tf.range(len(indices))
        if not own.makes_retrieval:
            return lambda: own.retrieval.index(vectors, positions)
        retrieval = _stock_layer(own.shortlist).index(vectors, positions)

        def swap():
            own.retrieval = retrieval

        return swap

    def _average(self, indices, tables):
        tower = self._untracked.model.candidate_tower
        features = tower.title_features(indices, False, None, tables)
        rows = tf.range(tf.size(indices))
        unknown = self._untracked.model.user_embedding(tf.fill(tf.shape(indices), UNKNOWN_USER))
        vectors = tower.vectors(features, rows, rows, tower.attention.query(unknown))
        return tf.cast(vectors, tf.float32)

    def _answer(self, queries, k, exclusions, candidates, exclude_history):
        own, articles = self._untracked, self.num_articles
        most = min(own.shortlist, articles)
        k = self._checked_k(k, most)
        user_id, history, titles = self._features(queries)
        users = own.embed(user_id, history, titles)
        excluded, allowed, only_allowed = self._filters(
            users.shape[0], exclusions, candidates, history if exclude_history else None
        )
        excluded = own.articles.positions(excluded)
        if only_allowed:
            return own.rank(users, own.articles.positions(allowed), excluded, k, most, tf.int32.max)
        length = most
        if exclusions is not None or exclude_history:
            # As many more as may be excluded.
            more = tf.reduce_max(tf.math.count_nonzero(excluded >= 0, axis=1, dtype=tf.int32))
            length = tf.minimum(most + tf.maximum(more, 0), articles)
            length = length if tf.is_symbolic_tensor(length) else int(length)
        average = own.model.query_tower.average(own.blocks.split(users)[0])
        _, positions = own.retrieval(average, k=length)
        return own.rank(users, tf.cast(positions, tf.int32), excluded, k, most, most)

    def _rank(self, users, positions, excluded, k, width, limit):
        """Returns the k best of `positions`.

        Args:
            users: `[batch, width]` float32, see `TitleBlocks.scores`.
            positions: `[batch, n]` or `[1, n]` among the indexed articles, best first; -1: none.
            excluded: `[batch, m]` or `[1, m]` of them that must not come back.
            k: A scalar.
            width: The least number of positions to choose from; missing ones count as -1.
            limit: How many of `positions` to rank.
        """
        own, tower = self._untracked, self._untracked.model.candidate_tower
        rows = tf.shape(users)[0]
        positions = tf.pad(
            tf.broadcast_to(positions, [rows, tf.shape(positions)[1]]),
            [[0, 0], [0, tf.maximum(width - tf.shape(positions)[1], 0)]],
            constant_values=-1,
        )
        excluded = tf.sort(tf.broadcast_to(excluded, [rows, tf.shape(excluded)[1]]))
        excluded = tf.pad(excluded, [[0, 0], [0, 1]], constant_values=tf.int32.max)
        at = tf.searchsorted(excluded, positions)
        ranked = (positions >= 0) & (tf.gather(excluded, at, batch_dims=1) != positions)
        ranked &= tf.cumsum(tf.cast(ranked, tf.int32), axis=1) <= limit
        # In the order of the catalogue, which decides between equal scores.
        positions = tf.sort(tf.where(ranked, positions, -1))
        # An approximate layer that finds too few repeats one, and so may candidates.
        first = tf.zeros_like(positions[:, :1], tf.bool)
        hidden = tf.concat([first, positions[:, 1:] == positions[:, :-1]], axis=1) | (positions < 0)
        positions = tf.maximum(positions, 0)
        distinct, titles = tf.unique(tf.reshape(positions, [-1]))
        features = tower.title_features(tf.gather(own.articles.indices, distinct))
        features = own.blocks.encoding.folded(features)
        rows = tf.repeat(tf.range(tf.shape(positions)[0]), tf.shape(positions)[1])
        users = tf.cast(users, tower.compute_dtype)
        vectors, queries = own.blocks.split(users)
        scores = tower.score(features, titles, rows, queries, vectors)
        scores = tf.cast(tf.reshape(scores, tf.shape(positions)), tf.float32)
        return best(scores, hidden, tf.gather(own.articles.ids.read_value(), positions), k)


def _stock_layer(k):
    try:
        return tfrs.layers.factorized_top_k.ScaNN(k=k)
    except ImportError:
        return tfrs.layers.factorized_top_k.BruteForce(k=k)
