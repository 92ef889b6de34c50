"""The options of `tfrs-npa evaluate`."""

from __future__ import annotations

import argparse

from tfrs_npa_cli.options import DATA, add_folders

_EVALUATE = """\
Measures the best model of a run again: by default on the data it was trained with, on the split
that `train` reports on. Articles that the run does not know yet are added; their titles suffice.
"""


def add(commands) -> None:
    """Adds the command `evaluate`."""
    evaluate = commands.add_parser(
        "evaluate",
        help="measure a trained model",
        description=_EVALUATE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    evaluate.add_argument("--run", required=True, metavar="DIR", help="folder of the run")
    evaluate.add_argument("--data", metavar="NAME|DIR", help=f"other data: {DATA}")
    add_folders(evaluate)
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
