"""Prints milliseconds per step on one embedding table, of Keras's Adam and of LazyAdam.

Example:
    python benchmarks/optimizer_step.py --rows 50000 5000000
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import time

import machine


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
    """Parses the command line and prints one line per table size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[50_000, 5_000_000])
    parser.add_argument("--dim", type=int, default=100, help="columns of the table")
    parser.add_argument("--ids", type=int, default=2_000, help="rows in a gradient, with repeats")
    parser.add_argument("--steps", type=int, default=20, help="steps measured; prints the median")
    parser.add_argument("--warmup", type=int, default=3, help="steps before measuring")
    parser.add_argument("--jit-compile", action="store_true", help="compile the step with XLA")
    parser.add_argument("--json", type=pathlib.Path, help="write the figures here too")
    args = parser.parse_args()

    # After the arguments, so that --help answers at once.
    import tfrs_npa  # noqa: F401  (chooses Keras 2)

    import tensorflow as tf  # isort: skip

    from tfrs_npa._files import atomic_file
    from tfrs_npa.optimizers import LazyAdam

    environment = machine.describe() | {"tensorflow": tf.__version__}
    title = f"{args.ids:,} ids of {args.dim} numbers per step; ms per step, median of {args.steps}"
    headers = ["rows", "Adam", "LazyAdam"]
    print(title)
    print("{:>12} {:>10} {:>10}".format(*headers))
    table = []
    for rows in args.rows:
        adam, lazy = (
            f"{milliseconds_per_step(make(), rows, args):.2f}"
            for make in (tf.keras.optimizers.Adam, LazyAdam)
        )
        print(f"{rows:>12,} {adam:>10} {lazy:>10}", flush=True)
        table.append([f"{rows:,}", adam, lazy])
    if args.json is not None:
        result = {
            "title": "Optimizer step",
            "about": "One embedding table: Keras's Adam, which updates all of its rows at each "
            "step, and `LazyAdam`, which updates those that the step used.",
            "command": machine.command(),
            "environment": environment,
            "tables": [{"title": title, "headers": headers, "rows": table}],
            "figures": [],
        }
        with atomic_file(args.json) as temporary:
            temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
