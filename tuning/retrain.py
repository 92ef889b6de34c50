"""Trains what a search found, and a preset, with fresh seeds, and compares them.

A search picks the best of many noisy figures, so the figure of its winner flatters it. Here the
winner's configuration and the preset train from the start, with seeds that the search did not use,
for the same number of epochs, on the data of the search. What is printed is of the impressions that
neither a trial nor these trainings saw.
"""

from __future__ import annotations

import argparse
import sys

import tensorflow as tf
from tabulate import tabulate

import tfrs_npa
from tfrs_npa.data.cache import default_cache_dir
from tfrs_npa.data.splits import Parts, read_data
from tfrs_npa.runs.repeated import at_least_one, mean_and_deviation, train_each, values
from tfrs_npa.search.folder import SearchFolder

FIGURES = {
    "auc": "AUC",
    "auc_known_users": "AUC known users",
    "auc_new_users": "AUC new users",
    "mrr": "MRR",
    "ndcg_5": "nDCG@5",
    "ndcg_10": "nDCG@10",
}
FOUND = "found"


def train(config, parts: Parts, catalog, epochs: int) -> dict[str, float]:
    """Trains a model and returns its metrics on the impressions that are reported on."""
    tf.keras.backend.clear_session()
    tf.keras.utils.set_random_seed(config.seed)
    batches = tfrs_npa.training_batches(parts.train, catalog, parts.users, config)
    model = tfrs_npa.NPA(config, catalog, parts.users)
    model.compile(optimizer=tfrs_npa.default_optimizer(config, len(batches) * epochs))
    model.fit(batches, epochs=epochs, verbose=0)
    report = tfrs_npa.impression_batches(parts.report, catalog, parts.users, config)
    metrics = model.evaluate(report, verbose=0, return_dict=True)
    return {name: float(metrics[name]) for name in FIGURES}


def results(args, folder: SearchFolder, parts: Parts, catalog) -> list[dict[str, str]]:
    """Returns a row for each seed and configuration."""
    configs = {
        args.preset: tfrs_npa.NPAConfig.preset(args.preset),
        FOUND: tfrs_npa.NPAConfig.from_yaml(folder.path / "config.yaml"),
    }

    def training(seed, name):
        config = configs[name].replace(seed=seed)
        settings = {"configuration": name, "data": parts.data.name, "epochs": args.epochs}
        return (
            f"{name}, seed {seed}",
            settings | config.to_dict(),
            lambda: train(config, parts, catalog, args.epochs),
        )

    trainings = [training(seed, name) for seed in args.seeds for name in configs]
    return train_each(trainings, folder.path / "retrained.csv", "ndcg_10")


def show(rows: list[dict[str, str]], preset: str) -> None:
    """Prints mean ± standard deviation of the sample, and the order of each seed."""
    names = (preset, FOUND)
    table = [
        [title, *(mean_and_deviation(values(rows, figure, configuration=name)) for name in names)]
        for figure, title in FIGURES.items()
    ]
    headers = ["", f"preset {preset}", "found by the search"]
    print(tabulate(table, headers=headers, disable_numparse=True), end="\n\n")
    for seed in dict.fromkeys(row["seed"] for row in rows):
        before, found = (values(rows, "auc", configuration=n, seed=seed)[0] for n in names)
        answer = "yes" if found > before else "no"
        print(f"seed {seed}: better than preset {preset}: {answer} ({found:.4f}, {before:.4f})")


def options() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--run", required=True, metavar="DIR", help="of the search; gets retrained.csv"
    )
    parser.add_argument("--preset", default="small", help="to compare with (default: small)")
    parser.add_argument(
        "--seeds", type=at_least_one, nargs="+", default=[101, 102, 103], metavar="N"
    )
    parser.add_argument(
        "--epochs", type=at_least_one, metavar="N", help="default: those of the search"
    )
    return parser


def main() -> None:
    parser = options()
    args = parser.parse_args()
    args.seeds = list(dict.fromkeys(args.seeds))
    tf.get_logger().setLevel("ERROR")  # it takes one model after another for needless tracing
    try:
        folder = SearchFolder(args.run)
        if not (folder.path / "config.yaml").exists():
            parser.error(f"{args.run} has no config.yaml yet: the search has not come to its end")
        tfrs_npa.NPAConfig.preset(args.preset)
        args.epochs = args.epochs or folder.settings.epochs
        catalog, parts = read_data(folder.settings, tfrs_npa.Cache(default_cache_dir()))
        rows = results(args, folder, parts, catalog)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(f"{parts.data.name}, split {parts.names['report']}: {len(parts.report):,} impressions")
    print(f"{args.epochs} epochs; mean ± standard deviation of {len(args.seeds)} seeds\n")
    show(rows, args.preset)


if __name__ == "__main__":
    sys.exit(main())
