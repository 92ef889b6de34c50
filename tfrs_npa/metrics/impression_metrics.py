"""Means of the ranking metrics over a stream of impressions."""

from __future__ import annotations

import tensorflow as tf

from tfrs_npa.metrics.ranking import ranking_metrics
from tfrs_npa.metrics.unsaved import Sum, WeightedMean

_NAMES = ("auc", "mrr", "ndcg_5", "ndcg_10")
_USERS = ("", "_known_users", "_new_users")


class ImpressionMetrics:
    """Means of `ranking_metrics` over impressions: of all users, of known users, of new users.

    Attributes:
        metrics: A list of `tf.keras.metrics.Metric`, for the `metrics` property of a model:
            `auc`, `mrr`, `ndcg_5`, `ndcg_10`, the same with suffix `_known_users` and `_new_users`;
            `impressions`, how many were seen; `skipped_impressions`, how many of them are in no
            mean because a clicked or a not clicked candidate, or a label, is missing. The mean of
            no impressions is NaN.

    Example:
        >>> ranking = ImpressionMetrics()
        >>> ranking.update(
        ...     clicked=[[0, 1]], scores=[[0.2, 0.8]], mask=[[True, True]], known_user=[True])
        >>> float(ranking.result()["auc_known_users"])
        1.0
    """

    def __init__(self) -> None:
        self._means = {name + users: _Mean(name + users) for users in _USERS for name in _NAMES}
        self._impressions = Sum("impressions", dtype=tf.float64)
        self._skipped = Sum("skipped_impressions", dtype=tf.float64)
        self.metrics = [*self._means.values(), self._impressions, self._skipped]

    # AutoGraph would look for loops and branches on tensors. There are none.
    @tf.autograph.experimental.do_not_convert
    def update(
        self,
        clicked: tf.Tensor,
        scores: tf.Tensor,
        mask: tf.Tensor,
        known_user: tf.Tensor,
        sample_weight: tf.Tensor | None = None,
    ) -> None:
        """Adds a batch of impressions.

        Args:
            clicked: int `[batch, candidates]`: 1 clicked, 0 not clicked, -1 unlabelled.
            scores: float `[batch, candidates]`.
            mask: bool `[batch, candidates]`: true for candidates, false for padding.
            known_user: bool `[batch]`: true where the user was seen in training.
            sample_weight: float `[batch]`, what each impression counts in the means; None: 1.

        Raises:
            ValueError: The arguments do not have these shapes.
        """
        values = ranking_metrics(clicked, scores, mask)
        scored = values["scored"]
        known_user = tf.cast(known_user, tf.bool)
        if not known_user.shape.is_compatible_with(scored.shape):
            raise ValueError(
                f"known_user must be [batch], {scored.shape} here, not {known_user.shape}."
            )
        selections = (scored, scored & known_user, scored & ~known_user)
        for users, selected in zip(_USERS, selections):
            weights = selected
            if sample_weight is not None:
                weights = tf.where(selected, tf.cast(sample_weight, tf.float64), 0)
            for name in _NAMES:
                # What is left out is NaN, and NaN times a weight of zero would still be NaN.
                self._means[name + users].update_state(
                    tf.where(selected, values[name], 0), sample_weight=weights
                )
        self._impressions.update_state(tf.ones_like(scored, tf.float64))
        self._skipped.update_state(tf.cast(~scored, tf.float64))

    def result(self) -> dict[str, tf.Tensor]:
        """Returns the metrics by name, scalars."""
        return {metric.name: metric.result() for metric in self.metrics}


class _Mean(WeightedMean):
    """A mean that is NaN, not 0, before it has seen anything, so that nobody takes it for a result.

    It sums in float64: in float32 a sum of a million values moves in steps of 0.06.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name, dtype=tf.float64)

    def result(self) -> tf.Tensor:
        return self.total / self.count
