"""Steps under parameter servers, with batches that the coordinator reads and sends."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable
from typing import Any

import tensorflow as tf

# Steps that wait for workers or run on them. The coordinator would queue a whole epoch.
_IN_FLIGHT = 64


class SentBatches(tf.keras.utils.experimental.DatasetCreator):
    """Batches that stay with the coordinator, which sends each of them with its step.

    The functions of our data sets run in the process that made them, so no worker can read them.
    This way a worker needs no data, and a step that is lost with its worker is repeated with the
    same batch: no batch is left out.

    Args:
        batches: A data set of known cardinality.
    """

    def __init__(self, batches: tf.data.Dataset):
        # Keras has each worker make an iterator; nothing is read from it.
        super().__init__(lambda _: tf.data.Dataset.from_tensors(0).repeat())
        self.batches = batches


class SentSteps:
    """A train or test function for Keras that schedules a step with the next batch.

    Args:
        step: What a worker runs, a function of a batch.
        coordinator: A `tf.distribute.coordinator.ClusterCoordinator`.
    """

    def __init__(self, step: Callable[..., Any], coordinator):
        self._step, self._coordinator = step, coordinator
        self._function = self._spec = None
        self._batches: Iterable[Any] = ()
        self._in_flight: collections.deque[Any] = collections.deque()

    def send(self, batches: tf.data.Dataset) -> None:
        """Sets the batches of the next steps; after the last comes the next pass over them.

        Raises:
            ValueError: if a worker has several devices.
        """
        strategy = self._coordinator.strategy
        if strategy.num_replicas_in_sync > 1:
            raise ValueError(
                f"each worker has {strategy.num_replicas_in_sync} devices: start a worker for "
                "each of them, which sees no other"
            )
        if batches.element_spec != self._spec:
            self._spec = batches.element_spec
            self._function = tf.function(
                lambda batch: strategy.run(self._step, args=(batch,)), input_signature=[self._spec]
            )
        self._batches, self._iterator = batches, iter(())

    def release(self) -> None:
        """Forgets the batches, once their steps have ended."""
        self._batches, self._iterator = (), iter(())
        self._in_flight.clear()

    def __call__(self, iterator):
        """Schedules a step; `iterator`, that of the workers, is not read."""
        batch = next(self._iterator, None)
        if batch is None:
            # A pass becomes the next epoch when it starts, so none starts before it is needed.
            self._iterator = iter(self._batches)
            batch = next(self._iterator)
        self._in_flight.append(self._coordinator.schedule(self._function, args=(batch,)))
        if len(self._in_flight) > _IN_FLIGHT:
            self._in_flight.popleft().fetch()
        return self._in_flight[-1]
