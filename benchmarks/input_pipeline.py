"""What feeds the model: time per batch next to that of a training step, start, and memory.

Everything is made up, of MIND-small's size and shape. Batches and steps alternate in one run. The
start is the time from opening the data to the first batch, in a fresh process. Memory is the peak
of what a process allocates itself: it excludes the pages of memory maps, which the system reclaims
when it needs them.
"""

from __future__ import annotations

import functools
import multiprocessing
import pathlib
import shutil
import statistics
import tempfile
import time
import zipfile
from collections.abc import Iterator

import made_up_data
import numpy as np
import results_file
from results_file import measurement, show, table

from tfrs_npa.cli.messages import import_tensorflow

BATCH_SIZES = (32, 256)
MEMORY_FACTOR = 4
PREFETCHED = 16  # more batches than can be ready before they are asked for
TARGET = 5.0
TABLE_TARGET = 25_000


def main() -> None:
    parser = results_file.result_parser(__doc__)
    number = {"type": int, "metavar": "N", "help": "default: %(default)s"}
    parser.add_argument("--impressions", default=156_965, **number)
    parser.add_argument("--start-impressions", default=50_000, **number)
    parser.add_argument("--rounds", default=5, **number)
    args = parser.parse_args()

    # A fresh process each: a process keeps its peak, and what TensorFlow has allocated.
    with (
        tempfile.TemporaryDirectory() as folder,
        multiprocessing.get_context("spawn").Pool(
            1, initializer=import_tensorflow, maxtasksperchild=1
        ) as pool,
    ):
        root = pathlib.Path(folder)
        steps, measurements = pool.apply(batches_and_steps, (root, args.impressions, args.rounds))
        tables = [steps]
        show(tables[-1])
        sizes = [args.impressions, args.impressions * MEMORY_FACTOR]
        rows = pool.starmap(memory, [(root, size) for size in sizes], chunksize=1)
        headers = ["impressions", "on disk, MB", "before, MB", "making it, MB", "batches, MB"]
        tables.append(table("Peak memory", headers, rows))
        show(tables[-1])
        converted, more = pool.apply(tables_of_own, (root, args.start_impressions))
        tables.append(converted)
        measurements += more
        show(tables[-1])
        pool.apply(write_sources, (root, args.start_impressions))
        rows = []
        for source in ("folder", "mind/small"):
            seconds = [
                pool.apply(start, (root, source, cache)) for cache in (None, "cache", "cache")
            ]
            rows.append([source, *(f"{value:.1f}" for value in seconds)])
        headers = ["source", "no cache, s", "first with it, s", "second, s"]
        title = f"Time to the first batch, {args.start_impressions:,} impressions"
        tables.append(table(title, headers, rows))
        show(tables[-1])
    results_file.write(
        args.json,
        title="Input pipeline",
        about=results_file.about(__doc__),
        tables=tables,
        measurements=measurements,
    )


def opened(root: pathlib.Path, impressions: int):
    """Returns made-up impressions as memory maps."""
    import tfrs_npa

    cache = tfrs_npa.Cache(root / "arrays", max_bytes=1 << 40)
    make = functools.partial(made_up_data.impression_pieces, impressions)
    return tfrs_npa.Impressions.from_columns(cache.arrays(impressions, make))


def indices():
    """Returns the catalogue and the user index of the made-up impressions."""
    import tfrs_npa

    catalog = tfrs_npa.NewsCatalog().adapt(made_up_data.news_columns(made_up_data.ARTICLES - 2))
    return catalog, tfrs_npa.UserIndex().adapt(made_up_data.user_columns(made_up_data.USERS))


def batches_and_steps(root: pathlib.Path, impressions: int, rounds: int) -> tuple[dict, list[dict]]:
    """Returns the table of milliseconds, and the ratios of a step to its batch."""
    import tfrs_npa

    data, (catalog, users) = opened(root, impressions), indices()
    rows, measurements = [], []
    for size in BATCH_SIZES:
        config = tfrs_npa.NPAConfig(batch_size=size, word_initializer="normal")
        model = tfrs_npa.NPA(config, catalog, users)
        model.compile(optimizer=tfrs_npa.default_optimizer(config))
        training = tfrs_npa.training_batches(data, catalog, users, config)
        whole = tfrs_npa.impression_batches(data, catalog, users, config)
        # In memory: the steps are timed without the pipeline.
        stored = training.take(256 // size + 3).cache()
        train = model.make_train_function()

        def step(iterator, train=train):
            train(iterator).get("loss").numpy()

        streams = {
            "training batch": iter(training.repeat()).__next__,
            "impression batch": iter(whole.repeat()).__next__,
        }
        taken = {name: [] for name in (*streams, "training step")}
        for _ in range(rounds + 1):
            for name, take in streams.items():
                for _ in range(PREFETCHED):
                    take()
                taken[name].append(milliseconds(take, 64))
            iterator = iter(stored)
            steps = int(stored.cardinality())
            taken["training step"].append(milliseconds(lambda it=iterator: step(it), steps))
        # The first round has the tracing in it.
        medians = {name: statistics.median(values[1:]) for name, values in taken.items()}
        ratio = medians["training step"] / medians["training batch"]
        rows.append([f"{size}", *(f"{value:,.2f}" for value in medians.values()), f"{ratio:,.0f}"])
        name = f"training step / drawing its batch of {size}"
        measurements.append(measurement(name, ratio, target=TARGET))
    headers = ["batch size", *(f"{name}, ms" for name in medians), "step / batch"]
    return table(f"Batches of {impressions:,} impressions", headers, rows), measurements


def tables_of_own(root: pathlib.Path, impressions: int) -> tuple[dict, list[dict]]:
    """Returns the table of impressions/s from tables of strings, and the same as measurements."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    import tfrs_npa

    data, (catalog, users) = opened(root, impressions), indices()
    ids = np.array(catalog.ids, object)

    def lists(values, splits):
        return pa.ListArray.from_arrays(pa.array(splits, pa.int32()), pa.array(values))

    log = pa.table(
        {
            "user_id": [f"U{user}" for user in data.user_id],
            "history": lists(ids[data.history_values], data.history_splits),
            "candidates": lists(ids[data.candidate_values], data.candidate_splits),
            "clicked": lists(np.asarray(data.clicked), data.candidate_splits),
        }
    )
    file, frame = root / "log.parquet", log.to_pandas()
    pq.write_table(log, file)
    make = tfrs_npa.Impressions
    clicks = {
        "user_id": np.array(log["user_id"]),
        "news_id": ids[data.candidate_values[data.candidate_splits[:-1]]],
        "time": np.arange(impressions),
    }
    sources = {
        "from_arrow": (make.from_arrow, log),
        "from_parquet": (make.from_parquet, file),
        "from_pandas": (make.from_pandas, frame),
        "from_clicks": (make.from_clicks, clicks),
    }
    rows, measurements = [], []
    for name, (convert, source) in sources.items():
        started = time.perf_counter()
        convert(source, catalog, users)
        rate = impressions / (time.perf_counter() - started)
        rows.append([name, f"{rate:,.0f}"])
        measured = measurement(f"Impressions.{name}, impressions/s", rate, target=TABLE_TARGET)
        measurements.append(measured)
    title = f"Converting {impressions:,} impressions"
    return table(title, ["", "impressions/s"], rows), measurements


def milliseconds(call, times: int) -> float:
    """Returns the mean time of a call."""
    started = time.perf_counter()
    for _ in range(times):
        call()
    return 1e3 * (time.perf_counter() - started) / times


def memory(root: pathlib.Path, impressions: int) -> list[str]:
    """Returns the peaks of memory while the cache is written, and while batches are made."""
    import tfrs_npa

    catalog, users = indices()
    config = tfrs_npa.NPAConfig()
    peaks = [own_memory()]

    def pieces():
        for piece in made_up_data.impression_pieces(impressions):
            peaks[-1] = max(peaks[-1], own_memory())
            yield piece

    cache = tfrs_npa.Cache(root / f"memory-{impressions}", max_bytes=1 << 40)
    peaks.append(0.0)
    data = tfrs_npa.Impressions.from_columns(cache.arrays(impressions, pieces))
    peaks.append(0.0)
    for make in (tfrs_npa.training_batches, tfrs_npa.impression_batches):
        for number, _ in enumerate(make(data, catalog, users, config).take(1000)):
            if number % 20 == 0:
                peaks[-1] = max(peaks[-1], own_memory())
    size = sum(file.stat().st_size for file in cache.folder.rglob("*")) / 1e6
    shutil.rmtree(cache.folder)
    return [f"{impressions:,}", *(f"{value:,.0f}" for value in (size, *peaks))]


def own_memory() -> float:
    """Returns the memory of this process without the pages of files, in MB (Linux)."""
    for line in pathlib.Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError("/proc/self/status has no RssAnon")


def write_sources(root: pathlib.Path, impressions: int) -> None:
    """Writes a folder in MIND's format, and prepares `mind/small` from zips of it."""
    import absl.logging
    import tensorflow_datasets as tfds

    import tfrs_npa
    from tfrs_npa.datasets.mind import write_behaviors, write_news

    absl.logging.set_verbosity("error")  # it warns that these are not the published files
    tfds.disable_progress_bar()
    filler = {"abstract": "A made-up summary of an article. " * 4, "url": "https://example.org/n"}
    filler |= {"category": "c", "subcategory": "s"}
    filler |= {"title_entities": "[]", "abstract_entities": "[]"}
    for split, size in (("train", impressions), ("dev", impressions // 10)):
        path = root / "folder" / split
        news = made_up_data.news_columns(made_up_data.ARTICLES - 2)
        rows = zip(news["news_id"], news["title"], strict=True)
        write_news(
            path / "news.tsv",
            (filler | {"news_id": news_id, "title": title} for news_id, title in rows),
        )
        write_behaviors(path / "behaviors.tsv", as_strings(made_up_data.impression_pieces(size)))
        archive = root / "zips" / f"MINDsmall_{split}.zip"
        archive.parent.mkdir(exist_ok=True)
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
            for name in ("news.tsv", "behaviors.tsv"):
                file.write(path / name, name)
    tfrs_npa.load_mind("mind/small", root / "prepared", root / "zips")


def as_strings(pieces: Iterator[dict[str, np.ndarray]]) -> Iterator[dict]:
    """Yields impressions, of six days, as `write_behaviors` takes them."""
    for piece in pieces:
        histories, candidates, labels = (
            np.split(piece[values], np.cumsum(piece[f"{name}_lengths"])[:-1])
            for name, values in (
                ("history", "history_values"),
                ("candidate", "candidate_values"),
                ("candidate", "clicked"),
            )
        )
        for row, impression_id in enumerate(piece["impression_id"]):
            yield {
                "impression_id": impression_id,
                "user_id": f"U{piece['user_id'][row]}",
                "time": 1_573_000_000 + 3_600 * (int(impression_id) % 144),
                "history": [f"N{article - 2}" for article in histories[row]],
                "candidates": {
                    "news_id": [f"N{article - 2}" for article in candidates[row]],
                    "clicked": labels[row],
                },
            }


def start(root: pathlib.Path, source: str, cache: str | None) -> float:
    """Returns the seconds from opening the data to the first batch, as `tfrs-npa train` does it."""
    import tfrs_npa
    from tfrs_npa.data.splits import load_splits
    from tfrs_npa.settings import DataSettings

    config = tfrs_npa.NPAConfig()
    name = source if source.startswith("mind/") else root / source
    started = time.perf_counter()
    settings = DataSettings(str(name), str(root / "prepared"))
    catalog, splits = load_splits(settings, None if cache is None else tfrs_npa.Cache(root / cache))
    next(iter(tfrs_npa.training_batches(splits.train, catalog, splits.users, config)))
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
