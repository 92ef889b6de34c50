"""`tfrs-npa evaluate`."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from tfrs_npa.commands.options import cache_of, data_of, require_split
from tfrs_npa.data.files import replacing
from tfrs_npa.evaluation import evaluate_model, report
from tfrs_npa.run import Run
from tfrs_npa.submission import evaluate_predictions, metrics_table

_OF_A_RUN = ("data", "data_dir", "manual_dir", "cache_dir", "split", "encoding_memory")


def run(options: argparse.Namespace) -> None:
    """Measures the best model of a run, or a file of predictions, and prints the figures."""
    if options.predictions is None:
        figures = _evaluate_run(options)
        shown = report(figures)
    else:
        figures = _evaluate_predictions(options)
        shown = _report_predictions(figures)
    if options.json is not None:
        with replacing(options.json) as temporary:
            temporary.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(shown)


def _evaluate_run(options) -> dict[str, Any]:
    if options.truth is not None:
        raise ValueError("--truth goes with --predictions; a run is measured by --data and --split")
    trained = Run(options.run)
    data = data_of(options, trained, cache_of(options))
    split = options.split or data.report_split
    require_split(data, split)
    if not data.is_labelled(split):
        raise ValueError(f"the split {split} of {data.name} has no labels to measure by")
    model = trained.load_model()
    if options.encoding_memory is not None:
        model.encoding_memory = int(options.encoding_memory * 2**30)
    model.set_catalog(model.catalog.extend(data.titles(split)))
    impressions = data.impressions(split, model.catalog, model.users)
    verbose = int(sys.stdout.isatty())
    return evaluate_model(model, data, split, impressions, trained.popularity, verbose)


def _evaluate_predictions(options) -> dict[str, Any]:
    given = [name for name in _OF_A_RUN if getattr(options, name) is not None]
    if given:
        names = " and ".join("--" + name.replace("_", "-") for name in given)
        raise ValueError(f"{names} goes with --run, not with --predictions")
    if options.truth is None:
        raise ValueError("--truth is missing: the behaviors.tsv that was predicted")
    metrics = evaluate_predictions(options.predictions, options.truth)
    impressions = {
        "all": metrics.pop("impressions"),
        "skipped": metrics.pop("skipped_impressions"),
    }
    return {
        "predictions": options.predictions,
        "truth": options.truth,
        "metrics": {"predictions": metrics},
        "impressions": impressions,
    }


def _report_predictions(figures) -> str:
    counts = figures["impressions"]
    return "\n".join(
        [
            metrics_table(figures["metrics"]),
            "",
            f"{figures['predictions']} against {figures['truth']}: {counts['all']:,} impressions, "
            f"{counts['skipped']:,} skipped (no click, or nothing but clicks)",
        ]
    )
