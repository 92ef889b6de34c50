"""`tfrs-npa tune`."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import pathlib
import sys
from typing import Any

from tfrs_npa._yaml import read_yaml
from tfrs_npa.cli.messages import import_tensorflow
from tfrs_npa.cli.options import (
    DATA,
    add_article_vectors,
    add_data,
    add_result_folder,
    add_tokenizer,
    add_user_buckets,
    add_word_vectors,
    cache_of,
    require_inputs,
    require_same,
    require_vectors,
    settings_given,
    tokenizer_of,
)
from tfrs_npa.config import NPAConfig
from tfrs_npa.runs.processes import GONE
from tfrs_npa.search.cluster import WORKER, ChiefGone, check_environment, role
from tfrs_npa.search.folder import SearchFolder
from tfrs_npa.search.space import SearchSpace
from tfrs_npa.search.supervisor import supervise
from tfrs_npa.settings import CHIEF_TIMEOUT, DEFAULT_TRIALS, TUNERS, SearchSettings

SUMMARY = "search hyper-parameters"
DESCRIPTION = f"""\
Searches hyper-parameters with KerasTuner: trains a model for each of many configurations, and
compares them by the AUC on impressions that they were not trained on (val_auc).

The data is {DATA}.
If the test split is labelled, val_auc is measured on the validation split and the winner is
reported on the test split; else val_auc is measured on the last day of training, which is then not
trained on, and the winner is reported on the validation split. No trial sees the impressions that
are reported on.

The folder of the search gets config.yaml (the best configuration, for `tfrs-npa train --config`),
results.json (the best model on impressions that no trial saw), trials.csv (a row for each trial),
baselines.json (scores that need no training, on the impressions that trials are compared on),
objective.png and hyperparameters.png, tensorboard/ with the tab HParams, and trials/, which is
KerasTuner's. A search that was interrupted, in whatever way, is resumed with --resume.
"""
EPILOG = """\
examples:
  tfrs-npa tune --data mind/synthetic --epochs 5 --run runs/search
  tfrs-npa tune --data mind/small --space space.yaml --tuner bayesian --max-trials 30 --run runs/b
  tfrs-npa tune --run runs/b --resume
  tfrs-npa train --data mind/small --config runs/b/config.yaml --run runs/best

exit codes:
  0 success, 1 no trial was completed, 2 bad input, 130 interrupted, 143 terminated
  of a worker also 69: there is no chief; and the code it died with, if it died repeatedly
"""

_SHOWN_TRIALS = 5


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command."""
    add_result_folder(parser.add_argument_group("the search"), "search")
    data = parser.add_argument_group("data")
    add_data(data, f"{DATA} (required to start a search)")
    data.add_argument(
        "--holdout",
        choices=SearchSettings.HOLDOUTS,
        help="what val_auc is measured on: the last day of training; default: auto, see above",
    )
    add_word_vectors(data)
    add_article_vectors(data)
    add_tokenizer(data)
    add_user_buckets(data)
    trials = parser.add_argument_group("trials")
    trials.add_argument(
        "--space",
        metavar="FILE",
        help="YAML with the search space; default: the default space of tfrs_npa.SearchSpace",
    )
    trials.add_argument(
        "--tuner",
        choices=TUNERS,
        help="how trials are chosen: few epochs for many and more for the best, at random, by a "
        f"Gaussian process, or all combinations (default: {SearchSettings.tuner})",
    )
    trials.add_argument(
        "--max-trials",
        type=int,
        metavar="N",
        help=f"most trials (default: {DEFAULT_TRIALS}; with hyperband and grid as many as there "
        "are)",
    )
    trials.add_argument(
        "--epochs",
        type=int,
        metavar="N",
        help=f"epochs of a trial; with hyperband the most (default: {SearchSettings.epochs})",
    )
    trials.add_argument(
        "--seed",
        type=int,
        metavar="N",
        help="seed of the choice of trials; the seed of the trainings is in the space (default: "
        f"{SearchSettings.seed})",
    )
    cluster = parser.add_argument_group(
        "many machines",
        "As in KerasTuner: the same command everywhere, on one shared folder, with "
        "KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT saying where the chief listens, and "
        "KERASTUNER_TUNER_ID chief, or another name for each worker. A worker that was killed is "
        "restarted.",
    )
    cluster.add_argument(
        "--wait-for-chief",
        type=float,
        default=CHIEF_TIMEOUT,
        metavar="SECONDS",
        help=f"how long a worker waits for its chief to start (default: {CHIEF_TIMEOUT:g})",
    )


def run(options: argparse.Namespace) -> int:
    """Starts or resumes a search in its folder, and prints the results; returns the exit code."""
    require_inputs(options)
    code = supervise(options.run)
    if code is not None:
        return code
    check_environment()
    if role() != WORKER:
        _prepare_folder(options)
    import_tensorflow()
    from tfrs_npa.search.search import SearchFailed, search

    try:
        results = search(options.run, cache_of(options), options.wait_for_chief)
    except KeyboardInterrupt as interrupt:
        hint = f"`tfrs-npa tune --run {options.run} --resume` resumes the search"
        raise type(interrupt)(hint) from interrupt
    except SearchFailed as failure:
        print(f"tfrs-npa: error: {failure}", file=sys.stderr)
        return 1
    except ChiefGone as gone:
        print(f"tfrs-npa: error: {gone}", file=sys.stderr)
        return GONE
    if results is not None:
        _print(results, pathlib.Path(options.run))
    return 0


def _prepare_folder(options: argparse.Namespace) -> None:
    """Creates the folder of a search, or makes sure that it is the one to resume."""
    given = settings_given(options, SearchSettings)
    if options.resume:
        _require_same(options, given)
    else:
        if "data" not in given:
            raise ValueError("--data is missing: give the data to train and compare models on")
        base = NPAConfig() if options.space is None else SearchSpace.from_yaml(options.space).base
        settings = SearchSettings(**{"tokenizer": tokenizer_of(base), **given})
        require_vectors(settings)
        SearchFolder.create(options.run, settings, options.space, options.overwrite)


def _print(results: dict[str, Any], folder: pathlib.Path) -> None:
    from tabulate import tabulate

    from tfrs_npa.metrics.table import ROWS, evaluation_table

    with (folder / "trials.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["val_auc"]]
    rows.sort(key=lambda row: float(row["val_auc"]), reverse=True)
    varied = [
        name
        for name in rows[0]
        if name in results["best"]["hyperparameters"] and len({row[name] for row in rows}) > 1
    ]
    shown = ["trial", "val_auc", "best_epoch", *varied]
    table = [[_short(row[name]) for name in shown] for row in rows[:_SHOWN_TRIALS]]
    print(tabulate(table, headers=shown, disable_numparse=True))
    counts, objective = results["trials"], results["objective"]
    print(f"\nTrials: {counts['completed']} completed, {counts['failed']} failed")
    print(
        f"Best: trial {results['best']['trial']}, {objective['name']} {objective['value']:.4f} on "
        f"{results['parts']['stopping']}, after epoch {results['best']['epoch']}"
    )
    if (baseline := objective["baseline"]) is not None:
        print(f"Best baseline there: {ROWS[baseline['name']]}, {baseline['value']:.4f}")
    print("\nOn impressions that the search did not see:\n")
    print(evaluation_table(results))
    print(f"Search: {folder}")
    print(f"Train with the best configuration: tfrs-npa train --config {folder / 'config.yaml'}")


def _short(text: str) -> str:
    try:
        return f"{float(text):.4g}"
    except ValueError:
        return text


def _require_same(options: argparse.Namespace, given: dict[str, Any]) -> None:
    """Raises a ValueError if a search is resumed with other options than it was started with."""
    folder = SearchFolder(options.run)
    others = []
    if options.space is not None:
        files = (folder.space_file, pathlib.Path(options.space))
        had_space, space = map(read_yaml, files)
        if space != had_space:
            others.append(f"another space than {options.space}")
    require_same(options.run, dataclasses.asdict(folder.settings), given, others)
