"""Users in buckets (`UserIndex.hashed`): step time, memory, and what sharing a bucket costs.

Steps are timed with tables of more and more buckets, alternating in one process; a step must not
depend on the table. Dimensions are those of `preset("small")`, but for the users', batch 32, with
`LazyAdam`, whose two moments are as large as the table. Memory is what the resident memory of the
process grows by, and that of the bits is their number; the strings of more ids than were made are
extrapolated, and marked with a *. Ids are `U0`, `U1`, ...: longer ones take more memory in a table
of strings, and none in buckets. AUCs are those of the test split of `mind/synthetic`, one epoch of
`preset("small")`, means over seeds; a known user is one with clicks in training, whatever is in
their bucket.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import pathlib
import statistics
import time
from collections.abc import Sequence
from concurrent import futures

import made_up_data
import numpy as np
import results_file
import scaling
from results_file import measurement, show, table

import tfrs_npa
from tfrs_npa.cli.messages import import_tensorflow

MOST_TIMES = 1.2
DATA = "mind/synthetic"


def main() -> None:
    parser = results_file.result_parser(__doc__)
    number = {"type": int, "metavar": "N", "help": "default: %(default)s"}
    sizes = number | {"help": "rows of the tables (default: 10^6, 10^7 and 10^8)"}
    parser.add_argument("--buckets", nargs="+", default=[10**6, 10**7, 10**8], **sizes)
    parser.add_argument("--dim", default=8, **number | {"help": "numbers of a row (default: 8)"})
    parser.add_argument("--steps", default=200, **number)
    parser.add_argument("--ids", default=10**6, **number | {"help": "ids made (default: 10^6)"})
    seeds = number | {"help": "trainings of each kind; 0: no AUCs (default: %(default)s)"}
    parser.add_argument("--seeds", default=2, **seeds)
    args = parser.parse_args()
    if min(*args.buckets, args.dim, args.steps, args.ids) < 1 or args.seeds < 0:
        parser.error("at least 1 of everything but seeds")

    import_tensorflow()
    aucs, costs = [], []
    if args.seeds:
        # In a process of its own: memory that trainings leave behind would be used again.
        with futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            compared, cost = pool.submit(quality, DATA, args.seeds).result()
        aucs, costs = [compared], [cost]
    steps, ratios = step_times(args)
    tables = [steps, index_memory(args.ids, args.buckets), sharing(args.ids), *aucs]
    for shown in tables:
        show(shown)
    results_file.write(
        args.json,
        title="Users in buckets",
        about=results_file.about(__doc__),
        tables=tables,
        measurements=[*ratios, *costs],
    )


def resident() -> int:
    """Returns the resident memory of this process in bytes, as Linux counts it."""
    pages = int(pathlib.Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def index_memory(ids: int, buckets: list[int]) -> dict:
    """Compares the memory of a table of strings, lookup included, with that of a bit a bucket."""
    before = resident()
    strings = tfrs_npa.UserIndex().adapt(made_up_data.user_columns(ids))
    strings.index(["U1"])
    an_id = (resident() - before) / ids
    del strings
    rows = []
    for size in sorted({ids, *buckets}):
        mark = "" if size == ids else " *"
        bits = tfrs_npa.UserIndex.hashed(size).seen.nbytes
        rows.append([f"{size:,}", f"{size * an_id / 1e6:,.0f}{mark}", f"{bits / 1e6:,.1f}"])
    return table("Memory of the index, MB", ["users, or buckets", "strings", "buckets"], rows)


def sharing(ids: int) -> dict:
    """Counts users who share a bucket, and new users who are taken for known ones."""
    from tfrs_npa.data.users import expected_sharing

    users = made_up_data.user_columns(2 * ids)["user_id"]
    rows = []
    for times in (1, 2, 10, 100):
        index = tfrs_npa.UserIndex.hashed(times * ids).adapt({"user_id": users[:ids]})
        counts = index.sharing(users[:ids]), np.mean(index.index(users[ids:]) > 0)
        expected = expected_sharing(ids, times * ids)
        rows.append([f"{times}", *(f"{100 * share:.2f} %" for share in (expected, *counts))])
    headers = ["buckets for each user", "expected", "users who share", "new users in a used bucket"]
    return table(f"Sharing a bucket, {ids:,} users", headers, rows)


def step_times(args: argparse.Namespace) -> tuple[dict, list[dict]]:
    """Returns a table of the milliseconds of a step, and ratios to the fewest buckets."""
    config = tfrs_npa.NPAConfig.preset("small").replace(
        user_embedding_dim=args.dim, batch_size=32, word_initializer="normal"
    )
    catalog = tfrs_npa.NewsCatalog().adapt(made_up_data.news_columns(scaling.ARTICLES))
    runs, rows = [], []
    for buckets in args.buckets:
        data = scaling.made_up_impressions(config.batch_size * args.steps, buckets + 1, seed=0)
        before, started = resident(), time.perf_counter()
        model = tfrs_npa.NPA(config, catalog, tfrs_npa.UserIndex.hashed(buckets))
        model.compile(optimizer=tfrs_npa.default_optimizer(config))
        train = model.make_train_function()
        seconds, taken = time.perf_counter() - started, resident() - before
        rows.append([f"{buckets:,}", f"{taken / 1e9:.2f}", f"{seconds:.1f}"])
        stored = tfrs_npa.training_batches(data, catalog, model.users, config).cache()
        for _ in stored:  # fills the cache: the steps are timed without the pipeline
            pass
        runs.append((train, iter(stored.repeat()), []))
    for _ in scaling.progress(range(scaling.WARM_UP + args.steps), desc="steps"):
        for train, batches, milliseconds in runs:
            started = time.perf_counter()
            train(batches)["loss"].numpy()
            milliseconds.append(1e3 * (time.perf_counter() - started))
    medians = [statistics.median(times[scaling.WARM_UP :]) for *_, times in runs]
    rows = [[*row, f"{median:.1f}"] for row, median in zip(rows, medians)]
    headers = ["buckets", "model and optimizer, GB", "s to make them", "ms a step"]
    first = args.buckets[0]
    ratios = [
        measurement(
            f"training step, {buckets:,} buckets / {first:,}",
            median / medians[0],
            at_most=MOST_TIMES,
        )
        for buckets, median in zip(args.buckets[1:], medians[1:])
    ]
    title = f"Training step, {args.dim} numbers a user, batch 32, median of {args.steps}"
    return table(title, headers, rows), ratios


def quality(data: str, seeds: int, sizes: Sequence[int] = (1, 2, 10)) -> tuple[dict, dict]:
    """Returns AUCs with and without buckets, and what as many buckets as users cost."""
    import_tensorflow()
    from tfrs_npa.data.splits import load_splits
    from tfrs_npa.metrics.impression_values import impression_values, mean_values
    from tfrs_npa.runs.evaluation import model_logits
    from tfrs_npa.runs.repeated import train
    from tfrs_npa.settings import DataSettings

    config = tfrs_npa.NPAConfig.preset("small")
    names = ("auc", "auc_known_users", "auc_new_users")
    users, found, rows, is_known = 0, {}, [], None
    for times in (0, *sizes):
        buckets = times * users or None
        catalog, splits = load_splits(DataSettings(data, user_buckets=buckets))
        test = splits.test.take(slice(None))
        if is_known is None:  # who they are, not whose bucket is used
            users, is_known = len(splits.users) - 1, test.user_id > 0
        metrics = []
        for seed in range(1, seeds + 1):
            model = train(config.replace(seed=seed), catalog, splits, epochs=1).model
            logits = model_logits(model, test)
            values = impression_values(test.clicked, logits, test.candidate_splits)
            metrics.append(mean_values(values, is_known))
        means = [statistics.mean(metric[name] for metric in metrics) for name in names]
        found[times] = means[0]
        taken = np.mean(test.user_id[~is_known] > 0)
        label = f"none: {users:,} users" if buckets is None else f"{buckets:,}"
        rows.append([label, *(f"{mean:.4f}" for mean in means), f"{100 * taken:.0f} %"])
    headers = ["buckets", "AUC", "known users", "new users", "new users in a used bucket"]
    cost = measurement(f"AUC on {data}, as many buckets as users minus none", found[1] - found[0])
    return table(f"AUC on {data}, mean over seeds: {seeds}", headers, rows), cost


if __name__ == "__main__":
    main()
