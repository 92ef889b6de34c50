"""Trains on many devices: strategies of `tf.distribute` by name, and the processes they need."""

from __future__ import annotations

import contextlib
import logging
import os
import pathlib
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping

import tensorflow as tf

from tfrs_npa.runs.cluster import CHIEF, PS, WORKER, Cluster
from tfrs_npa.runs.processes import ATTEMPTS, PAUSE, Address, watch
from tfrs_npa.settings import MIRRORED, PARAMETER_SERVER

# A smaller table stays whole: a shard costs a request in each step.
_SHARD_BYTES = 256 << 10
_RESUME = (
    "is gone. Start all processes again, with --resume: training continues after the last "
    "complete epoch"
)

# What TensorFlow raises when a connection breaks.
_LOST = (tf.errors.UnavailableError, tf.errors.AbortedError)

logger = logging.getLogger(__name__)


class TaskGone(ConnectionError):
    """A process of the cluster is gone that the training cannot do without."""


@contextlib.contextmanager
def joined(name: str | None) -> Iterator[tf.distribute.Strategy]:
    """Yields a strategy, whose processes are there while the block runs.

    Of a cluster, every process waits for the others. One that is gone ends this process, with the
    exit code `tfrs_npa.runs.processes.GONE` and a line on standard error, unless the strategy does
    without it: the coordinator of parameter servers waits for another worker at the same address.
    When the block ends, so do the servers; if it raises, they end because their chief is gone.

    Args:
        name: `mirrored`: all GPUs of this machine; without any, its logical CPUs. `multi-worker`
            and `parameter-server`: the cluster of `TF_CONFIG`. None: the current strategy.

    Raises:
        ValueError: if `TF_CONFIG` lacks what the strategy needs, or this process is a server.
        TaskGone: if TensorFlow finds first that a process is gone.
    """
    cluster = Cluster.from_environment(name)
    if cluster is None:
        yield _mirrored() if name == MIRRORED else tf.distribute.get_strategy()
        return
    if cluster.is_server:
        raise ValueError(
            f"this process is {cluster.job} {cluster.index} of TF_CONFIG, which serves the chief: "
            "call tfrs_npa.runs.strategies.serve"
        )
    is_coordinator = name == PARAMETER_SERVER
    others = cluster.others(CHIEF, WORKER, PS)
    replaced = cluster.others(WORKER) if is_coordinator else {}
    needed = {name: others[name] for name in others.keys() - replaced.keys()}
    with watch(others, _RESUME, replaced), _failures_named(needed):
        strategy = _parameter_servers(cluster) if is_coordinator else _workers()
        yield strategy
        if is_coordinator:
            _end(cluster)
        else:  # who is ready first would be gone for the others
            strategy.reduce("SUM", strategy.run(lambda: tf.ones(())), axis=None)


def serve(cluster: Cluster) -> None:
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
    with watch(cluster.others(CHIEF), "is gone. Start this process again, and the chief"):
        # `server.join()` could not be interrupted.
        threading.Event().wait()


@contextlib.contextmanager
def own_folder(
    folder: str | os.PathLike, strategy: tf.distribute.Strategy, is_resumed: bool = False
) -> Iterator[str | os.PathLike]:
    """Yields the folder in which this process keeps a run.

    All workers of a synchronous strategy do the same, since some of it takes all of them; but only
    one may write the run. The others have a temporary folder.

    Args:
        folder: The folder of the run.
        strategy: The strategy.
        is_resumed: Whether there is a run in it, which the others need too.
    """
    if strategy.extended.should_checkpoint:
        yield folder
        return
    with tempfile.TemporaryDirectory() as temporary:
        own = pathlib.Path(temporary, pathlib.Path(folder).name)
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
def _failures_named(needed: Mapping[str, Address]) -> Iterator[None]:
    """Turns TensorFlow's errors into one that says which of the other processes is gone."""
    try:
        yield
    except tf.errors.OpError as error:
        is_lost = isinstance(error, _LOST)
        gone = _gone(needed)
        for _ in range(ATTEMPTS if is_lost else 0):
            if gone:
                break
            # A process that was killed may lose its connections before its port.
            time.sleep(PAUSE)
            gone = _gone(needed)
        if not gone and not is_lost:
            raise
        raise TaskGone(f"{gone or 'a process of the cluster'} {_RESUME}") from error


def _gone(others: Mapping[str, Address]) -> str:
    named = [f"{name} at {address}" for name, address in others.items() if not address.answers()]
    return " and ".join(named)


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
