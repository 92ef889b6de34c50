"""`tfrs-npa evaluate`."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from tfrs_npa._files import atomic_file, require_replaceable
from tfrs_npa.cli.messages import import_tensorflow
from tfrs_npa.cli.options import (
    DATA,
    add_data,
    add_encoding_memory,
    cache_of,
    data_of,
    model_of,
)
from tfrs_npa.runs.run import Run
from tfrs_npa.settings import SPLITS

SUMMARY = "evaluate a trained model, or predictions"
DESCRIPTION = """\
Evaluates the best model of a run again: by default on the data it was trained on, on the split
that `train` reports on. Articles that the run does not know yet are added; their titles suffice.

Or evaluates a file of predictions, by this or any other model, as the MIND leaderboard does.
"""
EPILOG = """\
examples:
  tfrs-npa evaluate --run runs/demo
  tfrs-npa evaluate --run runs/demo --data my-data --split validation --json metrics.json
  tfrs-npa evaluate --predictions prediction.txt --truth my-data/dev/behaviors.tsv
"""

_STANDARD_OUTPUT = "-"
_OF_A_RUN = ("data", "data_dir", "manual_dir", "cache_dir", "split", "encoding_memory")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command."""
    subject = parser.add_mutually_exclusive_group(required=True)
    subject.add_argument("--run", metavar="DIR", help="folder of the run")
    subject.add_argument(
        "--predictions", metavar="FILE", help="prediction.txt, as `tfrs-npa predict` writes it"
    )
    parser.add_argument(
        "--truth", metavar="FILE", help="with --predictions: the labelled behaviors.tsv"
    )
    parser.add_argument(
        "--json",
        metavar="FILE",
        help="also write the metrics to this file; -: write them to standard output, and the "
        "table to standard error",
    )
    run = parser.add_argument_group("with --run")
    add_data(run, f"default: the data the run was trained on; other data: {DATA}")
    run.add_argument(
        "--split", choices=SPLITS, help="default: test if it is labelled, else validation"
    )
    add_encoding_memory(run)


def run(options: argparse.Namespace) -> None:
    """Evaluates the best model of a run, or a file of predictions, and prints the metrics."""
    if options.predictions is None and options.truth is not None:
        raise ValueError("--truth needs --predictions; a run is evaluated on --data and --split")
    if options.predictions is not None:
        _check_predictions(options)
    if options.json not in (None, _STANDARD_OUTPUT):
        require_replaceable(options.json)
    if options.predictions is None:
        metrics, table = _evaluate_run(options)
    else:
        metrics, table = _evaluate_predictions(options)
    text = json.dumps(metrics, indent=2) + "\n"
    if options.json == _STANDARD_OUTPUT:
        print(table, file=sys.stderr)
        sys.stdout.write(text)
        return
    if options.json is not None:
        with atomic_file(options.json) as temporary:
            temporary.write_text(text, encoding="utf-8")
    print(table)


def _evaluate_run(options) -> tuple[dict[str, Any], str]:
    trained = Run(options.run)
    import_tensorflow()
    from tfrs_npa.metrics.table import evaluation_table
    from tfrs_npa.runs.evaluation import evaluate_model

    data = data_of(options, trained, cache_of(options))
    split = options.split or data.report_split
    data.require_labels(split)
    model = model_of(options, trained)
    model.add_articles(data.titles(split))
    impressions = data.impressions(split, model.catalog, model.users)
    # Keras writes its progress bar to standard output.
    verbose = int(sys.stdout.isatty() and options.json != _STANDARD_OUTPUT)
    metrics = evaluate_model(model, data, split, impressions, trained.popularity, verbose)
    return metrics, evaluation_table(metrics)


def _check_predictions(options) -> None:
    given = [name for name in _OF_A_RUN if getattr(options, name) is not None]
    if given:
        names = " and ".join("--" + name.replace("_", "-") for name in given)
        raise ValueError(f"{names} can only be used with --run, not with --predictions")
    if options.truth is None:
        raise ValueError("--truth is missing: give the labelled behaviors.tsv of the predictions")


def _evaluate_predictions(options) -> tuple[dict[str, Any], str]:
    import_tensorflow()
    from tfrs_npa.metrics.table import metrics_table
    from tfrs_npa.submission import evaluate_predictions

    metrics = evaluate_predictions(options.predictions, options.truth)
    counts = {"all": metrics.pop("impressions"), "skipped": metrics.pop("skipped_impressions")}
    table = metrics_table({"predictions": metrics})
    line = (
        f"{options.predictions} against {options.truth}: {counts['all']:,} impressions, "
        f"{counts['skipped']:,} skipped (no click, or nothing but clicks)"
    )
    result = {
        "predictions": options.predictions,
        "truth": options.truth,
        "metrics": {"predictions": metrics},
        "impressions": counts,
    }
    return result, f"{table}\n\n{line}"
