"""`tfrs-npa evaluate`."""

from __future__ import annotations

import argparse
import json
import logging
import os
import pathlib
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from tfrs_npa._files import atomic_file, require_replaceable
from tfrs_npa._quoting import shortened
from tfrs_npa.cli.messages import import_tensorflow
from tfrs_npa.cli.options import (
    DATA,
    add_data,
    add_encoding_memory,
    cache_of,
    data_of,
    model_of,
    require_inputs,
)
from tfrs_npa.runs.run import Run
from tfrs_npa.settings import SPLITS, is_data_set

if TYPE_CHECKING:
    from tfrs_npa.data.impressions import Impressions
    from tfrs_npa.models.npa import NPA

logger = logging.getLogger(__name__)

SUMMARY = "evaluate a trained model, or predictions"
DESCRIPTION = """\
Evaluates the best model of a run again: by default on the data it was trained on, on the split
that `train` reports on. Articles that the run does not know yet are added; their titles suffice.

Or evaluates a file of predictions, by this or any other model, as the MIND leaderboard does.

Metrics have 95 % confidence intervals, by the bootstrap over impressions. With --against, the
difference to another run, or another file of predictions, has one too, of the same impressions in
pairs; a difference whose interval holds 0 is called within noise. A second table has the metrics by
length of the history, number of candidates, category, known and new users, old and fresh articles.
Pictures of it, and of the calibration of scores, are drawn into plots/ of the run.
"""
EPILOG = """\
examples:
  tfrs-npa evaluate --run runs/demo
  tfrs-npa evaluate --run runs/demo --data my-data --split validation --json metrics.json
  tfrs-npa evaluate --run runs/demo --data my-data --plots pictures
  tfrs-npa evaluate --run runs/new --against runs/demo
  tfrs-npa evaluate --run runs/demo --lists --article-values values.csv
  tfrs-npa evaluate --run runs/demo --data log.parquet --news news.parquet --off-policy
  tfrs-npa evaluate --predictions prediction.txt --truth my-data/dev/behaviors.tsv
  tfrs-npa evaluate --predictions a.txt --against b.txt --truth my-data/dev/behaviors.tsv
"""

_STANDARD_OUTPUT = "-"
_ESTIMATED = ""
_OF_A_RUN = (
    "data",
    "news",
    "data_dir",
    "manual_dir",
    "cache_dir",
    "split",
    "encoding_memory",
    "lists",
    "article_values",
    "off_policy",
    "plots",
)


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
        "--against",
        metavar="DIR|FILE",
        help="what to compare with on the same impressions: another run, or with --predictions "
        "another file of predictions",
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
    run.add_argument(
        "--lists",
        action="store_true",
        help="also measure the lists that would be shown, the best 5 and 10 of each impression: "
        "coverage, novelty, diversity, calibration and more, next to those of the baselines",
    )
    run.add_argument(
        "--article-values",
        metavar="FILE",
        help="with --lists: a CSV or Parquet file with news_id and any of alternative_voices, "
        "activation, representation, story",
    )
    run.add_argument(
        "--off-policy",
        nargs="?",
        const=_ESTIMATED,
        metavar="FILE",
        help="also estimate the clicks that the rankings would have got, for a log whose "
        "candidates are in the order in which they were shown (those of MIND are not); FILE: how "
        "likely each position is to be seen, one number a line, else estimated from the log",
    )
    run.add_argument(
        "--plots",
        metavar="DIR",
        help="folder for pictures of the slices with their intervals and of the calibration of "
        "scores (default: plots/ of the run, on the data and the split that it reports on; none "
        "with --data, --news or --split)",
    )


def run(options: argparse.Namespace) -> None:
    """Evaluates the best model of a run, or a file of predictions, and prints the metrics."""
    require_inputs(options)
    if options.predictions is None and options.truth is not None:
        raise ValueError("--truth needs --predictions; a run is evaluated on --data and --split")
    if options.predictions is not None:
        _check_predictions(options)
    if options.article_values is not None:
        if not options.lists:
            raise ValueError("--article-values needs --lists")
        os.stat(options.article_values)
    if options.off_policy:
        os.stat(options.off_policy)
    if options.plots is not None:
        _check_plots(options)
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


def _evaluate_run(options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    trained = Run(options.run)
    other = None if options.against is None else Run(options.against)
    if other is not None:
        _require_same_data(options, trained, other)
    import_tensorflow()
    from tfrs_npa.data.article_values import ArticleValues
    from tfrs_npa.metrics.table import (
        evaluation_table,
        lists_table,
        off_policy_table,
        slices_table,
    )
    from tfrs_npa.runs.evaluation import evaluate_model, model_values

    file = options.article_values
    article_values = None if file is None else ArticleValues.load(file)
    off_policy: Any = False
    if options.off_policy is not None:
        off_policy = _propensities(options.off_policy) if options.off_policy else True
        _require_positions(options, trained)
    data = data_of(options, trained, cache_of(options))
    split = options.split or data.report_split
    data.require_labels(split)

    def load(run: Run) -> tuple[NPA, Impressions]:
        model = model_of(options, run)
        model.add_articles(data.titles(split))
        return model, data.impressions(split, model.catalog, model.users)

    # First, so that only one model is in memory.
    against = None if other is None else model_values(*load(other))
    model, impressions = load(trained)
    metrics = evaluate_model(
        model,
        data,
        split,
        impressions,
        trained.baselines,
        against,
        options.lists,
        article_values,
        off_policy,
    )
    _plot(options, trained, metrics)
    table = evaluation_table(metrics) + "\n\n" + slices_table(metrics)
    if options.lists:
        table += "\n\n" + lists_table(metrics["lists"])
    if off_policy is not False:
        table += "\n\n" + off_policy_table(metrics["off_policy"])
    if other is not None:
        table += "\n\n" + _comparison(options, metrics["metrics"]["npa"], metrics["against"])
        metrics["against"] = {"run": options.against} | metrics["against"]
    return metrics, table


def _propensities(file: str) -> np.ndarray:
    try:
        lines = pathlib.Path(file).read_text(encoding="utf-8").split()
        numbers = np.array(lines, np.float64)
    except ValueError as error:
        raise ValueError(
            f"{file}: {shortened(str(error), 150)}; give one number a line, the first position's "
            "first"
        ) from error
    if not len(numbers) or not np.all(np.isfinite(numbers) & (numbers > 0)):
        raise ValueError(f"{file} must hold positive numbers, one a line")
    return numbers


def _require_positions(options: argparse.Namespace, trained: Run) -> None:
    name = options.data or trained.settings.data
    if is_data_set(name):
        raise ValueError(
            f"the candidates of {name} are shuffled: no ranking was shown, so --off-policy cannot "
            "say what another would have been worth; it needs a log of your own"
        )


def _require_same_data(options: argparse.Namespace, trained: Run, other: Run) -> None:
    names = trained.settings.data, other.settings.data
    if options.data is None and names[0] != names[1]:
        raise ValueError(
            f"{options.run} was trained on {names[0]} and {options.against} on {names[1]}: name "
            "the data to compare them on with --data"
        )


def _check_plots(options: argparse.Namespace) -> None:
    from tfrs_npa.runs.pictures import OF_AN_EVALUATION

    for name in OF_AN_EVALUATION:
        require_replaceable(os.path.join(options.plots, name))


def _plot(options: argparse.Namespace, trained: Run, metrics: dict[str, Any]) -> None:
    from tfrs_npa.runs.pictures import plot_evaluation, plot_run

    if options.plots is not None:
        plot_evaluation(options.plots, metrics)
    elif not any((options.data, options.news, options.split)):
        try:
            plot_run(trained, metrics)
        except OSError as error:
            logger.warning("no pictures: %s; name another folder with --plots", error)


def _comparison(
    options: argparse.Namespace, metrics: dict[str, Any], against: dict[str, Any]
) -> str:
    from tfrs_npa.metrics.table import comparison_table

    names = options.run or options.predictions, options.against
    return comparison_table(names, (metrics, against["metrics"]), against)


def _check_predictions(options: argparse.Namespace) -> None:
    given = [name for name in _OF_A_RUN if getattr(options, name) not in (None, False)]
    if given:
        names = " and ".join("--" + name.replace("_", "-") for name in given)
        raise ValueError(f"{names} can only be used with --run, not with --predictions")
    if options.truth is None:
        raise ValueError("--truth is missing: give the labelled behaviors.tsv of the predictions")


def _evaluate_predictions(options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    import_tensorflow()
    from tfrs_npa.metrics.impression_values import by_users, mean_values
    from tfrs_npa.metrics.significance import compare, intervals_of
    from tfrs_npa.metrics.table import OF_ALL_USERS, metrics_table
    from tfrs_npa.submission import prediction_values

    values = prediction_values(options.predictions, options.truth)
    metrics = mean_values(values)
    intervals = intervals_of(by_users(values)[""])
    counts = {"all": metrics.pop("impressions"), "skipped": metrics.pop("skipped_impressions")}
    result = {
        "predictions": options.predictions,
        "truth": options.truth,
        "metrics": {"predictions": metrics},
        "intervals": {"predictions": intervals},
        "impressions": counts,
    }
    table = metrics_table({"predictions": metrics}, intervals={"predictions": intervals})
    table += (
        f"\n\n{options.predictions} against {options.truth}: {counts['all']:,} impressions, "
        f"{counts['skipped']:,} skipped (no click, or nothing but clicks)"
    )
    if options.against is not None:
        other = prediction_values(options.against, options.truth)
        comparison = {"metrics": mean_values(other)} | compare(values, other, OF_ALL_USERS)
        table += "\n\n" + _comparison(options, metrics, comparison)
        result["against"] = {"predictions": options.against} | comparison
    return result, table
