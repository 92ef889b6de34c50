"""The options of `tfrs-npa predict`."""

from __future__ import annotations

import argparse

from tfrs_npa_cli.options import DATA, add_encoding_memory, add_folders

_PREDICT = """\
Ranks the candidates of every impression with the best model of a run, and writes prediction.txt
and prediction.zip as the MIND leaderboard takes them: in file order, a line for each impression,
its id and the rank of each candidate, from 1 (the best) and without ties.

Articles that the run does not know yet are added; their titles suffice. Where the split is
labelled, the metrics of the scores and of the file are printed; they differ where scores are tied.
"""
_EXAMPLES = """\
examples:
  tfrs-npa predict --run runs/large --to submission
  tfrs-npa predict --run runs/demo --split validation --to predictions
  tfrs-npa evaluate --predictions predictions/prediction.txt --truth my-data/dev/behaviors.tsv
"""


def add(commands) -> None:
    """Adds the command `predict`."""
    predict = commands.add_parser(
        "predict",
        help="write predictions for the MIND leaderboard",
        description=_PREDICT,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    predict.add_argument("--run", required=True, metavar="DIR", help="folder of the run")
    predict.add_argument(
        "--to",
        required=True,
        metavar="FOLDER",
        help="where the two files are written, made if missing; earlier ones are replaced",
    )
    predict.add_argument(
        "--data",
        metavar="NAME|DIR",
        help=f"default: the data the run was trained with; other data: {DATA}",
    )
    add_folders(predict)
    predict.add_argument(
        "--split",
        choices=("validation", "test"),
        help="labelled or not (default: test if there is one, else validation)",
    )
    add_encoding_memory(predict)
