"""What scores of rounded words differ by from exact ones, at most."""

from __future__ import annotations

import tensorflow as tf

from tfrs_npa.layers.packed import packed_rows

# Bounds are for results of the next lower precision: twice the error of one correct rounding.
_BFLOAT16, _FLOAT32 = 2.0**-8, 1e-5


class RoundingBounds:
    """Bounds of `|s - s~|` for scores s~ of words that are kept in bfloat16.

    For each title two numbers are kept: `E = max_i |c_i - c~_i|`, and `C = max_i |c~_i|`. Products
    of values are bfloat16, of users rounded to it, so

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
    are float32 and added to both. Rounding in float32 has a margin of its own, `margin`.

    Args:
        vectors: `[batch, interests, num_filters]`, of users.
        queries: `[Q, batch]`.
    """

    def __init__(self, vectors, queries):
        self.vectors = [tf.reduce_max(part, axis=1) for part in _lengths(vectors, axis=2)]
        self.queries = _lengths(queries, axis=0)

    def of_titles(self, errors) -> TitleBounds:
        """Returns the bounds of titles, given `[titles, 2]`, E and C."""
        return TitleBounds(self, errors)


class TitleBounds:
    """The bounds of some titles, `[titles, batch]`; see `RoundingBounds`.

    Args:
        bounds: Those of the users.
        errors: `[titles, 2]`, E and C.
    """

    def __init__(self, bounds: RoundingBounds, errors):
        self._bounds = bounds
        self._error, self._length = tf.split(errors, 2, axis=1)

    def of_products(self):
        """Returns B(u)."""
        return self._of(*self._bounds.vectors)

    def of_weights(self, products):
        """Returns what wrong weights change, for products `[length, titles, batch]`."""
        span = tf.reduce_max(products, axis=0) - tf.reduce_min(products, axis=0)
        # There are no words, and the least and the largest number.
        span = tf.where(tf.math.is_finite(span), span, 0)
        return self._moved_weight() * tf.maximum(span, 0)

    def of_unit_vectors(self, lengths, has_own_keys):
        """Returns the errors of scores, given `|p~|` of pooled titles, `[titles, batch]`."""
        error = self._error + _FLOAT32 * self._length
        if not has_own_keys:
            error += 2 * self._moved_weight() * (self._error + self._length)
        length = 2 * lengths - error
        # No two vectors of unit length differ by more than 2.
        error = tf.minimum(tf.where(length > error, tf.math.divide_no_nan(2 * error, length), 2), 2)
        return (error + _FLOAT32) * self._bounds.vectors[0]

    def _moved_weight(self):
        return tf.tanh(self._of(*self._bounds.queries) / 2)

    def _of(self, lengths, errors):
        return self._error * lengths + self._length * (errors + _BFLOAT16 * lengths)


def margin(scores):
    """Returns what rounding in float32 may add to the bounds of scores."""
    return _FLOAT32 * (1 + tf.abs(scores))


def title_errors(features, is_of_encoder: bool):
    """Returns E and C of titles, `[titles, 2]`.

    Args:
        features: `TitleFeatures`, their words packed one title after the other.
        is_of_encoder: Whether exact words are those of the features; else they are what is kept.
    """
    values = tf.cast(features.values, tf.float32)
    rounded = tf.cast(tf.cast(values, tf.bfloat16), tf.float32)
    errors = values - rounded if is_of_encoder else tf.zeros_like(values)
    lengths = tf.sqrt(tf.reduce_sum(tf.square(tf.stack([errors, rounded], axis=1)), axis=2))
    rows, titles = packed_rows(features.lengths), tf.size(features.lengths)
    # The least number where there are no words.
    return tf.maximum(tf.math.unsorted_segment_max(lengths, rows, titles), 0)


def _lengths(vectors, axis):
    """Returns the lengths of vectors, and of what they lose when they are rounded."""
    rounded = tf.cast(tf.cast(vectors, tf.bfloat16), tf.float32)
    return [tf.norm(part, axis=axis) for part in (vectors, vectors - rounded)]
