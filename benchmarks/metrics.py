"""Seconds for the ranking metrics of a result of the size of MIND-small's dev split.

Prints one line for all impressions at once, padded to the longest, and one for a stream of batches.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import time

import machine
import numpy as np
import tensorflow as tf

from tfrs_npa._files import atomic_file
from tfrs_npa.metrics import ImpressionMetrics

IMPRESSIONS = 73_152
CANDIDATES_MEAN, CANDIDATES_MAX = 37.5, 300
CLICK_RATE = 0.04
MOST_SECONDS = 3


def generate(rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Makes clicked, scores, mask `[73152, 300]` and known_user `[73152]` of MIND's shape."""
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch-size", type=int, default=512, help="impressions per batch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=pathlib.Path, help="write the figures here too")
    args = parser.parse_args()

    environment = machine.describe() | {"tensorflow": tf.__version__}
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
    rows, figures = [], []
    for name, stream in (("all at once", whole), (f"batches of {args.batch_size}", batches)):
        ranking = ImpressionMetrics()
        update = tf.function(ranking.update, reduce_retracing=True)
        seconds = []
        for _ in range(args.rounds + 1):
            started = time.perf_counter()
            for batch in stream:
                update(*batch)
            auc = float(ranking.metrics[0].result())
            seconds.append(time.perf_counter() - started)
        # The first round, with the tracing, is not in the median.
        median, first = f"{statistics.median(seconds[1:]):.2f}", f"{seconds[0]:.2f}"
        print(f"{name}: median {median} s, first {first} s (AUC {auc:.4f})")
        rows.append([name, median, first])
        figures.append(
            {
                "name": f"metrics of {mask.sum():,} candidates, {name}, seconds",
                "value": statistics.median(seconds[1:]),
                "at_most": MOST_SECONDS,
            }
        )
    if args.json is not None:
        result = {
            "title": "Metrics",
            "about": "AUC, MRR and nDCG of made-up scores of the size of MIND-small's dev split: "
            f"median of {args.rounds} rounds, and the first call, with its tracing.",
            "command": machine.command(),
            "environment": environment,
            "tables": [{"title": size, "headers": ["", "s", "first call, s"], "rows": rows}],
            "figures": figures,
        }
        with atomic_file(args.json) as temporary:
            temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
