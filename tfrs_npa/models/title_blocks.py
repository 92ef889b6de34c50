"""Encoded titles, laid out so that all of them can be scored fast."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfrs_npa.layers.packed import packed_rows, packed_starts, padded_rows
from tfrs_npa.layers.untracked import Untracked
from tfrs_npa.models.news_encoder import NewsEncoder, unit
from tfrs_npa.models.title_layout import ROWS, TitleLayout
from tfrs_npa.models.traced import Traced
from tfrs_npa.models.user_encoder import num_interests

# Titles that are encoded, or moved, at a time.
_CHUNK = 4096
# The exponentials of numbers up to this, and sums of many of them, are in the range of float32.
_LARGEST_LOGIT = 60.0
# Bounds are for results of the next lower precision: twice the error of one correct rounding.
_BFLOAT16, _FLOAT32 = 2.0**-8, 1e-5


class TitleBlocks(tf.Module):
    """Titles encoded without a user, in blocks of equal length.

    The score of a title for a user vector u and a query q is `softmax_i(k_i . q) . (c_i . u)`: two
    products of packed words with all users, then a softmax within each title. Keys are as short as
    they can be (`PersonalizedAttention.folded_keys`) and float32. The titles of a block
    have equally many words, and a block has the first words of all its titles, then all second
    words and so on. So its products are an array `[length, titles, users]`, and softmax and sum run
    along its first axis: nothing is padded, and nothing has to be gathered. Where vectors of titles
    have unit length or a user has several vectors, a block is pooled for each user first.

    Values c~_i that are kept in bfloat16 make `rounded_scores` s~, with bounds of `|s - s~|`. For
    each title two numbers are kept: `E = max_i |c_i - c~_i|`, and `C = max_i |c~_i|`. Products of
    values are bfloat16, of users rounded to it, so

        |c_i . u - v_i| <= B(u) = E |u| + C (|u - u~| + h |u|),    h = 2^-8

    for the computed v_i, by Cauchy and Schwarz; h is twice what the rounding of v_i can add. With
    keys of their own, the weights w_i are exact and `|s - s~| = |sum_i w_i (c_i . u - v_i)| <=
    B(u)`. In the `paper` form keys are the values, so that logits are wrong by d = B(q) at most.
    The weights w~_i are then proportional to `w_i exp(d_i)`, `|d_i| <= d`; the sum of what some of
    them gain is largest where all that gain have d and all others -d, and is `tanh(d / 2)` at most,
    so

        |s - s~| <= B(u) + tanh(d / 2) (max_i v_i - min_i v_i).

    Where titles are pooled, p~ = sum_i w~_i c~_i is wrong by `e = E + 2 tanh(d / 2) (E + C)` at
    most (d is 0 where keys are their own), and as `|a / |a| - b / |b|| <= 2 |a - b| / (|a| + |b|)`,

        |r - r~| <= 2 e / (2 |p~| - e),    |s - s~| <= |r - r~| max_j |u_j|

    where a user has vectors u_j, as no logsumexp moves by more than the largest of its terms. Terms
    are float32 and added to both. Rounding in float32 has a margin of its own.

    Args:
        encoder: The candidate tower.
        dtype: `"float32"` or `"bfloat16"`, how values of words are kept.

    Attributes:
        order: `[titles]`, the place of each scored title in `block_scores`, a variable.
        query_dim: Size Q of a query (`PersonalizedAttention.folded_query`); 0 where the weights of
            words depend on no user.
        width: Numbers that stand for a user, see `UserEncoder.flat`, and Q more.
        is_rounded: Whether values are bfloat16.
    """

    # Whether errors are those of words as the encoder makes them, or as they are kept.
    _is_of_encoder = True

    def __init__(self, encoder: NewsEncoder, dtype: str = "float32"):
        super().__init__(name="title_blocks")
        config, attention = encoder.config, encoder.attention
        filters = config.num_filters
        self._interests = num_interests(config)
        self._pools = config.unit_vectors
        self._personalized = attention.kind == "personalized"
        # A key of the paper's form is the value itself.
        own_keys = self._personalized and attention.form == "recommenders"
        self.query_dim = attention.folded_dim
        self.width = self._interests * (filters + encoder.num_terms) + self.query_dim
        self.is_rounded = dtype == "bfloat16"

        def variable(shape, dtype):
            return tf.Variable(tf.zeros([0, *shape[1:]], dtype), trainable=False, shape=shape)

        # In groups of rows, so that a block begins where memory is aligned: TensorFlow copies
        # slices that do not. Shapes are open: other titles need no new trace.
        self._values = variable([None, ROWS, filters], dtype)
        self._keys = variable([None, ROWS, self.query_dim], tf.float32) if own_keys else None
        # In the order of the blocks.
        self._terms = variable([None, encoder.num_terms], tf.float32)
        self._errors = variable([None, 2], tf.float32) if self.is_rounded else None
        self._blocks = variable([None, 3], tf.int32)
        self.order = variable([None], tf.int32)
        # The length of the longest key.
        self._reach = tf.Variable(0.0, trainable=False)
        self._untracked = Untracked(
            encoder=encoder,
            encode=Traced(
                self._encode,
                [tf.TensorSpec([None], tf.int32)],
                encoder.user_embedding,
                autograph=False,
            ),
            articles=np.zeros(0, np.int32),
            layout=TitleLayout(np.zeros(0, np.int32)),
        )

    @property
    def size(self) -> int:
        """Bytes that the titles take."""
        words = self._untracked.layout.rows * sum(
            part.shape[-1] * part.dtype.size for part in self._parts().values()
        )
        numbers = sum(part.shape[-1] for part in self._title_parts().values())
        return words + len(self._untracked.articles) * numbers * 4

    def _parts(self):
        parts = {"values": self._values}
        if self._keys is not None:
            parts["keys"] = self._keys
        return parts

    def _title_parts(self):
        """What there is of each title, in the order of the blocks."""
        parts = {"terms": self._terms}
        if self._errors is not None:
            parts["errors"] = self._errors
        return parts

    def update(
        self, articles: np.ndarray, from_scratch: bool = False, scored: int | None = None
    ) -> None:
        """Encodes and keeps these articles, and no others.

        Articles that are held already are moved, not encoded again; meanwhile the titles take twice
        their memory.

        Args:
            articles: `[titles]` distinct articles of the encoder.
            from_scratch: Whether to encode all of them again.
            scored: How many of the first ones `scores` is about; None: all.
        """
        if from_scratch:
            self._assign(np.zeros(0, np.int32), TitleLayout(np.zeros(0, np.int32)))
            self._reach.assign(0.0)
        own = self._untracked
        layout = TitleLayout(own.encoder.title_lengths()[articles], scored)
        kept, target, source = np.intersect1d(articles, own.articles, True, return_indices=True)
        added = np.setdiff1d(np.arange(len(articles)), target)
        wholes = {
            name: tf.zeros([layout.rows, part.shape[-1]], part.dtype)
            for name, part in self._parts().items()
        }

        def write(rows, parts):
            for name, whole in wholes.items():
                value = tf.cast(parts[name], whole.dtype)
                wholes[name] = tf.raw_ops.InplaceUpdate(x=whole, i=rows, v=value)

        held = {
            name: tf.reshape(part.read_value(), [-1, part.shape[-1]])
            for name, part in self._parts().items()
        }
        for first in range(0, len(kept), _CHUNK):
            moved = slice(first, first + _CHUNK)
            rows = own.layout.words(source[moved])
            write(layout.words(target[moved]), {n: tf.gather(p, rows) for n, p in held.items()})
        del held
        of_titles = {}
        for name, part in self._title_parts().items():
            of_titles[name] = np.zeros([len(articles), part.shape[1]], np.float32)
            of_titles[name][layout.order[target]] = part.numpy()[own.layout.order[source]]
        reach = self._reach.numpy()
        for first in range(0, len(added), _CHUNK):
            chunk = added[first : first + _CHUNK]
            parts = own.encode(tf.constant(articles[chunk], tf.int32))
            write(layout.words(chunk), parts)
            reach = max(reach, parts["reach"].numpy())
            for name, whole in of_titles.items():
                if whole.shape[1]:
                    whole[layout.order[chunk]] = parts[name]
        self._reach.assign(reach)
        self._assign(articles, layout, wholes, of_titles, scored)

    def _assign(self, articles, layout, wholes=None, of_titles=None, scored=None):
        for name, part in self._parts().items():
            shape = [-1, *part.shape[1:]]
            whole = tf.zeros([0], part.dtype) if wholes is None else wholes.pop(name)
            part.assign(tf.reshape(whole, shape))
        for name, part in self._title_parts().items():
            nothing = np.zeros([0, part.shape[1]], np.float32)
            part.assign(nothing if of_titles is None else of_titles[name])
        self._blocks.assign(layout.blocks)
        self.order.assign(layout.order[:scored])
        self._untracked.articles, self._untracked.layout = articles, layout

    def _encode(self, articles):
        encoder = self._untracked.encoder
        features = encoder.with_terms(encoder.title_features(articles))
        parts = {"values": features.values, "reach": tf.constant(0.0)}
        if self._personalized:
            keys = tf.cast(features.keys, tf.float32)
            if self._keys is not None:
                # Whole groups of rows, so that equal words have equal keys to the last bit.
                number, keys = tf.shape(keys)[0], padded_rows(keys, ROWS)
                keys = parts["keys"] = encoder.attention.folded_keys(keys)[:number]
            parts["reach"] = tf.sqrt(tf.maximum(tf.reduce_max(tf.reduce_sum(keys**2, axis=1)), 0))
        if encoder.num_terms:
            parts["terms"] = tf.cast(features.terms, tf.float32)
        if self.is_rounded:
            parts["errors"] = self._errors_of(features)
        return parts

    def _errors_of(self, features):
        """Returns E and C of titles, see the class, `[titles, 2]`."""
        values = tf.cast(features.values, tf.float32)
        rounded = tf.cast(tf.cast(values, tf.bfloat16), tf.float32)
        errors = values - rounded if self._is_of_encoder else tf.zeros_like(values)
        lengths = tf.sqrt(tf.reduce_sum(tf.square(tf.stack([errors, rounded], axis=1)), axis=2))
        rows, titles = packed_rows(features.lengths), tf.size(features.lengths)
        # The least number where there are no words.
        return tf.maximum(tf.math.unsorted_segment_max(lengths, rows, titles), 0)

    def scores(self, users):
        """Scores titles for all users, in the order in which `update` was given them.

        Args:
            users: `[batch, width]` float32, what `UserEncoder.flat` gives and folded queries side
                by side.

        Returns:
            `[batch, titles]` float32.
        """
        return tf.transpose(tf.gather(self.block_scores(users), self.order))

    def rounded_scores(self, users):
        """Scores titles roughly, in the order in which `update` was given them; see the class.

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
            places: `[n]` places of titles in the order in which `update` was given them.
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
        terms = tf.gather(self._terms, tf.gather(self.order, places)) if encoder.num_terms else None
        features = features._replace(values=values, keys=keys, terms=terms)
        vectors, queries = self.split(users)
        return encoder.score(features, titles, rows, queries, vectors)

    def split(self, users, unfolds: bool = True):
        """Returns user vectors, as the query tower gives them, and queries of words.

        Args:
            users: As in `scores`.
            unfolds: Whether queries are unfolded.
        """
        vectors, folded = tf.split(users, [self.width - self.query_dim, self.query_dim], axis=1)
        if self._interests > 1:
            size = vectors.shape[1] // self._interests
            vectors = tf.reshape(vectors, [-1, self._interests, size])
        if unfolds and self.query_dim:
            folded = self._untracked.encoder.attention.unfolded_query(folded)
        return vectors, folded

    def _block_scores(self, users, is_rounded):
        """Returns a list of scores and, if they are `is_rounded`, bounds, `[titles, batch]`."""
        filters, number = self._values.shape[-1], tf.shape(users)[0]
        own = users[:, : self.width - self.query_dim]
        own = tf.reshape(own, [number, self._interests, filters + self._terms.shape[1]])
        vectors, factors = own[:, :, :filters], own[:, :, filters:]
        queries = tf.transpose(users[:, self.width - self.query_dim :])
        columns = tf.transpose(tf.reshape(vectors, [-1, filters]))
        values, blocks = self._values.read_value(), self._blocks.read_value()
        keys = values if self._keys is None else self._keys.read_value()
        of_titles = {name: part.read_value() for name, part in self._title_parts().items()}
        starts = packed_starts(blocks[:, 2])
        # Whether no exponential of a logit is out of range: that saves the largest logit of each
        # title. One answer for all titles, so that equal ones stay equal.
        longest = tf.sqrt(tf.reduce_max(tf.reduce_sum(tf.square(queries), axis=0)))
        is_small = self._reach * longest < _LARGEST_LOGIT
        reach = _Reach(vectors, queries)

        def rows(part, groups):
            return tf.reshape(part[groups[0] : groups[1]], [-1, part.shape[-1]])

        def product(part, columns):
            return _rounded_product(part, columns) if is_rounded else _product(part, columns)

        def score(block, *results):
            group, length, titles = tf.unstack(blocks[block], num=3)
            words = length * titles
            groups = group, group + (words + ROWS - 1) // ROWS
            shape = tf.stack([length, titles, number])
            first = starts[block]
            own = {name: part[first : first + titles] for name, part in of_titles.items()}
            errors = reach.errors(own["errors"]) if is_rounded else None
            if self._personalized:
                logits = tf.reshape(product(rows(keys, groups), queries)[:words], shape)
                weights = tf.cond(
                    is_small,
                    lambda: tf.exp(logits),
                    lambda: tf.exp(logits - tf.reduce_max(logits, axis=0)),
                )
                # A title without words has no weights.
                total = tf.reduce_sum(weights, axis=0)
            if self._personalized and self._pools:
                c = tf.cast(rows(values, groups)[:words], tf.float32)
                c = tf.reshape(c, [length, titles, filters])
                weights = tf.math.divide_no_nan(weights, total)
                pooled = tf.einsum("lnu,lnf->nuf", weights, c)
                if is_rounded:
                    bound = errors.of_unit_vectors(pooled, has_own_keys=self._keys is not None)
                pooled = padded_rows(unit(pooled), ROWS)
                result = tf.einsum("nuf,uif->nui", pooled, vectors)
            elif self._personalized:
                products = tf.reshape(product(rows(values, groups), columns)[:words], shape)
                result = tf.reduce_sum(weights * products, axis=0)
                result = tf.math.divide_no_nan(result, total)
                if is_rounded:
                    bound = errors.of_products()
                    if self._keys is None:
                        bound += errors.of_weights(products)
                result = padded_rows(result[:, :, tf.newaxis], ROWS)
            else:
                result = product(rows(values, groups), columns)
                result = tf.reshape(result, [-1, number, self._interests])
                if is_rounded:
                    bound = errors.of_products()
            result = self._with_terms(result, own["terms"], factors)
            found = [result[:titles]]
            if is_rounded:
                found.append(bound + _FLOAT32 * (1 + tf.abs(found[0])))
            return block + 1, *(whole.write(block, part) for whole, part in zip(results, found))

        count = tf.shape(blocks)[0]
        results = [
            tf.TensorArray(tf.float32, count, infer_shape=False, element_shape=[None, None])
            for _ in range(1 + is_rounded)
        ]
        _, *results = tf.while_loop(lambda block, *_: block < count, score, (0, *results))
        return [result.concat() for result in results]

    def _with_terms(self, products, terms, factors):
        """Returns scores of titles, given their products with user vectors, and their terms."""
        if self._terms.shape[1]:
            terms = padded_rows(terms, ROWS)[:, tf.newaxis, tf.newaxis]
            for k in range(self._terms.shape[1]):
                products += terms[..., k] * factors[:, :, k]
        return products[:, :, 0] if self._interests == 1 else tf.reduce_logsumexp(products, axis=2)


def _product(rows, columns):
    return tf.matmul(tf.cast(rows, tf.float32), columns)


def _rounded_product(rows, columns):
    """As `_product`, but in bfloat16 if rows are."""
    if rows.dtype == tf.float32:
        return _product(rows, columns)
    columns = tf.cast(columns, rows.dtype)
    # One row is multiplied faster than one column.
    result = tf.cond(
        tf.shape(columns)[1] == 1,
        lambda: tf.transpose(tf.matmul(columns, rows, transpose_a=True, transpose_b=True)),
        lambda: tf.matmul(rows, columns),
    )
    return tf.cast(result, tf.float32)


class _Reach:
    """The lengths of user vectors and queries, of which bounds of errors are made.

    Args:
        vectors: `[batch, interests, num_filters]`.
        queries: `[Q, batch]`.
    """

    def __init__(self, vectors, queries):
        self.vectors = [tf.reduce_max(part, axis=1) for part in _lengths(vectors, axis=2)]
        self.queries = _lengths(queries, axis=0)

    def errors(self, of_titles):
        """Returns the errors of titles, given `[titles, 2]`, E and C."""
        return _Errors(self, of_titles)


class _Errors:
    """Bounds of the errors of titles, `[titles, batch]`; `TitleBlocks` derives them."""

    def __init__(self, reach, of_titles):
        self._reach = reach
        self._error, self._length = tf.split(of_titles, 2, axis=1)

    def of_products(self):
        """Returns B(u)."""
        return self._of(*self._reach.vectors)

    def of_weights(self, products):
        """Returns what wrong weights change, for products `[length, titles, batch]`."""
        span = tf.reduce_max(products, axis=0) - tf.reduce_min(products, axis=0)
        # There are no words, and the least and the largest number.
        span = tf.where(tf.math.is_finite(span), span, 0)
        return self._moved_weight() * tf.maximum(span, 0)

    def of_unit_vectors(self, pooled, has_own_keys):
        """Returns the errors of scores, for titles that were pooled, `[titles, batch, filters]`."""
        error = self._error + _FLOAT32 * self._length
        if not has_own_keys:
            error += 2 * self._moved_weight() * (self._error + self._length)
        length = 2 * tf.norm(pooled, axis=2) - error
        # No two vectors of unit length differ by more than 2.
        error = tf.minimum(tf.where(length > error, tf.math.divide_no_nan(2 * error, length), 2), 2)
        return (error + _FLOAT32) * self._reach.vectors[0]

    def _moved_weight(self):
        return tf.tanh(self._of(*self._reach.queries) / 2)

    def _of(self, lengths, errors):
        return self._error * lengths + self._length * (errors + _BFLOAT16 * lengths)


def _lengths(vectors, axis):
    """Returns the lengths of vectors, and of what they lose when they are rounded."""
    rounded = tf.cast(tf.cast(vectors, tf.bfloat16), tf.float32)
    return [tf.norm(part, axis=axis) for part in (vectors, vectors - rounded)]
