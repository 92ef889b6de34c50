"""Compares this project's recipe with the two published ones, at equal dimensions and wall time.

Seed by seed, three recipes train in turn: this project's (`NPAConfig()`), that of Microsoft
Recommenders (preset "recommenders") and that of the paper (preset "paper"), in the same code. All
start from word vectors made of the training titles (word_initializer="titles"): the published ones
start from GloVe, which has no vectors for a made-up language.

The clock starts after the first step, which traces the graph. If the learning rate decays, a
throw-away copy is trained first, to estimate the number of steps.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from typing import TYPE_CHECKING

import numpy as np
from tabulate import tabulate

import tfrs_npa
from tfrs_npa._files import atomic_file
from tfrs_npa.cli.scripts import begin, comparison_parser
from tfrs_npa.runs import repeated
from tfrs_npa.runs.repeated import Row, train_each, values

if TYPE_CHECKING:
    from tfrs_npa.data.splits import Splits

RECIPES = ("ours", "recommenders", "paper")
DIMENSIONS = (
    "title_length history_length word_embedding_dim user_embedding_dim num_filters window_size "
    "attention_dim"
).split()
AUCS = ("auc", "auc_known_users", "auc_new_users")
# A column that only files of this comparison have.
OWN_COLUMN = "planned_steps"
COUNTS = ("steps", OWN_COLUMN, "rows_seen", "epochs", "seconds")


def recipe(name: str, dimensions: str, seed: int) -> tfrs_npa.NPAConfig:
    preset = tfrs_npa.NPAConfig.preset
    ours = tfrs_npa.NPAConfig() if dimensions == "full" else preset(dimensions)
    equal = {field: getattr(ours, field) for field in DIMENSIONS}
    config = ours if name == "ours" else preset(name).replace(**equal)
    return config.replace(word_initializer="titles", seed=seed)


def train(
    config: tfrs_npa.NPAConfig, catalog: tfrs_npa.NewsCatalog, splits: Splits, seconds: float
) -> dict[str, float]:
    """Trains a recipe for its time; returns `AUCS` and `COUNTS` (NaN: steps were not planned)."""
    planned = None
    if config.schedule != "constant":
        tried = repeated.train(config, catalog, splits, seconds=seconds / 10)
        planned = 1 + round(seconds * (tried.steps - 1) / tried.seconds)
        print(f"  {planned:,} steps planned", file=sys.stderr)
    result = repeated.train_and_evaluate(
        config, catalog, splits, seconds=seconds, total_steps=planned
    )
    print(f"  {result['steps']:,} steps", file=sys.stderr)
    result[OWN_COLUMN] = planned or float("nan")
    return {name: result[name] for name in (*AUCS, *COUNTS)}


def results(args, catalog: tfrs_npa.NewsCatalog, splits: Splits) -> list[Row]:
    """Returns a row for each seed and recipe."""

    def training(seed, name):
        config = recipe(name, args.dimensions, seed)
        settings = {"recipe": name, "data": splits.data.name, "seconds_given": args.seconds}
        return (
            f"{name}, seed {seed}",
            settings | config.to_dict(),
            lambda: train(config, catalog, splits, args.seconds),
        )

    trainings = [training(seed, name) for seed in args.seeds for name in RECIPES]
    return train_each(trainings, args.output, OWN_COLUMN)


def show(rows: list[Row]) -> None:
    """Prints AUCs as mean ± standard deviation of the sample, and means of the counts."""
    table = []
    aucs = repeated.means(rows, "recipe", RECIPES, dict.fromkeys(AUCS, 4))
    for name, cells in zip(RECIPES, aucs):
        counts = [values(rows, count, recipe=name).mean() for count in COUNTS]
        table.append([name, *cells, *("-" if np.isnan(n) else f"{n:,.1f}" for n in counts)])
    titles = repeated.metric_titles([*AUCS, *COUNTS])
    print(tabulate(table, ["", *titles], disable_numparse=True))


def plot(path: pathlib.Path, rows: list[Row]) -> None:
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
    parser = comparison_parser(__doc__)
    about = "per training (default: 45)"
    parser.add_argument("--seconds", type=above_zero, default=45, help=about)
    about = 'those of NPAConfig() (default), or of preset "small", which is then our recipe'
    parser.add_argument("--dimensions", choices=("full", "small"), default="full", help=about)
    parser.add_argument("--plot", type=pathlib.Path, metavar="PNG", help="also plot the results")
    args, catalog, splits = begin(parser, OWN_COLUMN)
    rows = results(args, catalog, splits)
    config = recipe("ours", args.dimensions, args.seeds[0])
    print(f"{splits.data.name}, split {splits.names['report']}: {len(splits.test):,} impressions")
    print(*(f"{field} {getattr(config, field)}" for field in DIMENSIONS), sep=", ")
    print("word vectors made of the training titles, where the published recipes have GloVe")
    print(f"{args.seconds:g} seconds; mean ± standard deviation of {len(args.seeds)} seeds\n")
    show(rows)
    if args.plot is not None:
        plot(args.plot, rows)


if __name__ == "__main__":
    main()
