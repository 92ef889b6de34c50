"""The options of `tfrs-npa train`."""

from __future__ import annotations

import argparse

from tfrs_npa_cli.options import DATA, add_folders

_TRAIN = f"""\
Trains NPA and measures it on impressions that the training never looked at.

The data is {DATA}:
train/, valid/ or dev/, and possibly test/, each with news.tsv and behaviors.tsv. The zips of
demo, small and large are downloaded, or taken from --manual-dir without any network.

Figures are reported on the test split where it is labelled, else on the validation split. Early
stopping looks at the validation split in the first case, and in the second at the last day of
training, which is then not trained on (--holdout).
"""
_TRAIN_EXAMPLES = """\
examples:
  tfrs-npa train --data mind/synthetic --preset small --run runs/demo
  tfrs-npa train --data my-data --config npa.yaml --set dropout=0.1 --set seed=7 --run runs/mine
  tfrs-npa train --run runs/mine --resume
"""


def add(commands) -> None:
    """Adds the command `train`."""
    train = commands.add_parser(
        "train",
        help="train a model and measure it",
        description=_TRAIN,
        epilog=_TRAIN_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run = train.add_argument_group("the run")
    run.add_argument("--run", required=True, metavar="DIR", help="folder of the run")
    existing = run.add_mutually_exclusive_group()
    existing.add_argument("--overwrite", action="store_true", help="replace a run that is there")
    existing.add_argument(
        "--resume",
        action="store_true",
        help="go on with a run that was cut off; all else is as the run has it",
    )
    data = train.add_argument_group("data")
    data.add_argument("--data", metavar="NAME|DIR", help=f"{DATA} (required to begin a run)")
    add_folders(data)
    data.add_argument(
        "--holdout",
        choices=("auto", "last-day", "none"),
        help="what early stopping looks at: the last day of training, or nothing (train for all "
        "--epochs); default: auto, see above",
    )
    model = train.add_argument_group("hyper-parameters")
    start = model.add_mutually_exclusive_group()
    start.add_argument("--preset", metavar="NAME", help="small, recommenders or paper")
    start.add_argument(
        "--config", metavar="FILE", help="YAML with our names, or Recommenders' npa.yaml"
    )
    model.add_argument("--seed", type=int, metavar="N", help="seed of weights and batches")
    model.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="one hyper-parameter, applied last; can be repeated",
    )
    model.add_argument(
        "--word-vectors", metavar="FILE", help="pretrained vectors: GloVe or word2vec text, .npy"
    )
    model.add_argument("--word-list", metavar="FILE", help="words of an .npy file, one a line")
    course = train.add_argument_group("course")
    course.add_argument("--epochs", type=int, metavar="N", help="most epochs (default: 10)")
    course.add_argument(
        "--patience",
        type=int,
        metavar="N",
        help="stop after this many epochs without a better AUC (default: 2)",
    )
