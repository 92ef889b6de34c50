"""`tfrs-npa explain`."""

from __future__ import annotations

import argparse
import json
import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tfrs_npa._files import atomic_file, require_replaceable
from tfrs_npa.cli.messages import import_tensorflow
from tfrs_npa.cli.options import DATA, add_data, cache_of, data_of, require_inputs
from tfrs_npa.runs.run import Run
from tfrs_npa.settings import DEFAULT_K

if TYPE_CHECKING:
    from tfrs_npa.data.loading import MindData
    from tfrs_npa.explaining.report import Report
    from tfrs_npa.models.npa import NPA

SUMMARY = "show why readers are shown what they are shown"
DESCRIPTION = """\
Writes a page about readers: their clicks with the weights that the model gives them, their best
articles with the words that count for them, each score as a sum over clicks, and what would change
without a click. Several readers are compared on the same articles.

The clicks of a reader are taken from --history, or else from the data: the history of the latest
impression that they have there.
"""
EPILOG = """\
examples:
  tfrs-npa explain --run runs/demo --user U13 --user U42 --to report.html
  tfrs-npa explain --run runs/demo --user U13 --news N7 N42 --to report.png
  tfrs-npa explain --export exports/npa --user U13 --history N7,N42 --to report.json
"""
FORMATS = ("html", "json", "png")
# Readers that are shown if none are named: so many, with so many clicks.
_READERS, _CLICKS = 2, 10


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command."""
    subject = parser.add_mutually_exclusive_group(required=True)
    subject.add_argument("--run", metavar="DIR", help="folder of the run")
    subject.add_argument(
        "--export", metavar="DIR", help="folder of an export, or of one of its versions"
    )
    parser.add_argument(
        "--user",
        action="append",
        default=[],
        metavar="ID",
        help=f"a reader; can be given several times (default: {_READERS} that training knew, with "
        f"at least {_CLICKS} clicks)",
    )
    parser.add_argument(
        "--history",
        action="append",
        metavar="ID,ID,...",
        help="ids of the articles clicked so far, oldest first: once for each --user, or once "
        "without any, for an anonymous reader",
    )
    parser.add_argument(
        "--news",
        nargs="+",
        dest="compared",
        default=[],
        metavar="ID",
        help="articles to compare the readers on (default: the best of each)",
    )
    parser.add_argument(
        "--k",
        type=int,
        default=DEFAULT_K,
        metavar="N",
        help=f"how many of the best articles of each reader (default: {DEFAULT_K})",
    )
    parser.add_argument("--to", required=True, metavar="FILE", help="the file to write")
    parser.add_argument(
        "--format", choices=FORMATS, help="default: as --to ends, html if it ends otherwise"
    )
    add_data(parser, f"default: the data the run was trained on; other data: {DATA}", "--articles")


def run(options: argparse.Namespace) -> None:
    """Writes the report, and prints where it is."""
    if options.k < 1:
        raise ValueError(f"--k is {options.k}; it has to be at least 1")
    if options.history is not None and options.user and len(options.history) != len(options.user):
        raise ValueError(
            f"there are {len(options.history)} --history for {len(options.user)} --user: give one "
            "for each, in the same order, or none"
        )
    if options.export is not None and options.history is None:
        if not options.user:
            raise ValueError("--export needs readers: give --user, --history or both")
        if options.data is None:
            raise ValueError("--export needs --data, or a --history for each --user")
    if options.history is not None and not options.user and len(options.history) > 1:
        raise ValueError("several --history need a --user each")
    if len(set(options.user)) < len(options.user):
        raise ValueError("a --user is given twice")
    require_inputs(options)
    require_replaceable(options.to)
    trained = None if options.run is None else Run(options.run)
    import_tensorflow()
    from tfrs_npa.explaining.explainer import Explainer
    from tfrs_npa.explaining.report import explain_readers

    data: MindData | None = None
    if options.data is not None or options.history is None:
        data = data_of(options, trained, cache_of(options))
    if trained is None:
        explainer, source = Explainer.of_export(options.export), options.export
        histories = _histories(options, data, options.user)
    else:
        model, source = trained.load_model(), options.run
        if data is not None and options.data is not None:
            for split in data.splits:
                model.add_articles(data.titles(split))
        explainer = Explainer.of_model(model)
        users = options.user
        if not users and data is not None and options.history is None:
            users = _some_readers(data, model)
        histories = _histories(options, data, users)
    report = explain_readers(
        explainer,
        histories,
        pathlib.Path(source).name,
        options.k,
        options.compared,
        None if data is None else _categories(data),
    )
    _write(report, options)
    print(f"{_summary(report)}\n{os.path.abspath(options.to)}")


def _some_readers(data: MindData, model: NPA) -> list[str]:
    """Returns readers to show if none are named."""
    from tfrs_npa.data.users import UNKNOWN_USER

    readers = data.readers(data.report_split, _CLICKS)
    known = [user for user in readers if model.users.index(user) != UNKNOWN_USER]
    if not known:
        raise ValueError(
            f"{data.name} has no reader with {_CLICKS} clicks that training knew: give --user"
        )
    return known[:_READERS]


def _histories(
    options: argparse.Namespace, data: MindData | None, users: Sequence[str]
) -> dict[str, list[str]]:
    """Returns the history of each reader by id."""
    if data is None or options.history is not None:
        texts = options.history or []
        given = [[part.strip() for part in text.split(",") if part.strip()] for text in texts]
        return dict(zip(users or [""], given))
    found = data.latest_histories(users)
    missing = [user for user in users if user not in found]
    if missing:
        raise ValueError(
            f"{data.name} has no impression of {missing[0]}: give their clicks with --history"
        )
    return {user: found[user] for user in users}


def _categories(data: MindData) -> dict[str, str]:
    return {news_id: category for news_id, (category, _) in data.topics().items()}


def _write(report: Report, options: argparse.Namespace) -> None:
    suffix = pathlib.Path(options.to).suffix.lstrip(".").lower()
    format_ = options.format or (suffix if suffix in FORMATS else FORMATS[0])
    with atomic_file(options.to) as temporary:
        if format_ == "png":
            from tfrs_npa.explaining.picture import draw

            draw(report, temporary)
        elif format_ == "json":
            text = json.dumps(report.to_dict(), indent=2, ensure_ascii=False) + "\n"
            temporary.write_text(text, encoding="utf-8")
        else:
            from tfrs_npa.explaining.page import page

            temporary.write_text(page(report), encoding="utf-8")


def _summary(report: Report) -> str:
    names = [reader.user_id or "an anonymous reader" for reader in report.readers]
    return f"Explained {', '.join(names)} among {report.num_articles:,} articles:"
