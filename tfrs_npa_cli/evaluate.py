"""The options of `tfrs-npa evaluate`."""

from __future__ import annotations

import argparse

from tfrs_npa_cli.options import DATA, add_encoding_memory, add_folders

_EVALUATE = """\
Measures the best model of a run again: by default on the data it was trained with, on the split
that `train` reports on. Articles that the run does not know yet are added; their titles suffice.

Or measures a file of predictions, by this or any other model, as the MIND leaderboard does.
"""
_EXAMPLES = """\
examples:
  tfrs-npa evaluate --run runs/demo
  tfrs-npa evaluate --run runs/demo --data my-data --split validation --json figures.json
  tfrs-npa evaluate --predictions prediction.txt --truth my-data/dev/behaviors.tsv
"""


def add(commands) -> None:
    """Adds the command `evaluate`."""
    evaluate = commands.add_parser(
        "evaluate",
        help="measure a trained model, or predictions",
        description=_EVALUATE,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    measured = evaluate.add_mutually_exclusive_group(required=True)
    measured.add_argument("--run", metavar="DIR", help="folder of the run")
    measured.add_argument(
        "--predictions", metavar="FILE", help="prediction.txt, as `tfrs-npa predict` writes it"
    )
    evaluate.add_argument(
        "--truth", metavar="FILE", help="with --predictions: the labelled behaviors.tsv"
    )
    evaluate.add_argument("--json", metavar="FILE", help="write the figures here too")
    run = evaluate.add_argument_group("of a run")
    run.add_argument("--data", metavar="NAME|DIR", help=f"other data: {DATA}")
    add_folders(run)
    run.add_argument(
        "--split",
        choices=("train", "validation", "test"),
        help="default: test where it is labelled, else validation",
    )
    add_encoding_memory(run)
