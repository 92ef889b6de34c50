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

import tfrs_npa
from tfrs_npa._files import atomic_file
from tfrs_npa.data.sampling import TrainingRows
from tfrs_npa.data.splits import Parts
from tfrs_npa.runs.repeated import begin, mean_and_deviation, parser, train_each, values

RECIPES = ("ours", "recommenders", "paper")
DIMENSIONS = (
    "title_length history_length word_embedding_dim user_embedding_dim num_filters window_size "
    "attention_dim"
).split()
AUCS = {"auc": "AUC", "auc_known_users": "AUC known users", "auc_new_users": "AUC new users"}
# Tells the file of this comparison from those of others.
OWN_FIGURE = "planned_steps"
COUNTS = ("steps", OWN_FIGURE, "rows_seen", "epochs", "seconds")


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
    print(f"  {steps:,} steps", file=sys.stderr)
    report = tfrs_npa.impression_batches(parts.report, catalog, parts.users, config)
    reached = model.evaluate(report, verbose=0, return_dict=True)
    epoch = len(TrainingRows(parts.train, config))
    epochs, rest = divmod(steps, -(-epoch // config.batch_size))
    rows = epochs * epoch + rest * config.batch_size
    counts = (steps, planned or float("nan"), rows, rows / epoch, measured)
    return {name: float(reached[name]) for name in AUCS} | dict(zip(COUNTS, counts))


def results(args, parts: Parts, catalog) -> list[dict[str, str]]:
    """Returns a row for each seed and recipe."""

    def training(seed, name):
        config = recipe(name, args.dimensions, seed)
        settings = {"recipe": name, "data": parts.data.name, "seconds_given": args.seconds}
        return (
            f"{name}, seed {seed}",
            settings | config.to_dict(),
            lambda: train(config, parts, catalog, args.seconds),
        )

    trainings = [training(seed, name) for seed in args.seeds for name in RECIPES]
    return train_each(trainings, args.output, OWN_FIGURE)


def show(rows: list[dict[str, str]]) -> None:
    """Prints AUCs as mean ± standard deviation of the sample, and means of the counts."""
    table = []
    for name in RECIPES:
        aucs = [mean_and_deviation(values(rows, figure, recipe=name)) for figure in AUCS]
        counts = [values(rows, count, recipe=name).mean() for count in COUNTS]
        counts = ["-" if np.isnan(count) else f"{count:,.1f}" for count in counts]
        table.append([name, *aucs, *counts])
    headers = ["", *AUCS.values(), *(name.replace("_", " ") for name in COUNTS)]
    print(tabulate(table, headers, disable_numparse=True))


def plot(path: pathlib.Path, rows: list[dict[str, str]]) -> None:
    from matplotlib.figure import Figure

    axes = Figure(figsize=(7, 4), layout="constrained").subplots()
    groups = {"auc_known_users": "known users", "auc_new_users": "new users"}
    for name, offset in zip(RECIPES, (-0.25, 0, 0.25)):
        aucs = np.array([values(rows, group, recipe=name) for group in groups])
        bars = aucs.std(axis=1, ddof=1) if aucs.shape[1] > 1 else None
        above = aucs.mean(axis=1) - 0.5  # AUC of random scores
        axes.bar(np.arange(2) + offset, above, 0.23, 0.5, yerr=bars, capsize=4, label=name)
    axes.set_xticks(range(2), groups.values())
    axes.set_ylabel("AUC, mean ± standard deviation")
    axes.figure.legend(loc="outside upper center", ncols=4)
    with atomic_file(path) as temporary:
        axes.figure.savefig(temporary, format="png", dpi=150)


def above_zero(text: str) -> float:
    if not 0 < float(text) < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return float(text)


def main() -> None:
    options = parser(__doc__)
    about = "per training (default: 45)"
    options.add_argument("--seconds", type=above_zero, default=45, help=about)
    about = 'those of NPAConfig() (default), or those of preset "small", which is ours then'
    options.add_argument("--dimensions", choices=("full", "small"), default="full", help=about)
    options.add_argument("--plot", type=pathlib.Path, metavar="PNG", help="draw them too")
    args, catalog, parts = begin(options, OWN_FIGURE)
    tf.get_logger().setLevel("ERROR")  # it takes one model after another for needless tracing
    rows = results(args, parts, catalog)
    config = recipe("ours", args.dimensions, args.seeds[0])
    print(f"{parts.data.name}, split {parts.names['report']}: {len(parts.report):,} impressions")
    print(*(f"{field} {getattr(config, field)}" for field in DIMENSIONS), sep=", ")
    print("word vectors made of the training titles, where the published recipes have GloVe")
    print(f"{args.seconds:g} seconds; mean ± standard deviation of {len(args.seeds)} seeds\n")
    show(rows)
    if args.plot is not None:
        plot(args.plot, rows)


if __name__ == "__main__":
    main()
