"""Compares personalized attention with attention that is the same for everyone, and with none.

Trains preset "small" with word_attention and news_attention both "personalized", both "vanilla"
(one learned query for everyone) and both "mean" (no attention), with several seeds, each for the
same number of epochs, and prints what they reach on impressions that no training has seen: the
split test, or validation where there is no test with labels. It is the comparison of figures 5 and
6 of the paper (Wu et al., KDD 2019).
"""

from __future__ import annotations

import pathlib
import sys

import numpy as np
import tensorflow as tf
from tabulate import tabulate

import tfrs_npa
from tfrs_npa._files import atomic_file
from tfrs_npa.config import ATTENTION_KINDS
from tfrs_npa.data.splits import Parts
from tfrs_npa.runs.repeated import (
    at_least_one,
    begin,
    mean_and_deviation,
    parser,
    train_each,
    values,
)

GROUPS = {"all": "auc", "known_users": "auc_known_users", "new_users": "auc_new_users"}
FIGURES = {
    "auc": "AUC",
    "auc_known_users": "AUC known users",
    "auc_new_users": "AUC new users",
    "mrr": "MRR",
    "ndcg_10": "nDCG@10",
    "share_all": "share of optimum",
    "share_known_users": "share of optimum, known users",
    "share_new_users": "share of optimum, new users",
}
# Tells the file of this comparison from those of others.
OWN_FIGURE = "ndcg_10"


def train(config, parts: Parts, catalog, epochs: int) -> dict[str, float]:
    """Trains a model and returns its metrics on the impressions that are reported on."""
    tf.keras.backend.clear_session()
    tf.keras.utils.set_random_seed(config.seed)
    batches = tfrs_npa.training_batches(parts.train, catalog, parts.users, config)
    model = tfrs_npa.NPA(config, catalog, parts.users)
    model.compile(optimizer=tfrs_npa.default_optimizer(config, len(batches) * epochs))
    progress = tf.keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: print(
            f"  epoch {epoch + 1} of {epochs}: loss {logs['loss']:.4f}", file=sys.stderr
        )
    )
    model.fit(batches, epochs=epochs, verbose=0, callbacks=[progress])
    report = tfrs_npa.impression_batches(parts.report, catalog, parts.users, config)
    return model.evaluate(report, verbose=0, return_dict=True)


def figures(metrics: dict[str, float], optimum: dict[str, float]) -> dict[str, float]:
    """Returns `FIGURES`, the shares only of groups of users whose optimum is known."""
    shares = {
        f"share_{group}": (metrics[GROUPS[group]] - 0.5) / (best - 0.5)
        for group, best in optimum.items()
    }
    return {name: float(value) for name, value in (metrics | shares).items() if name in FIGURES}


def results(args, parts: Parts, catalog, optimum: dict) -> list[dict[str, str]]:
    """Returns a row for each seed and kind of attention."""

    def training(seed, kind):
        config = tfrs_npa.NPAConfig.preset("small")
        config = config.replace(word_attention=kind, news_attention=kind, seed=seed)
        settings = {"data": parts.data.name, "epochs": args.epochs, **config.to_dict()}
        return (
            f"{kind}, seed {seed}",
            settings,
            lambda: figures(train(config, parts, catalog, args.epochs), optimum),
        )

    trainings = [training(seed, kind) for seed in args.seeds for kind in ATTENTION_KINDS]
    return train_each(trainings, args.output, OWN_FIGURE)


def of_kind(rows: list[dict[str, str]], kind: str, figure: str) -> np.ndarray:
    return values(rows, figure, word_attention=kind)


def show(rows: list[dict[str, str]]) -> None:
    """Prints mean ± standard deviation of the sample, and the order of each seed."""
    table = [
        [title, *(mean_and_deviation(of_kind(rows, kind, figure)) for kind in ATTENTION_KINDS)]
        for figure, title in FIGURES.items()
        if rows[0].get(figure)
    ]
    print(tabulate(table, headers=["", *ATTENTION_KINDS], disable_numparse=True), end="\n\n")
    for seed in dict.fromkeys(row["seed"] for row in rows):
        of_seed = [row for row in rows if row["seed"] == seed]
        first, second, third = (of_kind(of_seed, kind, "auc")[0] for kind in ATTENTION_KINDS)
        answer = "yes" if first > second > third else "no"
        aucs = f"AUC {first:.4f}, {second:.4f}, {third:.4f}"
        print(f"seed {seed}: {' > '.join(ATTENTION_KINDS)}: {answer} ({aucs})")


def plot(path: pathlib.Path, rows: list[dict[str, str]], optimum: dict[str, float]) -> None:
    from matplotlib.figure import Figure

    axes = Figure(figsize=(7, 4), layout="constrained").subplots()
    places = np.arange(len(GROUPS))
    for kind, offset in zip(ATTENTION_KINDS, (-0.15, 0, 0.15)):
        aucs = np.array([of_kind(rows, kind, name) for name in GROUPS.values()])
        bars = aucs.std(axis=1, ddof=1) if aucs.shape[1] > 1 else None
        axes.errorbar(places + offset, aucs.mean(axis=1), bars, fmt="o", capsize=4, label=kind)
    if optimum:
        best = [optimum[group] for group in GROUPS]
        ends = (places - 0.3, places + 0.3)
        axes.hlines(best, *ends, "grey", "dashed", label="best from history alone")
    axes.set_xticks(places, ["all users", "known users", "new users"])
    axes.set_ylabel("AUC, mean ± standard deviation")
    axes.figure.legend(loc="outside upper center", ncols=4)
    with atomic_file(path) as temporary:
        axes.figure.savefig(temporary, format="png", dpi=150)


def main() -> None:
    options = parser(__doc__)
    about = "of each training (default: 5)"
    options.add_argument("--epochs", type=at_least_one, default=5, help=about)
    options.add_argument("--plot", type=pathlib.Path, metavar="PNG", help="draw them too")
    args, catalog, parts = begin(options, OWN_FIGURE)
    data, split = parts.data, parts.names["report"]
    optimum = data.reference_auc.get(split, {}).get("history_only", {})
    tf.get_logger().setLevel("ERROR")  # it misses the users' gradient where no query is personal
    rows = results(args, parts, catalog, optimum)
    print(f"{data.name}, split {split}: {len(parts.report):,} impressions")
    print(f"{args.epochs} epochs; mean ± standard deviation of {len(args.seeds)} seeds")
    if optimum:
        print("share of optimum: of the way from AUC 0.5 to the best guess from history alone")
    print()
    show(rows)
    if args.plot is not None:
        plot(args.plot, rows, optimum)


if __name__ == "__main__":
    main()
