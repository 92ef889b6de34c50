"""Trains the winner of a search, and a preset, with fresh seeds, and compares them.

A search picks the best of many noisy metrics, so the metric of its winner is too good. Here the
winner's configuration and the preset train from scratch, with seeds that the search did not use,
for the same number of epochs, on the data of the search. The printed metrics are of impressions
that neither a trial nor these trainings saw.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

import tfrs_npa
from tfrs_npa.cli.messages import error_message, import_tensorflow
from tfrs_npa.cli.scripts import at_least_one
from tfrs_npa.runs.repeated import Row, means_table, train_and_evaluate, train_each, values
from tfrs_npa.search.folder import SearchFolder

if TYPE_CHECKING:
    from tfrs_npa.data.splits import Splits

METRICS = ("auc", "auc_known_users", "auc_new_users", "mrr", "ndcg_5", "ndcg_10")
FOUND = "found"


def results(args, folder: SearchFolder, catalog: tfrs_npa.NewsCatalog, splits: Splits) -> list[Row]:
    """Returns a row for each seed and configuration."""
    configs = {
        args.preset: tfrs_npa.NPAConfig.preset(args.preset),
        FOUND: tfrs_npa.NPAConfig.from_yaml(folder.path / "config.yaml"),
    }

    def training(seed, name):
        config = configs[name].replace(seed=seed)
        settings = {"configuration": name, "data": splits.data.name, "epochs": args.epochs}

        def run():
            metrics = train_and_evaluate(config, catalog, splits, epochs=args.epochs)
            return {metric: metrics[metric] for metric in METRICS}

        return f"{name}, seed {seed}", settings | config.to_dict(), run

    trainings = [training(seed, name) for seed in args.seeds for name in configs]
    return train_each(trainings, folder.path / "retrained.csv", "ndcg_10")


def show(rows: list[Row], preset: str) -> None:
    """Prints mean ± standard deviation of the sample, and the order of each seed."""
    names = {preset: f"preset {preset}", FOUND: "found by the search"}
    print(means_table(rows, "configuration", names, METRICS), end="\n\n")
    for seed in dict.fromkeys(row["seed"] for row in rows):
        before, found = (values(rows, "auc", configuration=name, seed=seed)[0] for name in names)
        answer = "yes" if found > before else "no"
        print(f"seed {seed}: better than preset {preset}: {answer} ({found:.4f}, {before:.4f})")


def option_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--run", required=True, metavar="DIR", help="folder of the search; gets retrained.csv"
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
    parser = option_parser()
    args = parser.parse_args()
    args.seeds = list(dict.fromkeys(args.seeds))
    try:
        folder = SearchFolder(args.run)
        if not (folder.path / "config.yaml").exists():
            parser.error(f"{args.run} has no config.yaml yet: the search has not ended")
        tfrs_npa.NPAConfig.preset(args.preset)
        args.epochs = args.epochs or folder.settings.epochs
        import_tensorflow()
        from tfrs_npa.data.cache import default_cache_dir
        from tfrs_npa.data.splits import load_splits

        catalog, splits = load_splits(folder.settings, tfrs_npa.Cache(default_cache_dir()))
        rows = results(args, folder, catalog, splits)
    except (ValueError, OSError) as error:
        parser.error(error_message(error))
    print(f"{splits.data.name}, split {splits.names['report']}: {len(splits.test):,} impressions")
    epochs = "1 epoch" if args.epochs == 1 else f"{args.epochs} epochs"
    print(f"{epochs}; mean ± standard deviation of {len(args.seeds)} seeds\n")
    show(rows, args.preset)


if __name__ == "__main__":
    sys.exit(main())
