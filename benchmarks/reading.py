"""How fast files become integers, and how soon a training on MIND-large starts.

Everything is made up, of MIND's shape. Each number is of a fresh process, one after the other; "by
line" and "by row" are the plain readers, which remain for odd lines and for data sets of one's own,
on the same files in the same run. Memory is the peak beyond what the process had before and the
arrays that it made. The first training step of `tfrs-npa train --preset recommenders` counts from
the start of the process, with an empty cache.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import pathlib
import resource
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import made_up_data
import numpy as np
import results_file
from results_file import measurement, table

from tfrs_npa.cli.messages import import_tensorflow

USERS = 711_222  # of MIND-large
TARGETS = {"TSV": 60_000, "prepared": 25_000}
SECONDS, FIRST_STEP = 45, 120
PRESET = "recommenders"
_SPLITS = ("train", "dev")


def main() -> None:
    parser = results_file.result_parser(__doc__)
    number = {"type": int, "metavar": "N", "help": "default: %(default)s"}
    parser.add_argument("--impressions", default=100_000, **number)
    parser.add_argument("--large", default=2_232_748, **number)
    parser.add_argument("--large-dev", default=376_471, **number)
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        in_process(write_sources, root, args.impressions)
        impressions, measurements = impressions_table(root, args.impressions)
        articles, more = articles_table(root)
        measurements += more
        write_large(root / "large", args.large, args.large_dev)
        started = time.time()
        start, more = in_process(first_step, root, started, args.large + args.large_dev)
        measurements += more
    results_file.report(args.json, "Reading", __doc__, [impressions, articles, start], measurements)


def in_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Returns the result of a call in a fresh process."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1, initializer=import_tensorflow) as pool:
        result = pool.apply(function, arguments)
        pool.close()
        pool.join()
    return result


def write_sources(root: pathlib.Path, impressions: int) -> None:
    """Writes the same impressions as a folder, as Parquet, and prepares `mind/small` of them."""
    import absl.logging
    import pyarrow as pa
    import pyarrow.parquet as pq
    import tensorflow_datasets as tfds

    import tfrs_npa

    absl.logging.set_verbosity("error")  # it warns that these are not the published files
    tfds.disable_progress_bar()
    (root / "zips").mkdir()
    for split, size in zip(_SPLITS, (impressions, 1_000)):
        path = root / "folder" / split
        made_up_data.write_split(path, size)
        with zipfile.ZipFile(root / "zips" / f"MINDsmall_{split}.zip", "w") as file:
            for name in ("news.tsv", "behaviors.tsv"):
                file.write(path / name, name)
    log = pa.concat_tables(made_up_data.tables_of_strings(impressions))
    pq.write_table(log, root / "log.parquet")
    news = made_up_data.news_columns(made_up_data.ARTICLES - 2)
    pq.write_table(pa.table(news), root / "news.parquet")
    tfrs_npa.load_mind("mind/small", root / "prepared", root / "zips")


def impressions_table(root: pathlib.Path, impressions: int) -> tuple[dict, list[dict]]:
    """Returns the table of impressions/s, and its measurements."""
    rows, measurements, rates = [], [], {}
    for source in ("TSV", "TSV, by line", "Parquet", "prepared", "prepared, by row"):
        seconds, cpu, memory = in_process(read_impressions, root, source)
        rates[source] = impressions / seconds, impressions / cpu
        rows.append([source, *(f"{rate:,.0f}" for rate in rates[source]), f"{memory:,.0f}"])
        if "by" not in source:
            name = f"reading {source}, impressions/s"
            value = rates[source][0]
            measurements.append(measurement(name, value, target=TARGETS.get(source)))
            name = f"reading {source}, impressions per CPU second"
            measurements.append(measurement(name, rates[source][1]))
    for source, plain in (("TSV", "TSV, by line"), ("prepared", "prepared, by row")):
        ratio = rates[source][1] / rates[plain][1]
        measurements.append(measurement(f"CPU seconds, {plain} / in blocks", ratio))
    headers = ["", "impressions/s", "per CPU second", "memory, MB"]
    return table(f"Reading {impressions:,} impressions", headers, rows), measurements


def read_impressions(root: pathlib.Path, source: str) -> tuple[float, float, float]:
    """Returns seconds, CPU seconds, and peak memory beyond the result in MB, after a catalogue."""
    import tfrs_npa
    from tfrs_npa.data.impressions import read_impressions as read

    names = {"TSV": "folder", "Parquet": "log.parquet", "prepared": "mind/small"}
    name = names[source.partition(",")[0]]
    news = root / "news.parquet" if source == "Parquet" else None
    path = name if name.startswith("mind/") else root / name
    data = tfrs_npa.load_mind(path, root / "prepared", news=news)
    catalog = tfrs_npa.NewsCatalog().adapt(data.titles("train"))
    logs: Any = {
        "TSV": lambda: data.tables["behaviors"]["train"],
        "TSV, by line": lambda: ByLine(root / "folder" / "train" / "behaviors.tsv"),
        "Parquet": lambda: _whole(root / "log.parquet"),
        "prepared": lambda: data.tables["behaviors"]["train"],
        "prepared, by row": lambda: data.behaviors["train"],
    }
    log = logs[source]()
    reset_peak()
    before, started, cpu = memory("VmRSS"), time.perf_counter(), cpu_seconds()
    found, _ = read(log, catalog)
    seconds, cpu = time.perf_counter() - started, cpu_seconds() - cpu
    arrays = [array for array in vars(found).values() if isinstance(array, np.ndarray)]
    result = sum(array.nbytes for array in arrays) / 1e6
    # What was free before may hold some of the result.
    return seconds, cpu, max(0.0, memory("VmHWM") - before - result)


def _whole(path: pathlib.Path):
    from tfrs_npa.data.parquet import ParquetLog

    return ParquetLog(path)


class ByLine:
    """The impressions of a `behaviors.tsv`, read a line at a time, as odd blocks are."""

    def __init__(self, path: pathlib.Path):
        self._path = path

    def __len__(self) -> int:
        return 0

    def chunks(self, features: tuple[str, ...] = ()) -> Iterator[Any]:
        """Reads the impressions."""
        from tfrs_npa.data.chunk import Chunk
        from tfrs_npa.datasets.mind import read_behaviors
        from tfrs_npa.datasets.mind.columns import columns_of_rows

        rows = read_behaviors(self._path)
        while chunk := list(itertools.islice(rows, 1024)):
            yield Chunk.of_columns(columns_of_rows(chunk), features)


def articles_table(root: pathlib.Path) -> tuple[dict, list[dict]]:
    """Returns the table of seconds from a file of articles to a catalogue, and its measurement."""
    rows, rates = [], {}
    for source in ("TSV", "TSV, by line", "prepared"):
        articles, reading, adapting = in_process(read_articles, root, source)
        rates[source] = articles / (reading + adapting)
        rows.append([source, f"{reading:.2f}", f"{adapting:.2f}", f"{rates[source]:,.0f}"])
    headers = ["", "reading, CPU s", "catalogue, CPU s", "articles per CPU second"]
    title = f"Reading {made_up_data.ARTICLES - 2:,} articles"
    name = "reading TSV to a catalogue, articles per CPU second"
    return table(title, headers, rows), [measurement(name, rates["TSV"])]


def read_articles(root: pathlib.Path, source: str) -> tuple[int, float, float]:
    """Returns the number of articles, and the CPU seconds of reading and of the catalogue."""
    import tfrs_npa
    from tfrs_npa.datasets.mind import read_news

    tfrs_npa.NewsCatalog().adapt({"news_id": ["N"], "title": ["first"]})  # not TensorFlow's start
    name = "mind/small" if source == "prepared" else root / "folder"
    data = tfrs_npa.load_mind(name, root / "prepared")
    started = cpu_seconds()
    if source == "TSV, by line":
        news: Any = list(read_news(root / "folder" / "train" / "news.tsv"))
    else:
        news = data.titles("train")
    reading = cpu_seconds() - started
    catalog = tfrs_npa.NewsCatalog().adapt(news)
    return len(catalog), reading, cpu_seconds() - started - reading


def write_large(folder: pathlib.Path, *impressions: int) -> None:
    """Writes a folder of the size of MIND-large."""
    for split, size in zip(_SPLITS, impressions, strict=True):
        made_up_data.write_split(folder / split, size, USERS)


def first_step(root: pathlib.Path, started: float, impressions: int) -> tuple[dict, list[dict]]:
    """Returns the table of seconds from the start of `train` to its first step, and measurements.

    That is what the command calls, in a process that has just started, with an empty cache.
    """
    import tensorflow as tf

    import tfrs_npa
    from tfrs_npa.runs import train
    from tfrs_npa.settings import TrainingSettings

    times, cpu = {"import": time.time() - started}, {"import": cpu_seconds()}

    def timed(owner, attribute, name):
        function = getattr(owner, attribute)

        def call(*arguments, **options):
            before, cpu_before = time.time(), cpu_seconds()
            try:
                return function(*arguments, **options)
            finally:
                times[name], cpu[name] = time.time() - before, cpu_seconds() - cpu_before

        return mock.patch.object(owner, attribute, call)

    def stop(*_):
        raise _FirstStep

    callbacks = [tf.keras.callbacks.LambdaCallback(on_train_batch_end=stop)]
    settings, config = TrainingSettings(str(root / "large")), tfrs_npa.NPAConfig.preset(PRESET)
    with contextlib.ExitStack() as stack:
        for owner, attribute, name in (
            (train, "load_splits", "reading"),
            (train, "TrainingRows", "training rows"),
            (train.Baselines, "of_training", "word vectors and baselines"),
            (train.Splits, "fingerprint", "fingerprint of the data"),
            (train.Run, "create", "folder of the run"),
            (train.NPA, "evaluate", "evaluation of the untrained model"),
            (train.NPA, "fit", "first step"),
        ):
            stack.enter_context(timed(owner, attribute, name))
        stack.enter_context(mock.patch.object(train, "callbacks", lambda *_: callbacks))
        stack.enter_context(contextlib.suppress(_FirstStep))
        train.train(root / "run", settings, config, cache=tfrs_npa.Cache(root / "cache"))
    total = time.time() - started
    times["all else"] = total - sum(times.values())
    cpu["all else"] = cpu_seconds() - sum(cpu.values())
    cells = [[name, f"{times[name]:.1f}", f"{cpu[name]:.1f}"] for name in times]
    title = f"`train` from its start to the first step, {impressions:,} impressions"
    measurements = [
        measurement("reading MIND-large's size, cold, seconds", times["reading"], at_most=SECONDS),
        measurement("reading MIND-large's size, cold, CPU seconds", cpu["reading"]),
        measurement("first training step on MIND-large's size, seconds", total, at_most=FIRST_STEP),
        measurement("first training step on MIND-large's size, CPU seconds", cpu_seconds()),
    ]
    return table(title, ["", "seconds", "CPU seconds"], cells), measurements


class _FirstStep(Exception):
    """There has been a step; nothing more is to happen."""


def cpu_seconds() -> float:
    """Returns the CPU seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def reset_peak() -> None:
    """Has the peak of memory count from now on (Linux)."""
    pathlib.Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def memory(field: str) -> float:
    """Returns `VmRSS` or its peak `VmHWM`, in MB (Linux)."""
    for line in pathlib.Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError(f"/proc/self/status has no {field}")


if __name__ == "__main__":
    main()
