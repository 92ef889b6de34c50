"""Time and peak memory of evaluations of the size of MIND-large's dev split.

376,471 impressions with 14 million candidates, 72,023 articles and a table of 711,222 users, all
made up. Titles have up to 30 words, 11 on average. Forms: `preset`, of Microsoft Recommenders, at
its dimensions (title length 10, padding included) and at those of `NPAConfig()` (`dimensions`), and
`NPAConfig()` itself (`recipe`). Data: `uniform`, where every article is as frequent as another and
every impression has a history of its own; `skewed`, where candidates are among 7,000 articles, they
and the clicks follow Zipf's law, and 255,990 users have one history each, as many as in MIND-large.
Two users of three are not in the table; of `known`, uniform data, all are. Each case runs in a
process of its own, and its peak is that of the whole process, made-up data included.
"""

from __future__ import annotations

import json
import pathlib
import resource
import subprocess
import sys
import tempfile
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
# Of skewed data.
READERS, SHOWN = 255_990, 7_000
MOST_GB, MOST_SECONDS = 6, 30
CASES = (
    ("preset", "uniform"),
    ("preset", "skewed"),
    ("preset", "known"),
    ("dimensions", "uniform"),
    ("dimensions", "skewed"),
    ("recipe", "uniform"),
    ("recipe", "skewed"),
)


def main() -> None:
    parser = results_file.result_parser(__doc__)
    about = "share of the impressions (default: all); the articles and users remain"
    parser.add_argument("--share", type=float, default=1.0, help=about)
    about = "only this case: preset, dimensions or recipe; and uniform, skewed or known"
    parser.add_argument("--case", nargs=2, metavar=("FORM", "DATA"), help=about)
    parser.add_argument("--preset", help="other dimensions, for a quick look")
    about = "of encoded words; 0: as few as possible (default: the model's)"
    parser.add_argument("--encoding-memory", type=float, metavar="GIB", help=about)
    args = parser.parse_args()
    if not 0 < args.share <= 1:
        parser.error(f"--share has to be above 0 and at most 1, not {args.share:g}")
    if args.case is not None and tuple(args.case) not in CASES:
        parser.error(f"--case has to be one of {', '.join(map(' '.join, CASES))}")

    cases = [measured(args)] if args.case else list(map(in_a_process, CASES))
    names = [f"{case['form']}, {case['data']}" for case in cases]
    rows = [
        [
            name,
            f"{case['impressions']:,}",
            f"{case['candidates']:,}",
            f"{case['seconds']:,.1f}",
            f"{case['cpu_seconds']:,.1f}",
            f"{case['candidates'] / case['seconds']:,.0f}",
            f"{case['before']:.2f}",
            f"{case['peak']:.2f}",
        ]
        for name, case in zip(names, cases, strict=True)
    ]
    headers = ["", "impressions", "candidates", "seconds, tracing included", "CPU seconds"]
    headers += ["candidates/s", "memory before, GB", "peak memory, GB"]
    result = table("Evaluation of MIND-large's dev size", headers, rows)
    show(result)
    measurements = []
    for name, case in zip(names, cases, strict=True):
        about = f"evaluation of MIND-large's dev size ({name})"
        at_most = None if case["form"] == "recipe" or case["data"] == "known" else MOST_SECONDS
        measurements.append(measurement(f"{about}, seconds", case["seconds"], at_most=at_most))
        measurements.append(measurement(f"{about}, CPU seconds", case["cpu_seconds"]))
        measurements.append(
            measurement(f"{about}, peak memory in GB", case["peak"], at_most=MOST_GB)
        )
    results_file.write(
        args.json,
        title="Large evaluation",
        about=results_file.about(__doc__),
        tables=[result],
        measurements=measurements,
        cases=cases,
    )


def in_a_process(case: tuple[str, str]) -> dict:
    """Returns what `measured` does, in a process of its own with the options of this one."""
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "case.json")
        options = [*sys.argv[1:], "--case", *case, "--json", str(file)]
        subprocess.run([sys.executable, __file__, *options], check=True)
        return json.loads(file.read_text())["cases"][0]


def measured(args) -> dict:
    """Measures a case."""
    import_tensorflow()
    from tfrs_npa.data.cache import joined

    form, kind = args.case
    config = config_of(form, args.preset)
    catalog = tfrs_npa.NewsCatalog().adapt(made_up_data.news_columns(ARTICLES))
    users = tfrs_npa.UserIndex().adapt(made_up_data.user_columns(USERS))
    model = tfrs_npa.NPA(config, catalog, users)
    model.compile(optimizer=tfrs_npa.default_optimizer(config))
    if args.encoding_memory is not None:
        model.encoding_memory = int(args.encoding_memory * 2**30)
    number = max(1, int(args.share * IMPRESSIONS))
    pieces = skewed_pieces(number) if kind == "skewed" else large_pieces(number, kind == "known")
    data = tfrs_npa.Impressions.from_columns(joined(pieces))
    before = peak()
    started, cpu_started = time.perf_counter(), time.process_time()
    batches = tfrs_npa.impression_batches(data, catalog, users, config, batch_size=256)
    model.evaluate(batches, verbose=int(sys.stdout.isatty()))
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    return {
        "form": form,
        "data": kind,
        "impressions": len(data),
        "candidates": len(data.candidate_values),
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "before": before,
        "peak": peak(),
    }


def config_of(form: str, dimensions: str | None) -> tfrs_npa.NPAConfig:
    """Returns the hyper-parameters of a case.

    Args:
        form: `preset`, `dimensions` or `recipe`.
        dimensions: A preset whose dimensions it has; None: those of `NPAConfig()`.
    """
    config = tfrs_npa.NPAConfig.preset(dimensions) if dimensions else tfrs_npa.NPAConfig()
    # No two users are alike, as after a training.
    config = config.replace(word_initializer="normal", user_initializer="uniform")
    if form == "recipe":
        return config
    names = "word_embedding_dim", "user_embedding_dim", "num_filters", "attention_dim"
    own = {name: getattr(config, name) for name in names}
    if form == "dimensions":
        own |= {"title_length": config.title_length, "mask_padding": True}
    preset = tfrs_npa.NPAConfig.preset("recommenders").replace(user_initializer="uniform")
    return preset.replace(**own)


def large_pieces(number: int, known: bool = False) -> Iterator[dict[str, np.ndarray]]:
    """Yields the pieces of `impression_pieces` with more articles and users, many of them new."""
    rng = np.random.default_rng(2)
    for piece in made_up_data.impression_pieces(number):
        for values in ("history_values", "candidate_values"):
            piece[values] = rng.integers(2, ARTICLES + 2, len(piece[values]), np.int32)
        users = rng.integers(1, USERS + 1, len(piece["user_id"]), np.int32)
        is_known = known | (rng.random(len(users)) < KNOWN_SHARE)
        piece["user_id"] = np.where(is_known, users, np.int32(0))
        yield piece


def skewed_pieces(number: int) -> Iterator[dict[str, np.ndarray]]:
    """Yields pieces in which few articles are shown often, and users come back."""
    rng = np.random.default_rng(3)
    readers = max(1, READERS * number // IMPRESSIONS)
    lengths = np.minimum(rng.lognormal(np.log(18.8), 1.05, readers), 558).astype(np.int64)
    splits = np.append(0, np.cumsum(lengths))
    clicks = zipf(rng, ARTICLES, splits[-1])
    is_known = rng.random(readers) < KNOWN_SHARE
    users = np.where(is_known, rng.integers(1, USERS + 1, readers, np.int32), np.int32(0))
    for piece in made_up_data.impression_pieces(number):
        chosen = rng.integers(0, readers, len(piece["user_id"]))
        piece["user_id"] = users[chosen]
        piece["history_values"] = np.concatenate(
            [clicks[splits[reader] : splits[reader + 1]] for reader in chosen]
        )
        piece["history_lengths"] = lengths[chosen]
        piece["candidate_values"] = zipf(rng, min(SHOWN, ARTICLES), len(piece["candidate_values"]))
        yield piece


def zipf(rng: np.random.Generator, articles: int, number: int) -> np.ndarray:
    """Draws articles, the n-th with a probability proportional to 1 / n."""
    chances = 1 / np.arange(1, articles + 1)
    drawn = np.searchsorted(np.cumsum(chances / chances.sum()), rng.random(number))
    return np.minimum(drawn + 2, articles + 1).astype(np.int32)


def peak() -> float:
    """Returns the peak memory of this process so far, in GB (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


if __name__ == "__main__":
    main()
