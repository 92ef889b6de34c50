"""Encoded titles, laid out so that all can be scored fast and each can be looked up."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfrs_npa.layers.packed import packed_rows, packed_starts
from tfrs_npa.layers.untracked import Untracked
from tfrs_npa.models.ahead import mapped_ahead, parts_for_threads
from tfrs_npa.models.block_scores import Blocks, BlockScores
from tfrs_npa.models.news_encoder import NewsEncoder, TitleFeatures
from tfrs_npa.models.rounding_bounds import title_errors
from tfrs_npa.models.title_encoding import TitleEncoding
from tfrs_npa.models.title_layout import ROWS, TitleLayout
from tfrs_npa.models.traced import Traced
from tfrs_npa.models.user_encoder import num_interests

# Titles that are encoded, or moved, at a time, and of the first part.
_CHUNK, _FEW = 4096, 256
# How much of the memory for words may be of titles that left, or between blocks of few titles,
# before the others are moved together.
_WASTE = 0.25
# A layout may have twice as many blocks as if the titles were moved together, and so many more.
_BLOCKS = 32
# Rows that are filled with zeros at a time.
_ZEROS = 16_384


class TitleBlocks(tf.Module):
    """Titles encoded without a user, in blocks of equal length; `BlockScores` scores them.

    The titles of a block have equally many words, so that its products with users are an array
    of three axes: nothing has to be gathered. It is `[length, titles, users]`, and softmax and sum
    run along its first axis; but where titles are pooled for each user, their words have to lie
    side by side. What there is of a word, `TitleEncoding` says; keys are float32.

    Some titles can be scored, all that are listed can be looked up.

    Args:
        encoder: The candidate tower.
        dtype: `"float32"` or `"bfloat16"`, how values of words are kept. The latter make
            `rounded_scores`.
        is_source: Whether exact scores are those of words as they are kept here, not as the encoder
            makes them.
        spare: Memory for words of titles to come, as a share of those that are there. The first
            update that moves titles allocates it; later ones leave those that stay where they are
            while there is room (`_next_layout` has the other conditions).

    Attributes:
        order: `[scored]`, the place of each scored title in `block_scores`, a variable.
        width: Numbers that stand for a user, see `UserEncoder.flat`, and those of a query.
        is_rounded: Whether values are bfloat16.
    """

    def __init__(
        self,
        encoder: NewsEncoder,
        dtype: str = "float32",
        is_source: bool = False,
        spare: float = 0.0,
    ):
        super().__init__(name="title_blocks")
        self._spare, config = spare, encoder.config
        self._interests = num_interests(config)
        self.is_rounded, self._is_source = dtype == "bfloat16", is_source
        encoding = TitleEncoding(encoder, dtype, "float32")
        self._pools = encoding.is_personalized and config.unit_vectors
        self._vector_size = config.num_filters + encoder.num_terms
        self.width = self._interests * self._vector_size + encoding.query_dim

        def variable(shape, dtype):
            return tf.Variable(tf.zeros([0, *shape[1:]], dtype), trainable=False, shape=shape)

        # In groups of rows, so that a block begins where memory is aligned: TensorFlow copies
        # slices that do not. Shapes are open: other titles need no new trace.
        self._words = {
            name: variable([None, ROWS, spec.shape[1]], spec.dtype)
            for name, spec in encoding.words.items()
        }
        # In the order of the blocks.
        self._titles = {"terms": variable([None, encoder.num_terms], tf.float32)}
        if self.is_rounded:
            self._titles["errors"] = variable([None, 2], tf.float32)
        self._blocks = variable([None, 3], tf.int32)
        self.order = variable([None], tf.int32)
        # Of each listed title: its place in the order of the blocks, its words, the row of the
        # first one, and the step to the next.
        self._listed = variable([None, 4], tf.int32)
        self._longest_key = tf.Variable(0.0, trainable=False)
        self._untracked = Untracked(
            encoder=encoder,
            encoding=encoding,
            encode=Traced(
                self._encode,
                [
                    tf.TensorSpec([None], tf.int32),
                    [tf.TensorSpec(table.shape, table.dtype) for table in encoder.article_tables],
                ],
                encoder.user_embedding,
                autograph=False,
            ),
            articles=np.zeros(0, np.int32),
            layout=None,
        )
        self._untracked.layout = self._layout(np.zeros(0, np.int32), 0)

    @property
    def encoding(self) -> TitleEncoding:
        """What is kept of words."""
        return self._untracked.encoding

    @property
    def size(self) -> int:
        """Bytes that the titles take, with those for titles to come."""
        words = self._capacity * self.encoding.word_size()
        numbers = sum(part.shape[-1] for part in (*self._titles.values(), self._listed))
        return words + self._untracked.layout.places * numbers * 4

    @property
    def _capacity(self) -> int:
        """Rows of memory for words."""
        return ROWS * int(tf.shape(self._words["values"])[0])

    @property
    def count(self):
        """How many titles are listed, a scalar."""
        return tf.shape(self._listed)[0]

    def update(
        self, scored: np.ndarray, listed: np.ndarray | None = None, from_scratch: bool = False
    ) -> None:
        """Encodes and keeps these articles, and no others.

        Args: as `prepare`.
        """
        self.prepare(scored, listed, from_scratch)()

    def prepare(
        self,
        scored: np.ndarray,
        listed: np.ndarray | None = None,
        from_scratch: bool = False,
        tables=None,
    ) -> Callable[[], None]:
        """Encodes articles, which are kept once the result is called, these and no others.

        Articles that are held already are not encoded again. Until the call, which takes
        milliseconds, nothing changes; titles take more than twice their memory, unless those that
        are there stay where they are.

        Args:
            scored: `[scored]` the articles of the encoder that scores are about, ascending.
            listed: `[listed]` the articles that `features` is about, ascending; None: the same.
            from_scratch: Whether to encode all of them again.
            tables: The articles that there will be, see `NewsEncoder.tables_of`; None: as now.
        """
        own, encoder = self._untracked, self._untracked.encoder
        listed = scored if listed is None else listed
        if tables is None:
            tables = [tf.convert_to_tensor(table) for table in encoder.article_tables]
        lengths = encoder.title_lengths(tables)
        articles = _scored_first(scored, listed)
        held = articles[:0] if from_scratch else own.articles
        _, target, source = np.intersect1d(articles, held, True, return_indices=True)
        added = _others(len(articles), target)
        layout, stays = self._next_layout(lengths[articles], len(scored), target, source)
        words = self._memory(layout, _others(len(articles), target[stays]), stays)
        self._copy(words, layout.words, target[~stays], source[~stays])
        titles = {}
        for name, part in self._titles.items():
            titles[name] = np.zeros([layout.places, part.shape[1]], np.float32)
            titles[name][layout.order[target]] = part.numpy()[own.layout.order[source]]
        longest = np.float32(0) if from_scratch else self._longest_key.numpy()

        def encode(chunk):
            parts = own.encode(tf.constant(articles[chunk], tf.int32), tables)
            _write(words, layout.words(chunk), parts)
            return chunk, {name: part for name, part in parts.items() if name not in words}

        for chunk, parts in mapped_ahead(encode, parts_for_threads(added, _CHUNK, _FEW)):
            longest = max(longest, parts["longest_key"].numpy())
            for name, whole in titles.items():
                if whole.shape[1]:
                    whole[layout.order[chunk]] = parts[name]
        values = [
            (self._longest_key, longest),
            (self._blocks, layout.blocks),
            (self.order, layout.order[: len(scored)]),
            (self._listed, _places(articles, listed, layout, lengths)),
            *((part, titles[name]) for name, part in self._titles.items()),
            *(
                (part, tf.reshape(words.pop(name), [-1, *part.shape[1:]]))
                for name, part in self._words.items()
                if not stays.any()
            ),
        ]
        tensors = [(variable, tf.convert_to_tensor(value)) for variable, value in values]

        def keep():
            for variable, tensor in tensors:
                variable.assign(tensor)
            own.articles, own.layout = articles, layout

        return keep

    def _next_layout(self, lengths, scored, target, source):
        """Returns the layout of other titles, and which of those that are held stay in place.

        Args:
            lengths: `[titles]`.
            scored: How many of the first are scored.
            target: `[held]` those of them that are held already.
            source: `[held]` the same titles in the present layout.
        """
        now = self._untracked.layout
        stays = (target >= scored) | (now.order[source] < now.scored)
        new = self._layout(lengths, scored)
        if self._spare and stays.any():
            grown = now.grown(lengths, scored, target[stays], source[stays])
            if (
                grown.rows <= min(self._capacity, new.rows / (1 - _WASTE))
                and grown.places <= new.places / (1 - _WASTE)
                and len(grown.blocks) <= 2 * len(new.blocks) + _BLOCKS
            ):
                return grown, stays
        return new, np.zeros(len(target), bool)

    def _memory(self, layout, titles, stays):
        """Returns the matrices to write words into: those in use, or new ones.

        They are zero where no words will be.

        Args:
            layout: Its layout.
            titles: Titles whose words will be written.
            stays: `[held]` which titles stay in place; none: memory is new.
        """
        specs, first, rows = self.encoding.words, 0, layout.rows
        if stays.any():
            first = self._untracked.layout.rows
            words = {name: _rows(part.read_value()) for name, part in self._words.items()}
        else:
            if len(stays):
                rows += ROWS * int(self._spare * rows / ROWS)
            words = {
                name: tf.raw_ops.Empty(shape=[rows, spec.shape[1]], dtype=spec.dtype)
                for name, spec in specs.items()
            }
        is_none = np.ones(rows, bool)
        is_none[:first] = False
        is_none[layout.words(titles)] = False
        none = np.flatnonzero(is_none).astype(np.int32)
        for part in np.array_split(none, 1 + len(none) // _ZEROS):
            nothing = {n: tf.zeros([len(part), s.shape[1]], s.dtype) for n, s in specs.items()}
            _write(words, part, nothing)
        return words

    def _copy(self, words, rows, target, source):
        """Writes titles that are held, `source`, into `words` as titles `target`."""
        held = {name: _rows(part) for name, part in self._words.items()}

        def copy(chunk):
            at = self._untracked.layout.words(source[chunk])
            _write(words, rows(target[chunk]), {n: tf.gather(p, at) for n, p in held.items()})

        for _ in mapped_ahead(copy, parts_for_threads(np.arange(len(target)), _CHUNK, _FEW)):
            pass

    def mark_restored(self, scored: np.ndarray, listed: np.ndarray) -> None:
        """Records that the variables came from a checkpoint, and what `update` was given last."""
        own = self._untracked
        own.articles = _scored_first(scored, listed)
        own.layout = self._layout(own.encoder.title_lengths()[own.articles], len(scored))

    def _layout(self, lengths, scored):
        return TitleLayout(lengths, scored, by_title=self._pools)

    def _encode(self, articles, tables):
        encoder = self._untracked.encoder
        features = encoder.with_terms(encoder.title_features(articles, False, None, tables))
        parts = self.encoding.of(features)
        longest = tf.constant(0.0)
        if self.encoding.is_personalized:
            keys = tf.cast(parts.get("keys", features.values), tf.float32)
            longest = tf.sqrt(tf.maximum(tf.reduce_max(tf.reduce_sum(keys**2, axis=1)), 0))
        parts["longest_key"] = longest
        if encoder.num_terms:
            parts["terms"] = tf.cast(features.terms, tf.float32)
        if self.is_rounded:
            parts["errors"] = title_errors(features, is_of_encoder=not self._is_source)
        return parts

    def features(self, titles, dtype) -> TitleFeatures:
        """Returns the features of some titles, as they are kept, without encoding anything.

        Their keys are compared with a `TitleEncoding.query`.

        Args:
            titles: `[titles]` places among those that are listed.
            dtype: Type of the features.
        """
        places, lengths, first, step = tf.unstack(tf.gather(self._listed, titles), axis=1)
        owners = packed_rows(lengths)
        within = tf.range(tf.size(owners)) - tf.gather(packed_starts(lengths), owners)
        rows = tf.gather(first, owners) + within * tf.gather(step, owners)
        words = {name: tf.gather(_rows(part), rows) for name, part in self._words.items()}
        terms = self._titles["terms"]
        terms = tf.cast(tf.gather(terms, places), dtype) if terms.shape[1] else None
        return self.encoding.features(words, lengths, terms, dtype)

    def scores(self, users):
        """Scores titles for all users, as `update` was given them.

        Args:
            users: `[batch, width]` float32, what `UserEncoder.flat` gives and folded queries side
                by side.

        Returns:
            `[batch, titles]` float32.
        """
        return tf.transpose(tf.gather(self.block_scores(users), self.order))

    def rounded_scores(self, users):
        """Scores titles roughly, as `update` was given them; see `RoundingBounds`.

        Args:
            users: As in `scores`.

        Returns:
            Two `[batch, titles]` float32: scores, and what they differ from exact ones by at most.
        """
        results = self.rounded_block_scores(users)
        return tuple(tf.transpose(tf.gather(result, self.order)) for result in results)

    def block_scores(self, users):
        """Scores titles for all users, in the order in which they lie.

        Args:
            users: As in `scores`.

        Returns:
            `[titles, batch]` float32.
        """
        return self._block_scores(users, is_rounded=False)[0]

    def rounded_block_scores(self, users):
        """Scores titles as `rounded_scores`, in the order in which they lie, `[titles, batch]`."""
        return self._block_scores(users, is_rounded=True)

    def exact_scores(self, places, articles, titles, rows, users):
        """Scores some titles by encoding them again.

        Args:
            places: `[n]` places of titles as `update` was given them.
            articles: `[n]` the articles of the encoder that they are of.
            titles: `[pairs]` which of these.
            rows: `[pairs]` for which users, ascending.
            users: As in `scores`.

        Returns:
            `[pairs]` float32.
        """
        encoder = self._untracked.encoder
        features = encoder.title_features(articles)
        values, keys = (
            None if part is None else tf.cast(part, tf.float32)
            for part in (features.values, features.keys)
        )
        features = features._replace(values=values, keys=keys)
        if encoder.num_terms:
            terms = tf.gather(self._titles["terms"], tf.gather(self.order, places))
            features = features._replace(terms=terms)
        features = self.encoding.folded(features)
        vectors, queries = self.split(users)
        return encoder.score(features, titles, rows, queries, vectors)

    def split(self, users):
        """Returns user vectors, as the query tower gives them, and each `TitleEncoding.query`.

        Args:
            users: As in `scores`.
        """
        query_dim = self.encoding.query_dim
        vectors, queries = tf.split(users, [self.width - query_dim, query_dim], axis=1)
        if self._interests > 1:
            vectors = tf.reshape(vectors, [-1, self._interests, self._vector_size])
        return vectors, queries

    def _block_scores(self, users, is_rounded):
        """Returns a list of scores and, if they are `is_rounded`, bounds, `[titles, batch]`."""
        vectors, queries = self.split(users)
        vectors = tf.reshape(vectors, [-1, self._interests, self._vector_size])
        values = self._words["values"].read_value()
        keys = self._words["keys"].read_value() if self.encoding.has_own_keys else values
        blocks = Blocks(
            values,
            keys if self.encoding.is_personalized else None,
            self._titles["terms"].read_value(),
            self._titles["errors"].read_value() if self.is_rounded else None,
            self._blocks.read_value(),
            self._longest_key.read_value(),
            self.encoding.has_own_keys,
            self._pools,
        )
        return BlockScores(blocks, vectors, queries, is_rounded).of_all()


def _scored_first(scored, listed):
    others = np.setdiff1d(listed, scored, assume_unique=True)
    return np.concatenate([scored, others]).astype(np.int32)


def _others(number, titles):
    """Returns the titles of a number of them that are not among some."""
    return np.setdiff1d(np.arange(number), titles, assume_unique=True)


def _places(articles, listed, layout, lengths):
    """Returns, of each listed title, what `TitleBlocks._listed` holds."""
    by_article = np.argsort(articles)
    titles = by_article[np.searchsorted(articles, listed, sorter=by_article)]
    parts = layout.order[titles], lengths[listed], layout.first[titles], layout.step[titles]
    return np.stack(parts, axis=1)


def _rows(part):
    return tf.reshape(part, [-1, part.shape[-1]])


def _write(words, rows, parts):
    """Writes rows of matrices in place; several threads may, each its own rows."""
    for name, whole in words.items():
        words[name] = tf.raw_ops.InplaceUpdate(x=whole, i=rows, v=parts[name])
