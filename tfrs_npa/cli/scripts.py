"""The command line of scripts that compare trainings, such as `examples/ablation.py`.

`tfrs_npa.runs.repeated` is what they do.
"""

from __future__ import annotations

import argparse
import pathlib
from typing import TYPE_CHECKING

from tfrs_npa.cli.messages import error_message, import_tensorflow
from tfrs_npa.runs.repeated import read_rows
from tfrs_npa.settings import DataSettings

if TYPE_CHECKING:
    from tfrs_npa.data.catalog import NewsCatalog
    from tfrs_npa.data.splits import Splits


def comparison_parser(description: str) -> argparse.ArgumentParser:
    """Returns a parser with the options of every comparison: `--data`, `--seeds` and `--output`."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="mind/synthetic", help="mind/small, ..., or a folder")
    parser.add_argument(
        "--seeds", type=non_negative, nargs="+", default=[1, 2, 3], help="(default: 1 2 3)"
    )
    parser.add_argument(
        "--output",
        type=pathlib.Path,
        metavar="CSV",
        help="store a row per training; a training whose settings are already in the file is "
        "skipped (changes in the code or in the files of a folder go unnoticed)",
    )
    return parser


def begin(
    parser: argparse.ArgumentParser, column: str
) -> tuple[argparse.Namespace, NewsCatalog, Splits]:
    """Reads the command line and the data; exits with a message if one of them is bad.

    Args:
        parser: The result of `comparison_parser`, with the script's own options added.
        column: A column that only the files of this comparison have, see `read_rows`.

    Returns:
        The options, the catalogue, and the data, with no validation impressions.
    """
    options = parser.parse_args()
    options.seeds = list(dict.fromkeys(options.seeds))
    try:
        read_rows(options.output, column)
        settings = DataSettings(options.data, holdout="none")
        import_tensorflow()
        from tfrs_npa.data.splits import load_splits

        return options, *load_splits(settings)
    except (ValueError, OSError) as error:
        parser.error(error_message(error))


def at_least_one(text: str) -> int:
    """Returns the integer, for `add_argument(type=...)`."""
    return _at_least(1, text)


def non_negative(text: str) -> int:
    """Returns the integer, for `add_argument(type=...)`."""
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    if int(text) < least:
        raise argparse.ArgumentTypeError(f"{text} is below {least}")
    return int(text)
