"""The same training under each strategy, through `tfrs-npa train`, and what differs.

A made-up site, `preset("small")` without dropout, so that no replica draws anything, with
`LazyAdam`: without a strategy; without one again, but with the rows of each batch in reverse order,
which changes the order of sums and nothing else; `mirrored`, on two logical CPUs; `multi-worker`,
in two processes; `parameter-server`, with two workers and two servers (clusters by
`examples/cluster.sh`). Differences are to the training without a strategy, the largest of all: of
training and validation losses after each epoch, of validation and test metrics, of the logits of
all test candidates, and of all weights after the last step, and their mean. Rounding alone, the
row of reversed batches, moves weights far, because Adam takes steps of full length where a gradient
is nearly 0. Workers of parameter servers do not wait for each other, so there it is the
AUC that counts: its difference, and a 95 % interval of that from the same impressions
(`tfrs_npa.metrics.significance`).
"""

from __future__ import annotations

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any, NamedTuple

import numpy as np
import results_file
from results_file import measurement, show, table
from scaling import progress

import tfrs_npa
from tfrs_npa.cli.messages import import_tensorflow
from tfrs_npa.datasets.mind import SyntheticWorld, write_behaviors, write_news
from tfrs_npa.settings import MIRRORED, MULTI_WORKER, PARAMETER_SERVER

NONE, REVERSED = "none", "none, rows reversed"
STRATEGIES = (NONE, REVERSED, MIRRORED, MULTI_WORKER, PARAMETER_SERVER)
WITHOUT_DROPOUT = {"dropout": 0.0, "pooling_dropout": 0.0, "user_dropout": 0.0}
ROOT = pathlib.Path(__file__).parents[1]
KINDS = ("losses", "metrics", "logits", "weights", "weights, mean")
MOST_DIFFERENCE = 1e-5
MOST_TIMES = 20
# `tfrs-npa` in a process with two logical CPUs: nothing but Python can tell TensorFlow so.
_TWO_DEVICES = """
import sys
import tfrs_npa  # chooses Keras 2
import tensorflow as tf
two = 2 * [tf.config.LogicalDeviceConfiguration()]
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], two)
from tfrs_npa.cli import main
sys.exit(main())
"""
# `tfrs-npa` that reverses the rows of each batch it trains on.
_REVERSED_ROWS = """
import sys
from tfrs_npa.cli import main
from tfrs_npa.data.sampling import TrainingRows
batch = TrainingRows.batch
TrainingRows.batch = lambda *given: {name: rows[::-1] for name, rows in batch(*given).items()}
sys.exit(main())
"""


class Result(NamedTuple):
    """What came out of a training.

    Attributes:
        history: By column, `[epochs]`.
        metrics: Those of the test split.
        logits: `[candidates]` of the test split.
        values: Metrics of each of its impressions, see `tfrs_npa.metrics.impression_values`.
        weights: All weights after the last step, one after the other.
        steps: Steps that the optimizer has taken.
        seconds: Seconds that the command took.
    """

    history: dict[str, np.ndarray]
    metrics: dict[str, float]
    logits: np.ndarray
    values: dict[str, np.ndarray]
    weights: np.ndarray
    steps: int
    seconds: float


def main() -> None:
    parser = results_file.result_parser(__doc__)
    number = {"type": int, "metavar": "N", "help": "default: %(default)s"}
    parser.add_argument("--epochs", default=2, **number)
    parser.add_argument("--batch-size", default=64, **number)
    parser.add_argument("--users", default=800, **number)
    sizes = {"metavar": ("TRAIN", "VALIDATION", "TEST"), "help": "default: 4000 800 1600"}
    parser.add_argument("--impressions", nargs=3, type=int, default=(4000, 800, 1600), **sizes)
    args = parser.parse_args()
    if min(args.epochs, args.batch_size, args.users, *args.impressions) < 1:
        parser.error("at least 1 of everything")

    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        options = prepare(folder, args)
        results = {}
        for name in progress(STRATEGIES, desc="strategies"):
            started = time.monotonic()
            train(name, ["--run", str(folder / name), *options])
            results[name] = read(folder / name, time.monotonic() - started)
    steps = results[NONE].steps
    shown = [
        result_table(results, f"Trainings of {steps} steps, batch {args.batch_size}"),
        difference_table(results, "Largest difference to the training without a strategy"),
    ]
    for found in shown:
        show(found)
    measurements = measured(results)
    for found in measurements:
        print(f"{found['name']}: {found['value']:.2g}")
    results_file.write(
        args.json,
        title="Strategies",
        about=results_file.about(__doc__),
        tables=shown,
        measurements=measurements,
    )


def prepare(folder: pathlib.Path, args: argparse.Namespace) -> list[str]:
    """Writes data and configuration; returns the options that all trainings have."""
    world = SyntheticWorld(users=args.users, articles=1000, impressions=tuple(args.impressions))
    for split, name in {"train": "train", "validation": "dev", "test": "test"}.items():
        write_news(folder / "data" / name / "news.tsv", world.news(split))
        write_behaviors(folder / "data" / name / "behaviors.tsv", world.behaviors(split))
    config = tfrs_npa.NPAConfig.preset("small").replace(
        batch_size=args.batch_size, **WITHOUT_DROPOUT
    )
    (folder / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
    options = {
        "--data": folder / "data",
        "--config": folder / "config.yaml",
        "--epochs": args.epochs,
    }
    return [str(word) for option in options.items() for word in option]


def train(name: str, options: list[str]) -> None:
    """Trains with a command under a strategy."""
    clusters = {MULTI_WORKER: ["2", "0"], PARAMETER_SERVER: ["2", "2"]}
    commands = {
        NONE: [sys.executable, "-m", "tfrs_npa", "train"],
        REVERSED: [sys.executable, "-c", _REVERSED_ROWS, "train"],
        MIRRORED: [sys.executable, "-c", _TWO_DEVICES, "train", "--strategy", MIRRORED],
    }
    command = commands.get(name) or [str(ROOT / "examples" / "cluster.sh"), *clusters[name]]
    environment = os.environ | {"PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    finished = subprocess.run(
        [*command, *options], env=environment, capture_output=True, text=True, check=False
    )
    if finished.returncode:
        sys.exit(f"{name} failed:\n{finished.stdout}{finished.stderr}")


def read(folder: pathlib.Path, seconds: float) -> Result:
    """Reads the folder of a run, and scores the test split with the model that it has kept."""
    import_tensorflow()
    from tfrs_npa.data.loading import load_mind
    from tfrs_npa.metrics.impression_values import impression_values
    from tfrs_npa.runs.evaluation import model_logits
    from tfrs_npa.runs.run import Run, load_run

    run, model = Run(folder), load_run(folder)
    data = load_mind(run.settings.data)
    test = data.impressions("test", model.catalog, model.users).take(slice(None))
    logits = model_logits(model, test)
    model.optimizer.build(model.trainable_variables)
    run.load_checkpoint(model, "last")
    columns = run.history[-1].keys() - {"epoch", "seconds"}
    trained = [row for row in run.history if row["epoch"]]
    return Result(
        {column: np.array([row[column] for row in trained]) for column in sorted(columns)},
        run.metrics["metrics"]["npa"],
        logits,
        impression_values(test.clicked, logits, test.candidate_splits),
        np.concatenate([weight.ravel() for weight in map(np.asarray, model.trainable_weights)]),
        int(model.optimizer.iterations),
        seconds,
    )


def result_table(results: dict[str, Result], title: str) -> dict[str, Any]:
    rows = [
        [
            name,
            f"{result.history['loss'][-1]:.6f}",
            f"{result.history['val_auc'][-1]:.6f}",
            f"{result.metrics['auc']:.6f}",
            f"{result.seconds:.0f}",
        ]
        for name, result in results.items()
    ]
    return table(title, ["", "loss, last epoch", "validation AUC", "test AUC", "s"], rows)


def difference_table(results: dict[str, Result], title: str) -> dict[str, Any]:
    rows = [
        [name, *(f"{value:.1e}" for value in found.values())]
        for name, found in differences(results).items()
    ]
    return table(title, ["", *KINDS], rows)


def differences(results: dict[str, Result]) -> dict[str, dict[str, float]]:
    """Returns the largest differences to the training without a strategy, by `KINDS`."""
    expected = results[NONE]

    def largest(found, wanted, names):
        return max(float(np.abs(np.subtract(found[name], wanted[name])).max()) for name in names)

    losses = {"loss", "val_loss"}
    others = expected.history.keys() - losses
    found = {}
    for name in results.keys() - {NONE}:
        result = results[name]
        weights = np.abs(result.weights - expected.weights)
        values = (
            largest(result.history, expected.history, losses),
            max(
                largest(result.history, expected.history, others),
                largest(result.metrics, expected.metrics, expected.metrics),
            ),
            float(np.abs(result.logits - expected.logits).max()),
            float(weights.max()),
            float(weights.mean()),
        )
        found[name] = dict(zip(KINDS, values, strict=True))
    return {name: found[name] for name in results if name != NONE}


def measured(results: dict[str, Result]) -> list[dict[str, Any]]:
    """Returns the measurements: synchronous strategies, and the AUC of parameter servers."""
    from tfrs_npa.metrics.significance import compare

    found = differences(results)
    synchronous = []
    for name in (MIRRORED, MULTI_WORKER):
        loss, weights = found[name]["losses"], found[name]["weights, mean"]
        title = f"{name}: largest difference of losses to no strategy"
        synchronous.append(measurement(title, loss, at_most=MOST_DIFFERENCE))
        title = f"{name}: mean difference of weights, / that of reversed batches"
        ratio = weights / found[REVERSED]["weights, mean"]
        synchronous.append(measurement(title, ratio, at_most=MOST_TIMES))
    auc = compare(results[PARAMETER_SERVER].values, results[NONE].values, ["auc"])
    low, high = auc["intervals"]["auc"]
    name = f"test AUC, {PARAMETER_SERVER} - no strategy"
    return [
        *synchronous,
        measurement(name, auc["difference"]["auc"]),
        measurement(f"{name}, 95 % interval from", low),
        measurement(f"{name}, to", high),
    ]


if __name__ == "__main__":
    main()
