"""Trials of a search: CPU seconds that do not grow with the data or the epochs.

A search of KerasTuner's own in one process, on so little data (16 impressions to train on, as many
to validate on, one epoch) that what a trial takes is its fixed cost: making and compiling a model,
tracing, optimizing and loading of graphs, callbacks, the checkpoint. Trials of the same shape
differ in what a search mostly searches, learning rates and rates of dropout; trials of another
shape also in the number of filters. The first trial also pays for what a process does once. Times
are process time over all threads; medians where there are several trials.
"""

from __future__ import annotations

import tempfile
import time

import made_up_data
import numpy as np
import results_file
from results_file import measurement, table

import tfrs_npa
from tfrs_npa.cli.messages import import_tensorflow

IMPRESSIONS, ARTICLES, USERS = 16, 500, 100
MOST = 0.5
# Small ones, so that arithmetic takes no time; and all rates of dropout above 0.
DIMENSIONS = {
    "word_embedding_dim": 64,
    "user_embedding_dim": 32,
    "num_filters": 128,
    "attention_dim": 32,
    "pooling_dropout": 0.1,
}
RATES = {
    "learning_rate": {"min": 1e-3, "max": 1e-2, "sampling": "log"},
    "table_learning_rate": {"min": 1e-3, "max": 3e-2, "sampling": "log"},
    "dropout": {"min": 0.05, "max": 0.3},
    "user_dropout": {"min": 0.3, "max": 0.6},
}


def main() -> None:
    parser = results_file.result_parser(__doc__)
    number = {"type": int, "metavar": "N", "help": "default: %(default)s"}
    parser.add_argument("--trials", default=6, **number)
    args = parser.parse_args()
    if args.trials < 2:
        parser.error("at least 2 trials")
    import_tensorflow()
    rows, measurements = [], []
    for name in ("small", "recommenders"):
        config = tfrs_npa.NPAConfig.preset(name).replace(**DIMENSIONS)
        same = seconds_of_trials(config, RATES, args.trials)
        # So many that a random search hardly draws one twice.
        filters = [config.num_filters + i for i in range(1, 40 * args.trials)]
        other = seconds_of_trials(config, {**RATES, "num_filters": filters}, args.trials)
        first, same, other = same[0], float(np.median(same[1:])), float(np.median(other[1:]))
        rows.append([name, *(f"{seconds:.2f}" for seconds in (first, other, same))])
        rows[-1].append(f"{same / other:.2f}")
        what = f"a further trial: of the same shape / of another ({name})"
        measurements.append(measurement(what, same / other, at_most=MOST))
    headers = ["preset", "first", "further, another shape", "further, same shape", "same / another"]
    shown = table("CPU seconds of a trial of a search", headers, rows)
    results_file.report(args.json, "Trials", __doc__, [shown], measurements)


def seconds_of_trials(config: tfrs_npa.NPAConfig, searched: dict, trials: int) -> list[float]:
    """Runs a search, and returns the CPU seconds of its trials.

    Args:
        config: The configuration of what is not searched.
        searched: The fields that are searched, as `SearchSpace` takes them.
        trials: Number of trials.
    """
    import keras_tuner

    class Timed(keras_tuner.RandomSearch):
        seconds: list[float] = []

        def run_trial(self, *args, **kwargs):
            started = time.process_time()
            result = super().run_trial(*args, **kwargs)
            self.seconds.append(time.process_time() - started)
            return result

    Timed.seconds = []
    with tempfile.TemporaryDirectory() as folder:
        objective = keras_tuner.Objective("val_auc", "max")
        hypermodel = _hypermodel(config, searched)
        tuner = Timed(hypermodel, objective, max_trials=trials, seed=1, directory=folder)
        tuner.search(epochs=1, verbose=0)
    return Timed.seconds


def _hypermodel(config: tfrs_npa.NPAConfig, searched: dict) -> tfrs_npa.NPAHyperModel:
    catalog = tfrs_npa.NewsCatalog().adapt(made_up_data.news_columns(ARTICLES))
    users = tfrs_npa.UserIndex().adapt(made_up_data.user_columns(USERS))
    columns = next(made_up_data.impression_pieces(2 * IMPRESSIONS, USERS))
    for name in ("history_values", "candidate_values"):
        columns[name] = columns[name] % ARTICLES + 2
    impressions = tfrs_npa.Impressions.from_columns(columns)
    halves = (impressions.take(slice(IMPRESSIONS)), impressions.take(slice(IMPRESSIONS, None)))
    base = config.replace(word_initializer="normal")
    space = tfrs_npa.SearchSpace(searched, base, others="pinned")
    return tfrs_npa.NPAHyperModel(catalog, *halves, space, users=users)


if __name__ == "__main__":
    main()
