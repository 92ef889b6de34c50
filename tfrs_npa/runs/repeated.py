"""Trainings with several configurations and seeds: what the scripts share that compare them.

A comparison takes hours on real data. Its rows are stored in a CSV file as they come, and a
training whose settings are already in the file is skipped.

Importing this needs no TensorFlow, so that the options of a script can be checked first.
"""

from __future__ import annotations

import csv
import dataclasses
import pathlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from tabulate import tabulate

from tfrs_npa._files import atomic_file
from tfrs_npa.config import NPAConfig

if TYPE_CHECKING:
    from tfrs_npa.data.catalog import NewsCatalog
    from tfrs_npa.data.splits import Splits
    from tfrs_npa.models.npa import NPA

Row = dict[str, str]
"""Settings and metrics of a training, as text."""


@dataclasses.dataclass(frozen=True)
class Training:
    """A training that has ended.

    Attributes:
        model: The trained model.
        steps: Number of steps.
        rows_seen: Number of training rows in those steps.
        epochs: The same in passes over the training rows.
        seconds: Duration, from the end of the first step, which traces the graph.
    """

    model: NPA
    steps: int
    rows_seen: int
    epochs: float
    seconds: float


def train(
    config: NPAConfig,
    catalog: NewsCatalog,
    splits: Splits,
    *,
    epochs: int | None = None,
    seconds: float = float("inf"),
    total_steps: int | None = None,
    model_type: type[NPA] | None = None,
) -> Training:
    """Trains a model from scratch, in a fresh Keras session.

    Args:
        config: Hyper-parameters.
        catalog: The articles.
        splits: The impressions.
        epochs: The most passes over the training impressions; each is reported on standard error.
        seconds: Ends the training when this time has passed since the end of its first step.
        total_steps: Steps after which the learning rate is zero, if it decays; None: those of all
            `epochs`.
        model_type: The class of the model; None: `NPA`.
    """
    import tensorflow as tf

    from tfrs_npa.data.batches import row_batches
    from tfrs_npa.data.sampling import TrainingRows
    from tfrs_npa.models.npa import NPA
    from tfrs_npa.optimizers import default_optimizer

    tf.keras.backend.clear_session()
    tf.keras.utils.set_random_seed(config.seed)
    rows = TrainingRows(splits.train, config)
    if total_steps is None and epochs is not None:
        total_steps = rows.steps * epochs
    model = (model_type or NPA)(config, catalog, splits.users)
    model.compile(optimizer=default_optimizer(config, total_steps))
    ends = []

    def note_step(batch, logs):
        ends.append(time.perf_counter())
        if ends[-1] - ends[0] >= seconds:
            model.stop_training = True

    def report_epoch(epoch, logs):
        if epochs is not None:
            print(f"  epoch {epoch + 1} of {epochs}: loss {logs['loss']:.4f}", file=sys.stderr)

    model.fit(
        row_batches(rows),
        epochs=epochs or sys.maxsize,
        verbose=0,
        callbacks=[
            tf.keras.callbacks.LambdaCallback(
                on_train_batch_end=note_step, on_epoch_end=report_epoch
            )
        ],
    )
    passes, rest = divmod(len(ends), rows.steps)
    rows_seen = passes * len(rows) + rest * config.batch_size
    return Training(model, len(ends), rows_seen, rows_seen / len(rows), ends[-1] - ends[0])


def train_and_evaluate(
    config: NPAConfig, catalog: NewsCatalog, splits: Splits, **options
) -> dict[str, float]:
    """Trains a model from scratch and evaluates it on the test impressions.

    Args:
        config: Hyper-parameters.
        catalog: The articles.
        splits: The impressions.
        **options: Other arguments of `train`.

    Returns:
        The metrics of `NPA.evaluate` by name, NaN where there is nothing to measure, and `steps`,
        `rows_seen`, `epochs` and `seconds` of the `Training`.
    """
    from tfrs_npa.data.batches import impression_batches

    training = train(config, catalog, splits, **options)
    test = impression_batches(splits.test, catalog, splits.users, config)
    metrics = training.model.evaluate(test, verbose=0, return_dict=True)
    return {name: float(value) for name, value in metrics.items()} | {
        "steps": training.steps,
        "rows_seen": training.rows_seen,
        "epochs": training.epochs,
        "seconds": training.seconds,
    }


def read_rows(path: pathlib.Path | None, column: str) -> list[Row]:
    """Returns the rows of a file; none if there is no file.

    Args:
        path: The file.
        column: A column that only the files of this comparison have.

    Raises:
        ValueError: if the file has no such column, so is not of this comparison.
    """
    if path is None or not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        if column not in (rows.fieldnames or ()):
            raise ValueError(f"{path} holds no results of this comparison; name another file")
        return list(rows)


def train_each(
    trainings: Sequence[tuple[str, Mapping[str, Any], Callable[[], Mapping[str, float]]]],
    path: pathlib.Path | None,
    column: str,
) -> list[Row]:
    """Runs the trainings that a file does not hold yet, reporting progress on standard error.

    Args:
        trainings: Title, settings, and a function that trains and returns metrics, `auc` among
            them.
        path: The file; None: results are not stored.
        column: A column that only the files of this comparison have.

    Returns:
        Settings and metrics of all trainings.
    """
    rows, chosen = read_rows(path, column), []
    for number, (title, settings, run) in enumerate(trainings, start=1):
        wanted = {name: str(value) for name, value in settings.items()}
        row = next((row for row in rows if wanted.items() <= row.items()), None)
        known = " (done before)" if row else ""
        print(f"{number} of {len(trainings)}: {title}{known}", file=sys.stderr)
        if row is None:
            row = wanted | {name: str(value) for name, value in run().items()}
            rows.append(row)
            if path is not None:
                _write_rows(path, rows)
        print(f"  AUC {float(row['auc']):.4f}", file=sys.stderr)
        chosen.append(row)
    return chosen


def values(rows: Sequence[Row], metric: str, **settings: str) -> np.ndarray:
    """Returns a metric of the rows that have these settings, `[rows]`."""
    chosen = [row for row in rows if settings.items() <= row.items()]
    return np.array([float(row[metric]) for row in chosen])


def mean_and_deviation(numbers: np.ndarray, digits: int = 4) -> str:
    """Formats a mean and, of more than one number, the standard deviation of the sample."""
    deviation = f" ± {numbers.std(ddof=1):,.{digits}f}" if len(numbers) > 1 else ""
    return f"{numbers.mean():,.{digits}f}{deviation}"


def means(
    rows: Sequence[Row], setting: str, names: Sequence[str], digits: Mapping[str, int]
) -> list[list[str]]:
    """Formats the mean ± standard deviation of metrics, for each value of a setting.

    Args:
        rows: The rows.
        setting: The setting that tells the rows apart.
        names: Its values.
        digits: Decimals by name of the metric.

    Returns:
        For each of `names`, a list with a string for each metric.
    """
    return [
        [
            mean_and_deviation(values(rows, metric, **{setting: name}), number)
            for metric, number in digits.items()
        ]
        for name in names
    ]


def means_table(
    rows: Sequence[Row],
    setting: str,
    columns: Mapping[str, str],
    metrics: Sequence[str],
    titles: Mapping[str, str] | None = None,
) -> str:
    """Formats `means` as a table with a line for each metric.

    Args:
        rows: The rows.
        setting: The setting that tells the columns apart.
        columns: Titles of the columns by value of the setting.
        metrics: Names of the metrics.
        titles: Titles of the metrics that `metric_titles` does not know.
    """
    cells = means(rows, setting, list(columns), dict.fromkeys(metrics, 4))
    shown = [(titles or {}).get(name) or metric_titles([name])[0] for name in metrics]
    lines = zip(shown, *cells, strict=True)
    return tabulate(lines, headers=["", *columns.values()], disable_numparse=True)


def metric_titles(names: Sequence[str]) -> list[str]:
    """Returns the titles of metrics; of anything else, its name with spaces."""
    from tfrs_npa.metrics.table import TITLES

    return [TITLES.get(name, name.replace("_", " ")) for name in names]


def _write_rows(path: pathlib.Path, rows: Sequence[Row]) -> None:
    names = dict.fromkeys(name for row in rows for name in row)
    with atomic_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
