"""Time and peak memory of an evaluation of the size of MIND-large's dev split.

376,471 impressions with 14 million candidates, 72,023 articles and a table of 711,222 users, all
made up, at the dimensions of `NPAConfig()` (titles of up to 30 words, 11 on average). Two users of
three are not in the table. The peak is that of the whole process, made-up data included.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator

import made_up_data
import numpy as np
import results_file
from results_file import measurement, show, table

import tfrs_npa
from tfrs_npa.cli.messages import import_tensorflow

IMPRESSIONS, ARTICLES, USERS = 376_471, 72_023, 711_222
KNOWN_SHARE = 1 / 3  # of impressions, whose users are in the table
MOST_GB = 6


def main() -> None:
    parser = results_file.result_parser(__doc__)
    about = "share of the impressions (default: all); the articles and users remain"
    parser.add_argument("--share", type=float, default=1.0, help=about)
    parser.add_argument("--preset", help="other dimensions, for a quick look")
    about = "of the encoded catalogue; 0: each batch encodes its own titles (default: the model's)"
    parser.add_argument("--encoding-memory", type=float, metavar="GIB", help=about)
    args = parser.parse_args()
    if not 0 < args.share <= 1:
        parser.error(f"--share has to be above 0 and at most 1, not {args.share:g}")

    import_tensorflow()
    from tfrs_npa.data.cache import joined

    config = tfrs_npa.NPAConfig.preset(args.preset) if args.preset else tfrs_npa.NPAConfig()
    config = config.replace(word_initializer="normal")
    catalog = tfrs_npa.NewsCatalog().adapt(made_up_data.news_columns(ARTICLES))
    users = tfrs_npa.UserIndex().adapt(made_up_data.user_columns(USERS))
    model = tfrs_npa.NPA(config, catalog, users)
    model.compile(optimizer=tfrs_npa.default_optimizer(config))
    if args.encoding_memory is not None:
        model.encoding_memory = int(args.encoding_memory * 2**30)
    number = max(1, int(args.share * IMPRESSIONS))
    data = tfrs_npa.Impressions.from_columns(joined(large_pieces(number)))
    before = peak()
    started = time.perf_counter()
    batches = tfrs_npa.impression_batches(data, catalog, users, config, batch_size=256)
    model.evaluate(batches, verbose=int(sys.stdout.isatty()))
    seconds = time.perf_counter() - started
    candidates = len(data.candidate_values)
    rows = [
        ["impressions", f"{len(data):,}"],
        ["candidates", f"{candidates:,}"],
        ["seconds, tracing included", f"{seconds:,.1f}"],
        ["candidates/s", f"{candidates / seconds:,.0f}"],
        ["peak memory before the evaluation, GB", f"{before:.2f}"],
        ["peak memory, GB", f"{peak():.2f}"],
    ]
    name = "evaluation of MIND-large's dev size"
    result = table("Evaluation of MIND-large's dev size", ["", ""], rows)
    show(result)
    results_file.write(
        args.json,
        title="Large evaluation",
        about=results_file.about(__doc__),
        tables=[result],
        measurements=[
            measurement(f"{name}, peak memory in GB", peak(), at_most=MOST_GB),
            measurement(f"{name}, seconds", seconds),
        ],
    )


def large_pieces(number: int) -> Iterator[dict[str, np.ndarray]]:
    """Yields the pieces of `impression_pieces` with more articles and users, many of them new."""
    rng = np.random.default_rng(2)
    for piece in made_up_data.impression_pieces(number):
        for values in ("history_values", "candidate_values"):
            piece[values] = rng.integers(2, ARTICLES + 2, len(piece[values]), np.int32)
        users = rng.integers(1, USERS + 1, len(piece["user_id"]), np.int32)
        piece["user_id"] = np.where(rng.random(len(users)) < KNOWN_SHARE, users, np.int32(0))
        yield piece


def peak() -> float:
    """Returns the peak memory of this process so far, in GB (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


if __name__ == "__main__":
    main()
