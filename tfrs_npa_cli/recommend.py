"""The options of `tfrs-npa recommend`."""

from __future__ import annotations

import argparse

from tfrs_npa_cli.options import DATA, add_folders

_RECOMMEND = """\
Prints the articles that the best model of a run ranks highest for a user, among all articles of
the run and, with --data, those of all splits of that data.

What the user clicked so far is taken from --history, or else from the data: the history of the
latest impression that the user has there. Users whom the run was not trained on are welcome, and
so is a visitor with a --history and no name.
"""
_EXAMPLES = """\
examples:
  tfrs-npa recommend --run runs/demo --user U13
  tfrs-npa recommend --run runs/demo --user U13 --history N7,N42 --k 5 --include-clicked
  tfrs-npa recommend --run runs/demo --history N7 --data todays-news --json
"""


def add(commands) -> None:
    """Adds the command `recommend`."""
    recommend = commands.add_parser(
        "recommend",
        help="print the best articles for a user",
        description=_RECOMMEND,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    recommend.add_argument("--run", required=True, metavar="DIR", help="folder of the run")
    recommend.add_argument("--user", metavar="ID", help="may be left out if there is a --history")
    recommend.add_argument(
        "--history", metavar="ID,ID,...", help="ids of the articles clicked so far, oldest first"
    )
    recommend.add_argument(
        "--k", type=int, default=10, metavar="N", help="how many articles (default: 10)"
    )
    recommend.add_argument(
        "--include-clicked",
        action="store_true",
        help="recommend articles of the history too (default: leave them out)",
    )
    recommend.add_argument(
        "--json", action="store_true", help="print JSON for machines in place of the table"
    )
    recommend.add_argument(
        "--data",
        metavar="NAME|DIR",
        help=f"default: the data the run was trained with; other data: {DATA}",
    )
    add_folders(recommend)
