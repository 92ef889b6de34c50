"""The command `tfrs-npa`: what it can be given.

It is a package of its own because importing anything of `tfrs_npa` imports TensorFlow, which takes
seconds: too long to wait for `--help`, and too late to choose how much TensorFlow logs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib import metadata

_DATA = "mind/synthetic, mind/demo, mind/small, mind/large, or a folder in MIND's format"

_TRAIN = f"""\
Trains NPA and measures it on impressions that the training never looked at.

The data is {_DATA}:
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
_EVALUATE = """\
Measures the best model of a run again: by default on the data it was trained with, on the split
that `train` reports on. Articles that the run does not know yet are added; their titles suffice.
"""


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    main_parser = argparse.ArgumentParser(
        prog="tfrs-npa",
        description="NPA (Neural News Recommendation with Personalized Attention).",
        epilog="Exit codes: 0 done, 2 something about the input is wrong, 130 interrupted.",
    )
    main_parser.add_argument("--version", action="version", version=f"tfrs-npa {_version()}")
    commands = main_parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_train(commands)
    _add_evaluate(commands)
    return main_parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: the command line without the program's name; None: that of the process.

    Returns:
        The exit code: 0 for success, 2 for input that is not as it should be, 130 for Ctrl-C.
    """
    options = parser().parse_args(arguments)
    try:
        with _quiet_tensorflow():
            from tfrs_npa import cli
        return cli.run(options)
    except KeyboardInterrupt:
        print("tfrs-npa: interrupted", file=sys.stderr)
        return 130


@contextlib.contextmanager
def _quiet_tensorflow() -> Iterator[None]:
    """Keeps to itself what TensorFlow says on import, unless the user chose what it logs."""
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        yield
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    # Some of it is written before TensorFlow has looked at the variable, and not through Python.
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        except BaseException:
            said.seek(0)
            os.write(stderr, said.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def _add_train(commands) -> None:
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
    data.add_argument("--data", metavar="NAME|DIR", help=f"{_DATA} (required to begin a run)")
    _add_folders(data)
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


def _add_evaluate(commands) -> None:
    evaluate = commands.add_parser(
        "evaluate",
        help="measure a trained model",
        description=_EVALUATE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    evaluate.add_argument("--run", required=True, metavar="DIR", help="folder of the run")
    evaluate.add_argument("--data", metavar="NAME|DIR", help=f"other data: {_DATA}")
    _add_folders(evaluate)
    evaluate.add_argument(
        "--split",
        choices=("train", "validation", "test"),
        help="default: test where it is labelled, else validation",
    )
    evaluate.add_argument("--json", metavar="FILE", help="write the figures here too")
    evaluate.add_argument(
        "--encoding-memory",
        type=float,
        metavar="GB",
        help="memory for encoded titles; articles that need more are encoded batch by batch, "
        "which is slower and gives the same figures (default: 3)",
    )


def _add_folders(group) -> None:
    group.add_argument(
        "--data-dir", metavar="DIR", help="where TensorFlow Datasets keeps prepared data"
    )
    group.add_argument("--manual-dir", metavar="DIR", help="where zips fetched by hand lie")
    cache = group.add_mutually_exclusive_group()
    cache.add_argument(
        "--cache-dir",
        metavar="DIR",
        help="where preprocessed data is kept for the next time, 10 GB at most "
        "(default: tfrs-npa in $XDG_CACHE_HOME or ~/.cache)",
    )
    cache.add_argument("--no-cache", action="store_true", help="keep no preprocessed data")


def _version() -> str:
    try:
        return metadata.version("tfrs-npa")
    except metadata.PackageNotFoundError:  # a checkout that is on the path
        return "(not installed)"
