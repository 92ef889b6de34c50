"""Scoring of a log with an export on Apache Beam, by one process and by two: impressions a second.

`tfrs_npa.score_log` on a made-up `behaviors.tsv` of MIND's shape, with `preset("small")` and random
weights. Each worker has one thread for TensorFlow's operations, as if it were a machine with one
core. The cases take turns. Workers note when they begin and end each part of the log: the rate is
that from the first beginning to the last end, with the first call of the export, but without what
comes before (processes, imports, loading the export) and after (joining the parts). The ratio is
the median of the rounds, between the least and the most of them. Other work on the machine moves
it; impressions per second of processor time, of all workers, depend on it less.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import pathlib
import tempfile
import time
import uuid
from collections.abc import Iterator
from typing import Any
from unittest import mock

import made_up_data
import numpy as np
import results_file
from results_file import measurement, table

import tfrs_npa
from tfrs_npa.cli.messages import import_beam, import_tensorflow
from tfrs_npa.datasets.mind import write_behaviors

_ONE_THREAD = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
_CASES = {
    "1 process": ["direct_running_mode=multi_processing", "direct_num_workers=1"],
    "2 processes": ["direct_running_mode=multi_processing", "direct_num_workers=2"],
}


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
    taken = measure(args.impressions, args.articles, args.times)
    rows = []
    for name, rounds in taken.items():
        wall, processor = (args.impressions / np.array(seconds) for seconds in zip(*rounds))
        cells = (np.median(wall), wall.min(), wall.max(), np.median(processor))
        rows.append([name, *(f"{rate:,.0f}" for rate in cells)])
    headers = ["", "impressions/s", "least", "most", "per s of processor time"]
    result = table(f"{args.impressions:,} impressions", headers, rows)
    ratios = [one / two for (one, _), (two, _) in zip(*taken.values())]
    what = "scoring on Beam, impressions/s of two processes / of one"
    values = {"": np.median(ratios), ", least": min(ratios), ", most": max(ratios)}
    measurements = [measurement(what + of, float(value)) for of, value in values.items()]
    results_file.report(args.json, "Scoring on Apache Beam", __doc__, [result], measurements)


def measure(impressions: int, articles: int, times: int) -> dict[str, list[tuple[float, float]]]:
    """Scores a log in all cases, in turns.

    Returns:
        Of each case and round, seconds from the first part's beginning to the last one's end, and
        seconds of processor time of all parts.
    """
    catalog = tfrs_npa.NewsCatalog().adapt(made_up_data.news_columns(articles))
    users = tfrs_npa.UserIndex().adapt(made_up_data.user_columns(5000))
    config = tfrs_npa.NPAConfig.preset("small").replace(word_initializer="normal")
    model = tfrs_npa.NPA(config, catalog, users)
    draws = np.random.default_rng(0)
    model.set_weights([draws.normal(0, 0.4, weight.shape) for weight in model.get_weights()])
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in _CASES}
    with tempfile.TemporaryDirectory() as name, mock.patch.dict(os.environ, _ONE_THREAD):
        from tfrs_npa.serving import score_log

        folder = pathlib.Path(name)
        version = tfrs_npa.export(model, folder / "export")
        log = folder / "behaviors.tsv"
        write_behaviors(log, _rows(impressions, articles))
        for _, (case, options) in itertools.product(range(times), _CASES.items()):
            notes = pathlib.Path(tempfile.mkdtemp(dir=folder))
            write, join = score_log._FORMATS[".txt"]
            noting = functools.partial(_noting, write, notes)
            with mock.patch.dict(score_log._FORMATS, {".txt": (noting, join)}):
                score_log.score_log(version, log, folder / "prediction.txt", options)
            parts = [json.loads(note.read_text()) for note in notes.iterdir()]
            begins, ends, processor = zip(*parts)
            taken[case].append((max(ends) - min(begins), sum(processor)))
    return taken


def _noting(write, notes, file, scored):
    """Writes a part, in a worker, and a note of its times."""
    begin, processor = time.time(), time.process_time()
    write(file, scored)
    note = [begin, time.time(), time.process_time() - processor]
    (notes / uuid.uuid4().hex).write_text(json.dumps(note))


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
