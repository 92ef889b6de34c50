"""`tfrs-npa export`."""

from __future__ import annotations

import argparse
import json
import pathlib
import shlex

from tfrs_npa.commands.options import cache_of
from tfrs_npa.data.mind import load_mind
from tfrs_npa.export import export
from tfrs_npa.models.npa import NPA
from tfrs_npa.run import Run
from tfrs_npa.warm_up import example_requests


def run(options: argparse.Namespace) -> None:
    """Writes the best model of a run as a SavedModel, and prints what that is and how to ask it."""
    model = Run(options.run).load_model()
    if options.data is not None:
        data = load_mind(options.data, options.data_dir, options.manual_dir, cache_of(options))
        model.set_catalog(data.add_articles(model.catalog))
    path = export(model, options.to, options.version, options.dtype)
    print(_report(path, model))


def _report(path: pathlib.Path, model: NPA) -> str:
    """What was written to `path`, and two ways to use it."""
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    folder = path.parent.resolve()
    request = example_requests(model)["recommend"]
    request |= {"history": [request["history"][0][:2]], "k": min(request["k"], 3)}
    inputs = ";".join(f"{name}={json.dumps(value)}" for name, value in request.items())
    lines = [
        f"{path}: {len(model.catalog) - 2:,} articles, {size / 1e6:,.1f} MB",
        "",
        "Ask it here:",
        f"  saved_model_cli run --dir {shlex.quote(str(path))} --tag_set serve \\",
        f"    --signature_def recommend --input_exprs {shlex.quote(inputs)}",
        "Serve it:",
        f"  docker run -p 8501:8501 -v {shlex.quote(f'{folder}:/models/{folder.name}')} \\",
        f"    -e MODEL_NAME={shlex.quote(folder.name)} tensorflow/serving",
    ]
    return "\n".join(lines)
