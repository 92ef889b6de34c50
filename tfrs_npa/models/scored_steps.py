"""Steps of an evaluation or a prediction whose scores are made several batches at a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

import tensorflow as tf

from tfrs_npa.models.impression_scores import ImpressionScores, features_of
from tfrs_npa.models.replicas import is_mirrored

LOGITS = "logits"
"""The feature of a batch that holds its scores, where they are known already."""


class ScoredSteps:
    """A test or predict function for Keras that gives each step the scores of its batch.

    Scores are made many batches at a time, and steps run batch by batch. Between `start` and
    `release`; else, batches have no scores, and the model makes them.

    Args:
        step: What Keras's function would run, a function of a batch.
        counter: The variable in which Keras counts steps.
        eagerly: Whether steps run eagerly.
        strategy: That of the model. If it mirrors variables, a process makes the scores on its
            first device, and each replica has the steps of its part of a batch.
    """

    def __init__(
        self,
        step: Callable[..., Any],
        counter: tf.Variable,
        eagerly: bool,
        strategy: tf.distribute.Strategy,
    ):
        self._step, self._counter, self._eagerly = step, counter, eagerly
        self._strategy = strategy if is_mirrored(strategy) else None
        self._functions: dict[tuple[str, ...], Any] = {}
        self._scores: ImpressionScores | None = None
        self._steps: int | None = None
        self._scored: Generator[Any, None, None] | None = None

    def start(self, scores: ImpressionScores, steps: int | None) -> None:
        """Makes the following steps take their scores from `scores`.

        Args:
            scores: The scores of batches.
            steps: How many steps there are at most; None: as many as batches.
        """
        self._scores, self._steps = scores, steps

    def release(self) -> None:
        """Forgets the scores and what they are made from."""
        if self._scored is not None:
            self._scored.close()
        self._scores, self._steps, self._scored = None, None, None

    def __call__(self, iterator):
        """Runs the next step of Keras's `iterator`."""
        if self._scores is not None and self._scored is None:
            batches = itertools.islice(iterator, self._steps)
            self._scored = with_logits(self._scores, batches, self._strategy)
        batch = next(iterator if self._scored is None else self._scored)
        self._counter.assign_add(1)
        if self._eagerly:
            return self._of_replicas(batch)
        if self._strategy is not None:
            spec, key = None, tuple([f"with scores: {self._scored is not None}"])
        else:
            spec = [_spec(iterator.element_spec, self._scored is not None)]
            key = tuple(map(str, tf.nest.flatten(spec)))
        if key not in self._functions:
            self._functions[key] = tf.function(
                self._of_replicas, input_signature=spec, reduce_retracing=True
            )
        return self._functions[key](batch)

    def _of_replicas(self, batch):
        """Runs a step in each replica; returns the result of the first."""
        if self._strategy is None:
            return self._step(batch)
        return _of_replica(self._strategy, self._strategy.run(self._step, args=(batch,)), 0)


def with_logits(
    scores: ImpressionScores, batches, strategy: tf.distribute.Strategy | None = None
) -> Generator[Any, None, None]:
    """Yields batches with their scores as the feature `LOGITS`.

    Args:
        scores: The scores of batches.
        batches: Batches, as Keras's steps take them: features, or a tuple that begins with them.
        strategy: The strategy whose replicas have a part each of a batch; None: there are no parts.
    """
    if strategy is None:
        for batch, logits in scores.of_batches(batches):
            yield _with(batch, tf.constant(logits))
        return
    number = len(strategy.extended.worker_devices)
    parts = (_of_replica(strategy, batch, i) for batch in batches for i in range(number))
    scored = (_with(part, tf.constant(logits)) for part, logits in scores.of_batches(parts))
    while of_replicas := list(itertools.islice(scored, number)):
        yield tf.nest.map_structure(partial(_distributed, strategy), *of_replicas)


def _distributed(strategy, *values):
    """Returns the values of the replicas of this process as one."""

    def of_replica(context):
        return values[context.replica_id_in_sync_group % len(values)]

    return strategy.experimental_distribute_values_from_function(of_replica)


def _of_replica(strategy, batch, replica):
    """Returns what is a replica's of the values of all."""
    return tf.nest.map_structure(
        lambda value: strategy.experimental_local_results(value)[replica], batch
    )


def _with(batch, logits):
    features = {**features_of(batch), LOGITS: logits}
    return (features, *batch[1:]) if isinstance(batch, tuple) else features


def _spec(spec, scored):
    return _with(spec, tf.TensorSpec([None, None], tf.float32)) if scored else spec
