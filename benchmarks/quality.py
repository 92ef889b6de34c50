"""What speed costs in quality: the fast model against a plain one, trained alike.

Trains preset "small" in two ways, in turn, with the same seeds: "plain" encodes every article of
every row separately for its user, padding included (`plain_model.py`), and "fast" is the model of
this project. Initial weights, batches, optimizer and number of epochs are the same. AUCs are those
of impressions that no training has seen: the split test, or validation if test has no labels. The
seconds are those of training, from the end of its first step, which traces the graph.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import results_file
from results_file import measurement, show, table

import tfrs_npa
from tfrs_npa.cli.scripts import at_least_one, begin, comparison_parser
from tfrs_npa.runs.repeated import (
    Row,
    means,
    metric_titles,
    train_and_evaluate,
    train_each,
    values,
)

if TYPE_CHECKING:
    from tfrs_npa.data.splits import Splits

PATHS = ("plain", "fast")
AUCS = ("auc", "auc_known_users", "auc_new_users")
SECONDS = "training_seconds"
DIGITS = dict.fromkeys(AUCS, 4) | {SECONDS: 1}


def train(
    path: str,
    config: tfrs_npa.NPAConfig,
    catalog: tfrs_npa.NewsCatalog,
    splits: Splits,
    epochs: int,
) -> dict[str, float]:
    """Trains and evaluates a model; returns `AUCS` and `SECONDS`."""
    from plain_model import PlainNPA

    model_type = {"plain": PlainNPA, "fast": tfrs_npa.NPA}[path]
    result = train_and_evaluate(config, catalog, splits, epochs=epochs, model_type=model_type)
    return {name: result[name] for name in AUCS} | {SECONDS: result["seconds"]}


def results(
    args, catalog: tfrs_npa.NewsCatalog, splits: Splits, name="path", choices=PATHS, train=train
) -> list[Row]:
    """Returns a row for each seed and choice.

    Args:
        args: Those of `comparison_parser`, and `epochs`.
        catalog: The catalogue.
        splits: The data.
        name: The setting in which trainings differ.
        choices: Its values.
        train: A function as `train`, which takes one of them first.
    """

    def training(seed, choice):
        config = tfrs_npa.NPAConfig.preset("small").replace(seed=seed)
        settings = {name: choice, "data": splits.data.name, "epochs": args.epochs}
        return (
            f"{choice}, seed {seed}",
            settings | config.to_dict(),
            lambda: train(choice, config, catalog, splits, args.epochs),
        )

    trainings = [training(seed, choice) for seed in args.seeds for choice in choices]
    return train_each(trainings, args.output, SECONDS)


def difference(rows: list[Row], metric: str) -> float:
    """Returns the mean of the fast path minus that of the plain one."""
    return float(
        values(rows, metric, path="fast").mean() - values(rows, metric, path="plain").mean()
    )


def means_and_differences(rows: list[Row]) -> dict:
    """Returns a table: mean ± standard deviation of the sample, and the difference of the means."""
    lines = [[path, *cells] for path, cells in zip(PATHS, means(rows, "path", PATHS, DIGITS))]
    differences = [f"{difference(rows, name):+.{digits}f}" for name, digits in DIGITS.items()]
    lines.append(["fast minus plain", *differences])
    seeds = ", ".join(dict.fromkeys(row["seed"] for row in rows))
    given = f"{rows[0]['data']}, epochs: {rows[0]['epochs']}, seeds: {seeds}"
    headers = ["", *metric_titles(AUCS), "training, s"]
    return table(f"Preset small, {given}; mean ± standard deviation", headers, lines)


def verdict(rows: list[Row]) -> str:
    """Says whether the fast path's AUC is lower than the plain one's by more than seed noise."""
    change, plain = difference(rows, "auc"), values(rows, "auc", path="plain")
    text = f"AUC, fast minus plain: {change:+.4f}"
    if len(plain) < 2:
        return f"{text}; with one seed it cannot be told from noise"
    noise = plain.std(ddof=1)
    answer = "no lower beyond seed noise" if change >= -noise else "lower by more than seed noise"
    paired = (values(rows, "auc", path="fast") - plain).std(ddof=1)
    return (
        f"{text}; standard deviation over the seeds: {noise:.4f} of plain, {paired:.4f} of the "
        f"difference; {answer}"
    )


def measurements(rows: list[Row]) -> list[dict]:
    """Returns the difference, with the noise as its target, and the ratio of the seconds."""
    plain = values(rows, "auc", path="plain")
    target = -round(float(plain.std(ddof=1)), 4) if len(plain) > 1 else None
    times = values(rows, SECONDS, path="plain").mean() / values(rows, SECONDS, path="fast").mean()
    seeds = f"mean of {len(plain)} seeds"
    return [
        measurement(f"AUC, fast minus plain path, {seeds}", difference(rows, "auc"), target=target),
        measurement(f"training, times the plain path, {seeds}", float(times)),
    ]


def main() -> None:
    parser = comparison_parser(__doc__)
    about = "of each training (default: 1)"
    parser.add_argument("--epochs", type=at_least_one, default=1, help=about)
    results_file.add_json(parser)
    args, catalog, splits = begin(parser, SECONDS)
    rows = results(args, catalog, splits)
    shown, answer = means_and_differences(rows), verdict(rows)
    print(f"{splits.data.name}, split {splits.names['report']}: {len(splits.test):,} impressions")
    show(shown)
    print(answer)
    results_file.write(
        args.json,
        title="Quality is not traded",
        about=f"{results_file.about(__doc__)} {answer}.",
        tables=[shown],
        measurements=measurements(rows),
        trainings=rows,
    )


if __name__ == "__main__":
    main()
