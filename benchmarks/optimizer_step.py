"""Milliseconds per step on one embedding table, for Keras's Adam and for LazyAdam.

Example:
    python benchmarks/optimizer_step.py --rows 50000 5000000
"""

from __future__ import annotations

import argparse
import statistics
import time

import results_file
from results_file import show, table

import tfrs_npa
from tfrs_npa.cli.messages import import_tensorflow


def milliseconds_per_step(optimizer, rows: int, args: argparse.Namespace) -> float:
    """Returns the median time of a step whose gradient holds `args.ids` random rows."""
    import tensorflow as tf

    table = tf.Variable(tf.zeros([rows, args.dim]))
    optimizer.build([table])

    @tf.function(jit_compile=args.jit_compile)
    def step(values, indices):
        optimizer.apply_gradients([(tf.IndexedSlices(values, indices), table)])

    times = []
    for seed in range(args.warmup + args.steps):
        values = tf.random.stateless_normal([args.ids, args.dim], seed=[seed, 0])
        indices = tf.random.stateless_uniform([args.ids], [seed, 1], 0, rows, tf.int64)
        start = time.perf_counter()
        step(values, indices)
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times[args.warmup :])


def main() -> None:
    parser = results_file.result_parser(__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[50_000, 5_000_000])
    parser.add_argument("--dim", type=int, default=100, help="columns of the table")
    parser.add_argument("--ids", type=int, default=2_000, help="rows in a gradient, with repeats")
    parser.add_argument("--steps", type=int, default=20, help="steps measured; prints the median")
    parser.add_argument("--warmup", type=int, default=3, help="steps before measuring")
    parser.add_argument("--jit-compile", action="store_true", help="compile the step with XLA")
    args = parser.parse_args()

    import_tensorflow()
    import tensorflow as tf

    rows = []
    for number in args.rows:
        adam, lazy = (
            f"{milliseconds_per_step(make(), number, args):.2f}"
            for make in (tf.keras.optimizers.Adam, tfrs_npa.LazyAdam)
        )
        rows.append([f"{number:,}", adam, lazy])
    title = f"{args.ids:,} ids of {args.dim} numbers per step; ms per step, median of {args.steps}"
    steps = table(title, ["rows", "Adam", "LazyAdam"], rows)
    show(steps)
    results_file.write(
        args.json,
        title="Optimizer step",
        about="One embedding table: Keras's Adam, which updates all of its rows at each step, and "
        "`LazyAdam`, which updates those that the step used.",
        tables=[steps],
    )


if __name__ == "__main__":
    main()
