"""Compares tfrs_npa with Microsoft Recommenders 1.2.1: training, evaluation, scores.

Both get the same generated data of MINDdemo's size, the same npa.yaml and the same weights, and are
measured in turn, theirs and then ours, in each of several rounds; results are medians over the
rounds. Recommenders runs in a virtual environment of its own, which is created if it is missing.

"preset" is `NPAConfig.preset("recommenders")`, the same model as theirs, padding included; "recipe"
is `NPAConfig()` at the same dimensions.

Example:
    python benchmarks/against_recommenders --rounds 5
"""

from __future__ import annotations

import argparse
import contextlib
import pathlib
import subprocess
import sys
import tempfile

BENCHMARKS = pathlib.Path(__file__).parents[1]


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    import results_file
    from against_recommenders import recommenders_environment

    parser = results_file.result_parser(__doc__)
    parser.add_argument("--rounds", type=int, help="rounds (default: 5; --quick: 2)")
    parser.add_argument(
        "--seconds", type=float, help="training time per round and case (default: 5)"
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
    parser.add_argument(
        "--quick", action="store_true", help="a run of a minute, to check that it works"
    )
    parser.add_argument(
        "--data",
        type=pathlib.Path,
        help="folder to keep the generated data in and reuse it from (default: a temporary folder)",
    )
    recommenders_environment.add_options(parser)
    args = parser.parse_args(argv)
    usual = (2, 0.5, [10], [32]) if args.quick else (5, 5.0, [10, 30], [32, 256])
    names = ("rounds", "seconds", "title_lengths", "batch_sizes")
    for name, value in zip(names, usual, strict=True):
        if getattr(args, name) is None:
            setattr(args, name, value)
    if args.rounds < 1 or args.seconds <= 0:
        parser.error("--rounds has to be at least 1, and --seconds positive")
    if args.json is None and not args.quick:
        args.json = BENCHMARKS / "results" / "against_recommenders.json"
    return args


def main() -> None:
    args = parse_arguments()
    import results_file
    from against_recommenders import recommenders_environment

    from tfrs_npa.cli.messages import import_tensorflow

    try:
        interpreter = recommenders_environment.prepare(
            args.recommenders_venv, args.recommenders_python
        )
    except (RuntimeError, subprocess.CalledProcessError) as error:
        sys.exit(str(error))
    import_tensorflow()
    from against_recommenders import comparison, comparison_tables, demo_sized_data

    size = demo_sized_data.Size()
    if args.quick:
        size = demo_sized_data.Size(300, 1_000, 2_000, 300, 2_000, scored_candidates=300)
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
            comparison.compare(data, theirs, args), args.evaluation_batch_size
        )
    for table in result["tables"]:
        results_file.show(table)
    results_file.write(args.json, **result)


if __name__ == "__main__":
    # Python puts this folder on the path; its modules are found from the one above.
    sys.path[0] = str(BENCHMARKS)
    main()
