"""Compares this project's recipe with the two published ones, at equal dimensions and wall time.

Seed by seed, three recipes train in turn: this project's (`NPAConfig()`), that of Microsoft
Recommenders (preset "recommenders") and that of the paper (preset "paper"), in the same code. All
start from word vectors made of the training titles (word_initializer="titles"): the published ones
start from GloVe, which has no vectors for a made-up language.

The clock starts after the first step, which traces the graph. Where the learning rate decays, a
throw-away copy is trained before, to measure how many steps there will be.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import time

import numpy as np
import tensorflow as tf
from tabulate import tabulate
from trainings_file import read_rows, write_rows

import tfrs_npa
from tfrs_npa.data.files import replacing
from tfrs_npa.data.mind import load_mind
from tfrs_npa.data.parts import Parts, read_parts
from tfrs_npa.data.training_rows import TrainingRows

RECIPES = ("ours", "recommenders", "paper")
DIMENSIONS = (
    "title_length history_length word_embedding_dim user_embedding_dim num_filters window_size "
    "attention_dim"
).split()
AUCS = {"auc": "AUC", "auc_known_users": "AUC known users", "auc_new_users": "AUC new users"}
COUNTS = ("steps", "planned_steps", "rows_seen", "epochs", "seconds")


def recipe(name: str, dimensions: str, seed: int) -> tfrs_npa.NPAConfig:
    preset = tfrs_npa.NPAConfig.preset
    ours = tfrs_npa.NPAConfig() if dimensions == "full" else preset(dimensions)
    equal = {field: getattr(ours, field) for field in DIMENSIONS}
    config = ours if name == "ours" else preset(name).replace(**equal)
    return config.replace(word_initializer="titles", seed=seed)


def fit(config, parts: Parts, catalog, seconds: float, total_steps: int | None):
    """Trains a while; returns the model, its steps, and the seconds since the first was done."""
    tf.keras.backend.clear_session()
    tf.keras.utils.set_random_seed(config.seed)
    batches = tfrs_npa.training_batches(parts.train, catalog, parts.users, config)
    model = tfrs_npa.NPA(config, catalog, parts.users)
    model.compile(optimizer=tfrs_npa.default_optimizer(config, total_steps))
    ends = []

    def stop_in_time(*_):
        ends.append(time.perf_counter())
        model.stop_training = ends[-1] - ends[0] >= seconds

    clock = tf.keras.callbacks.LambdaCallback(on_train_batch_end=stop_in_time)
    model.fit(batches, epochs=sys.maxsize, verbose=0, callbacks=[clock])
    return model, len(ends), ends[-1] - ends[0]


def train(config, parts: Parts, catalog, seconds: float) -> dict[str, float]:
    """Trains a recipe for its time; returns `AUCS` and `COUNTS` (NaN: steps were not planned)."""
    planned = None
    if config.schedule != "constant":
        _, steps, measured = fit(config, parts, catalog, seconds / 10, total_steps=None)
        planned = 1 + round(seconds * (steps - 1) / measured)
        print(f"  {planned:,} steps planned", file=sys.stderr)
    model, steps, measured = fit(config, parts, catalog, seconds, planned)
    report = tfrs_npa.impression_batches(parts.report, catalog, parts.users, config)
    reached = model.evaluate(report, verbose=0, return_dict=True)
    epoch = len(TrainingRows(parts.train, config))
    epochs, rest = divmod(steps, -(-epoch // config.batch_size))
    rows = epochs * epoch + rest * config.batch_size
    counts = (steps, planned or float("nan"), rows, rows / epoch, measured)
    return {name: float(reached[name]) for name in AUCS} | dict(zip(COUNTS, counts))


def results(args, parts: Parts, catalog) -> list[dict[str, str]]:
    """Returns a row for each seed and recipe: found in the file, or trained now."""
    rows, chosen = read_rows(args.output, "planned_steps"), []
    trainings = [(seed, name) for seed in args.seeds for name in RECIPES]
    for number, (seed, name) in enumerate(trainings, start=1):
        config = recipe(name, args.dimensions, seed)
        given = {"recipe": name, "data": parts.data.name, "seconds_given": args.seconds}
        settings = {field: str(value) for field, value in (given | config.to_dict()).items()}
        row = next((row for row in rows if settings.items() <= row.items()), None)
        known = " (done before)" if row else ""
        print(f"{number} of {len(trainings)}: {name}, seed {seed}{known}", file=sys.stderr)
        if row is None:
            reached = train(config, parts, catalog, args.seconds)
            row = settings | {figure: str(value) for figure, value in reached.items()}
            rows.append(row)
            if args.output is not None:
                write_rows(args.output, rows)
        print(f"  {row['steps']} steps, AUC {float(row['auc']):.4f}", file=sys.stderr)
        chosen.append(row)
    return chosen


def values(rows: list[dict], name: str, figure: str) -> np.ndarray:
    return np.array([float(row[figure]) for row in rows if row["recipe"] == name])


def show(rows: list[dict[str, str]]) -> None:
    """Prints AUCs as mean ± standard deviation of the sample, and means of the counts."""
    table = []
    for name in RECIPES:
        numbers = [values(rows, name, figure) for figure in AUCS]
        aucs = [f"{auc.mean():.4f}" for auc in numbers]
        if numbers[0].size > 1:
            aucs = [f"{mean} ± {auc.std(ddof=1):.4f}" for mean, auc in zip(aucs, numbers)]
        counts = [values(rows, name, count).mean() for count in COUNTS]
        counts = ["-" if np.isnan(count) else f"{count:,.1f}" for count in counts]
        table.append([name, *aucs, *counts])
    headers = ["", *AUCS.values(), *(name.replace("_", " ") for name in COUNTS)]
    print(tabulate(table, headers, disable_numparse=True))


def plot(path: pathlib.Path, rows: list[dict[str, str]]) -> None:
    from matplotlib.figure import Figure

    axes = Figure(figsize=(7, 4), layout="constrained").subplots()
    groups = {"auc_known_users": "known users", "auc_new_users": "new users"}
    for name, offset in zip(RECIPES, (-0.25, 0, 0.25)):
        aucs = np.array([values(rows, name, group) for group in groups])
        bars = aucs.std(axis=1, ddof=1) if aucs.shape[1] > 1 else None
        above = aucs.mean(axis=1) - 0.5  # AUC of random scores
        axes.bar(np.arange(2) + offset, above, 0.23, 0.5, yerr=bars, capsize=4, label=name)
    axes.set_xticks(range(2), groups.values())
    axes.set_ylabel("AUC, mean ± standard deviation")
    axes.figure.legend(loc="outside upper center", ncols=4)
    with replacing(path) as temporary:
        axes.figure.savefig(temporary, format="png", dpi=150)


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--data", default="mind/synthetic", help="mind/small, ..., or a folder")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="(default: 1 2 3)")
    parser.add_argument("--seconds", type=float, default=120, help="per training (default: 120)")
    about = 'those of NPAConfig() (default), or those of preset "small", which is ours then'
    parser.add_argument("--dimensions", choices=("full", "small"), default="full", help=about)
    about = "a row per training; one of the same settings that is there is not trained again (it"
    about += " cannot know of changes in the code or in the files of a folder)"
    parser.add_argument("--output", type=pathlib.Path, metavar="CSV", help=about)
    parser.add_argument("--plot", type=pathlib.Path, metavar="PNG", help="needs matplotlib")
    args = parser.parse_args()
    args.seeds = list(dict.fromkeys(args.seeds))
    if not 0 < args.seconds < float("inf") or min(args.seeds) < 0:
        parser.error("--seconds has to be above 0, and no seed below 0")
    try:
        if args.plot is not None:
            import matplotlib  # noqa: F401  (if it is missing: before hours of training)
        read_rows(args.output, "planned_steps")
        data = load_mind(args.data)
        catalog = tfrs_npa.NewsCatalog().adapt(data.news["train"])
        for news in data.news.values():
            catalog.extend(news)
        parts = read_parts(data, catalog, holdout="none")
    except (ImportError, ValueError, OSError) as error:
        parser.error(str(error))

    tf.get_logger().setLevel("ERROR")  # it takes one model after another for needless tracing
    rows = results(args, parts, catalog)
    config = recipe("ours", args.dimensions, args.seeds[0])
    print(f"{data.name}, split {parts.names['report']}: {len(parts.report):,} impressions")
    print(*(f"{field} {getattr(config, field)}" for field in DIMENSIONS), sep=", ")
    print("word vectors made of the training titles, where the published recipes have GloVe")
    print(f"{args.seconds:g} seconds; mean ± standard deviation of {len(args.seeds)} seeds\n")
    show(rows)
    if args.plot is not None:
        plot(args.plot, rows)


if __name__ == "__main__":
    main()
