"""Top 10 of a whole catalogue for one user and for a batch of users.

`PersonalizedTopK` in float32 and bfloat16, and `TwoStageTopK` with shortlists of several lengths,
against all articles scored by the plain towers, and against stock `BruteForce` on vectors of the
same width, which knows no person behind an article: the floor. Dimensions are those of
`NPAConfig()`; titles of 11 words on average by Zipf's law, users with 25 clicks, and weights with
which scores differ are made up. Requests are strings, each another user; `BruteForce` is given
user vectors. For one user, the towers score the whole catalogue; for a batch, a sample of it, with
each title encoded once for all users of the batch, and the time is scaled by the articles. Figures
are medians, and p99 is over the calls for one user. Recall is the share of the exact top 10 that is
found: of these weights; a trained model has its own (`TwoStageTopK.recall`).
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import time

import machine
import numpy as np
from demo_sized_data import made_up_weights
from input_pipeline import made_up_news, show, table
from tqdm import tqdm

import tfrs_npa
from tfrs_npa._files import atomic_file

import tensorflow as tf  # isort: skip
import tensorflow_recommenders as tfrs

K, CLICKS, KNOWN_USERS = 10, 25, 1000
SHORTLISTS = (100, 500, 2000)
CHUNK, SAMPLED = 4096, 256  # articles of a call of the towers, for one user and for a batch


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    number = {"type": int, "metavar": "N", "help": "default: %(default)s"}
    parser.add_argument("--articles", default=65_000, **number)
    parser.add_argument("--batch-size", default=64, **number)
    parser.add_argument("--calls", default=200, **number | {"help": "for one user (default: 200)"})
    parser.add_argument("--batch-calls", default=5, **number)
    parser.add_argument("--plain-calls", default=2, **number)
    parser.add_argument("--json", type=pathlib.Path, help="write the figures here too")
    args = parser.parse_args()
    counts = (args.batch_size, args.calls, args.batch_calls, args.plain_calls)
    if args.articles < max(SAMPLED, K) or min(counts) < 1:
        parser.error(f"at least {SAMPLED} --articles, and 1 of all else")

    environment = machine.describe() | {"tensorflow": tf.__version__}
    model = make_model(args.articles)
    bench = Benchmark(model, args)
    bench.plain()
    bench.brute_force()
    for dtype in ("float32", "bfloat16"):
        bench.personalized(dtype)
    for length in SHORTLISTS:
        if length < args.articles:
            bench.two_stage(length)
    times, memory = bench.tables()
    show(times)
    show(memory)
    if args.json is not None:
        result = {
            "title": "Top K",
            "about": " ".join(__doc__.split("\n\n", 1)[1].split()),
            "command": machine.command(),
            "environment": environment,
            "tables": [times, memory],
            "figures": bench.figures(),
        }
        with atomic_file(args.json) as temporary:
            temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def make_model(articles: int) -> tfrs_npa.NPA:
    """Returns a model of made-up articles and users, with made-up weights."""
    news = list(made_up_news(articles))
    catalog = tfrs_npa.NewsCatalog().adapt({name: [row[name] for row in news] for name in news[0]})
    ids = [f"U{user}" for user in range(KNOWN_USERS)]
    users = tfrs_npa.UserIndex().adapt({"user_id": ids})
    model = tfrs_npa.NPA(tfrs_npa.NPAConfig(word_initializer="normal"), catalog, users)
    words = len(catalog.vocabulary) - 2
    tfrs_npa.load_recommenders_weights(model, made_up_weights(words, KNOWN_USERS, seed=0))
    return model


class Benchmark:
    """Times one way of finding the top 10 after the other.

    Args:
        model: The model.
        args: Options of the command line.
    """

    def __init__(self, model: tfrs_npa.NPA, args: argparse.Namespace):
        self._model = model
        self._args = args
        self._rng = np.random.default_rng(0)
        self._batch = self._queries(args.batch_size)  # whose answers are compared
        self._times, self._memory, self._exact = {}, [], None

    def _queries(self, users: int) -> dict[str, np.ndarray]:
        ids = np.array(self._model.catalog.ids[2:])
        return {
            "user_id": np.array([f"U{user}" for user in self._rng.integers(0, KNOWN_USERS, users)]),
            "history": self._rng.choice(ids, [users, CLICKS]),
        }

    def _time(self, name, answer, prepare=lambda queries: queries):
        """Times `answer` for one user and for a batch; returns the answer to the batch."""
        args, seconds = self._args, []
        for users, calls in ((1, args.calls), (args.batch_size, args.batch_calls)):
            requests = [prepare(self._queries(users)) for _ in range(calls + 2)]
            runs = []
            for request in progress(requests, f"{name}, {users} users"):
                begun = time.perf_counter()
                answer(request)[1].numpy()
                runs.append(time.perf_counter() - begun)
            seconds.append(runs[2:])  # the first have the tracing
        one, batch = seconds
        self._times[name] = (np.median(one), np.percentile(one, 99), np.median(batch))
        return answer(prepare(self._batch))

    def plain(self) -> None:
        """Times the towers, a pair of user and article at a time."""
        model, args = self._model, self._args
        spec = tf.TensorSpec([None], tf.int32)

        @tf.function(input_signature=[spec, spec, tf.TensorSpec([None, None], tf.float32)])
        def scores(users, articles, vectors):
            every = tf.size(articles)
            pairs = {
                "user_id": tf.repeat(users, every),
                "news_id": tf.tile(articles, [tf.size(users)]),
            }
            towers = tf.reshape(model.candidate_tower(pairs), [tf.size(users), every, -1])
            return tf.linalg.matvec(towers, vectors)

        def run(queries, chunk, articles):
            """Returns seconds for the first `articles` articles."""
            begun = time.perf_counter()
            users = model.users.index(queries["user_id"])
            history = model.catalog.index(queries["history"])
            vectors = model.query_tower({"user_id": users, "history": history})
            found = [
                scores(users, tf.range(first, min(first + chunk, articles + 2)), vectors)
                for first in range(2, articles + 2, chunk)
            ]
            tf.math.top_k(tf.concat(found, axis=1), K)[1].numpy()
            return time.perf_counter() - begun

        run(self._queries(1), CHUNK, min(CHUNK, args.articles))
        calls = progress(range(args.plain_calls), "towers, 1 user")
        one = [run(self._queries(1), CHUNK, args.articles) for _ in calls]
        run(self._batch, SAMPLED, SAMPLED)
        calls = progress(range(args.plain_calls), f"towers, {args.batch_size} users")
        batch = [run(self._queries(args.batch_size), SAMPLED, SAMPLED) for _ in calls]
        scaled = np.median(batch) * args.articles / SAMPLED
        self._times["plain towers"] = (np.median(one), None, scaled)

    def brute_force(self) -> None:
        """Times stock BruteForce on the vectors that the unknown user sees."""
        index = tfrs.layers.factorized_top_k.BruteForce(k=K)
        two_stage = tfrs_npa.TwoStageTopK(self._model, retrieval=index, shortlist=K)
        two_stage.index()
        call = tf.function(lambda vectors: index(vectors), reduce_retracing=True)
        model = self._model

        def vectors(queries):
            users = model.users.index(queries["user_id"])
            history = model.catalog.index(queries["history"])
            return model.query_tower({"user_id": users, "history": history})

        self._time("BruteForce, the floor", call, vectors)
        self._memory.append(["BruteForce", f"{4 * model.config.num_filters:,}", "", ""])

    def personalized(self, dtype: str) -> None:
        """Times PersonalizedTopK, and compares it with itself in float32."""
        begun = time.perf_counter()
        index = tfrs_npa.PersonalizedTopK(self._model, K, dtype).index()
        seconds = time.perf_counter() - begun
        name = f"PersonalizedTopK, {dtype}"
        _, ids = self._time(name, index)
        scores, everything = index(self._batch, k=index.num_articles)
        order = np.argsort(everything.numpy(), axis=1)
        scores = np.take_along_axis(scores.numpy(), order, axis=1)
        if self._exact is None:
            self._exact, error = (ids.numpy(), scores), "0"
        else:
            exact = self._exact[1]
            largest = np.abs(scores - exact).max(axis=1) / exact.std(axis=1)
            error = f"{100 * largest.max():.2f} %"
        self._memory.append([name, f"{index.bytes_per_article:,.0f}", f"{seconds:.0f}", error])
        self._note_recall(name, ids)

    def two_stage(self, length: int) -> None:
        """Times TwoStageTopK with a shortlist."""
        index = tfrs_npa.TwoStageTopK(self._model, K, length).index()
        name = f"TwoStageTopK, {length:,} ranked"
        _, ids = self._time(name, index)
        self._note_recall(name, ids)

    def _note_recall(self, name, ids):
        pairs = zip(ids.numpy(), self._exact[0], strict=True)
        recall = np.mean([len(set(found) & set(exact)) / K for found, exact in pairs])
        self._times[name] = (*self._times[name], recall)

    def tables(self) -> tuple[dict, dict]:
        """Returns the table of times and that of memory."""
        rows = []
        for name, (one, late, batch, *recall) in self._times.items():
            figures = [one, late, batch]
            shown = ["" if value is None else f"{1e3 * value:,.1f}" for value in figures]
            rows.append([name, *shown, f"{recall[0]:.3f}" if recall else ""])
        args = self._args
        title = f"Top {K} of {args.articles:,} articles, milliseconds"
        headers = ["", "1 user, p50", "p99", f"{args.batch_size} users", f"recall@{K}"]
        memory = table(
            "Index",
            ["", "bytes per article", "made in, s", "largest error of a score / deviation"],
            self._memory,
        )
        return table(title, headers, rows), memory

    def figures(self) -> list[dict]:
        """Returns how much faster than the towers, and how much slower than the floor."""
        plain, floor = self._times["plain towers"], self._times["BruteForce, the floor"]
        ours = self._times["PersonalizedTopK, float32"]
        figures = []
        for name, place in (("one user", 0), (f"{self._args.batch_size} users", 2)):
            of = f"top {K} of {self._args.articles:,}, {name}"
            figures += [
                {"name": f"{of}: plain towers / ours", "value": plain[place] / ours[place]},
                {"name": f"{of}: ours / BruteForce", "value": ours[place] / floor[place]},
            ]
        return figures


def progress(items, name):
    return tqdm(items, desc=name, leave=False, disable=None, file=sys.stderr)


if __name__ == "__main__":
    main()
