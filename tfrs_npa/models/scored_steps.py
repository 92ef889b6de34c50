"""Steps of an evaluation or a prediction whose scores are made several batches at a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import tensorflow as tf

from tfrs_npa.models.impression_scores import ImpressionScores

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
    """

    def __init__(self, step: Callable, counter: tf.Variable, eagerly: bool):
        self._step, self._counter, self._eagerly = step, counter, eagerly
        self._functions: dict = {}
        self._scores: ImpressionScores | None = None
        self._steps: int | None = None
        self._scored: Iterator | None = None

    def start(self, scores: ImpressionScores, steps: int | None) -> None:
        """Makes the following steps take their scores from `scores`.

        Args:
            scores: The scores of batches.
            steps: How many steps there are at most; None: as many as batches.
        """
        self._scores, self._steps = scores, steps

    def release(self) -> None:
        """Forgets the scores and what they are made from."""
        self._scores, self._steps, self._scored = None, None, None

    def __call__(self, iterator):
        """Runs the next step of Keras's `iterator`."""
        if self._scores is not None and self._scored is None:
            self._scored = with_logits(self._scores, itertools.islice(iterator, self._steps))
        batch = next(iterator if self._scored is None else self._scored)
        self._counter.assign_add(1)
        if self._eagerly:
            return self._step(batch)
        spec = _spec(iterator.element_spec, self._scored is not None)
        key = tuple(map(str, tf.nest.flatten(spec)))
        if key not in self._functions:
            self._functions[key] = tf.function(self._step, input_signature=[spec])
        return self._functions[key](batch)


def with_logits(scores: ImpressionScores, batches) -> Iterator:
    """Yields batches with their scores as the feature `LOGITS`.

    Args:
        scores: The scores of batches.
        batches: Batches, as Keras's steps take them: features, or a tuple that begins with them.
    """
    first, second = itertools.tee(batches)
    for batch, logits in zip(first, scores.of_batches(map(_features, second)), strict=True):
        yield _with(batch, tf.constant(logits))


def _features(batch):
    return batch[0] if isinstance(batch, tuple) else batch


def _with(batch, logits):
    features = {**_features(batch), LOGITS: logits}
    return (features, *batch[1:]) if isinstance(batch, tuple) else features


def _spec(spec, scored):
    return _with(spec, tf.TensorSpec([None, None], tf.float32)) if scored else spec
