"""Compares tfrs_npa with Microsoft Recommenders 1.2.1: training, evaluation, scores.

Both get the same generated data of MINDdemo's size, the same npa.yaml and the same weights, and are
measured in turn, one of theirs and then ours, in each of several rounds; figures are medians over
the rounds. Recommenders runs in a virtual environment of its own, which is made if it is missing.

"preset" is `NPAConfig.preset("recommenders")`, the same model as theirs, padding and all; "recipe"
is `NPAConfig()` at the same dimensions.

Example:
    python benchmarks/against_recommenders.py --rounds 5
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile

RESULTS = pathlib.Path(__file__).with_name("results")


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, help="rounds (default: 5; --quick: 2)")
    parser.add_argument(
        "--seconds", type=float, help="of training in each round and case (default: 5)"
    )
    parser.add_argument(
        "--title-lengths", type=int, nargs="+", help="training (default: 10 30; --quick: 10)"
    )
    parser.add_argument(
        "--batch-sizes", type=int, nargs="+", help="training (default: 32 256; --quick: 32)"
    )
    parser.add_argument(
        "--evaluation-batch-size",
        type=int,
        default=256,
        help="impressions in a batch of ours (default: %(default)s); theirs evaluates 32 "
        "candidates at a time, as npa.yaml says",
    )
    parser.add_argument("--quick", action="store_true", help="a minute, to see that it works")
    parser.add_argument(
        "--json",
        type=pathlib.Path,
        help=f"where to write (default: {RESULTS.name}/against_recommenders.json beside this file; "
        "--quick: nowhere)",
    )
    parser.add_argument(
        "--data",
        type=pathlib.Path,
        help="folder to keep the generated data in, and to take it from if it is there (default: "
        "made anew and removed)",
    )
    parser.add_argument(
        "--recommenders-venv",
        type=pathlib.Path,
        default=pathlib.Path(".venv-recommenders"),
        help="virtual environment of Recommenders (default: %(default)s)",
    )
    parser.add_argument(
        "--recommenders-python",
        default="python3.10",
        help="interpreter to make it with, 3.9 to 3.11 (default: %(default)s)",
    )
    args = parser.parse_args(argv)
    usual = (2, 0.5, [10], [32]) if args.quick else (5, 5.0, [10, 30], [32, 256])
    names = ("rounds", "seconds", "title_lengths", "batch_sizes")
    for name, value in zip(names, usual, strict=True):
        if getattr(args, name) is None:
            setattr(args, name, value)
    if args.rounds < 1 or args.seconds <= 0:
        parser.error("--rounds has to be at least 1, and --seconds positive")
    if args.json is None and not args.quick:
        args.json = RESULTS / "against_recommenders.json"
    return args


def main() -> None:
    args = parse_arguments()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

    # After the arguments, so that --help answers at once.
    import comparison
    import comparison_tables
    import demo_sized_data
    import machine
    import recommenders_environment
    from tabulate import tabulate

    from tfrs_npa._files import atomic_file

    size = demo_sized_data.Size()
    if args.quick:
        size = demo_sized_data.Size(300, 1_000, 2_000, 300, 2_000, scored_candidates=300)
    environment = machine.describe()
    try:
        interpreter = recommenders_environment.prepare(
            args.recommenders_venv, args.recommenders_python
        )
    except (RuntimeError, subprocess.CalledProcessError) as error:
        sys.exit(str(error))
    with contextlib.ExitStack() as stack:
        data = args.data or pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        # Evaluation and scores are compared at npa.yaml's own title length.
        lengths = sorted({*args.title_lengths, demo_sized_data.TITLE_LENGTH})
        print(f"Writing {size.impressions:,} impressions and more", file=sys.stderr)
        demo_sized_data.write(data, size, lengths)
        theirs = {
            length: stack.enter_context(recommenders_environment.Worker(interpreter, data, length))
            for length in lengths
        }
        result = comparison_tables.describe(
            comparison.compare(data, theirs, args), environment, args.evaluation_batch_size
        )

    for table in result["tables"]:
        print(f"\n{table['title']}\n")
        print(tabulate(table["rows"], table["headers"], "github", disable_numparse=True))
    if args.json:
        with atomic_file(args.json) as temporary:
            temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
