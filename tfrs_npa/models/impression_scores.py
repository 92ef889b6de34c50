"""Scores of many impressions, by their algebra: equal to those of the towers, and much faster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrs_npa.data import ragged
from tfrs_npa.data.catalog import PADDING
from tfrs_npa.data.users import UNKNOWN_USER
from tfrs_npa.layers.packed import packed_rows
from tfrs_npa.layers.personalized_attention import (
    MASKED_LOGIT,
    PersonalizedAttention,
    packed_weights,
)
from tfrs_npa.layers.sparse_products import inner_products, weighted_sums
from tfrs_npa.layers.user_embedding import UserEmbedding
from tfrs_npa.models.ahead import made_ahead
from tfrs_npa.models.encoded_titles import EncodedTitles, Vectors
from tfrs_npa.models.news_encoder import NewsEncoder
from tfrs_npa.models.user_encoder import Clicks, UserEncoder

# Impressions that are scored together, in the beginning and later: the more, the more users a title
# is pooled for at a time, but the later the first answer.
_FIRST, _MOST = 8192, 98_304
# Pairs of an article and a known user whose vectors a density needs at the same time.
_PAIRS = 200_000
# Clicks of readers who are encoded, and candidates that are scored, at a time.
_CLICKS, _CANDIDATES = 16_384, 8192


def impression_scores(model, memory: int) -> ImpressionScores | None:
    """Returns the `ImpressionScores` of a model; None: it has parts of other classes or models.

    Args:
        model: An `NPA`.
        memory: As for `ImpressionScores`.
    """
    towers = model.candidate_tower, model.query_tower
    if type(model.user_embedding) is not UserEmbedding:
        return None
    if tuple(map(type, towers)) != (NewsEncoder, UserEncoder):
        return None
    if any(type(tower.attention) is not PersonalizedAttention for tower in towers):
        return None
    news_encoder, users = model.query_tower.news_encoder, model.user_embedding
    if news_encoder is not model.candidate_tower or news_encoder.user_embedding is not users:
        return None
    return ImpressionScores(model, memory)


class Impressions(NamedTuple):
    """Impressions, and the readers that they have in common.

    A reader is a pair of a user and a history. The first ones see articles as the unknown user
    does; among them, and among the others, those with short histories come first.

    Attributes:
        users: `[readers]` rows of the user table.
        shared: How many readers see articles as the unknown user does.
        lengths: `[readers]` int32 clicks of each.
        slots: `[clicks]` see `Clicks`, or None.
        clicked: `[clicks]` titles.
        click_splits: `[readers + 1]`.
        readers: `[impressions]` the reader of each, ascending.
        titles: `[candidates]` titles, distinct in an impression.
        splits: `[impressions + 1]`.
    """

    users: np.ndarray
    shared: int
    lengths: np.ndarray
    slots: np.ndarray | None
    clicked: np.ndarray
    click_splits: np.ndarray
    readers: np.ndarray
    titles: np.ndarray
    splits: np.ndarray

    def first_impression(self, reader: int) -> int:
        """Returns the first impression of a reader or those after."""
        return int(np.searchsorted(self.readers, reader))


class ImpressionScores:
    """Scores impressions batch by batch, many batches at a time.

    What is the same for several impressions is done once. Titles are encoded once, and have one
    vector for all unknown users; a history is encoded once for all impressions of a user in which
    it is the same. For known users, titles are pooled title by title, in products of small
    matrices. Only a density needs the vectors of many pairs of a title and a user in memory.

    Args:
        model: An `NPA`.
        memory: Bytes for encoded words, see `EncodedTitles`.
    """

    def __init__(self, model, memory: int):
        self._user_embedding = model.user_embedding
        self._encoder, self._query_tower = model.candidate_tower, model.query_tower
        self._titles = EncodedTitles(model.title_encoding, memory)

    def of_batches(self, batches: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
        """Yields batches, each with its scores, float32 `[batch, candidates]`, -1e9 at padding.

        While those of one part are used, a thread reads and scores the next.

        Args:
            batches: Batches as Keras's steps take them: dicts of `user_id` `[batch]`, `history`
                `[batch, history]` and `candidates` `[batch, candidates]`, or tuples that begin with
                them.
        """
        for window in made_ahead(self._scored_windows(batches)):
            yield from window

    def _scored_windows(self, batches):
        window, rows, enough = [], 0, _FIRST
        for batch in batches:
            window.append(batch)
            rows += len(features_of(batch)["user_id"])
            if rows >= enough:
                yield self._scored(window)
                window, rows, enough = [], 0, min(4 * enough, _MOST)
        if window:
            yield self._scored(window, is_only=enough == _FIRST)

    def _scored(self, window, is_only=False):
        names = "user_id", "history", "candidates"
        features = [
            {name: np.asarray(features_of(batch)[name]) for name in names} for batch in window
        ]
        real = [batch["candidates"] != PADDING for batch in features]
        of, candidates = self._impressions(features, real)
        scores = self._scores(of, is_only)[candidates]
        ends = np.cumsum([np.count_nonzero(mask) for mask in real])
        results = []
        for mask, own in zip(real, np.split(scores, ends[:-1]), strict=True):
            results.append(np.full(mask.shape, MASKED_LOGIT, np.float32))
            results[-1][mask] = own
        return list(zip(window, results, strict=True))

    def _impressions(self, window, real):
        """Returns the `Impressions` of batches, and which candidate of them each real one is."""
        histories = [batch["history"] for batch in window]
        width = max(history.shape[1] for history in histories)
        histories = [np.pad(part, [(0, 0), (0, width - part.shape[1])]) for part in histories]
        users = np.concatenate([batch["user_id"] for batch in window])
        users = self._as_unknown(self._user_embedding.known(users).numpy())
        rows, readers = _distinct_rows(np.column_stack([users, np.concatenate(histories)]))
        is_personal = np.zeros(len(rows), bool)
        if self._encoder.attention.kind == "personalized":
            is_personal = rows[:, 0] != UNKNOWN_USER
        order = np.lexsort([np.count_nonzero(rows[:, 1:], axis=1), is_personal])
        rows, readers = rows[order], np.argsort(order)[readers]
        clicks = self._query_tower.clicks(rows[:, 1:])
        candidates = np.concatenate(
            [batch["candidates"][mask] for batch, mask in zip(window, real, strict=True)]
        )
        order = np.argsort(readers, kind="stable")
        owners = np.repeat(np.argsort(order), np.concatenate([mask.sum(axis=1) for mask in real]))
        # Candidates of one impression with equal titles are one: equal to the last bit.
        keys = owners * self._titles.number + self._titles.titles[candidates]
        keys, candidates = np.unique(keys, return_inverse=True)
        owners, titles = np.divmod(keys, self._titles.number)
        impressions = Impressions(
            users=rows[:, 0],
            shared=int(np.count_nonzero(~is_personal)),
            lengths=clicks.lengths.numpy(),
            slots=None if clicks.slots is None else clicks.slots.numpy(),
            clicked=self._titles.titles[clicks.news_id.numpy()],
            click_splits=ragged.splits_of(clicks.lengths.numpy()),
            readers=readers[order],
            titles=titles,
            splits=np.searchsorted(owners, np.arange(len(readers) + 1)),
        )
        return impressions, candidates

    def _as_unknown(self, users):
        """Returns the users, with the unknown one for those who have its embedding.

        With `user_initializer="zeros"`, these are all users of a model before its training.
        """
        found, places = np.unique(np.append(UNKNOWN_USER, users), return_inverse=True)
        embedding = self._user_embedding(tf.constant(found))
        is_alike = tf.reduce_all(embedding == embedding[places[0]], axis=1)
        return np.where(is_alike, found.dtype.type(UNKNOWN_USER), found)[places[1:]]

    def _scores(self, of: Impressions, is_only: bool) -> np.ndarray:
        """Returns the scores of all candidates, `[candidates]`.

        Args:
            of: `Impressions`.
            is_only: Whether there are no other impressions.
        """
        is_personal = of.shared < len(of.users)
        titles = np.concatenate([of.clicked, of.titles])
        personal_clicks = len(of.clicked) - of.click_splits[of.shared]
        if is_only and personal_clicks < self._titles.words_of(titles):
            # Products for these clicks are fewer than those for the words.
            names = self._titles.names
            self._titles.names = tuple(name for name in names if name != "projected")
        self._titles.prepare(titles, hold=is_personal)
        embedding = self._user_embedding(tf.constant(of.users))
        queries = None
        if self._encoder.attention.kind == "personalized":
            queries = tf.cast(self._encoder.attention.folded_query(embedding), tf.float32)
        logits, blocks = self._click_logits(of, embedding, queries)
        weights = packed_weights(tf.constant(logits), of.lengths, of.slots).numpy()
        if self._query_tower.config.user_interest == "density":
            return self._density_scores(of, queries, weights)
        return self._mean_scores(of, queries, weights, blocks)

    def _click_logits(self, of, embedding, queries):
        """Returns the logits of all clicks, and the blocks of those that are not shared.

        Args:
            of: `Impressions`.
            embedding: `[readers, user_embedding_dim]`.
            queries: As for `EncodedTitles.attended`.

        Returns:
            `[clicks]`, and a list of blocks with weights; without those where there is a density.
        """
        news, titles, blocks = self._query_tower.attention, self._titles, []
        split = of.click_splits[of.shared]
        users = np.repeat(np.arange(len(of.users)), of.lengths)[split:]
        logits, query = np.zeros(len(of.clicked), np.float32), None
        if news.kind != "mean":
            query = tf.cast(news.query(embedding), tf.float32)
            self._write_shared_logits(logits[:split], of, query)

        def attend(block):
            block = titles.attended(block, users, queries)
            if query is None:
                return block, 0
            if "projected" in titles.names:
                keys = news.projected_keys(titles.sums(block, "projected"))
            else:
                keys = news.keys(titles.sums(block))
            own = query
            if news.kind == "personalized":
                own = tf.gather(query, users[block.pairs.ravel()])
            return block, tf.reshape(tf.reduce_sum(keys * own, axis=1), block.pairs.shape)

        for block, own in titles.each(titles.blocks(of.clicked[split:]), attend):
            logits[split:][block.pairs] = own
            if self._query_tower.config.user_interest != "density":
                blocks.append(block)
        return logits, blocks

    def _write_shared_logits(self, logits, of, query):
        """Writes the logits of clicks of readers who see articles as the unknown user does."""
        if not len(logits):
            return
        titles, rows = np.unique(of.clicked[: len(logits)], return_inverse=True)
        news, users = self._query_tower.attention, of.users[: of.shared]
        keys = news.keys(_gathered(self._titles.for_everyone(titles), slice(None)))
        if news.kind == "vanilla" or np.all(users == users[0]):
            logits[:] = tf.linalg.matvec(keys, query[0]).numpy()[rows]
        else:
            owners = packed_rows(of.lengths[: of.shared])
            logits[:] = inner_products(query, keys, owners, tf.constant(rows, tf.int32))

    def _mean_scores(self, of, queries, weights, blocks):
        """Returns the scores where every reader has one vector."""
        lengths = tf.constant(of.lengths)
        means = self._means(of, weights, blocks)
        vectors = self._query_tower.user_vectors(means, Clicks(None, lengths, None))
        result = np.empty(len(of.titles), np.float32)
        shared = self._titles.for_everyone(of.titles)
        first = of.first_impression(of.shared)
        self._write_scores(result, of, slice(0, first), shared, vectors)
        own, titles = result[of.splits[first] :], of.titles[of.splits[first] :]
        owners = np.repeat(of.readers, np.diff(of.splits))[of.splits[first] :]
        filters = self._encoder.config.num_filters
        users = vectors[:, :filters]

        def score(block):
            block = self._titles.attended(block, owners, queries)
            own = tf.gather(users, owners[block.pairs])
            return block, self._titles.inner_products(block, own)

        for block, scores in self._titles.each(self._titles.blocks(titles), score):
            own[block.pairs] = scores
        if self._encoder.num_terms:
            terms, rows = self._titles.terms(titles), np.arange(len(titles))
            own += inner_products(vectors[:, filters:], terms, owners, rows).numpy()
        return result

    def _means(self, of, weights, blocks):
        """Returns the weighted sums of clicked articles, `[readers, num_filters]` float32."""
        split = of.click_splits[of.shared]
        titles, rows = np.unique(of.clicked[:split], return_inverse=True)
        shared = weighted_sums(
            tf.constant(weights[:split]),
            _gathered(self._titles.for_everyone(titles), slice(None)),
            packed_rows(of.lengths[: of.shared]),
            tf.constant(rows, tf.int32),
            of.shared,
        )
        personal = tf.zeros([len(of.users) - of.shared, self._encoder.config.num_filters])
        owners = np.repeat(np.arange(len(of.users) - of.shared), of.lengths[of.shared :])
        own = weights[split:]

        def weigh(block):
            return block, self._titles.sums(block, factors=own[block.pairs] * block.is_first)

        for block, sums in self._titles.each(blocks, weigh):
            rows = tf.constant(owners[block.pairs.ravel()], tf.int32)
            personal = tf.raw_ops.InplaceAdd(x=personal, i=rows, v=sums)
        return tf.concat([shared, personal], axis=0)

    def _density_scores(self, of, queries, weights):
        """Returns the scores where a reader has a vector for each click."""
        result = np.empty(len(of.titles), np.float32)
        everyone = self._titles.for_everyone
        readers = slice(0, of.shared)
        self._write_densities(
            result, of, readers, everyone(of.clicked), everyone(of.titles), weights
        )
        counts = np.bincount(of.readers, np.diff(of.splits), len(of.users)).astype(np.int64)
        for readers in _parts((of.lengths + counts)[of.shared :], _PAIRS, of.shared):
            clicks = slice(of.click_splits[readers.start], of.click_splits[readers.stop])
            impressions = slice(*map(of.first_impression, (readers.start, readers.stop)))
            shown = slice(of.splits[impressions.start], of.splits[impressions.stop])
            owners = [
                np.repeat(np.arange(readers.start, readers.stop), of.lengths[readers]),
                np.repeat(of.readers, np.diff(of.splits))[shown],
            ]
            titles = np.concatenate([of.clicked[clicks], of.titles[shown]])
            vectors, rows = self._titles.pooled(titles, np.concatenate(owners), queries)
            clicked = np.empty(len(of.clicked), np.int64)
            candidates = np.empty(len(of.titles), np.int64)
            clicked[clicks], candidates[shown] = np.split(rows, [len(owners[0])])
            self._write_densities(
                result,
                of,
                readers,
                Vectors(vectors, clicked),
                Vectors(vectors, candidates),
                weights,
            )
        return result

    def _write_densities(self, result, of, readers, clicked, candidates, weights):
        """Writes the scores of the candidates of some readers, given `Vectors` of all pairs."""
        for some in _parts(of.lengths[readers], _CLICKS, readers.start):
            inside = slice(of.click_splits[some.start], of.click_splits[some.stop])
            slots = None if of.slots is None else tf.constant(of.slots[inside])
            clicks = Clicks(None, tf.constant(of.lengths[some]), slots)
            vectors, rows = _gathered(clicked, inside), packed_rows(clicks.lengths)
            own, number = tf.constant(weights[inside]), tf.size(clicks.lengths)
            means = weighted_sums(own, vectors, rows, tf.range(tf.size(rows)), number)
            users = self._query_tower.user_vectors(means, clicks, vectors, own)
            impressions = slice(*map(of.first_impression, (some.start, some.stop)))
            self._write_scores(result, of, impressions, candidates, users, some.start)

    def _write_scores(self, result, of, impressions, candidates, users, first=0):
        """Writes the scores of the candidates of some impressions.

        Args:
            result: `[candidates]`.
            of: `Impressions`.
            impressions: A slice of them.
            candidates: `Vectors` of all candidates.
            users: What `UserEncoder.user_vectors` returns for the readers from the `first` on.
            first: That reader.
        """
        lengths = np.diff(of.splits)[impressions]
        order = np.argsort(lengths, kind="stable")
        for part in _rectangles(lengths[order], _CANDIDATES):
            some, columns = impressions.start + order[part], np.arange(lengths[order[part]].max())
            inside = columns < lengths[order[part], np.newaxis]
            # Padding repeats the first candidate.
            at = of.splits[some, np.newaxis] + np.where(inside, columns, 0)
            articles = _gathered(candidates, at)
            if self._encoder.num_terms:
                terms = tf.cast(self._titles.terms(of.titles[at].ravel()), tf.float32)
                terms = tf.reshape(terms, [*at.shape, self._encoder.num_terms])
                articles = tf.concat([articles, terms], axis=2)
            own = tf.gather(users, of.readers[some] - first)
            result[at[inside]] = self._query_tower.scores(own, articles).numpy()[inside]


def features_of(batch):
    """Returns the features of a batch as Keras's steps take it."""
    return batch[0] if isinstance(batch, tuple) else batch


def _gathered(vectors: Vectors, pairs):
    """Returns the vectors of some pairs, float32."""
    return tf.cast(tf.gather(vectors.vectors, vectors.rows[pairs]), tf.float32)


def _distinct_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the distinct rows, and which of them each row is."""
    factors = np.random.default_rng(0).integers(1, 2**62, rows.shape[1], dtype=np.int64) | 1
    hashes = (rows * factors).sum(axis=1)
    _, first, back = np.unique(hashes, return_index=True, return_inverse=True)
    distinct = rows[first]
    if not np.array_equal(distinct[back], rows):  # two of them have one hash
        return rows, np.arange(len(rows))
    return distinct, back


def _parts(sizes: np.ndarray, limit: int, first: int = 0) -> Iterator[slice]:
    """Yields slices whose sizes sum to `limit` at most, unless a single one is larger.

    Args:
        sizes: `[rows]`.
        limit: The limit.
        first: The number of the first row.
    """
    ends, start = np.cumsum(sizes, dtype=np.int64), 0
    while start < len(sizes):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + limit, side="right")))
        yield slice(first + start, first + stop)
        start = stop


def _rectangles(lengths: np.ndarray, limit: int) -> Iterator[slice]:
    """Yields slices of ascending lengths: their number times the longest is `limit` at most."""
    start = 0
    while start < len(lengths) and lengths[-1]:
        areas = np.arange(1, len(lengths) - start + 1) * lengths[start:]
        stop = max(start + 1, start + int(np.searchsorted(areas, limit, side="right")))
        yield slice(start, stop)
        start = stop
