"""What training in bfloat16 costs in quality.

Trains preset "small" as `tfrs-npa train --precision float32` and `--precision bfloat16` do, in
turn, with the same seeds and the same word vectors, made of the titles. AUCs are those of
impressions that no training has seen: the split test, or validation if test has no labels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import results_file
from quality import AUCS, SECONDS, results
from results_file import measurement, show, table

from tfrs_npa.cli.scripts import at_least_one, begin, comparison_parser
from tfrs_npa.runs.repeated import Row, means, metric_titles, train_and_evaluate, values
from tfrs_npa.settings import PRECISIONS

if TYPE_CHECKING:
    from tfrs_npa.data.splits import Splits

DIGITS = dict.fromkeys(AUCS, 4)


def train(precision: str, config, catalog, splits: Splits, epochs: int) -> dict[str, float]:
    """Trains and evaluates a model; returns `AUCS` and `SECONDS`."""
    from tfrs_npa.runs.precision import computing_in

    with computing_in(precision):
        result = train_and_evaluate(config, catalog, splits, epochs=epochs)
    return {name: result[name] for name in AUCS} | {SECONDS: result["seconds"]}


def of_both(rows: list[Row], metric: str) -> list[np.ndarray]:
    """Returns a metric in each precision, `[seeds]`."""
    return [values(rows, metric, precision=precision) for precision in PRECISIONS]


def measurements(rows: list[Row]) -> list[dict]:
    """Returns the difference, with the noise as its target."""
    exact, rough = of_both(rows, "auc")
    noise = -round(float(exact.std(ddof=1)), 4) if len(exact) > 1 else None
    name = f"AUC, bfloat16 minus float32, mean of {len(exact)} seeds"
    return [measurement(name, float(np.mean(rough - exact)), target=noise)]


def main() -> None:
    parser = comparison_parser(__doc__)
    about = "of each training (default: 1)"
    parser.add_argument("--epochs", type=at_least_one, default=1, help=about)
    results_file.add_json(parser)
    args, catalog, splits = begin(parser, SECONDS)
    rows = results(args, catalog, splits, "precision", PRECISIONS, train)
    lines = [
        [p, *cells] for p, cells in zip(PRECISIONS, means(rows, "precision", PRECISIONS, DIGITS))
    ]
    for seed, exact, rough in zip(args.seeds, *of_both(rows, "auc"), strict=True):
        lines.append([f"seed {seed}: difference", f"{rough - exact:+.4f}", "", ""])
    title = f"Preset small, {splits.data.name}, epochs: {args.epochs}; mean ± standard deviation"
    shown = table(title, ["", *metric_titles(AUCS)], lines)
    show(shown)
    results_file.write(
        args.json,
        title="Training in bfloat16",
        about=results_file.about(__doc__),
        tables=[shown],
        measurements=measurements(rows),
        trainings=rows,
    )


if __name__ == "__main__":
    main()
