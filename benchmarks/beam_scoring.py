"""Scoring of a log with an export on Apache Beam, by one process and by two: impressions a second.

`tfrs_npa.score_log` on a made-up `behaviors.tsv` of MIND's shape, with `preset("small")` and random
weights. Each process has one thread for TensorFlow's operations, as if it were a machine with one
core. The two cases take turns. What it takes to start (processes, imports, loading the export) is
that of a log of a single impression, and is not counted in the rates, which are of the quickest
round of each. Beside them, this process alone with all cores, and the way of `tfrs-npa predict
--run` from the same model, without Beam.
"""

from __future__ import annotations

import collections
import itertools
import os
import pathlib
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import made_up_data
import numpy as np
import results_file
from results_file import measurement, show, table

import tfrs_npa
from tfrs_npa.cli.messages import import_beam, import_tensorflow
from tfrs_npa.data.impressions import read_impressions, with_users
from tfrs_npa.datasets.mind import read_behaviors, write_behaviors

_ONE_THREAD = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
_CASES = {"1 process, 1 thread": 1, "2 processes, 1 thread each": 2}
_HERE = "this process, all threads"
_PLAIN = "without Beam, all threads"


def main() -> None:
    parser = results_file.result_parser(__doc__)
    number = {"type": int, "metavar": "N", "help": "default: %(default)s"}
    parser.add_argument("--impressions", default=20_000, **number)
    parser.add_argument("--articles", default=20_000, **number)
    parser.add_argument("--times", default=3, **number)
    args = parser.parse_args()
    if min(args.impressions, args.articles, args.times) < 1:
        parser.error("at least 1 of everything")

    import_tensorflow()
    import_beam()
    starts, rates = measure(args.impressions, args.articles, args.times)
    rows = [[name, f"{rates[name]:,.0f}", f"{starts[name]:.0f}"] for name in (*_CASES, _HERE)]
    rows.append([_PLAIN, f"{rates[_PLAIN]:,.0f}", ""])
    result = table(f"{args.impressions:,} impressions", ["", "impressions/s", "s to start"], rows)
    show(result)
    one, two = (rates[name] for name in _CASES)
    what = "scoring on Beam, impressions/s of two processes / of one"
    print(f"{what}: {two / one:.2f}")
    results_file.write(
        args.json,
        title="Scoring on Apache Beam",
        about=results_file.about(__doc__),
        tables=[result],
        measurements=[measurement(what, two / one)],
    )


def measure(
    impressions: int, articles: int, times: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Scores a log in all ways, in turns.

    Returns:
        Of each way, the seconds that a log of one impression takes, and the impressions a second.
    """
    catalog = tfrs_npa.NewsCatalog().adapt(made_up_data.news_columns(articles))
    users = tfrs_npa.UserIndex().adapt(made_up_data.user_columns(5000))
    config = tfrs_npa.NPAConfig.preset("small").replace(word_initializer="normal")
    model = tfrs_npa.NPA(config, catalog, users)
    draws = np.random.default_rng(0)
    model.set_weights([draws.normal(0, 0.4, weight.shape) for weight in model.get_weights()])
    taken: dict[tuple[str, int], list[float]] = collections.defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        version = tfrs_npa.export(model, folder / "export")
        logs = {rows: folder / f"{rows}.tsv" for rows in (1, impressions)}
        for rows, log in logs.items():
            write_behaviors(log, _rows(rows, articles))
        ways = {name: _Beam(version, processes) for name, processes in _CASES.items()}
        ways |= {_HERE: _Beam(version, 0), _PLAIN: _Plain(model)}
        for _ in range(times):
            for (name, way), (rows, log) in itertools.product(ways.items(), logs.items()):
                started = time.perf_counter()
                way(log, folder)
                taken[name, rows].append(time.perf_counter() - started)
    least = {case: min(seconds) for case, seconds in taken.items()}
    starts = {name: least[name, 1] for name in ways}
    return starts, {name: impressions / (least[name, impressions] - starts[name]) for name in ways}


class _Beam:
    def __init__(self, version, processes):
        self._version, self._processes = version, processes

    def __call__(self, log, folder):
        options = []
        if self._processes:
            workers = f"direct_num_workers={self._processes}"
            options = ["direct_running_mode=multi_processing", workers]
            # Workers inherit them; this process has its threads already.
            os.environ.update(_ONE_THREAD)
        try:
            tfrs_npa.score_log(self._version, log, folder / "prediction.txt", options)
        finally:
            for name in _ONE_THREAD:
                os.environ.pop(name, None)


class _Plain:
    def __init__(self, model):
        self._model = model

    def __call__(self, log, folder):
        model = self._model
        impressions, users = read_impressions(list(read_behaviors(log)), model.catalog)
        impressions = with_users(impressions, users, model.users)
        batches = tfrs_npa.impression_batches(impressions, model.catalog, model.users, model.config)
        tfrs_npa.write_predictions(folder / "plain", impressions, model.predict_batches(batches))


def _rows(impressions: int, articles: int) -> Iterator[dict[str, Any]]:
    number = 0
    for piece in made_up_data.impression_pieces(impressions):
        ids = [
            np.array([f"N{article}" for article in piece[f"{name}_values"] % articles], object)
            for name in ("history", "candidate")
        ]
        lengths = [piece[f"{name}_lengths"] for name in ("history", "candidate")]
        lists = [np.split(*part) for part in zip(ids, [np.cumsum(of)[:-1] for of in lengths])]
        clicked = np.split(piece["clicked"], np.cumsum(lengths[1])[:-1])
        for user, history, candidates, labels in zip(piece["user_id"], *lists, clicked):
            number += 1
            yield {
                "impression_id": number,
                "user_id": f"U{user}",
                "time": 1_573_776_000,
                "history": history.tolist(),
                "candidates": {"news_id": candidates.tolist(), "clicked": labels},
            }


if __name__ == "__main__":
    main()
