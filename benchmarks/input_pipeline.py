"""What feeds the model: time of a batch beside that of a training step, start, and memory.

Everything is made up, of MIND-small's size and shape. Batches and steps are taken in turn in one
run. The start is the time from opening the data to the first batch, in a fresh process. Memory is
the most that a process had of its own: pages of memory maps, which the system takes back when it
needs them, are not in it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import pathlib
import shutil
import statistics
import tempfile
import time
import zipfile
from collections.abc import Iterator

import machine
import numpy as np
from tabulate import tabulate

WORDS, USERS, ARTICLES = 30_000, 50_000, 65_000
BATCH_SIZES = (32, 256)
MEMORY_FACTOR = 4
PIECE = 16_384
PREFETCHED = 16  # more than can be ready before they are asked for
AIM = 5.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    number = {"type": int, "metavar": "N", "help": "default: %(default)s"}
    parser.add_argument("--impressions", default=156_965, **number)
    parser.add_argument("--start-impressions", default=50_000, **number)
    parser.add_argument("--rounds", default=5, **number)
    parser.add_argument("--json", type=pathlib.Path, help="write the figures here too")
    args = parser.parse_args()

    environment = machine.describe()
    # A fresh process each: none forgets its peak, or what TensorFlow has kept.
    with (
        tempfile.TemporaryDirectory() as folder,
        multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool,
    ):
        root = pathlib.Path(folder)
        steps, figures = pool.apply(batches_and_steps, (root, args.impressions, args.rounds))
        tables = [steps]
        show(tables[-1])
        sizes = [args.impressions, args.impressions * MEMORY_FACTOR]
        rows = pool.starmap(memory, [(root, size) for size in sizes], chunksize=1)
        headers = ["impressions", "on disk, MB", "before, MB", "making it, MB", "batches, MB"]
        tables.append(table("Peak memory", headers, rows))
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
    if args.json is not None:
        from tfrs_npa._files import atomic_file

        result = {
            "title": "Input pipeline",
            "about": " ".join(__doc__.split("\n\n", 1)[1].split()),
            "command": machine.command(),
            "environment": environment,
            "tables": tables,
            "figures": figures,
        }
        with atomic_file(args.json) as temporary:
            temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def table(title: str, headers: list[str], rows: list[list[str]]) -> dict:
    return {"title": title, "headers": headers, "rows": rows}


def show(of: dict) -> None:
    print(
        f"{of['title']}\n{tabulate(of['rows'], of['headers'], disable_numparse=True)}\n", flush=True
    )


def made_up_pieces(impressions: int) -> Iterator[dict[str, np.ndarray]]:
    """Yields impressions as `Impressions.from_pieces` takes them.

    Histories have a mean of 32 articles and a long tail, lists 37 candidates of which 4 % and at
    least one were clicked.
    """
    rng = np.random.default_rng(0)
    for first in range(0, impressions, PIECE):
        rows = min(PIECE, impressions - first)
        history = np.minimum(rng.lognormal(np.log(18.8), 1.05, rows), 558).astype(np.int64)
        candidates = np.clip(rng.gamma(1.2, 30, rows).round() + 2, 2, 300).astype(np.int64)
        clicked = rng.random(candidates.sum()) < 0.013
        clicked[np.cumsum(candidates) - candidates + rng.integers(candidates)] = True
        yield {
            "impression_id": np.arange(first, first + rows),
            "user_id": rng.integers(0, USERS, rows, np.int32),
            "history_values": rng.integers(2, ARTICLES, history.sum(), np.int32),
            "history_lengths": history,
            "candidate_values": rng.integers(2, ARTICLES, candidates.sum(), np.int32),
            "candidate_lengths": candidates,
            "clicked": clicked.astype(np.int8),
        }


def made_up_news(articles: int) -> Iterator[dict[str, str]]:
    """Yields articles whose titles have 11 words on average, by Zipf's law, all words at first."""
    rng = np.random.default_rng(1)
    unseen = iter(range(WORDS))
    for article in range(articles):
        words = (rng.zipf(1.2, max(1, rng.poisson(11))) - 1) % WORDS
        words = [next(unseen, word) for word in words]
        yield {"news_id": f"N{article}", "title": " ".join(f"w{word}" for word in words)}


def opened(root: pathlib.Path, impressions: int):
    """Returns made-up impressions as memory maps."""
    from tfrs_npa.data.cache import Cache
    from tfrs_npa.data.impressions import Impressions

    cache = Cache(root / "arrays", max_bytes=1 << 40)
    return Impressions.from_pieces(lambda: made_up_pieces(impressions), cache, impressions)


def indices():
    """Returns the catalogue and the users that the numbers are of."""
    from tfrs_npa import NewsCatalog, UserIndex

    news = {"news_id": [], "title": []}
    for row in made_up_news(ARTICLES - 2):
        for name, value in row.items():
            news[name].append(value)
    users = UserIndex().adapt({"user_id": [f"U{user}" for user in range(USERS)]})
    return NewsCatalog().adapt(news), users


def batches_and_steps(root: pathlib.Path, impressions: int, rounds: int) -> tuple[dict, list[dict]]:
    """Returns the table of milliseconds, and a step in times its batch."""
    import tfrs_npa

    data, (catalog, users) = opened(root, impressions), indices()
    rows, figures = [], []
    for size in BATCH_SIZES:
        config = tfrs_npa.NPAConfig(batch_size=size, word_initializer="normal")
        model = tfrs_npa.NPA(config, catalog, users)
        model.compile(optimizer=tfrs_npa.default_optimizer(config))
        training = tfrs_npa.training_batches(data, catalog, users, config)
        whole = tfrs_npa.impression_batches(data, catalog, users, config)
        # In memory, so that the steps wait for nothing.
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
        figures.append({"name": name, "value": ratio, "aim": AIM})
    headers = ["batch size", *(f"{name}, ms" for name in medians), "step / batch"]
    return table(f"Batches of {impressions:,} impressions", headers, rows), figures


def milliseconds(call, times: int) -> float:
    """Returns the mean time of a call."""
    begun = time.perf_counter()
    for _ in range(times):
        call()
    return 1e3 * (time.perf_counter() - begun) / times


def memory(root: pathlib.Path, impressions: int) -> list[str]:
    """Returns the peaks of memory while the cache is made, and while batches are."""
    import tfrs_npa
    from tfrs_npa.data.cache import Cache
    from tfrs_npa.data.impressions import Impressions

    catalog, users = indices()
    config = tfrs_npa.NPAConfig()
    peaks = [own_memory()]

    def pieces():
        for piece in made_up_pieces(impressions):
            peaks[-1] = max(peaks[-1], own_memory())
            yield piece

    cache = Cache(root / f"memory-{impressions}", max_bytes=1 << 40)
    peaks.append(0.0)
    data = Impressions.from_pieces(pieces, cache, impressions)
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
    raise OSError("/proc/self/status does not tell RssAnon")


def write_sources(root: pathlib.Path, impressions: int) -> None:
    """Writes a folder in MIND's format, and prepares `mind/small` from zips of it."""
    import absl.logging
    import tensorflow_datasets as tfds

    from tfrs_npa.data.loading import load_mind
    from tfrs_npa.datasets.mind import write_behaviors, write_news

    absl.logging.set_verbosity("error")  # that these are not the published files is no news
    tfds.disable_progress_bar()
    filler = {"abstract": "A made-up summary of an article. " * 4, "url": "https://example.org/n"}
    filler |= {"category": "c", "subcategory": "s", "title_entities": "[]"}
    for split, size in (("train", impressions), ("dev", impressions // 10)):
        path = root / "folder" / split
        news = ({**filler, "abstract_entities": "[]", **row} for row in made_up_news(ARTICLES - 2))
        write_news(path / "news.tsv", news)
        write_behaviors(path / "behaviors.tsv", as_strings(made_up_pieces(size)))
        archive = root / "zips" / f"MINDsmall_{split}.zip"
        archive.parent.mkdir(exist_ok=True)
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
            for name in ("news.tsv", "behaviors.tsv"):
                file.write(path / name, name)
    load_mind("mind/small", root / "prepared", root / "zips")


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
    from tfrs_npa.data.cache import Cache
    from tfrs_npa.data.splits import read_data
    from tfrs_npa.settings import DataSettings

    config = tfrs_npa.NPAConfig()
    name = source if source.startswith("mind/") else root / source
    begun = time.perf_counter()
    settings = DataSettings(str(name), str(root / "prepared"))
    catalog, parts = read_data(settings, None if cache is None else Cache(root / cache))
    next(iter(tfrs_npa.training_batches(parts.train, catalog, parts.users, config)))
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
