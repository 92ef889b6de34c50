"""`tfrs-npa predict`."""

from __future__ import annotations

import argparse
import contextlib
import pathlib
import tempfile

from tfrs_npa.commands.options import cache_of, data_of, require_split
from tfrs_npa.data.batches import impression_batches
from tfrs_npa.data.cache import Cache
from tfrs_npa.run import Run
from tfrs_npa.submission import metrics_table, write_predictions


def run(options: argparse.Namespace) -> None:
    """Writes the predictions of the best model of a run, and prints what there is to know."""
    trained = Run(options.run)
    folder = pathlib.Path(options.to)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; name another for the predictions")
    with contextlib.ExitStack() as stack:
        cache = cache_of(options)
        if cache is None:
            # Nothing is kept, but on disk is where the impressions of a large log have to be.
            cache = Cache(stack.enter_context(tempfile.TemporaryDirectory()))
        data = data_of(options, trained, cache)
        split = options.split or ("test" if "test" in data.behaviors else "validation")
        require_split(data, split)
        model = trained.load_model()
        if options.encoding_memory is not None:
            model.encoding_memory = int(options.encoding_memory * 2**30)
        model.set_catalog(model.catalog.extend(data.titles(split)))
        impressions = data.impressions(split, model.catalog, model.users)
        batches = impression_batches(impressions, model.catalog, model.users, model.config)
        figures = write_predictions(folder, impressions, model.predict_batches(batches))
    print(_report(figures))
    print(
        f"{data.name}, split {split}: {figures['impressions']:,} impressions, "
        f"{figures['candidates']:,} candidates ranked in {folder / 'prediction.txt'} and "
        f"{folder / 'prediction.zip'}"
    )


def _report(figures) -> str:
    tied = (
        f"{figures['tied_impressions']:,} of {figures['impressions']:,} impressions have tied "
        "scores, which are ranked in candidate order"
    )
    metrics = figures["metrics"]
    if not metrics:
        return tied
    rows = {"scores": metrics["scores"], "prediction.txt": metrics["predictions"]}
    aucs = [row["auc"] for row in rows.values()]
    if figures["tied_impressions"] and None not in aucs:
        tied += f": that changes the AUC by {aucs[1] - aucs[0]:+.6f}"
    return f"{metrics_table(rows)}\n\n{tied}"
