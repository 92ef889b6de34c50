"""Trainings with several settings and seeds: what the scripts share that compare them.

A comparison takes hours on real data. Its rows are kept in a CSV file as they come, and a row that
is there with the same settings is not made again.
"""

from __future__ import annotations

import argparse
import csv
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tfrs_npa._files import atomic_file
from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.data.splits import Parts, read_data
from tfrs_npa.settings import DataSettings

Row = dict[str, str]


def parser(description: str) -> argparse.ArgumentParser:
    """Returns a parser with the options of every comparison: `--data`, `--seeds` and `--output`."""
    options = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--data", default="mind/synthetic", help="mind/small, ..., or a folder")
    options.add_argument(
        "--seeds", type=_seed, nargs="+", default=[1, 2, 3], help="(default: 1 2 3)"
    )
    options.add_argument(
        "--output",
        type=pathlib.Path,
        metavar="CSV",
        help="a row per training; one of the same settings that is there is not trained again (it "
        "cannot know of changes in the code or in the files of a folder)",
    )
    return options


def begin(
    options: argparse.ArgumentParser, column: str
) -> tuple[argparse.Namespace, NewsCatalog, Parts]:
    """Reads the command line and the data; ends the process with a message if one of them is bad.

    Args:
        options: what `parser` returned, with options of the script's own added.
        column: a figure that only this comparison has, see `read_rows`.

    Returns:
        The options, the catalogue, and data of which nothing is held out to stop on.
    """
    args = options.parse_args()
    args.seeds = list(dict.fromkeys(args.seeds))
    try:
        read_rows(args.output, column)
        return args, *read_data(DataSettings(args.data, holdout="none"))
    except (ValueError, OSError) as error:
        options.error(str(error))


def read_rows(path: pathlib.Path | None, column: str) -> list[Row]:
    """Returns the rows of a file, none if there is no file.

    Raises:
        ValueError: if the file has no such column, and so is another comparison's or none.
    """
    if path is None or not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        if column not in (rows.fieldnames or ()):
            raise ValueError(f"{path} holds something else than results; name another file")
        return list(rows)


def train_each(
    trainings: Sequence[tuple[str, Mapping, Callable[[], Mapping[str, float]]]],
    path: pathlib.Path | None,
    column: str,
) -> list[Row]:
    """Trains what a file does not hold yet, and tells on the standard error stream how it goes.

    Args:
        trainings: what each is called, its settings, and what trains it and returns figures,
            `auc` among them.
        path: the file; None: keep nothing.
        column: a figure that only this comparison has, see `read_rows`.

    Returns:
        Settings and figures of the trainings, as text.
    """
    rows, chosen = read_rows(path, column), []
    for number, (title, settings, train) in enumerate(trainings, start=1):
        wanted = {name: str(value) for name, value in settings.items()}
        row = next((row for row in rows if wanted.items() <= row.items()), None)
        known = " (done before)" if row else ""
        print(f"{number} of {len(trainings)}: {title}{known}", file=sys.stderr)
        if row is None:
            row = wanted | {name: str(value) for name, value in train().items()}
            rows.append(row)
            if path is not None:
                _write_rows(path, rows)
        print(f"  AUC {float(row['auc']):.4f}", file=sys.stderr)
        chosen.append(row)
    return chosen


def values(rows: Sequence[Row], figure: str, **settings: str) -> np.ndarray:
    """Returns a figure of the rows that have these settings, `[rows]`."""
    chosen = [row for row in rows if settings.items() <= row.items()]
    return np.array([float(row[figure]) for row in chosen])


def mean_and_deviation(numbers: np.ndarray, digits: int = 4) -> str:
    """Formats a mean and, of more than one number, the standard deviation of the sample."""
    deviation = f" ± {numbers.std(ddof=1):,.{digits}f}" if len(numbers) > 1 else ""
    return f"{numbers.mean():,.{digits}f}{deviation}"


def at_least_one(text: str) -> int:
    """Returns the number, for `add_argument(type=...)`."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return int(text)


def _seed(text: str) -> int:
    if int(text) < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return int(text)


def _write_rows(path: pathlib.Path, rows: Sequence[Row]) -> None:
    names = dict.fromkeys(name for row in rows for name in row)
    with atomic_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
