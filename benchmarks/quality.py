"""What speed costs in quality: the fast model beside a plain one, trained alike.

Trains preset "small" in two ways, seed by seed and in turn: "plain", every article of every row
encoded anew for its user, padding and all (`plain_model.py`), and "fast", the model of this
project. Weights to begin with, batches, optimizer and number of epochs are the same. AUCs are those
of impressions that no training has seen: the split test, or validation where there is no test with
labels. The seconds are those of training, from the end of its first step, which traces the graph.
"""

from __future__ import annotations

import json
import pathlib
import sys
import time

import machine
import plain_model
import tensorflow as tf
from tabulate import tabulate

import tfrs_npa
from tfrs_npa._files import atomic_file
from tfrs_npa.data.splits import Parts
from tfrs_npa.runs.repeated import (
    at_least_one,
    begin,
    mean_and_deviation,
    parser,
    train_each,
    values,
)

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
    """Returns a row for each seed and path."""

    def training(seed, path):
        config = tfrs_npa.NPAConfig.preset("small").replace(seed=seed)
        settings = {"path": path, "data": parts.data.name, "epochs": args.epochs}
        return (
            f"{path}, seed {seed}",
            settings | config.to_dict(),
            lambda: train(path, config, parts, catalog, args.epochs),
        )

    trainings = [training(seed, path) for seed in args.seeds for path in PATHS]
    return train_each(trainings, args.output, SECONDS)


def difference(rows: list[dict[str, str]], figure: str) -> float:
    """Returns the mean of the fast path minus that of the plain one."""
    return float(
        values(rows, figure, path="fast").mean() - values(rows, figure, path="plain").mean()
    )


def table(rows: list[dict[str, str]]) -> dict:
    """Returns mean ± standard deviation of the sample, and the difference of the means."""
    digits = dict.fromkeys(AUCS, 4) | {SECONDS: 1}
    lines = [
        [
            path,
            *(
                mean_and_deviation(values(rows, name, path=path), number)
                for name, number in digits.items()
            ),
        ]
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
    change, plain = difference(rows, "auc"), values(rows, "auc", path="plain")
    text = f"AUC, fast minus plain: {change:+.4f}"
    if len(plain) < 2:
        return f"{text}; with one seed there is no telling it from noise"
    noise = plain.std(ddof=1)
    answer = "no lower beyond seed noise" if change >= -noise else "lower by more than seed noise"
    paired = (values(rows, "auc", path="fast") - plain).std(ddof=1)
    return (
        f"{text}; standard deviation over the seeds: {noise:.4f} of plain, {paired:.4f} of the "
        f"difference; {answer}"
    )


def figures(rows: list[dict[str, str]]) -> list[dict]:
    """Returns the difference for the table of all benchmarks; it aims at no less than noise."""
    plain = values(rows, "auc", path="plain")
    seeds = f"mean of {len(plain)} seeds"
    change = {"name": f"AUC, fast minus plain path, {seeds}", "value": difference(rows, "auc")}
    if len(plain) > 1:
        change["aim"] = -round(float(plain.std(ddof=1)), 4)
    times = values(rows, SECONDS, path="plain").mean() / values(rows, SECONDS, path="fast").mean()
    return [change, {"name": f"training, times the plain path, {seeds}", "value": float(times)}]


def main() -> None:
    options = parser(__doc__)
    about = "of each training (default: 1)"
    options.add_argument("--epochs", type=at_least_one, default=1, help=about)
    options.add_argument("--json", type=pathlib.Path, help="write the table here too")
    args, catalog, parts = begin(options, SECONDS)
    environment = machine.describe() | {"tensorflow": tf.__version__}
    tf.get_logger().setLevel("ERROR")  # it takes one model after another for needless tracing
    rows = results(args, parts, catalog)
    shown, answer = table(rows), verdict(rows)
    print(f"{parts.data.name}, split {parts.names['report']}: {len(parts.report):,} impressions")
    print(f"{shown['title']}\n")
    print(tabulate(shown["rows"], shown["headers"], disable_numparse=True), answer, sep="\n\n")
    if args.json is not None:
        result = {
            "title": "Quality is not traded",
            "about": " ".join(__doc__.split("\n\n", 1)[1].split()) + f" {answer}.",
            "command": machine.command(),
            "environment": environment,
            "tables": [shown],
            "figures": figures(rows),
            "trainings": rows,
        }
        with atomic_file(args.json) as temporary:
            temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
