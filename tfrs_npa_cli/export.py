"""The options of `tfrs-npa export`."""

from __future__ import annotations

import argparse

from tfrs_npa_cli.options import DATA, add_folders

_EXPORT = """\
Writes the best model of a run as a SavedModel that TensorFlow Serving loads, with its articles'
titles encoded. Every export is a version of its own: a folder with a number for its name.

Signatures (strings in, strings out, lists padded with ""):
  score            user_id, history, candidates       -> scores (serving_default)
  score_titles     user_id, history, titles           -> scores
  recommend        user_id, history, k, exclusions    -> news_id, scores
  encode           user_id, history                   -> user_vectors
  encode_articles  user_id, candidates                -> article_vectors
  explain          user_id, history, candidates       -> scores, weights of words and of clicks
"""
_EXAMPLES = """\
examples:
  tfrs-npa export --run runs/demo --to exports/npa
  tfrs-npa export --run runs/demo --to exports/npa --version 20260101 --dtype bfloat16
  tfrs-npa export --run runs/demo --to exports/npa --data todays-news
"""


def add(commands) -> None:
    """Adds the command `export`."""
    export = commands.add_parser(
        "export",
        help="write a SavedModel for TensorFlow Serving",
        description=_EXPORT,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    export.add_argument("--run", required=True, metavar="DIR", help="folder of the run")
    export.add_argument(
        "--to", required=True, metavar="FOLDER", help="folder of the versions, made if missing"
    )
    export.add_argument(
        "--version", type=int, metavar="N", help="default: the next number that is free"
    )
    export.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="of the encoded titles; bfloat16 takes half the space, and scores differ a little "
        "(default: float32)",
    )
    export.add_argument(
        "--data", metavar="NAME|DIR", help=f"add the articles of all its splits: {DATA}"
    )
    add_folders(export)
