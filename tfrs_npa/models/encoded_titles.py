"""Titles that are encoded once for many users."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrs_npa.layers.personalized_attention import MASKED_LOGIT
from tfrs_npa.models.ahead import mapped_ahead, parts_for_threads
from tfrs_npa.models.title_encoding import TitleEncoding

# Titles that are encoded, and pairs of a title and a user that are pooled, at a time: few enough
# for a processor's cache, many enough that the number of operations does not matter.
_TITLES, _PAIRS = 2048, 8192
# Titles of the first part, which is encoded before threads begin.
_FEW = 256
# Titles whose words are multiplied by the kernel at a time: fewer share fewer words.
_MULTIPLIED = 32_768
# If there are more titles to encode at a time, a graph gains more than tracing it takes.
_TRACED = 8192
# For how many users a title is pooled at a time.
_USERS = (2, 4, 8, 16)
# Titles of about equal length are pooled together: lengths are rounded up to a multiple of this.
_WORDS = 4
# Words that are held even if there is no memory for them.
_LEAST = 2**16

logger = logging.getLogger(__name__)


class Vectors(NamedTuple):
    """Vectors r_u of articles for users.

    Attributes:
        vectors: `[rows, num_filters]`.
        rows: `[pairs]` the row of each pair of an article and a user.
    """

    vectors: tf.Tensor
    rows: np.ndarray


class Block(NamedTuple):
    """Titles of about equal length, each of which several users read.

    Attributes:
        titles: `[titles]`.
        pairs: `[titles, users]` pairs of a title and a user.
        is_first: `[titles, users]` booleans, False for one that repeats another pair of the block.
        slab: Blocks with the same one have their words held at the same time.
        weights: `[titles, users, words]` float32, those of words in the vectors r_u: a vector is
            the sum of words' values, times these. None before `EncodedTitles.attended`.
    """

    titles: np.ndarray
    pairs: np.ndarray
    is_first: np.ndarray
    slab: int
    weights: tf.Tensor | None = None


class EncodedTitles:
    """The titles of a catalogue, encoded up to the point where a user is needed.

    A title is encoded when it is needed first. Articles with equal titles share one.

    Of each word there is what `TitleEncoding` says, so no click needs a product with a matrix. Of
    each title there is its vector for the unknown user, whom all users without an embedding share.

    Args:
        encoding: What is kept of words, with the attention of the query tower.
        memory: Bytes for words; 65,536 are held anyway. If it is too little for all that are
            needed, they are encoded again when they are needed again, and a warning says so unless
            it is 0.

    Attributes:
        titles: `[articles]` the title of each article of the catalogue.
        number: How many titles there are.
        names: What is held of words; to hold less, set it before anything is encoded.
    """

    def __init__(self, encoding: TitleEncoding, memory: int):
        encoder = encoding.encoder
        self._encoding, self._encoder = encoding, encoder
        self._articles, self.titles = _distinct(encoder.article_tables)
        self.number = len(self._articles)
        self.names = tuple(encoding.words)
        self._lengths = encoder.title_lengths()[self._articles]
        dtype = encoder.compute_dtype
        filters = encoder.config.num_filters
        self._shared = {"vectors": tf.raw_ops.Empty(shape=[self.number, filters], dtype=dtype)}
        if encoder.num_terms:
            self._shared["terms"] = tf.zeros([self.number, encoder.num_terms], dtype)
        self._has_shared = np.zeros(self.number, bool)
        self._words: dict[str, tf.Tensor] = {}
        self._starts = np.full(self.number, -1, np.int64)
        self._held, self._memory, self._warns = 0, memory, memory > 0
        self._is_traced = False

    def prepare(self, titles: np.ndarray, hold: bool) -> None:
        """Encodes titles that are going to be needed: all at once is faster than some by some.

        Args:
            titles: `[pairs]` titles.
            hold: Whether to hold the words of those that are encoded, as far as there is memory.
        """
        missing = _missing(self._has_shared, titles)
        self._is_traced = self._is_traced or len(missing) > _TRACED
        words = self._held + np.cumsum(self._lengths[missing], dtype=np.int64)
        held = int(np.count_nonzero(words <= self._capacity)) if hold else 0
        self._encode(missing[:held], hold=True)
        self._encode(missing[held:], hold=False)

    def words_of(self, titles: np.ndarray) -> int:
        """Returns how many words some titles have, those that occur twice counted once."""
        return int(self._lengths[_missing(np.zeros(self.number, bool), titles)].sum(dtype=np.int64))

    def for_everyone(self, titles: np.ndarray) -> Vectors:
        """Returns the vectors of titles for the unknown user.

        Args:
            titles: `[pairs]` titles.
        """
        self.prepare(titles, hold=False)
        return Vectors(self._shared["vectors"], titles)

    def terms(self, titles: np.ndarray):
        """Returns the terms of the scores of titles, see `NewsEncoder`, `[titles, num_terms]`."""
        self.prepare(titles, hold=False)
        return tf.gather(self._shared["terms"], titles)

    def blocks(self, titles: np.ndarray) -> Iterator[Block]:
        """Yields blocks of pairs of a title and a user.

        Args:
            titles: `[pairs]` the title of each.
        """
        if not len(titles):
            return
        order = np.argsort(titles)
        titles = titles[order]
        for number, slab in enumerate(self._slabs(titles)):
            for places, is_first in self._places(titles[slab]):
                places += slab.start
                yield Block(titles[places[:, 0]], order[places], is_first, number)

    def each(self, blocks: Iterable[Block], function: Callable[[Any], Any]) -> Iterator[Any]:
        """Yields what a function makes of blocks, whose words are held meanwhile.

        Args:
            blocks: What `blocks` yields, in its order.
            function: A function of a block, which several threads may call.
        """
        for _, slab in itertools.groupby(blocks, lambda block: block.slab):
            together = list(slab)
            self._require_words(np.concatenate([block.titles for block in together]))
            yield from mapped_ahead(function, together)

    def pooled(self, titles: np.ndarray, users: np.ndarray, queries) -> Vectors:
        """Returns the vectors r_u of titles for users.

        Args:
            titles: `[pairs]` titles.
            users: `[pairs]` rows of `queries`.
            queries: As for `attended`.
        """
        blocks = list(self.blocks(titles))
        rows, first = np.empty(len(titles), np.int64), 0
        shape = sum(block.pairs.size for block in blocks), self._encoder.config.num_filters
        vectors = tf.raw_ops.Empty(shape=shape, dtype=self._encoder.compute_dtype)

        def pool(block):
            block, own = self._with_vectors(self._attended(block, users, queries))
            return block, tf.cast(own, self._encoder.compute_dtype)

        for block, own in self.each(blocks, pool):
            last = first + block.pairs.size
            vectors = tf.raw_ops.InplaceUpdate(x=vectors, i=tf.range(first, last), v=own)
            rows[block.pairs.ravel()] = np.arange(first, last)
            first = last
        return Vectors(vectors, rows)

    def attended(self, block: Block, users: np.ndarray, queries) -> Block:
        """Returns a block with the weights of words.

        Args:
            block: A block.
            users: `[pairs]` rows of `queries`.
            queries: `[users, ...]` float32, what `PersonalizedAttention.folded_query` makes of
                users.
        """
        block = self._attended(block, users, queries)
        if self._encoder.config.unit_vectors:
            block, _ = self._with_vectors(block)
        return block

    def sums(self, block: Block, name: str = "values", factors=None):
        """Returns weighted sums of words, `[titles * users, ...]` float32.

        Args:
            block: The result of `attended`.
            name: Of what: `values`, for the vectors r_u, or `projected`, if it is held, for what
                the news attention's `projected` makes of them.
            factors: `[titles, users]` float32, by which they are multiplied; None: 1.
        """
        weights = block.weights
        if factors is not None:
            weights *= factors[:, :, np.newaxis]
        sums = tf.matmul(weights, self._of_words(block, name))
        return tf.reshape(sums, [block.pairs.size, sums.shape[-1]])

    def inner_products(self, block: Block, vectors):
        """Returns the inner products of the vectors r_u and others, `[titles, users]` float32.

        Args:
            block: The result of `attended`.
            vectors: `[titles, users, num_filters]` float32, the other of each pair.
        """
        of_words = tf.matmul(vectors, self._of_words(block, "values"), transpose_b=True)
        return tf.reduce_sum(of_words * block.weights, axis=2)

    def _attended(self, block, users, queries):
        keys = self._of_words(block, "keys" if "keys" in self._words else "values")
        logits = tf.matmul(tf.gather(queries, users[block.pairs]), keys, transpose_b=True)
        inside = np.arange(keys.shape[1]) < self._lengths[block.titles, np.newaxis]
        logits += np.where(inside, np.float32(0), np.float32(MASKED_LOGIT))[:, np.newaxis]
        return block._replace(weights=tf.nn.softmax(logits))

    def _with_vectors(self, block):
        """Returns a block and its vectors, of unit length where the encoder's have that."""
        vectors = self.sums(block)
        if not self._encoder.config.unit_vectors:
            return block, vectors
        squares = tf.reduce_sum(tf.square(vectors), axis=1, keepdims=True)
        roots = tf.math.rsqrt(tf.maximum(squares, 1e-12))
        weights = block.weights * tf.reshape(roots, [*block.pairs.shape, 1])
        return block._replace(weights=weights), vectors * roots

    def _of_words(self, block, name):
        """Returns something of the words of titles, `[titles, words, ...]` float32."""
        width = self._lengths[block.titles].max(initial=0)
        inside = np.arange(width) < self._lengths[block.titles, np.newaxis]
        # The first row is zero.
        words = np.where(inside, self._starts[block.titles, np.newaxis] + np.arange(width), 0)
        return tf.cast(tf.gather(self._words[name], words), tf.float32)

    def _places(self, titles) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields places `[blocks, users]` of one title in each row, and which are no repetition."""
        starts = np.flatnonzero(np.append(True, titles[1:] != titles[:-1]))
        counts = np.diff(np.append(starts, len(titles)))
        most = np.array(_USERS)[np.minimum(np.searchsorted(_USERS, counts), len(_USERS) - 1)]
        words = -(-self._lengths[titles[starts]] // _WORDS)
        for width in np.unique(words):
            for number in _USERS:
                chosen = np.flatnonzero((words == width) & (most == number))
                blocks = -(-counts[chosen] // number)
                within = np.arange(blocks.sum()) - np.repeat(np.cumsum(blocks) - blocks, blocks)
                begin = np.repeat(starts[chosen], blocks) + within * number
                last = np.repeat(starts[chosen] + counts[chosen], blocks) - 1
                size = _PAIRS // number
                for block in range(0, len(begin), size):
                    part = slice(block, block + size)
                    places = begin[part, np.newaxis] + np.arange(number)
                    ends = last[part, np.newaxis]
                    yield np.minimum(places, ends), places <= ends

    def _slabs(self, titles) -> Iterator[slice]:
        """Yields slices of pairs, ordered by title, whose words can be held at the same time."""
        starts = np.flatnonzero(np.append(True, titles[1:] != titles[:-1]))
        words = np.cumsum(self._lengths[titles[starts]])
        first, limit = 0, self._capacity
        bounds = [0]
        while first < len(starts):
            before = words[first - 1] if first else 0
            first = max(first + 1, int(np.searchsorted(words, before + limit, side="right")))
            bounds.append(starts[first] if first < len(starts) else len(titles))
        return (slice(*pair) for pair in zip(bounds, bounds[1:]))

    @property
    def _capacity(self) -> int:
        """How many words can be held."""
        words = self._memory / self._encoding.word_size(self.names)  # infinite where memory is
        return int(min(max(words, _LEAST), self._lengths.sum(dtype=np.int64)))

    def _require_words(self, titles):
        missing = _missing(self._starts >= 0, titles)
        words = int(self._lengths[missing].sum(dtype=np.int64))
        if self._held + words > self._capacity:
            self._warn()
            self._starts[:] = -1
            self._held, self._words = 0, {}
            missing = _missing(self._starts >= 0, titles)
        self._encode(missing, hold=True)

    def _warn(self):
        if self._warns:
            size = self._encoding.word_size(self.names) * int(self._lengths.sum(dtype=np.int64))
            logger.warning(
                "%s encoded titles would take %.2f GiB, more than encoding_memory, %.2f GiB; "
                "they are encoded again when they are needed again, which takes longer and scores "
                "the same. Allow more (`model.encoding_memory`, `tfrs-npa evaluate "
                "--encoding-memory`), "
                "or set it to 0 if this is what you want",
                f"{self.number:,}",
                size / 2**30,
                self._memory / 2**30,
            )
        self._warns = False

    def _encode(self, titles, hold):
        """Encodes titles, and holds their words or not."""
        if not len(titles):
            return
        names = self.names if hold and self._encoding.is_personalized else ()
        if names:
            lengths = self._lengths[titles].astype(np.int64)
            capacity = 1 + max(self._capacity, self._held + int(lengths.sum()))

        def encoded(part):
            chunk, words = part
            articles = tf.constant(self._articles[chunk])
            of_titles = not self._has_shared[chunk].all()
            if self._is_traced:
                return chunk, *self._encoding.traced(of_titles, names)(articles, words)
            return chunk, *self._encoding.encoded(articles, words, of_titles, names)

        # A single one is worth no thread.
        mapped = mapped_ahead if len(titles) > _TITLES else map
        for chunk, shared, words in mapped(encoded, self._parts(titles)):
            _write(self._shared, shared, tf.constant(chunk, tf.int32), self.number)
            self._has_shared[chunk] = True
            if names:
                lengths = self._lengths[chunk].astype(np.int64)
                first = 1 + self._held
                self._held += int(lengths.sum())
                _write(self._words, words, tf.range(first, 1 + self._held), capacity)
                self._starts[chunk] = first + np.cumsum(lengths) - lengths

    def _parts(self, titles):
        """Yields parts of titles that are encoded at a time, with `WordProducts` or None."""
        for first in range(0, len(titles), _MULTIPLIED):
            together, words = titles[first : first + _MULTIPLIED], None
            if self._is_traced or len(titles) > _TITLES:
                tokens = tf.gather(self._encoder.tokens, self._articles[together])
                words = self._encoder.word_products(tokens.numpy())
            for chunk in parts_for_threads(together, _TITLES, 0 if first else _FEW):
                yield chunk, words


def _write(wholes, parts, rows, number):
    """Writes rows of matrices of `number` rows; of those not written yet, row 0 alone is zeros."""
    for name, part in parts.items():
        if name not in wholes:
            whole = tf.raw_ops.Empty(shape=[number, part.shape[1]], dtype=part.dtype)
            wholes[name] = tf.raw_ops.InplaceUpdate(
                x=whole, i=[0], v=tf.zeros([1, part.shape[1]], part.dtype)
            )
        wholes[name] = tf.raw_ops.InplaceUpdate(x=wholes[name], i=rows, v=part)


def _distinct(tables) -> tuple[np.ndarray, np.ndarray]:
    """Returns an article of each distinct title, and the title of each article."""
    rows = [np.ascontiguousarray(table.numpy()) for table in tables]
    raw = np.concatenate([row.view(np.uint8).reshape(len(row), -1) for row in rows], axis=1)
    raw = raw.view(np.dtype((np.void, raw.shape[1])))[:, 0]
    _, articles, titles = np.unique(raw, return_index=True, return_inverse=True)
    return articles.astype(np.int32), titles.astype(np.int32)


def _missing(there: np.ndarray, titles: np.ndarray) -> np.ndarray:
    """Returns the distinct titles that are not there."""
    needed = np.zeros(len(there), bool)
    needed[titles] = True
    return np.flatnonzero(needed & ~there)
