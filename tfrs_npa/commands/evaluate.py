"""`tfrs-npa evaluate`."""

from __future__ import annotations

import argparse
import json
import sys

from tfrs_npa.commands.options import cache_of
from tfrs_npa.data.files import replacing
from tfrs_npa.data.mind import load_mind
from tfrs_npa.evaluation import evaluate_model, report
from tfrs_npa.run import Run


def run(options: argparse.Namespace) -> None:
    """Measures the best model of a run on a split, and prints the figures."""
    trained = Run(options.run)
    settings = trained.settings
    if options.data is None:
        name = settings.data
        data_dir = options.data_dir or settings.data_dir
        manual_dir = options.manual_dir or settings.manual_dir
    else:
        name, data_dir, manual_dir = options.data, options.data_dir, options.manual_dir
    data = load_mind(name, data_dir, manual_dir, cache_of(options))
    split = options.split or data.report_split
    if split not in data.behaviors:
        raise ValueError(f"{data.name} has no split {split}; it has {', '.join(data.behaviors)}")
    if not data.is_labelled(split):
        raise ValueError(f"the split {split} of {data.name} has no labels to measure by")
    model = trained.load_model()
    if options.encoding_memory is not None:
        model.encoding_memory = int(options.encoding_memory * 2**30)
    model.set_catalog(model.catalog.extend(data.titles(split)))
    impressions = data.impressions(split, model.catalog, model.users)
    figures = evaluate_model(
        model, data, split, impressions, trained.popularity, int(sys.stdout.isatty())
    )
    if options.json is not None:
        with replacing(options.json) as temporary:
            temporary.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(report(figures))
