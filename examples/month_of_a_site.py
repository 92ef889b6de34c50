"""Runs a made-up news site for a month: yesterday's model, refreshed hourly and trained nightly.

Articles and users come every day, and histories grow by each click. Three models rank the
impressions of a day before any of them has seen that day:

- as it was: trained on day 1 and left alone, so later articles are unknown to it;
- warm: starts each night from the model of the night before, is trained on that day's log alone,
  and learns of new articles every hour;
- from scratch: trained each night on the last days, with the same hourly articles.

Prints the AUC of each day and what nights and hours took, and draws a picture of it. Days that are
in the folder already are not simulated again, so an interrupted simulation resumes.
"""

from __future__ import annotations

import argparse
import csv
import gc
import itertools
import pathlib
import shutil
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import tensorflow as tf
from tqdm.auto import tqdm

import tfrs_npa
from tfrs_npa._files import atomic_file
from tfrs_npa.cli.scripts import at_least_one
from tfrs_npa.datasets.mind import SyntheticWorld, WorldKnobs, write_behaviors, write_news
from tfrs_npa.runs.run import Run
from tfrs_npa.runs.train import train
from tfrs_npa.settings import TrainingSettings

CONFIG = tfrs_npa.NPAConfig.preset("small")
MODELS = ("as it was", "warm", "from scratch")
COSTS = {
    "warm impressions": "impressions of a night's training, warm",
    "scratch impressions": "impressions of a night's training, from scratch",
    "warm seconds": "seconds of it, warm",
    "scratch seconds": "seconds of it, from scratch",
    "refresh seconds": "seconds of an hourly refresh of the index",
    "new articles": "new articles of a day",
}
# The last impressions of a day, which its training does not see and reports its metrics on.
HELD_OUT = 0.1


class Day(NamedTuple):
    """What happens on a day: impressions in order of time, and the new articles of each hour."""

    impressions: list[dict[str, Any]]
    new_articles: list[list[dict[str, str]]]


def days_of(world: SyntheticWorld) -> Iterator[Day]:
    """Yields the days of a world. Histories hold the clicks so far, of the same day too."""
    news = {article["news_id"]: article for article in world.news("train")}
    rows = sorted(world.behaviors("train"), key=lambda row: row["time"])
    first, clicks, published = rows[0]["time"] // 86_400, {}, set()
    for number in range(rows[-1]["time"] // 86_400 - first + 1):
        impressions, new_articles = [], [[] for _ in range(24)]
        while rows and rows[0]["time"] // 86_400 == first + number:
            row = rows.pop(0)
            history = clicks.setdefault(row["user_id"], row["history"])
            ids, clicked = row["candidates"]["news_id"], row["candidates"]["clicked"]
            for news_id in dict.fromkeys([*history, *ids]):
                if news_id not in published:
                    published.add(news_id)
                    new_articles[row["time"] % 86_400 // 3600].append(news[news_id])
            impressions.append(row | {"history": list(history)})
            clicks[row["user_id"]] = history + [
                news_id for news_id, was in zip(ids, clicked, strict=True) if was
            ]
        yield Day(impressions, new_articles)


def write_days(folder: pathlib.Path, days: Sequence[Day], news: dict[str, dict]) -> None:
    """Writes the log of some days in MIND's format; the end of the last one is held out."""
    impressions = [row for day in days for row in day.impressions]
    end = len(impressions) - max(1, int(HELD_OUT * len(days[-1].impressions)))
    for name, rows in (("train", impressions[:end]), ("valid", impressions[end:])):
        ids = {id_ for row in rows for id_ in [*row["history"], *row["candidates"]["news_id"]]}
        write_news(folder / name / "news.tsv", (news[id_] for id_ in sorted(ids)))
        write_behaviors(folder / name / "behaviors.tsv", iter(rows))


def night(
    run: pathlib.Path, data: pathlib.Path, seed: int, yesterday: pathlib.Path | None = None
) -> tuple[int, float]:
    """Trains a model for an epoch; returns the impressions of it, and the seconds that it took."""
    tf.keras.backend.clear_session()
    gc.collect()  # models are large, and held in circles
    started = time.monotonic()
    settings = TrainingSettings(str(data), holdout="none", epochs=1)
    train(run, settings, CONFIG.replace(seed=seed), overwrite=True, start_from=yesterday)
    return Run(run).metrics["impressions_trained_on"], time.monotonic() - started


def refresh_hourly(model: tfrs_npa.NPA, day: Day) -> float:
    """Indexes the new articles of each hour of a day; returns the seconds of a mean hour."""
    index = tfrs_npa.PersonalizedTopK(model).index()
    started = time.monotonic()
    for articles in day.new_articles:
        index.refresh(columns(articles))
    return (time.monotonic() - started) / len(day.new_articles)


def columns(articles: list[dict[str, str]]) -> dict[str, list[str]] | None:
    names = ("news_id", "title")
    return {name: [row[name] for row in articles] for name in names} if articles else None


def auc(model: tfrs_npa.NPA, day: Day) -> float:
    """Returns the AUC of a day's impressions, a mean over impressions."""
    table = pa.table(
        {
            "user_id": [row["user_id"] for row in day.impressions],
            "history": [row["history"] for row in day.impressions],
            "candidates": [row["candidates"]["news_id"] for row in day.impressions],
            "clicked": [row["candidates"]["clicked"] for row in day.impressions],
        }
    )
    impressions = tfrs_npa.Impressions.from_arrow(table, model.catalog, model.users)
    batches = tfrs_npa.impression_batches(impressions, model.catalog, model.users, model.config)
    return model.evaluate(batches, verbose=0, return_dict=True)["auc"]


def simulate(args) -> list[dict[str, float]]:
    """Returns a row for each day after the first: the AUC of each model, and `COSTS`."""
    knobs = WorldKnobs(training_days=args.days, old_articles=0.3)
    sizes = {"users": args.users, "articles": args.articles}
    world = SyntheticWorld(
        knobs, seed=args.seed, **sizes, impressions=(args.days * args.impressions, 0, 0)
    )
    news = {article["news_id"]: article for article in world.news("train")}
    days, rows = list(days_of(world)), read(args.folder / "days.csv")
    runs, log = args.folder / "runs", args.folder / "log"
    if not rows:
        write_days(log / "today", days[:1], news)
        night(runs / "warm-1", log / "today", args.seed)
    first = tfrs_npa.load_run(runs / "warm-1")
    for number in tqdm(range(2 + len(rows), len(days) + 1), desc="days", unit="day"):
        today, started = days[number - 1], max(0, number - 1 - args.window)
        write_days(log / "window", days[started : number - 1], news)
        row: dict[str, float] = {"day": number}
        row["scratch impressions"], row["scratch seconds"] = night(
            runs / "scratch", log / "window", args.seed
        )
        scratch = tfrs_npa.load_run(runs / "scratch")
        scratch.add_articles(columns(list(itertools.chain(*today.new_articles))))
        row["from scratch"] = auc(scratch, today)
        row["as it was"] = auc(first, today)
        yesterday, tonight = (runs / f"warm-{day}" for day in (number - 1, number))
        warm = tfrs_npa.load_run(yesterday)
        row["refresh seconds"] = refresh_hourly(warm, today)
        row["new articles"] = sum(map(len, today.new_articles))
        row["warm"] = auc(warm, today)
        write_days(log / "today", days[number - 1 : number], news)
        row["warm impressions"], row["warm seconds"] = night(
            tonight, log / "today", args.seed, yesterday
        )
        rows.append(row)
        write(args.folder / "days.csv", rows)
        if number > 2:
            shutil.rmtree(yesterday)
    return rows


def read(path: pathlib.Path) -> list[dict[str, float]]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def write(path: pathlib.Path, rows: list[dict[str, float]]) -> None:
    with (
        atomic_file(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.DictWriter(file, ["day", *MODELS, *COSTS])
        writer.writeheader()
        writer.writerows(rows)


def show(rows: list[dict[str, float]]) -> None:
    print("day  " + "  ".join(f"{name:>12}" for name in MODELS))
    for row in rows:
        print(f"{row['day']:3.0f}  " + "  ".join(f"{row[name]:12.4f}" for name in MODELS))
    print("mean " + "  ".join(f"{np.mean([row[name] for row in rows]):12.4f}" for name in MODELS))
    print("means of:")
    for name, what in COSTS.items():
        print(f"  {what}: {np.mean([row[name] for row in rows]):.4g}")


def plot(path: pathlib.Path, rows: list[dict[str, float]]) -> None:
    from matplotlib.figure import Figure

    above, below = Figure(figsize=(8, 6), layout="constrained").subplots(2, sharex=True)
    days = [row["day"] for row in rows]
    for name in MODELS:
        above.plot(days, [row[name] for row in rows], marker=".", label=name)
    above.set_ylabel("AUC of the day")
    above.legend()
    for name, color in (("warm seconds", "C1"), ("scratch seconds", "C2")):
        below.plot(days, [row[name] for row in rows], color, marker=".", label=name.split()[0])
    below.set(xlabel="day", ylabel="seconds of training", ylim=(0, None))
    below.legend()
    with atomic_file(path) as temporary:
        above.figure.savefig(temporary, format="png", dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = "(default: %(default)s)"
    parser.add_argument(
        "--folder", type=pathlib.Path, default="runs/month", help=f"of all files {default}"
    )
    parser.add_argument("--days", type=at_least_one, default=30, help=default)
    parser.add_argument("--users", type=at_least_one, default=1_500, help=default)
    parser.add_argument("--articles", type=at_least_one, default=7_500, help=default)
    parser.add_argument(
        "--impressions", type=at_least_one, default=1_000, help=f"of a day {default}"
    )
    parser.add_argument(
        "--window", type=at_least_one, default=7, help=f"days of a training from scratch {default}"
    )
    parser.add_argument("--seed", type=int, default=0, help=default)
    parser.add_argument("--plot", type=pathlib.Path, metavar="PNG", help="also draw the results")
    args = parser.parse_args()
    rows = simulate(args)
    show(rows)
    if args.plot is not None:
        plot(args.plot, rows)


if __name__ == "__main__":
    main()
