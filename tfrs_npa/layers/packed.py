"""Packed sequences: the elements of one after the other, and how many each has."""

from __future__ import annotations

import tensorflow as tf


def packed_rows(lengths):
    """Returns the sequence that each element of packed sequences belongs to.

    Args:
        lengths: `[sequences]` elements of each sequence.

    Returns:
        `[elements]` integers, ascending.
    """
    # `tf.repeat` makes this mask too, but a graph of three times as many operations.
    return tf.cast(tf.where(tf.sequence_mask(lengths))[:, 0], tf.int32)


def selected(values, mask):
    """Returns `tf.boolean_mask(values, mask)` by 2 operations, not 20, which a graph is made of.

    Args:
        values: `[n, ...]`, through which no gradient is needed.
        mask: Booleans of the shape of `values`, or of its first dimensions.
    """
    return tf.gather_nd(values, tf.where(mask))


def packed_starts(lengths):
    """Returns the position of the first element of each packed sequence, `[sequences]`.

    Args:
        lengths: `[sequences]` elements of each sequence.
    """
    return tf.cumsum(lengths, exclusive=True)


def packed_positions(starts, lengths):
    """Returns the positions of the elements of chosen sequences among packed ones.

    Args:
        starts: `[sequences]` position of the first element of each chosen sequence.
        lengths: `[sequences]` elements of each.

    Returns:
        `[elements]` positions, one sequence after the other.
    """
    # The range of each sequence, without RaggedRange, for which no GPU has a kernel.
    rows = packed_rows(lengths)
    return tf.range(tf.size(rows)) + tf.gather(starts - packed_starts(lengths), rows)


def packed_to_dense(values, lengths):
    """Returns packed sequences as rows that are padded with zeros to equal length.

    Args:
        values: `[elements, ...]`.
        lengths: `[sequences]` elements of each sequence.

    Returns:
        `[sequences, longest, ...]`.
    """
    # Not through a ragged tensor, for whose padding no GPU has a kernel.
    inside = tf.sequence_mask(lengths)
    shape = tf.concat([tf.shape(inside, tf.int64), tf.shape(values, tf.int64)[1:]], axis=0)
    return tf.scatter_nd(tf.where(inside), values, shape)


def packed_softmax(logits, lengths):
    """Returns the softmax of each of several packed sequences.

    Args:
        logits: `[elements]`.
        lengths: `[sequences]` elements of each sequence.

    Returns:
        `[elements]`.
    """
    rows, sequences = packed_rows(lengths), tf.size(lengths)
    largest = tf.math.unsorted_segment_max(tf.stop_gradient(logits), rows, sequences)
    weights = tf.exp(logits - tf.gather(largest, rows))
    totals = tf.math.unsorted_segment_sum(weights, rows, sequences)
    return weights / tf.gather(totals, rows)


def padded_rows(rows, multiple: int):
    """Appends rows of zeros until their number is a multiple of `multiple`.

    Args:
        rows: `[rows, ...]`.
        multiple: The number.
    """
    missing = -tf.shape(rows)[0] % multiple
    return tf.pad(rows, [[0, missing], *[[0, 0]] * (rows.shape.rank - 1)])
