"""The options of `tfrs-npa tune`."""

from __future__ import annotations

import argparse

from tfrs_npa_cli.options import DATA, add_folders

_TUNE = f"""\
Searches hyper-parameters with KerasTuner: trains a model for each of many configurations, by the
AUC that they reach on impressions that they were not trained on (val_auc).

The data is {DATA}.
Where the split test is labelled, val_auc is of the split validation and the winner is reported on
test; elsewhere val_auc is of the last day of training, which is then not trained on, and the winner
is reported on validation. No trial sees what is reported on.

The folder of the search gets config.yaml (the best configuration, for `tfrs-npa train --config`),
results.json (the best model on impressions that no trial saw), trials.csv (a row for each trial),
objective.png and hyperparameters.png, tensorboard/ with the tab HParams, and trials/, which is
KerasTuner's. A search that was cut off, in whatever way, goes on with --resume.
"""
_TUNE_EPILOG = """\
examples:
  tfrs-npa tune --data mind/synthetic --epochs 5 --run runs/search
  tfrs-npa tune --data mind/small --space space.yaml --tuner bayesian --max-trials 30 --run runs/b
  tfrs-npa tune --run runs/b --resume
  tfrs-npa train --data mind/small --config runs/b/config.yaml --run runs/best

exit codes:
  0 done, 1 no trial was completed, 2 something about the input is wrong, 130 interrupted
  of a worker also 69: there is no chief; and what it died of, if it died again and again
"""


def add(commands) -> None:
    """Adds the command `tune`."""
    tune = commands.add_parser(
        "tune",
        help="search hyper-parameters",
        description=_TUNE,
        epilog=_TUNE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run = tune.add_argument_group("the search")
    run.add_argument("--run", required=True, metavar="DIR", help="folder of the search")
    existing = run.add_mutually_exclusive_group()
    existing.add_argument("--overwrite", action="store_true", help="replace a search that is there")
    existing.add_argument(
        "--resume",
        action="store_true",
        help="go on with a search that was cut off; all else is as the search has it",
    )
    data = tune.add_argument_group("data")
    data.add_argument("--data", metavar="NAME|DIR", help=f"{DATA} (required to begin a search)")
    add_folders(data)
    data.add_argument(
        "--holdout",
        choices=("auto", "last-day"),
        help="what val_auc is measured on: the last day of training; default: auto, see above",
    )
    data.add_argument(
        "--word-vectors", metavar="FILE", help="pretrained vectors: GloVe or word2vec text, .npy"
    )
    data.add_argument("--word-list", metavar="FILE", help="words of an .npy file, one a line")
    trials = tune.add_argument_group("trials")
    trials.add_argument(
        "--space",
        metavar="FILE",
        help="YAML with what is searched; default: all that tfrs_npa.SearchSpace has",
    )
    trials.add_argument(
        "--tuner",
        choices=("hyperband", "random", "bayesian", "grid"),
        help="how trials are chosen: few epochs for many and more for the best, at random, by a "
        "Gaussian process, or all combinations (default: hyperband)",
    )
    trials.add_argument(
        "--max-trials",
        type=int,
        metavar="N",
        help="most trials (default: 20; with hyperband and grid as many as there are)",
    )
    trials.add_argument(
        "--epochs",
        type=int,
        metavar="N",
        help="epochs of a trial; with hyperband the most (default: 10)",
    )
    trials.add_argument(
        "--seed",
        type=int,
        metavar="N",
        help="seed of the choice of trials; the space has that of the trainings (default: 42)",
    )
    many = tune.add_argument_group(
        "many machines",
        "As KerasTuner has it: the same command everywhere, on one folder that all share, with "
        "KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT saying where the chief listens, and "
        "KERASTUNER_TUNER_ID chief, or another name for each worker. A worker that was killed is "
        "started again.",
    )
    many.add_argument(
        "--wait-for-chief",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="how long a worker waits for its chief to come up (default: 300)",
    )
