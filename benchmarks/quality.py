"""What speed costs in quality: the fast model beside a plain one, trained alike.

Trains preset "small" in two ways, seed by seed and in turn: "plain", every article of every row
encoded anew for its user, padding and all (`plain_model.py`), and "fast", the model of this
project. Weights to begin with, batches, optimizer and number of epochs are the same. AUCs are those
of impressions that no training has seen: the split test, or validation where there is no test with
labels. The seconds are those of training, from the end of its first step, which traces the graph.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import time

import machine
import numpy as np
import plain_model
import tensorflow as tf
from tabulate import tabulate
from trainings_file import read_rows, write_rows

import tfrs_npa
from tfrs_npa.data.files import replacing
from tfrs_npa.data.mind import load_mind
from tfrs_npa.data.parts import Parts, read_parts

PATHS = ("plain", "fast")
AUCS = {"auc": "AUC", "auc_known_users": "AUC known users", "auc_new_users": "AUC new users"}
SECONDS = "training_seconds"


def train(path: str, config, parts: Parts, catalog, epochs: int) -> dict[str, float]:
    """Trains a model; returns `AUCS` and `SECONDS`."""
    tf.keras.backend.clear_session()
    tf.keras.utils.set_random_seed(config.seed)
    batches = tfrs_npa.training_batches(parts.train, catalog, parts.users, config)
    make = {"plain": plain_model.PlainNPA, "fast": tfrs_npa.NPA}[path]
    model = make(config, catalog, parts.users)
    model.compile(optimizer=tfrs_npa.default_optimizer(config, len(batches) * epochs))
    ends = []
    clock = tf.keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda *_: ends.append(time.perf_counter()),
        on_epoch_end=lambda epoch, logs: print(
            f"  epoch {epoch + 1} of {epochs}: loss {logs['loss']:.4f}", file=sys.stderr
        ),
    )
    model.fit(batches, epochs=epochs, verbose=0, callbacks=[clock])
    report = tfrs_npa.impression_batches(parts.report, catalog, parts.users, config)
    reached = model.evaluate(report, verbose=0, return_dict=True)
    return {name: float(reached[name]) for name in AUCS} | {SECONDS: ends[-1] - ends[0]}


def results(args, parts: Parts, catalog) -> list[dict[str, str]]:
    """Returns a row for each seed and path: found in the file, or trained now."""
    rows, chosen = read_rows(args.output, SECONDS), []
    trainings = [(seed, path) for seed in args.seeds for path in PATHS]
    for number, (seed, path) in enumerate(trainings, start=1):
        config = tfrs_npa.NPAConfig.preset("small").replace(seed=seed)
        given = {"path": path, "data": parts.data.name, "epochs": args.epochs}
        settings = {name: str(value) for name, value in (given | config.to_dict()).items()}
        row = next((row for row in rows if settings.items() <= row.items()), None)
        known = " (done before)" if row else ""
        print(f"{number} of {len(trainings)}: {path}, seed {seed}{known}", file=sys.stderr)
        if row is None:
            reached = train(path, config, parts, catalog, args.epochs)
            row = settings | {name: str(value) for name, value in reached.items()}
            rows.append(row)
            if args.output is not None:
                write_rows(args.output, rows)
        print(f"  AUC {float(row['auc']):.4f}", file=sys.stderr)
        chosen.append(row)
    return chosen


def values(rows: list[dict[str, str]], path: str, figure: str) -> np.ndarray:
    return np.array([float(row[figure]) for row in rows if row["path"] == path])


def difference(rows: list[dict[str, str]], figure: str) -> float:
    """Returns the mean of the fast path minus that of the plain one."""
    return float(values(rows, "fast", figure).mean() - values(rows, "plain", figure).mean())


def table(rows: list[dict[str, str]]) -> dict:
    """Returns mean ± standard deviation of the sample, and the difference of the means."""

    def cell(numbers, digits):
        deviation = f" ± {numbers.std(ddof=1):,.{digits}f}" if len(numbers) > 1 else ""
        return f"{numbers.mean():,.{digits}f}{deviation}"

    digits = dict.fromkeys(AUCS, 4) | {SECONDS: 1}
    lines = [
        [path, *(cell(values(rows, path, name), number) for name, number in digits.items())]
        for path in PATHS
    ]
    differences = [f"{difference(rows, name):+.{number}f}" for name, number in digits.items()]
    lines.append(["fast minus plain", *differences])
    seeds = ", ".join(dict.fromkeys(row["seed"] for row in rows))
    given = f"{rows[0]['data']}, epochs: {rows[0]['epochs']}, seeds: {seeds}"
    title = f"Preset small, {given}; mean ± standard deviation"
    headers = ["", *AUCS.values(), "training, s"]
    return {"title": title, "headers": headers, "rows": lines}


def verdict(rows: list[dict[str, str]]) -> str:
    """Says whether the fast path's AUC is lower than the plain one's by more than seed noise."""
    change, plain = difference(rows, "auc"), values(rows, "plain", "auc")
    text = f"AUC, fast minus plain: {change:+.4f}"
    if len(plain) < 2:
        return f"{text}; with one seed there is no telling it from noise"
    noise = plain.std(ddof=1)
    answer = "no lower beyond seed noise" if change >= -noise else "lower by more than seed noise"
    return f"{text}; standard deviation of plain over the seeds: {noise:.4f}; {answer}"


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--data", default="mind/synthetic", help="mind/small, ..., or a folder")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="(default: 1 2 3)")
    parser.add_argument("--epochs", type=int, default=3, help="of each training (default: 3)")
    about = "a row per training; one of the same settings that is there is not trained again (it"
    about += " cannot know of changes in the code or in the files of a folder)"
    parser.add_argument("--output", type=pathlib.Path, metavar="CSV", help=about)
    parser.add_argument("--json", type=pathlib.Path, help="write the table here too")
    args = parser.parse_args()
    args.seeds = list(dict.fromkeys(args.seeds))
    if args.epochs < 1 or min(args.seeds) < 0:
        parser.error("--epochs has to be at least 1, and no seed below 0")
    try:
        read_rows(args.output, SECONDS)
        data = load_mind(args.data)
        catalog = tfrs_npa.NewsCatalog().adapt(data.titles("train"))
        for split in data.news:
            catalog.extend(data.titles(split))
        parts = read_parts(data, catalog, holdout="none")
    except (ValueError, OSError) as error:
        parser.error(str(error))

    environment = machine.describe() | {"tensorflow": tf.__version__}
    tf.get_logger().setLevel("ERROR")  # it takes one model after another for needless tracing
    rows = results(args, parts, catalog)
    shown, answer = table(rows), verdict(rows)
    print(f"{data.name}, split {parts.names['report']}: {len(parts.report):,} impressions")
    print(f"{shown['title']}\n")
    print(tabulate(shown["rows"], shown["headers"], disable_numparse=True), answer, sep="\n\n")
    if args.json is not None:
        result = {
            "title": "Quality is not traded",
            "about": " ".join(__doc__.split("\n\n", 1)[1].split()) + f" {answer}.",
            "command": "python benchmarks/quality.py",
            "environment": environment,
            "tables": [shown],
            "ratios": [],
            "trainings": rows,
        }
        with replacing(args.json) as temporary:
            temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
