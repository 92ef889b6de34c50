"""Parameter servers: what a training step sends, and what a server holds, as the user table grows.

A chief, a worker and 1, 2 or 4 parameter servers train as with `tfrs-npa train --strategy
parameter-server`, each a process on the loopback address, new ones for each table. Dimensions are
those of `preset("small")`, but for the users', batch 32, with `LazyAdam`, whose two moments are as
large as the table; users are in buckets (`UserIndex.hashed`). Bytes sent are all those that TCP has
delivered to any of the processes, as the kernel counts them on each of their sockets, without
headers: batches, rows, gradients, dense weights, and all that TensorFlow says besides. They are
those of one epoch, after another in which the step is traced, over its steps; and, before the
first, those that it took to make all variables. Memory is resident memory after training. That of a
server is the largest of any server's: what it grew by since it began to listen, and at its peak.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import multiprocessing
import os
import pathlib
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from typing import NamedTuple

import made_up_data
import results_file
import scaling
from results_file import measurement, table

import tfrs_npa
from tfrs_npa.cli.messages import import_tensorflow

MOST_TIMES = 1.05
MOST_OVERHEAD = 1.2  # times the share of a server: buffers do not fall into shards
_SPAWN = multiprocessing.get_context("spawn")
# Offset of `tcpi_bytes_received` in Linux's `struct tcp_info`.
_BYTES_RECEIVED = 128


class Usage(NamedTuple):
    """What a process has used so far, in bytes: received over TCP, resident memory, its peak."""

    received: int
    resident: int
    peak: int


class Case(NamedTuple):
    """What was measured with a number of servers and of rows, in bytes and seconds.

    Attributes:
        servers: Parameter servers.
        rows: Rows of the user table.
        making: Bytes sent until all variables were there.
        sent: Bytes sent in a step.
        seconds: Seconds a step.
        server: Memory that a server grew by.
        server_peak: Peak memory of a server.
        worker: Memory of the worker.
        chief: Memory of the chief.
    """

    servers: int
    rows: int
    making: int
    sent: float
    seconds: float
    server: int
    server_peak: int
    worker: int
    chief: int


def main() -> None:
    parser = results_file.result_parser(__doc__)
    number = {"type": int, "metavar": "N", "help": "default: %(default)s"}
    servers = number | {"help": "parameter servers (default: 1, 2 and 4)"}
    parser.add_argument("--servers", nargs="+", default=[1, 2, 4], **servers)
    rows = number | {"help": "rows of the user table (default: 10^5, 10^6 and 10^7)"}
    parser.add_argument("--rows", nargs="+", default=[10**5, 10**6, 10**7], **rows)
    parser.add_argument("--dim", default=16, **number | {"help": "numbers of a row (default: 16)"})
    parser.add_argument("--steps", default=100, **number)
    args = parser.parse_args()
    if min(*args.servers, *args.rows, args.dim, args.steps) < 1:
        parser.error("at least 1 of everything")

    cases = []
    sizes = list(itertools.product(args.servers, args.rows))
    for servers, rows in scaling.progress(sizes, desc="clusters"):
        with futures.ProcessPoolExecutor(1, _SPAWN) as pool:
            cases.append(pool.submit(measure, servers, rows, args.dim, args.steps).result())
    tables, measurements = [case_table(cases, args)], [*bytes_ratios(cases), *memory_ratios(cases)]
    results_file.report(args.json, "Parameter servers", __doc__, tables, measurements)


def measure(servers: int, rows: int, dim: int, steps: int) -> Case:
    """Trains with a cluster of which this process is the chief."""
    import_tensorflow()
    import tensorflow as tf

    from tfrs_npa.runs.strategies import joined
    from tfrs_npa.settings import PARAMETER_SERVER

    class Usages(tf.keras.callbacks.Callback):
        def on_train_begin(self, logs=None):  # all variables are there
            take()

        def on_epoch_end(self, epoch, logs=None):
            take()

    def take():
        usages.append([usage(), *(ask(other) for other in others)])
        times.append(time.perf_counter())

    usages, times = [], []
    config = tfrs_npa.NPAConfig.preset("small").replace(
        user_embedding_dim=dim, batch_size=32, word_initializer="normal", history_rows=0
    )
    catalog = tfrs_npa.NewsCatalog().adapt(made_up_data.news_columns(scaling.ARTICLES))
    users = tfrs_npa.UserIndex.hashed(rows - 1)  # and the unknown user
    data = scaling.made_up_impressions(config.batch_size * steps, rows, seed=0)
    with cluster(servers) as others:
        take()
        with joined(PARAMETER_SERVER) as strategy:
            batches = tfrs_npa.training_batches(data, catalog, users, config)
            with strategy.scope():
                model = tfrs_npa.NPA(config, catalog, users)
                model.compile(optimizer=tfrs_npa.default_optimizer(config))
            model.fit(batches, epochs=2, verbose=0, callbacks=[Usages()])
    listening, made, traced, trained = usages
    chief, worker, *held = trained
    return Case(
        servers,
        rows,
        making=received(listening, made),
        sent=received(traced, trained) / len(batches),
        seconds=(times[3] - times[2]) / len(batches),
        server=max(now.resident - was.resident for was, now in zip(listening[2:], held)),
        server_peak=max(now.peak for now in held),
        worker=worker.resident,
        chief=chief.resident,
    )


def received(before: list[Usage], after: list[Usage]) -> int:
    """Returns the bytes that all processes have received meanwhile."""
    return sum(now.received - was.received for was, now in zip(before, after))


@contextlib.contextmanager
def cluster(servers: int) -> Iterator[list]:
    """Yields connections to a worker and to servers, which listen; this process is their chief.

    They end when a block that has `joined` them does.
    """
    tasks = [("chief", 0), ("worker", 0), *(("ps", index) for index in range(servers))]
    addresses: dict[str, list[str]] = {}
    with contextlib.ExitStack() as probes:
        for job, _ in tasks:
            probe = probes.enter_context(socket.create_server(("127.0.0.1", 0)))
            addresses.setdefault(job, []).append("{}:{}".format(*probe.getsockname()))
    configs = [
        json.dumps({"cluster": addresses, "task": {"type": job, "index": index}})
        for job, index in tasks
    ]
    os.environ["TF_CONFIG"] = configs[0]
    connections, processes = [], []
    for config in configs[1:]:
        here, there = _SPAWN.Pipe()
        processes.append(_SPAWN.Process(target=serve, args=(config, there), daemon=True))
        processes[-1].start()
        there.close()
        connections.append(here)
    yield connections
    for process in processes:
        process.join()


def serve(config: str, connection) -> None:
    """Serves as the task of a TF_CONFIG, and tells what it uses whenever it is asked."""
    import_tensorflow()
    from tfrs_npa.runs import strategies
    from tfrs_npa.runs.cluster import Cluster
    from tfrs_npa.settings import PARAMETER_SERVER

    os.environ["TF_CONFIG"] = config
    task = Cluster.from_environment(PARAMETER_SERVER)
    threading.Thread(target=answer, args=(task, connection), daemon=True).start()
    strategies.serve(task)


def answer(task, connection) -> None:
    """Answers `ask`, once the task listens."""
    while not task.tasks[task.job][task.index].answers():
        time.sleep(0.1)
    while True:
        connection.recv()
        connection.send(usage())


def ask(connection) -> Usage:
    """Returns the usage of another process."""
    connection.send(None)
    return connection.recv()


def usage() -> Usage:
    """Returns the usage of this process, as Linux counts it."""
    status = pathlib.Path("/proc/self/status").read_text(encoding="utf-8")
    memory = dict(re.findall(r"^(VmRSS|VmHWM):\s*(\d+) kB", status, re.MULTILINE))
    received = 0
    for name in os.listdir("/proc/self/fd"):
        # Fails for what is no socket, or closed since, or no TCP.
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(name))) as opened:
            info = opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
            received += struct.unpack_from("=Q", info, _BYTES_RECEIVED)[0]
    return Usage(received, 1024 * int(memory["VmRSS"]), 1024 * int(memory["VmHWM"]))


def case_table(cases: list[Case], args: argparse.Namespace) -> dict:
    headers = ["servers", "rows", "table and moments, MB", "sent to make them, MB"]
    headers += ["sent in a step, kB", "ms a step"]
    headers += ["a server grew by, MB", "its peak, MB", "worker, MB", "chief, MB"]
    rows = []
    for case in cases:
        memory = case.server, case.server_peak, case.worker, case.chief
        rows.append(
            [
                f"{case.servers}",
                f"{case.rows:,}",
                f"{3 * 4 * args.dim * case.rows / 1e6:,.0f}",
                f"{case.making / 1e6:,.1f}",
                f"{case.sent / 1e3:,.0f}",
                f"{1e3 * case.seconds:.0f}",
                *(f"{size / 1e6:,.0f}" for size in memory),
            ]
        )
    return table(f"{args.dim} numbers a user, batch 32, {args.steps} steps", headers, rows)


def bytes_ratios(cases: list[Case]) -> list[dict]:
    """Compares the bytes sent with the most rows to those with the fewest."""
    ratios = []
    for servers in dict.fromkeys(case.servers for case in cases):
        group = {case.rows: case for case in cases if case.servers == servers}
        few, many = group[min(group)], group[max(group)]
        if few is not many:
            name = f"bytes sent in a step, {many.rows:,} rows / {few.rows:,}, servers: {servers}"
            ratios.append(measurement(name, many.sent / few.sent, at_most=MOST_TIMES))
    return ratios


def memory_ratios(cases: list[Case]) -> list[dict]:
    """Compares what a server holds of the largest table with what fewer servers hold."""
    most = max(case.rows for case in cases)
    first, *others = [case for case in cases if case.rows == most]
    return [
        measurement(
            f"memory of a server, {most:,} rows, servers: {case.servers} / {first.servers}",
            case.server / first.server,
            at_most=MOST_OVERHEAD * first.servers / case.servers,
        )
        for case in others
    ]


if __name__ == "__main__":
    main()
