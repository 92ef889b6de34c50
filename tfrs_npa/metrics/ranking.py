"""AUC, MRR and nDCG of single impressions, by the definitions of MIND's official `evaluate.py`."""

from __future__ import annotations

import tensorflow as tf


def ranking_metrics(clicked: tf.Tensor, scores: tf.Tensor, mask: tf.Tensor) -> dict[str, tf.Tensor]:
    """Measures how well the scores of each impression put its clicked candidates first.

    With positions counted from 1 in the order of falling scores:

    - `auc`: share of pairs (clicked, not clicked) in the right order; a tie counts one half.
    - `mrr`: mean of 1 / position over the clicked candidates.
    - `ndcg_5`, `ndcg_10`: sum of 1 / log2(position + 1) over the clicked candidates up to position
      5 or 10, divided by that of the best possible order.

    MRR and nDCG break ties by candidate order, the earlier one first. An impression that cannot be
    measured (see `scored`) has NaN metrics, and so has one with a NaN score: a diverged model never
    gets a metric. Infinite scores are ranked like any other.

    The cost is one sort of all candidates. Shapes may be dynamic, and there is no state, so it can
    be called in a `tf.function`.

    Example:
        >>> metrics = ranking_metrics(
        ...     clicked=[[0, 1, 0]], scores=[[0.1, 0.7, 0.9]], mask=[[True, True, True]])
        >>> float(metrics["auc"][0]), float(metrics["mrr"][0])
        (0.5, 0.5)

    Args:
        clicked: int `[batch, candidates]`: 1 clicked, 0 not clicked, -1 unlabelled.
        scores: float `[batch, candidates]`, compared as float32.
        mask: bool `[batch, candidates]`: true for candidates, false for padding, which may be
            anywhere in a row and whose label and score are ignored.

    Returns:
        `auc`, `mrr`, `ndcg_5` and `ndcg_10`, float32 `[batch]`, and `scored`, bool `[batch]`: true
        where the candidates include a clicked one, one not clicked, and none that is unlabelled.

    Raises:
        ValueError: The arguments are not matrices of one shape.
    """
    clicked = tf.convert_to_tensor(clicked)
    scores = tf.cast(scores, tf.float32)
    mask = tf.cast(mask, tf.bool)
    for name, tensor in (("clicked", clicked), ("scores", scores), ("mask", mask)):
        if not tensor.shape.is_compatible_with(clicked.shape) or tensor.shape.rank not in (2, None):
            raise ValueError(
                "clicked, scores and mask must all be [batch, candidates]; "
                f"{name} is {tensor.shape}, clicked is {clicked.shape}."
            )

    # Padding is left out: most of a batch is padding.
    impressions = tf.shape(mask)[0]
    real = tf.where(mask)
    rows, places = real[:, 0], real[:, 0] * tf.shape(mask, tf.int64)[1] + real[:, 1]
    # Reshaped to the mask's size: where shapes are not known before, another one is an error then.
    size = tf.reshape(tf.size(mask), [1])
    labels, scores = (tf.gather(tf.reshape(part, size), places) for part in (clicked, scores))
    is_clicked = labels == 1
    kinds = [tf.ones_like(is_clicked), is_clicked, labels < 0, tf.math.is_nan(scores)]
    # A GPU has no kernel for sums of int64.
    counts = tf.stack([tf.cast(kind, tf.int32) for kind in kinds], axis=1)
    counts = tf.cast(tf.math.unsorted_segment_sum(counts, rows, impressions), tf.int64)
    num_candidates, num_clicked, num_unlabelled, num_nan = tf.unstack(counts, num=4, axis=1)
    num_others = num_candidates - num_clicked
    scored = (num_clicked > 0) & (num_others > 0) & (num_unlabelled == 0)
    measurable = scored & (num_nan == 0)

    rows, positions, mid_positions = _positions_of_clicked(is_clicked, scores, rows, num_candidates)

    def sum_by_impression(values: tf.Tensor) -> tf.Tensor:
        return tf.math.unsorted_segment_sum(values, rows, impressions)

    # Counts are small integers and halves, so float64 makes the AUC exact.
    num_clicked = tf.cast(num_clicked, tf.float64)
    pairs = num_clicked * tf.cast(num_others, tf.float64)
    # Mann-Whitney: the ranks of the clicked, less what they would be if all came first.
    pairs_lost = sum_by_impression(mid_positions) - num_clicked * (num_clicked + 1) / 2
    metrics = {
        "auc": (pairs - pairs_lost) / pairs,
        "mrr": sum_by_impression(1 / positions) / num_clicked,
    }
    # log2 in the definition, but the base of the logarithm cancels out.
    gains = 1 / tf.math.log(positions + 1)
    for k in (5, 10):
        dcg = sum_by_impression(tf.where(positions <= k, gains, 0))
        ideal = tf.cumsum(1 / tf.math.log(tf.range(2, k + 2, dtype=tf.float64)))
        best = tf.gather(ideal, tf.cast(tf.clip_by_value(num_clicked, 1, k), tf.int32) - 1)
        metrics[f"ndcg_{k}"] = dcg / best
    metrics = {
        name: tf.where(measurable, tf.cast(values, tf.float32), float("nan"))
        for name, values in metrics.items()
    }
    return metrics | {"scored": scored}


def _positions_of_clicked(
    is_clicked: tf.Tensor, scores: tf.Tensor, rows: tf.Tensor, lengths: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Ranks the candidates of each row and picks out the clicked ones.

    Args:
        is_clicked: `[candidates]` those of one row after the other.
        scores: `[candidates]`.
        rows: `[candidates]` int64, ascending.
        lengths: `[rows]` int64 candidates of each row.

    Returns:
        For each clicked candidate of the batch, all `[clicked]`: its row; its position from 1
        (float64), ties broken by candidate order; the mean position of its ties (float64).
    """
    # Keys of 32 bits, below them the row: one sort for all rows. top_k puts the lower index first
    # among equals: a stable sort.
    keys = _sort_keys(scores) - rows * 2**32
    keys, order = tf.math.top_k(keys, k=tf.size(keys))

    starts_group = tf.concat([tf.ones_like(keys[:1], tf.bool), keys[1:] != keys[:-1]], axis=0)
    group_starts = tf.where(starts_group)[:, 0]
    group_ends = tf.concat([group_starts[1:], tf.shape(keys, tf.int64)], axis=0)
    groups = tf.cumsum(tf.cast(starts_group, tf.int32)) - 1

    picked = tf.where(tf.gather(is_clicked, order))[:, 0]
    rows, groups = tf.gather(rows, picked), tf.gather(groups, picked)
    positions = tf.cast(
        picked + 1 - tf.gather(tf.cumsum(lengths, exclusive=True), rows), tf.float64
    )
    first, end = tf.gather(group_starts, groups), tf.gather(group_ends, groups)
    # A clicked candidate and its ties lie in one row, so flat distances are distances in the row.
    mid_positions = positions + tf.cast(first + end - 1 - 2 * picked, tf.float64) / 2
    return rows, positions, mid_positions


def _sort_keys(scores: tf.Tensor) -> tf.Tensor:
    """Maps scores to int64 of 32 bits in the same order, with equal keys for equal scores only.

    The keys of NaN scores mean nothing.
    """
    scores = tf.where(scores == 0, tf.zeros_like(scores), scores)  # -0.0 equals 0.0
    bits = tf.bitcast(scores, tf.int32)
    keys = tf.where(bits < 0, tf.bitwise.bitwise_xor(bits, tf.int32.max), bits)
    return tf.cast(keys, tf.int64)
