"""How the cost of a training step and of an evaluation grows.

A step is timed with a table of few and of many users, alternating in one run; it must not depend on
the table. An evaluation is timed from few to many candidates, 37 to an impression; its time must
grow in proportion. It encodes the catalogue, which is also timed on its own. Everything is made up;
dimensions are those of `NPAConfig()`, for an evaluation with titles of at most 10 words. Results
are medians: of the steps, and of five evaluations below a million candidates.
"""

from __future__ import annotations

import pathlib
import statistics
import sys
import time

import made_up_data
import numpy as np
import results_file
from results_file import measurement, show, table
from tqdm import tqdm

import tfrs_npa
from tfrs_npa._files import atomic_file
from tfrs_npa.cli.messages import import_tensorflow

ARTICLES = 20_000
CANDIDATES, HISTORY = 37, 25  # of an impression
KNOWN_USERS = 50_000
MOST_TIMES = 1.2
WARM_UP = 5  # steps: tracing, and what TensorFlow does at first
SMALLEST, SHORT, REPEATS = 10_000, 1_000_000, 5  # candidates; shorter evaluations are repeated


def main() -> None:
    parser = results_file.result_parser(__doc__)
    number = {"metavar": "N", "help": "default: %(default)s"}
    users = number | {"help": "rows of the two tables (default: 50000 5000000)"}
    parser.add_argument("--users", type=int, nargs=2, default=[50_000, 5_000_000], **users)
    parser.add_argument("--steps", type=int, default=200, **number)
    largest = number | {"help": "most candidates (default: %(default)g)"}
    parser.add_argument("--largest", type=float, default=1e7, **largest)
    parser.add_argument("--preset", help="other dimensions, for a quick look")
    parser.add_argument("--plot", type=pathlib.Path, metavar="PNG", help="plot the evaluations")
    args = parser.parse_args()
    if min(args.users) < 2 or args.steps < 1 or args.largest < SMALLEST:
        parser.error(f"at least 2 --users, 1 of --steps and {SMALLEST:,} as the --largest")

    import_tensorflow()
    base = tfrs_npa.NPAConfig.preset(args.preset) if args.preset else tfrs_npa.NPAConfig()
    catalog = tfrs_npa.NewsCatalog().adapt(made_up_data.news_columns(ARTICLES))
    steps, ratio = step_times(base.replace(batch_size=32), catalog, args.users, args.steps)
    show(steps)
    sizes = [SMALLEST]
    while 10 * sizes[-1] <= args.largest:
        sizes.append(10 * sizes[-1])
    points = evaluation_times(base.replace(title_length=10), catalog, sizes)
    evaluations = evaluation_table(points)
    show(evaluations)
    if args.plot is not None:
        plot(points, args.plot)
    results_file.write(
        args.json,
        title="Scaling",
        about=results_file.about(__doc__),
        tables=[steps, evaluations],
        measurements=[ratio, *linearity(points)],
    )


def made_up_impressions(number: int, users: int, seed: int) -> tfrs_npa.Impressions:
    """Returns impressions of equal length, with one click each."""
    rng = np.random.default_rng(seed)
    clicked = np.zeros((number, CANDIDATES), np.int8)
    clicked[:, 0] = 1
    return tfrs_npa.Impressions(
        impression_id=np.arange(number),
        user_id=rng.integers(0, users, number, np.int32),
        history_values=rng.integers(2, ARTICLES + 2, number * HISTORY, np.int32),
        history_splits=HISTORY * np.arange(number + 1),
        candidate_values=rng.integers(2, ARTICLES + 2, number * CANDIDATES, np.int32),
        candidate_splits=CANDIDATES * np.arange(number + 1),
        clicked=clicked.ravel(),
        features={},
    )


def make_model(config, catalog, users: int):
    """Returns a compiled model whose user table has `users` rows."""
    # No two users are alike, as after a training.
    config = config.replace(word_initializer="normal", user_initializer="uniform")
    index = tfrs_npa.UserIndex().adapt(made_up_data.user_columns(users - 1))
    model = tfrs_npa.NPA(config, catalog, index)
    model.compile(optimizer=tfrs_npa.default_optimizer(config))
    return model


def step_times(config, catalog, tables: list[int], steps: int) -> tuple[dict, dict]:
    """Returns a table of milliseconds per step, and the ratio of the second to the first."""
    runs = []
    for users in tables:
        model = make_model(config, catalog, users)
        data = made_up_impressions(config.batch_size * steps, users, seed=0)
        stored = tfrs_npa.training_batches(data, catalog, model.users, config).cache()
        for _ in stored:  # fills the cache: the steps are timed without the pipeline
            pass
        runs.append((model.make_train_function(), iter(stored.repeat()), []))
    for _ in progress(range(WARM_UP + steps), desc="steps"):
        for train, batches, milliseconds in runs:
            started = time.perf_counter()
            train(batches)["loss"].numpy()
            milliseconds.append(1e3 * (time.perf_counter() - started))
    medians = [statistics.median(milliseconds[WARM_UP:]) for *_, milliseconds in runs]
    rows = [[f"{users:,}", f"{median:.1f}"] for users, median in zip(tables, medians)]
    ratio = medians[1] / medians[0]
    rows.append(["times", f"{ratio:.2f}"])
    title = f"Training step, batch {config.batch_size}, median of {steps}"
    name = f"training step, {tables[1]:,} users / {tables[0]:,} users"
    return (
        table(title, ["users in the table", "ms"], rows),
        measurement(name, ratio, at_most=MOST_TIMES),
    )


def evaluation_times(config, catalog, sizes: list[int]) -> list[tuple[int, float, float]]:
    """Returns candidates, seconds of the evaluation, and of encoding the catalogue alone."""
    from tfrs_npa.models.encoded_titles import EncodedTitles

    model = make_model(config, catalog, KNOWN_USERS)
    points = []
    # The first, with tracing, is left out.
    for size in progress([sizes[0], *sizes], desc="evaluations"):
        data = made_up_impressions(-(-size // CANDIDATES), KNOWN_USERS, seed=size)
        batches = tfrs_npa.impression_batches(data, catalog, model.users, config, batch_size=256)
        seconds, encoding = [], []
        for _ in range(REPEATS if size < SHORT else 1):
            started = time.perf_counter()
            model.evaluate(batches, verbose=0)
            seconds.append(time.perf_counter() - started)
            started = time.perf_counter()
            titles = EncodedTitles(model.title_encoding, model.encoding_memory)
            titles.for_everyone(np.arange(titles.number))
            encoding.append(time.perf_counter() - started)
        medians = statistics.median(seconds), statistics.median(encoding)
        points.append((len(data.candidate_values), *medians))
    return points[1:]


def linearity(points: list[tuple[int, float, float]]) -> list[dict]:
    """Compares the two largest evaluations, if there are two.

    Returns:
        The seconds per candidate of the larger, as a ratio to those of the smaller, encoding the
        catalogue left out.
    """
    if len(points) < 2:
        return []
    per_candidate = [(seconds - encoding) / size for size, seconds, encoding in points[-2:]]
    sizes = f"{points[-1][0]:,} / {points[-2][0]:,}"
    name = f"evaluation without encoding, seconds a candidate, {sizes} candidates"
    return [measurement(name, per_candidate[1] / per_candidate[0], at_most=MOST_TIMES)]


def evaluation_table(points: list[tuple[int, float, float]]) -> dict:
    rows = [
        [f"{size:,}", f"{seconds:.2f}", f"{encoding:.2f}", f"{size / seconds:,.0f}"]
        for size, seconds, encoding in points
    ]
    headers = ["candidates", "s", "encoding the catalogue, s", "candidates/s"]
    return table(f"Evaluation, {ARTICLES:,} articles of at most 10 words", headers, rows)


def progress(items, desc: str) -> tqdm:
    return tqdm(items, desc, leave=False, file=sys.stderr, disable=None)


def plot(points: list[tuple[int, float, float]], path: pathlib.Path) -> None:
    from matplotlib.figure import Figure

    sizes, seconds, encoding = map(np.array, zip(*points))
    axes = Figure(figsize=(6, 4), layout="constrained").subplots()
    axes.loglog(sizes, seconds, "o-", label="evaluation")
    axes.loglog(sizes, seconds - encoding, "o--", label="without encoding the catalogue")
    axes.loglog(sizes, seconds[-1] * sizes / sizes[-1], ":", color="grey", label="linear")
    axes.set_xlabel("candidates")
    axes.set_ylabel("seconds")
    axes.legend(frameon=False)
    with atomic_file(path) as temporary:
        axes.figure.savefig(temporary, format="png", dpi=150)


if __name__ == "__main__":
    main()
