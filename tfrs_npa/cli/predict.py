"""`tfrs-npa predict`."""

from __future__ import annotations

import argparse
import contextlib
import pathlib
import tempfile
from typing import Any

from tfrs_npa.cli.messages import import_beam, import_tensorflow
from tfrs_npa.cli.options import (
    DATA,
    add_data,
    add_encoding_memory,
    cache_of,
    data_of,
    model_of,
    require_inputs,
    require_none,
)
from tfrs_npa.runs.run import Run

SUMMARY = "write predictions for the MIND leaderboard, or score a log with an export"
DESCRIPTION = """\
Ranks the candidates of every impression with the best model of a run, and writes prediction.txt
and prediction.zip as the MIND leaderboard takes them: in file order, a line for each impression,
its id and the rank of each candidate, from 1 (the best) and without ties.

Articles that the run does not know yet are added; their titles suffice. If the split is labelled,
the metrics of the scores and of the file are printed; they differ where scores are tied.

With --export, an export scores a log of any size, on one machine or many: a pipeline of Apache
Beam (pip install 'tfrs-npa[beam]'), which takes neither run nor data. FILE.txt has the lines of
prediction.txt, FILE.parquet the scores too.
"""
EPILOG = """\
examples:
  tfrs-npa predict --run runs/large --to submission
  tfrs-npa predict --run runs/demo --split validation --to predictions
  tfrs-npa evaluate --predictions predictions/prediction.txt --truth my-data/dev/behaviors.tsv
  tfrs-npa predict --export exports/npa --log behaviors.tsv --to prediction.txt
  tfrs-npa predict --export exports/npa --log 'log/*.parquet' --to scores.parquet \\
    --beam-pipeline-options direct_running_mode=multi_processing,direct_num_workers=4
"""

# Options that an export has no use for.
_OF_RUN = (
    *("data", "news", "data_dir", "manual_dir", "cache_dir", "no_cache"),
    *("split", "encoding_memory"),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command."""
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--run", metavar="DIR", help="folder of the run")
    model.add_argument(
        "--export",
        metavar="DIR",
        help="instead, a folder of versions, of which the last is taken, or a version",
    )
    parser.add_argument(
        "--to",
        required=True,
        metavar="FOLDER|FILE",
        help="where the two files are written, created if missing; earlier ones are replaced; with "
        "--export, a file with the suffix .txt or .parquet",
    )
    add_data(parser, f"default: the data the run was trained on; other data: {DATA}")
    parser.add_argument(
        "--split",
        choices=("validation", "test"),
        help="labelled or not (default: test if there is one, else validation)",
    )
    add_encoding_memory(parser)
    of_export = parser.add_argument_group("with --export")
    of_export.add_argument(
        "--log",
        metavar="FILE",
        help="a behaviors.tsv or a log in Parquet, or a pattern of several",
    )
    of_export.add_argument(
        "--beam-pipeline-options",
        metavar="NAME=VALUE,...",
        help="as `tfds build` takes them, such as runner=FlinkRunner (default: one process here)",
    )


def run(options: argparse.Namespace) -> None:
    """Writes predictions, and prints a summary."""
    require_inputs(options)
    if options.export is None:
        require_none(options, ("log", "beam_pipeline_options"), "--run")
        _predict(options)
    else:
        require_none(options, _OF_RUN, "--export")
        _score_log(options)


def _score_log(options: argparse.Namespace) -> None:
    if options.log is None:
        raise ValueError("--log is missing, the impressions that the export scores")
    import_tensorflow()
    import_beam()
    from tfrs_npa.serving.score_log import score_log

    given = options.beam_pipeline_options
    beam_options = given.split(",") if given else []
    summary = score_log(options.export, options.log, options.to, beam_options)
    print(_ties(summary))
    print(
        f"{options.log}: {summary['impressions']:,} impressions, {summary['candidates']:,} "
        f"candidates scored in {options.to}"
    )


def _predict(options: argparse.Namespace) -> None:
    trained = Run(options.run)
    folder = pathlib.Path(options.to)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; give another one for the predictions")
    import_tensorflow()
    from tfrs_npa.data.batches import impression_batches
    from tfrs_npa.data.cache import Cache
    from tfrs_npa.submission import write_predictions

    with contextlib.ExitStack() as stack:
        cache = cache_of(options)
        if cache is None:
            # Nothing is kept, but the impressions of a large log have to be on disk meanwhile.
            cache = Cache(stack.enter_context(tempfile.TemporaryDirectory()))
        data = data_of(options, trained, cache)
        split = options.split or ("test" if "test" in data.splits else "validation")
        data.require_split(split)
        model = model_of(options, trained)
        model.add_articles(data.titles(split))
        impressions = data.impressions(split, model.catalog, model.users)
        batches = impression_batches(impressions, model.catalog, model.users, model.config)
        summary = write_predictions(folder, impressions, model.predict_batches(batches))
    print(_report(summary))
    print(
        f"{data.name}, split {split}: {summary['impressions']:,} impressions, "
        f"{summary['candidates']:,} candidates ranked in {folder / 'prediction.txt'} and "
        f"{folder / 'prediction.zip'}"
    )


def _report(summary: dict[str, Any]) -> str:
    from tfrs_npa.metrics.table import metrics_table

    tied = _ties(summary)
    metrics = summary["metrics"]
    if not metrics:
        return tied
    rows = {"scores": metrics["scores"], "prediction.txt": metrics["predictions"]}
    aucs = [row["auc"] for row in rows.values()]
    if summary["tied_impressions"] and None not in aucs:
        tied += f": that changes the AUC by {aucs[1] - aucs[0]:+.6f}"
    return f"{metrics_table(rows)}\n\n{tied}"


def _ties(summary: dict[str, Any]) -> str:
    return (
        f"{summary['tied_impressions']:,} of {summary['impressions']:,} impressions have tied "
        "scores, which are ranked in candidate order"
    )
