"""Compares personalized attention with attention that is the same for everyone, and with none.

Trains preset "small" with word_attention and news_attention both "personalized", both "vanilla"
(one learned query for everyone) and both "mean" (no attention), with several seeds, each for the
same number of epochs, and prints their metrics on impressions that no training has seen: the split
test, or validation if test has no labels. This is the comparison of figures 5 and 6 of the paper
(Wu et al., KDD 2019).
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

import tfrs_npa
from tfrs_npa._files import atomic_file
from tfrs_npa.cli.scripts import at_least_one, begin, comparison_parser
from tfrs_npa.config import ATTENTION_KINDS
from tfrs_npa.runs.repeated import Row, means_table, train_and_evaluate, train_each, values

if TYPE_CHECKING:
    from tfrs_npa.data.splits import Splits

GROUPS = {"all": "auc", "known_users": "auc_known_users", "new_users": "auc_new_users"}
METRICS = (*GROUPS.values(), "mrr", "ndcg_10")
SHARES = {
    "share_all": "share of optimum",
    "share_known_users": "share of optimum, known users",
    "share_new_users": "share of optimum, new users",
}
# A column that only files of this comparison have.
OWN_COLUMN = "ndcg_10"


def with_shares(metrics: Mapping[str, float], optimum: Mapping[str, float]) -> dict[str, float]:
    """Returns `METRICS`, and `SHARES` for the groups of users whose optimum is known."""
    shares = {
        f"share_{group}": (metrics[GROUPS[group]] - 0.5) / (best - 0.5)
        for group, best in optimum.items()
    }
    return {name: metrics[name] for name in METRICS} | shares


def results(
    args, catalog: tfrs_npa.NewsCatalog, splits: Splits, optimum: Mapping[str, float]
) -> list[Row]:
    """Returns a row for each seed and kind of attention."""

    def training(seed, kind):
        config = tfrs_npa.NPAConfig.preset("small")
        config = config.replace(word_attention=kind, news_attention=kind, seed=seed)
        settings = {"data": splits.data.name, "epochs": args.epochs, **config.to_dict()}

        def run():
            return with_shares(
                train_and_evaluate(config, catalog, splits, epochs=args.epochs), optimum
            )

        return f"{kind}, seed {seed}", settings, run

    trainings = [training(seed, kind) for seed in args.seeds for kind in ATTENTION_KINDS]
    return train_each(trainings, args.output, OWN_COLUMN)


def show(rows: list[Row]) -> None:
    """Prints mean ± standard deviation of the sample, and the order of each seed."""
    metrics = [name for name in (*METRICS, *SHARES) if rows[0].get(name)]
    kinds = {kind: kind for kind in ATTENTION_KINDS}
    print(means_table(rows, "word_attention", kinds, metrics, SHARES), end="\n\n")
    for seed in dict.fromkeys(row["seed"] for row in rows):
        first, second, third = (
            values(rows, "auc", word_attention=kind, seed=seed)[0] for kind in ATTENTION_KINDS
        )
        answer = "yes" if first > second > third else "no"
        aucs = f"AUC {first:.4f}, {second:.4f}, {third:.4f}"
        print(f"seed {seed}: {' > '.join(ATTENTION_KINDS)}: {answer} ({aucs})")


def plot(path: pathlib.Path, rows: list[Row], optimum: Mapping[str, float]) -> None:
    from matplotlib.figure import Figure

    axes = Figure(figsize=(7, 4), layout="constrained").subplots()
    places = np.arange(len(GROUPS))
    for kind, offset in zip(ATTENTION_KINDS, (-0.15, 0, 0.15)):
        aucs = np.array([values(rows, name, word_attention=kind) for name in GROUPS.values()])
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
    parser = comparison_parser(__doc__)
    about = "of each training (default: %(default)s)"
    parser.add_argument("--epochs", type=at_least_one, default=1, help=about)
    parser.add_argument("--plot", type=pathlib.Path, metavar="PNG", help="also plot the results")
    args, catalog, splits = begin(parser, OWN_COLUMN)
    data, split = splits.data, splits.names["report"]
    optimum = data.reference_auc.get(split, {}).get("history_only", {})
    rows = results(args, catalog, splits, optimum)
    print(f"{data.name}, split {split}: {len(splits.test):,} impressions")
    epochs = "1 epoch" if args.epochs == 1 else f"{args.epochs} epochs"
    print(f"{epochs}; mean ± standard deviation of {len(args.seeds)} seeds")
    if optimum:
        print("share of optimum: of the way from AUC 0.5 to the best guess from history alone")
    print()
    show(rows)
    if args.plot is not None:
        plot(args.plot, rows, optimum)


if __name__ == "__main__":
    main()
