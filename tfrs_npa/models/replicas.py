"""What a model asks of the `tf.distribute` strategy that it runs under."""

from __future__ import annotations

import tensorflow as tf


def has_parameter_servers(strategy: tf.distribute.Strategy | None = None) -> bool:
    """Whether variables are on parameter servers, and steps on workers.

    Args:
        strategy: The strategy; None: that of the current scope.
    """
    strategy = tf.distribute.get_strategy() if strategy is None else strategy
    return isinstance(strategy, tf.distribute.ParameterServerStrategy)


def is_mirrored(strategy: tf.distribute.Strategy) -> bool:
    """Whether each replica has a copy of all variables, which its process can read at any time.

    Args:
        strategy: The strategy.
    """
    mirrored = tf.distribute.MirroredStrategy, tf.distribute.MultiWorkerMirroredStrategy
    return isinstance(strategy, mirrored)


def sum_over_replicas(value):
    """Returns the sum of what each replica of a step has here; outside of a step, `value`.

    Args:
        value: A tensor without a gradient.
    """
    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return value
    return replica.all_reduce(tf.distribute.ReduceOp.SUM, value)
