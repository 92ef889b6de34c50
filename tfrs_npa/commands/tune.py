"""`tfrs-npa tune`."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import pathlib
import sys
from typing import Any

import yaml
from tabulate import tabulate

from tfrs_npa.commands.options import cache_of, require_same, settings_given
from tfrs_npa.evaluation import report
from tfrs_npa.search.folder import SearchFolder
from tfrs_npa.search.processes import CHIEF_GONE, ChiefGone, check_environment
from tfrs_npa.search.search import SearchFailed, search
from tfrs_npa.search.settings import SearchSettings
from tfrs_npa.search.tuner import WORKER, role

_SHOWN = 5


def run(options: argparse.Namespace) -> None:
    """Runs a search in its folder, or goes on with one, and prints what came out."""
    check_environment()
    if role() != WORKER:
        _prepare(options)
    try:
        results = search(
            options.run, cache_of(options), int(sys.stdout.isatty()), options.wait_for_chief
        )
    except KeyboardInterrupt as interrupt:
        hint = f"`tfrs-npa tune --run {options.run} --resume` goes on"
        raise KeyboardInterrupt(hint) from interrupt
    except SearchFailed as failure:
        print(f"tfrs-npa: error: {failure}", file=sys.stderr)
        raise SystemExit(1) from failure
    except ChiefGone as gone:
        print(f"tfrs-npa: error: {gone}", file=sys.stderr)
        raise SystemExit(CHIEF_GONE) from gone
    if results is not None:
        _show(results, pathlib.Path(options.run))


def _prepare(options: argparse.Namespace) -> None:
    """Makes the folder of a search, or makes sure that it is the one to go on with."""
    given = settings_given(options, SearchSettings)
    if options.resume:
        _require_same(options, given)
    else:
        if "data" not in given:
            raise ValueError("--data is missing: what to search on")
        SearchFolder.create(options.run, SearchSettings(**given), options.space, options.overwrite)


def _show(results: dict[str, Any], folder: pathlib.Path) -> None:
    with (folder / "trials.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["val_auc"]]
    rows.sort(key=lambda row: float(row["val_auc"]), reverse=True)
    varied = [
        name
        for name in rows[0]
        if name in results["best"]["hyperparameters"] and len({row[name] for row in rows}) > 1
    ]
    shown = ["trial", "val_auc", "best_epoch", *varied]
    table = [[_short(row[name]) for name in shown] for row in rows[:_SHOWN]]
    print(tabulate(table, headers=shown, disable_numparse=True))
    counts, objective = results["trials"], results["objective"]
    print(f"\n{counts['completed']} trials completed, {counts['failed']} failed")
    print(
        f"Best: trial {results['best']['trial']}, {objective['name']} {objective['value']:.4f} on "
        f"{results['parts']['stopping']}, after epoch {results['best']['epoch']}. On impressions "
        "that the search did not see:\n"
    )
    print(report(results))
    print(f"Search: {folder}")
    print(f"Train with what it found: tfrs-npa train --config {folder / 'config.yaml'}")


def _short(text: str) -> str:
    try:
        return f"{float(text):.4g}"
    except ValueError:
        return text


def _require_same(options: argparse.Namespace, given: dict) -> None:
    """Raises a ValueError if a search is to go on with other options than it was begun with."""
    begun = SearchFolder(options.run)
    had = dataclasses.asdict(begun.settings)
    others = []
    if options.space is not None:
        files = (begun.space_file, pathlib.Path(options.space))
        had_space, space = (yaml.safe_load(file.read_text(encoding="utf-8")) for file in files)
        if space != had_space:
            others.append(f"another space than {options.space}")
    require_same(options.run, had, given, others)
