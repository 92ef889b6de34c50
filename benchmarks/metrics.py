"""Seconds for the ranking metrics at the size of MIND-small's dev split.

Times all impressions at once, padded to the longest, and a stream of batches.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import results_file
from results_file import measurement, table

import tfrs_npa
from tfrs_npa.cli.messages import import_tensorflow

IMPRESSIONS = 73_152
CANDIDATES_MEAN, CANDIDATES_MAX = 37.5, 300
CLICK_RATE = 0.04
MOST_SECONDS = 3


def generate(rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Returns clicked, scores, mask `[73152, 300]`, and known_user `[73152]`, of MIND's shape."""
    lengths = rng.gamma(1.2, (CANDIDATES_MEAN - 2) / 1.2, IMPRESSIONS).round() + 2
    mask = np.arange(CANDIDATES_MAX) < lengths[:, None]
    clicked = (rng.random(mask.shape) < CLICK_RATE) & mask
    clicked[:, 0] |= ~clicked.any(axis=1)
    return (
        clicked.astype(np.int32),
        rng.normal(size=mask.shape).astype(np.float32),
        mask,
        rng.random(IMPRESSIONS) < 0.12,
    )


def main() -> None:
    parser = results_file.result_parser(__doc__)
    parser.add_argument("--batch-size", type=int, default=512, help="impressions per batch")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()

    import_tensorflow()
    import tensorflow as tf

    arrays = generate(np.random.default_rng(0))
    mask = arrays[2]
    batches = []
    for start in range(0, IMPRESSIONS, args.batch_size):
        rows = slice(start, start + args.batch_size)
        width = int(mask[rows].sum(axis=1).max())
        batches.append([tf.constant(a[rows, :width] if a.ndim == 2 else a[rows]) for a in arrays])
    whole = [[tf.constant(array) for array in arrays]]

    size = f"{IMPRESSIONS:,} impressions, {mask.sum():,} candidates"
    print(size)
    rows, measurements = [], []
    for name, stream in (("all at once", whole), (f"batches of {args.batch_size}", batches)):
        ranking = tfrs_npa.ImpressionMetrics()
        update = tf.function(ranking.update, reduce_retracing=True)
        seconds = []
        for _ in range(args.rounds + 1):
            started = time.perf_counter()
            for batch in stream:
                update(*batch)
            auc = float(ranking.result()["auc"])
            seconds.append(time.perf_counter() - started)
        # The first round, with the tracing, is not in the median.
        median = statistics.median(seconds[1:])
        print(f"{name}: median {median:.2f} s, first {seconds[0]:.2f} s (AUC {auc:.4f})")
        rows.append([name, f"{median:.2f}", f"{seconds[0]:.2f}"])
        measured = f"metrics of {mask.sum():,} candidates, {name}, seconds"
        measurements.append(measurement(measured, median, at_most=MOST_SECONDS))
    results_file.write(
        args.json,
        title="Metrics",
        about="AUC, MRR and nDCG of made-up scores at the size of MIND-small's dev split: "
        f"median of {args.rounds} rounds, and the first call, with its tracing.",
        tables=[table(size, ["", "s", "first call, s"], rows)],
        measurements=measurements,
    )


if __name__ == "__main__":
    main()
