"""How fast `mind` is generated, and at what peak memory.

Writes made-up impressions with lines as long as MIND's, zips them, and builds `small-behaviors`
from the zip, at two sizes: peak memory must not grow with the number of impressions.
"""

from __future__ import annotations

import argparse
import multiprocessing
import pathlib
import random
import resource
import tempfile
import time
import zipfile
from collections.abc import Iterator

from tabulate import tabulate

from tfrs_npa.cli.messages import import_tensorflow

TABLE_HEADERS = ("impressions", "zip, MB", "seconds", "impressions/s", "start, MB", "peak, MB")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--impressions", type=int, default=20_000, help="of the first build (default: %(default)s)"
    )
    parser.add_argument(
        "--factor", type=int, default=4, help="second build, times the first (default: %(default)s)"
    )
    args = parser.parse_args()
    sizes = [args.impressions, args.impressions * args.factor]
    # A fresh process each, since a process keeps its peak.
    with multiprocessing.get_context("spawn").Pool(
        1, initializer=import_tensorflow, maxtasksperchild=1
    ) as pool:
        rows = pool.map(build, sizes, chunksize=1)
    print(tabulate(rows, headers=TABLE_HEADERS, floatfmt=",.1f", intfmt=","))


def build(impressions: int) -> tuple[int, float, float, float, float, float]:
    """Builds the dataset and returns a row of the table."""
    import absl.logging
    import tensorflow_datasets as tfds

    import tfrs_npa.datasets.mind as mind

    absl.logging.set_verbosity("error")  # it warns that these are not the published files
    tfds.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        manual = pathlib.Path(folder, "manual")
        write_zip(manual / "MINDsmall_train.zip", impressions)
        write_zip(manual / "MINDsmall_dev.zip", 1)
        builder = mind.Builder(config="small-behaviors", data_dir=folder)
        config = tfds.download.DownloadConfig(manual_dir=manual)
        start_memory, start = peak_memory(), time.perf_counter()
        builder.download_and_prepare(download_config=config)
        seconds = time.perf_counter() - start
        size = (manual / "MINDsmall_train.zip").stat().st_size / 1e6
    return impressions, size, seconds, impressions / seconds, start_memory, peak_memory()


def write_zip(path: pathlib.Path, impressions: int) -> None:
    """Writes a zip of made-up articles and impressions."""
    import tfrs_npa.datasets.mind as mind

    article = dict.fromkeys(
        "category subcategory title abstract url title_entities abstract_entities".split(), "[]"
    )
    with tempfile.TemporaryDirectory() as folder:
        files = {name: pathlib.Path(folder, name) for name in ("news.tsv", "behaviors.tsv")}
        mind.write_news(files["news.tsv"], [{"news_id": "N1", **article}])
        mind.write_behaviors(files["behaviors.tsv"], made_up_impressions(impressions))
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, file in files.items():
                archive.write(file, name)


def made_up_impressions(number: int) -> Iterator[dict]:
    """Yields impressions of 20 to 30 history articles and 37 candidates, one of them clicked."""
    rng = random.Random(0)
    news_ids = [f"N{index}" for index in range(1, 65_001)]
    for impression_id in range(1, number + 1):
        yield {
            "impression_id": impression_id,
            "user_id": f"U{rng.randrange(1, 100_000)}",
            "time": 1_573_000_000 + rng.randrange(600_000),
            "history": rng.choices(news_ids, k=rng.randint(20, 30)),
            "candidates": {
                "news_id": rng.choices(news_ids, k=37),
                "clicked": rng.sample([1] + [0] * 36, 37),
            },
        }


def peak_memory() -> float:
    """Returns the peak of this process so far, in MB (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


if __name__ == "__main__":
    main()
