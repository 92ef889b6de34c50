"""`tfrs-npa predict`."""

from __future__ import annotations

import argparse
import contextlib
import pathlib
import tempfile
from typing import Any

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

SUMMARY = "write predictions for the MIND leaderboard"
DESCRIPTION = """\
Ranks the candidates of every impression with the best model of a run, and writes prediction.txt
and prediction.zip as the MIND leaderboard takes them: in file order, a line for each impression,
its id and the rank of each candidate, from 1 (the best) and without ties.

Articles that the run does not know yet are added; their titles suffice. If the split is labelled,
the metrics of the scores and of the file are printed; they differ where scores are tied.
"""
EPILOG = """\
examples:
  tfrs-npa predict --run runs/large --to submission
  tfrs-npa predict --run runs/demo --split validation --to predictions
  tfrs-npa evaluate --predictions predictions/prediction.txt --truth my-data/dev/behaviors.tsv
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command."""
    parser.add_argument("--run", required=True, metavar="DIR", help="folder of the run")
    parser.add_argument(
        "--to",
        required=True,
        metavar="FOLDER",
        help="where the two files are written, created if missing; earlier ones are replaced",
    )
    add_data(parser, f"default: the data the run was trained on; other data: {DATA}")
    parser.add_argument(
        "--split",
        choices=("validation", "test"),
        help="labelled or not (default: test if there is one, else validation)",
    )
    add_encoding_memory(parser)


def run(options: argparse.Namespace) -> None:
    """Writes the predictions of the best model of a run, and prints a summary."""
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

    tied = (
        f"{summary['tied_impressions']:,} of {summary['impressions']:,} impressions have tied "
        "scores, which are ranked in candidate order"
    )
    metrics = summary["metrics"]
    if not metrics:
        return tied
    rows = {"scores": metrics["scores"], "prediction.txt": metrics["predictions"]}
    aucs = [row["auc"] for row in rows.values()]
    if summary["tied_impressions"] and None not in aucs:
        tied += f": that changes the AUC by {aucs[1] - aucs[0]:+.6f}"
    return f"{metrics_table(rows)}\n\n{tied}"
