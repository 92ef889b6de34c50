"""Trains on many devices: strategies of `tf.distribute` by name, and the processes they need."""

from __future__ import annotations

import contextlib
import logging
import os
import pathlib
import shutil
import time
from collections.abc import Iterator
from typing import NoReturn

import tensorflow as tf

from tfrs_npa._files import sweep
from tfrs_npa._lock import locked
from tfrs_npa.runs.cluster import CHIEF, PS, WORKER, Cluster
from tfrs_npa.runs.processes import ATTEMPTS, CONNECT_TIMEOUT, PAUSE, temporary_folder, watch
from tfrs_npa.settings import MIRRORED, PARAMETER_SERVER

# A smaller table stays whole: a shard costs a request in each step.
_SHARD_BYTES = 256 << 10
_RESUME = (
    "Start all processes again, with --resume: training continues after the last complete epoch"
)

# What TensorFlow raises when a connection breaks.
_LOST = (tf.errors.UnavailableError, tf.errors.AbortedError)
# Seconds in which the watch has seen that a process is gone, and has ended this one.
_NOTICED = (ATTEMPTS + 2) * PAUSE + CONNECT_TIMEOUT

logger = logging.getLogger(__name__)


class TaskGone(ConnectionError):
    """The connection to a process of the cluster broke, which the training cannot do without."""


@contextlib.contextmanager
def joined(strategy: str | Cluster | None) -> Iterator[tf.distribute.Strategy]:
    """Yields a strategy, whose processes are there while the block runs.

    Of a cluster, every process waits for the others. One that is gone ends this process, with the
    exit code `tfrs_npa.runs.processes.GONE` and a line on standard error, unless the strategy does
    without it: the coordinator of parameter servers waits for another worker at the same address.
    One that was restarted is gone too: it has nothing of what the training had there. When the
    block ends, so do the servers; if it raises, they end because their chief is gone.

    Args:
        strategy: `mirrored`: all GPUs of this machine; without any, its logical CPUs.
            `multi-worker` and `parameter-server`: the cluster of `TF_CONFIG`, or that cluster
            itself, if it was read before. None: the current strategy.

    Raises:
        ValueError: if `TF_CONFIG` lacks what the strategy needs, or this process is a server.
        TaskGone: if a connection breaks whose other process is still there.
    """
    cluster = strategy if isinstance(strategy, Cluster) else Cluster.from_environment(strategy)
    if cluster is None:
        yield _mirrored() if strategy == MIRRORED else tf.distribute.get_strategy()
        return
    if cluster.is_server:
        raise ValueError(
            f"this process is {cluster.job} {cluster.index} of TF_CONFIG, which serves the chief: "
            "call tfrs_npa.runs.strategies.serve"
        )
    is_coordinator = cluster.strategy == PARAMETER_SERVER
    replaced = cluster.others(WORKER) if is_coordinator else ()
    with watch(cluster.others(CHIEF, WORKER, PS), _RESUME, replaced), _errors_explained():
        joint = _parameter_servers(cluster) if is_coordinator else _workers()
        yield joint
        if not is_coordinator:  # who is ready first would be gone for the others
            joint.reduce("SUM", joint.run(lambda: tf.ones(())), axis=None)
    if is_coordinator:  # not while it is watched that they are there
        _end(cluster)


def serve(cluster: Cluster) -> NoReturn:
    """Serves the chief of a cluster of parameter servers until it has ended.

    The process ends with exit code 0 when the training has, and with
    `tfrs_npa.runs.processes.GONE` if the chief does not start, or is gone.

    Raises:
        ValueError: if it cannot listen at its address.
    """
    address = cluster.tasks[cluster.job][cluster.index]
    try:
        # Kept: it serves for as long as there is a reference to it.
        server = tf.distribute.Server(  # noqa: F841
            _spec(cluster), cluster.job, cluster.index, protocol="grpc"
        )
    except tf.errors.OpError as error:
        raise ValueError(
            f"{cluster.job} {cluster.index} cannot listen at {address}, where TF_CONFIG has it: "
            "does something else use the port?"
        ) from error
    logger.info("%s %d serves at %s", cluster.job, cluster.index, address)
    with watch(cluster.others(CHIEF), "Start this process again, and the chief"):
        # `server.join()` could not be interrupted.
        while True:
            time.sleep(3600)


@contextlib.contextmanager
def own_folder(
    folder: str | os.PathLike[str], strategy: tf.distribute.Strategy, is_resumed: bool = False
) -> Iterator[str | os.PathLike[str]]:
    """Yields the folder in which this process keeps a run.

    All workers of a synchronous strategy do the same, since some of it takes all of them; but only
    one may write the run, whose folder it locks. The others have a temporary folder.

    Args:
        folder: The folder of the run.
        strategy: The strategy.
        is_resumed: Whether there is a run in it, which the others need too.

    Raises:
        ValueError: if another process writes the run.
    """
    if strategy.extended.should_checkpoint:
        with locked(folder, "run"):
            sweep(folder)
            yield folder
        return
    with temporary_folder() as temporary:
        own = temporary / pathlib.Path(folder).name
        if is_resumed:
            # Without what the chief is about to move into place.
            shutil.copytree(folder, own, ignore=shutil.ignore_patterns("tensorboard", ".*"))
        yield own


def _mirrored() -> tf.distribute.Strategy:
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    logger.info("training on %d devices", len(devices))
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def _workers() -> tf.distribute.Strategy:
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    logger.info("training on %d devices", strategy.num_replicas_in_sync)
    return strategy


def _parameter_servers(cluster: Cluster) -> tf.distribute.Strategy:
    servers = len(cluster.tasks[PS])
    partitioner = tf.distribute.experimental.partitioners.MinSizePartitioner(
        _SHARD_BYTES, max_shards=servers
    )
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    strategy = tf.distribute.ParameterServerStrategy(resolver, partitioner)
    logger.info("training with %d workers, %d servers", len(cluster.tasks[WORKER]), servers)
    return strategy


@contextlib.contextmanager
def _errors_explained() -> Iterator[None]:
    """Has the watch end the process if another is gone, whatever TensorFlow raises then.

    The errors are many: `UnavailableError` of a connection, but also, say, `NotFoundError` of a
    server that was restarted and has none of the variables.
    """
    try:
        yield
    except tf.errors.OpError as error:
        time.sleep(_NOTICED)
        if not isinstance(error, _LOST):
            raise
        raise TaskGone(f"the connection to a process of the cluster broke. {_RESUME}") from error


def _end(cluster: Cluster) -> None:
    """Ends the servers of a coordinator, which cannot tell its end from its death by themselves."""
    for job in (WORKER, PS):
        for index in range(len(cluster.tasks[job])):
            with (
                contextlib.suppress(tf.errors.OpError),
                tf.device(f"/job:{job}/task:{index}/device:CPU:0"),
            ):
                tf.raw_ops.Abort(exit_without_error=True)


def _spec(cluster: Cluster) -> tf.train.ClusterSpec:
    return tf.train.ClusterSpec(
        {job: [*map(str, addresses)] for job, addresses in cluster.tasks.items()}
    )
