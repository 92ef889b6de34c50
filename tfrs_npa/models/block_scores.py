"""Scores of blocks of titles for all users of a batch."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfrs_npa.layers.packed import packed_starts, padded_rows
from tfrs_npa.models.rounding_bounds import RoundingBounds, margin
from tfrs_npa.models.title_layout import ROWS

# The exponentials of numbers up to this, and sums of many of them, are in the range of float32.
_LARGEST_LOGIT = 60.0
# Less than any sum of such exponentials.
_NOTHING = 1e-30
# Blocks that are scored at a time: another one where one leaves a core without work. More of them
# fit into no processor's cache.
_AT_A_TIME = 2


class Blocks(NamedTuple):
    """What `TitleBlocks` holds, as tensors.

    Attributes:
        values: `[groups, ROWS, num_filters]`.
        keys: `[groups, ROWS, Q]` float32, the values themselves, or None.
        terms: `[titles, num_terms]` float32, in the order of the blocks, as all of titles is.
        errors: `[titles, 2]`, see `RoundingBounds`, or None.
        blocks: `[blocks, 3]`, see `TitleLayout`.
        longest_key: A scalar, the length of the longest key.
        has_own_keys: Whether keys are not the values.
        by_title: Whether titles are pooled for each user, since vectors of titles have unit length;
            the layout is by title then.
    """

    values: tf.Tensor
    keys: tf.Tensor | None
    terms: tf.Tensor
    errors: tf.Tensor | None
    blocks: tf.Tensor
    longest_key: tf.Tensor
    has_own_keys: bool
    by_title: bool


class BlockScores:
    """Scores of titles for users, block after block.

    The score of a title for a user vector u and a query q is `softmax_i(k_i . q) . (c_i . u)`: two
    products of packed words with all users, then a softmax within each title. Where vectors of
    titles have unit length, a block is pooled for each user first.

    Args:
        titles: `Blocks`.
        vectors: `[batch, interests, num_filters + num_terms]` float32, of users.
        queries: `[batch, Q]` float32.
        is_rounded: Whether products are rough, and bounds of their errors are wanted too.
    """

    def __init__(self, titles: Blocks, vectors, queries, is_rounded: bool):
        filters = titles.values.shape[-1]
        self._titles = titles
        self._number, self._interests = tf.shape(vectors)[0], vectors.shape[1]
        self._vectors, self._factors = vectors[:, :, :filters], vectors[:, :, filters:]
        self._columns = tf.transpose(tf.reshape(self._vectors, [-1, filters]))
        self._queries = tf.transpose(queries)
        self._product = _rounded_product if is_rounded else _product
        self._bounds = RoundingBounds(self._vectors, self._queries) if is_rounded else None
        # Whether no exponential of a logit is out of range: that saves the largest logit of each
        # title. One answer for all titles, so that equal ones stay equal.
        longest = tf.sqrt(tf.reduce_max(tf.reduce_sum(tf.square(self._queries), axis=0)))
        self._is_small = titles.longest_key * longest < _LARGEST_LOGIT

    def of_all(self) -> list[tf.Tensor]:
        """Returns scores and, if they are rounded, bounds, each `[titles, batch]` float32."""
        blocks, number = self._titles.blocks, 1 + (self._bounds is not None)
        starts = packed_starts(blocks[:, 2])

        def score(block, *results):
            found = self._of_block(blocks[block], starts[block])
            return block + 1, *(whole.write(block, part) for whole, part in zip(results, found))

        def every():
            count = tf.shape(blocks)[0]
            results = [
                tf.TensorArray(tf.float32, count, infer_shape=False, element_shape=[None, None])
                for _ in range(number)
            ]
            _, *results = tf.while_loop(
                lambda block, *_: block < count,
                score,
                (0, *results),
                parallel_iterations=_AT_A_TIME,
            )
            return [result.concat() for result in results]

        nothing = [tf.zeros([0, self._number])] * number
        return tf.cond(tf.shape(blocks)[0] > 0, every, lambda: nothing)

    def _of_block(self, block, start):
        """Returns the scores of a block, `[titles, batch]`, and their bounds if they are wanted."""
        group, length, titles = tf.unstack(block, num=3)
        own = self._titles
        if own.by_title:
            groups = slice(group, group + length * ((titles + ROWS - 1) // ROWS))
        else:
            groups = slice(group, group + (length * titles + ROWS - 1) // ROWS)
        bounds = None
        if self._bounds is not None and own.errors is not None:
            bounds = self._bounds.of_titles(own.errors[start : start + titles])
        if own.keys is None:
            result, bound = self._of_vectors(groups, bounds)
        elif own.by_title:
            result, bound = self._of_unit_vectors(groups, length, titles, bounds)
        else:
            result, bound = self._of_sums(groups, length, titles, bounds)
        result = self._with_terms(result, own.terms[start : start + titles])[:titles]
        return [result] if bounds is None else [result, bound + margin(result)]

    def _of_vectors(self, groups, bounds):
        """Scores titles whose words are pooled already."""
        result = self._product(_rows(self._titles.values, groups), self._columns)
        result = tf.reshape(result, [-1, self._number, self._interests])
        return result, None if bounds is None else bounds.of_products()

    def _of_sums(self, groups, length, titles, bounds):
        """Scores titles by weighted sums of the products of their words."""
        own, shape = self._titles, tf.stack([length, titles, self._number])
        weights = self._weights(groups, shape, axis=0)
        products = self._product(_rows(own.values, groups), self._columns)
        bound = None
        if bounds is not None:
            bound = bounds.of_products()
            if not own.has_own_keys:
                bound += bounds.of_weights(_by_word(products, shape))
        total = tf.reduce_sum(_by_word(weights, shape), axis=0)
        result = tf.reduce_sum(_by_word(weights * products, shape), axis=0)
        return (result / tf.maximum(total, _NOTHING))[:, :, tf.newaxis], bound

    def _of_unit_vectors(self, groups, length, titles, bounds):
        """Scores titles by their vectors, which are of unit length, for each user."""
        own, filters = self._titles, self._titles.values.shape[-1]
        # Those that complete a group too, whose words are zero.
        number = titles + -titles % ROWS
        shape = tf.stack([number, length, self._number])
        weights = tf.reshape(self._weights(groups, shape, axis=1), shape)
        weights /= tf.maximum(tf.reduce_sum(weights, axis=1, keepdims=True), _NOTHING)
        values = tf.cast(_rows(own.values, groups), tf.float32)
        values = tf.reshape(values, tf.stack([number, length, filters]))
        pooled = tf.matmul(weights, values, transpose_a=True)
        squares = tf.reduce_sum(tf.square(pooled), axis=2)
        bound = None
        if bounds is not None:
            bound = bounds.of_unit_vectors(tf.sqrt(squares[:titles]), own.has_own_keys)
        products = tf.matmul(tf.transpose(pooled, [1, 0, 2]), self._vectors, transpose_b=True)
        # Products are fewer numbers than vectors.
        roots = tf.math.rsqrt(tf.maximum(squares, 1e-12))
        return tf.transpose(products, [1, 0, 2]) * roots[:, :, tf.newaxis], bound

    def _weights(self, groups, shape, axis):
        """Returns exponentials of logits for all rows of some groups, `[rows, batch]`.

        Args:
            groups: Those of a block.
            shape: That of the block's words, as a vector; rows that complete a group come after
                them.
            axis: That of the words of a title in it.
        """
        logits = self._product(_rows(self._titles.keys, groups), self._queries)

        def less_largest():
            by_word = _by_word(logits, shape)
            by_word -= tf.reduce_max(by_word, axis=axis, keepdims=True)
            return padded_rows(tf.reshape(by_word, [-1, self._number]), ROWS)

        # Of all rows, which can be written over; parts of a tensor would be copied.
        return tf.exp(tf.cond(self._is_small, lambda: logits, less_largest))

    def _with_terms(self, products, terms):
        """Returns scores of titles, given their products with user vectors, and their terms."""
        if terms.shape[1]:
            products = padded_rows(products[: tf.shape(terms)[0]], ROWS)
            terms = padded_rows(terms, ROWS)[:, tf.newaxis, tf.newaxis]
            for k in range(terms.shape[3]):
                products += terms[..., k] * self._factors[:, :, k]
        return products[:, :, 0] if self._interests == 1 else tf.reduce_logsumexp(products, axis=2)


def _rows(part, groups):
    """Returns the rows of some groups."""
    return tf.reshape(part[groups], [-1, part.shape[-1]])


def _by_word(rows, shape):
    """Returns rows of a block, without those that complete a group, as `[length, titles, n]`."""
    return tf.reshape(rows[: shape[0] * shape[1]], shape)


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
