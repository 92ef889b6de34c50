"""Top 10 of a whole catalogue for one user and for a batch of users.

`PersonalizedTopK`, which scores all articles by float32 words, or those that a bound leaves by
bfloat16 words; `TwoStageTopK` with shortlists of several lengths; all articles scored by the plain
towers; and, as the floor, stock `BruteForce` on vectors of the same width, which knows no user
behind an article. Of two models: `NPAConfig()`, whose users have a vector for each click, and
`preset("recommenders")`, whose users have one. Titles of 11 words on average by Zipf's law, users
with 25 clicks, and weights with which scores differ are made up. Requests are strings, each of
another user; `BruteForce` is given user vectors. For one user, the towers score the whole
catalogue; for a batch, a sample of it, with each title encoded once for all users of the batch, and
the time is scaled by the articles. Results are medians, and p99 is over the calls for one user; CPU
seconds are of all threads. Recall is the share of the exact top 10 that is found with these
weights; a trained model has its own (`TwoStageTopK.recall`). A refresh encodes articles that were
withdrawn, whose titles the catalogue knows.
"""

from __future__ import annotations

import argparse
import sys
import time

import made_up_data
import numpy as np
import results_file
from results_file import measurement, show, table
from tqdm import tqdm

import tfrs_npa
from tfrs_npa.cli.messages import import_tensorflow

K, CLICKS, KNOWN_USERS = 10, 25, 1000
SHORTLISTS = (100, 500, 2000)
DTYPES = ("float32", "bfloat16")
MODELS = {
    "recipe": tfrs_npa.NPAConfig,
    "recommenders": lambda: tfrs_npa.NPAConfig.preset("recommenders"),
}
REFRESHED = 10_000  # articles that a refresh adds; half of them, if there are fewer
CHUNK, SAMPLED = 4096, 256  # articles per call of the towers, for one user and for a batch


def main() -> None:
    parser = results_file.result_parser(__doc__)
    number = {"type": int, "metavar": "N", "help": "default: %(default)s"}
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--articles", default=65_000, **number)
    parser.add_argument("--batch-size", default=64, **number)
    parser.add_argument("--calls", default=200, **number | {"help": "for one user (default: 200)"})
    parser.add_argument("--batch-calls", default=5, **number)
    parser.add_argument("--plain-calls", default=2, **number)
    args = parser.parse_args()
    counts = (args.batch_size, args.calls, args.batch_calls, args.plain_calls)
    if args.articles < max(SAMPLED, K) or min(counts) < 1:
        parser.error(f"at least {SAMPLED} --articles, and 1 of all else")

    import_tensorflow()
    tables, measurements = [], []
    for name in args.models:
        bench = Benchmark(name, make_model(args.articles, MODELS[name]()), args)
        bench.plain()
        bench.brute_force()
        for dtype in DTYPES:
            bench.personalized(dtype)
        for length in SHORTLISTS:
            if length < args.articles:
                bench.two_stage(length)
        tables += bench.tables()
        measurements += bench.measurements()
    for shown in tables:
        show(shown)
    results_file.write(
        args.json,
        title="Top K",
        about=results_file.about(__doc__),
        tables=tables,
        measurements=measurements,
    )


def make_model(articles: int, config: tfrs_npa.NPAConfig) -> tfrs_npa.NPA:
    """Returns a model of made-up articles and users, with made-up weights."""
    catalog = tfrs_npa.NewsCatalog().adapt(made_up_data.news_columns(articles))
    users = tfrs_npa.UserIndex().adapt(made_up_data.user_columns(KNOWN_USERS))
    config = config.replace(word_initializer="normal")
    model = tfrs_npa.NPA(config, catalog, users)
    words = len(catalog.vocabulary) - 2
    weights = made_up_data.recommenders_weights(config, words, KNOWN_USERS, seed=0)
    tfrs_npa.load_recommenders_weights(model, weights)
    return model


class Benchmark:
    """Times the ways to find the top 10.

    Args:
        name: What the model is called.
        model: The model.
        args: Options of the command line.
    """

    def __init__(self, name: str, model: tfrs_npa.NPA, args: argparse.Namespace):
        self._name, self._model = name, model
        self._args = args
        self._rng = np.random.default_rng(0)
        self._batch = self._queries(args.batch_size)  # the answers to it are compared
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
                started, cpu = time.perf_counter(), time.process_time()
                answer(request)[1].numpy()
                runs.append((time.perf_counter() - started, time.process_time() - cpu))
            seconds.append(np.array(runs[2:]))  # the first ones have the tracing
        one, batch = seconds
        late = np.percentile(one[:, 0], 99)
        (one, one_cpu), (batch, batch_cpu) = np.median(one, axis=0), np.median(batch, axis=0)
        self._times[name] = one, late, batch, one_cpu, batch_cpu
        return answer(prepare(self._batch))

    def plain(self) -> None:
        """Times the towers, a pair of user and article at a time."""
        import tensorflow as tf

        model, args = self._model, self._args
        spec = tf.TensorSpec([None], tf.int32)
        vectors_of = [None] * (3 if model.config.user_interest == "density" else 2)

        @tf.function(input_signature=[spec, spec, tf.TensorSpec(vectors_of, tf.float32)])
        def scores(users, articles, vectors):
            every = tf.size(articles)
            pairs = {
                "user_id": tf.repeat(users, every),
                "news_id": tf.tile(articles, [tf.size(users)]),
            }
            towers = tf.reshape(model.candidate_tower(pairs), [tf.size(users), every, -1])
            return model.query_tower.scores(vectors, towers)

        def run(queries, chunk, articles):
            """Returns seconds for the first `articles` articles."""
            started = time.perf_counter()
            users = model.users.index(queries["user_id"])
            history = model.catalog.index(queries["history"])
            vectors = model.query_tower({"user_id": users, "history": history})
            found = [
                scores(users, tf.range(first, min(first + chunk, articles + 2)), vectors)
                for first in range(2, articles + 2, chunk)
            ]
            tf.math.top_k(tf.concat(found, axis=1), K)[1].numpy()
            return time.perf_counter() - started

        run(self._queries(1), CHUNK, min(CHUNK, args.articles))
        calls = progress(range(args.plain_calls), "towers, 1 user")
        one = [run(self._queries(1), CHUNK, args.articles) for _ in calls]
        run(self._batch, SAMPLED, SAMPLED)
        calls = progress(range(args.plain_calls), f"towers, {args.batch_size} users")
        batch = [run(self._queries(args.batch_size), SAMPLED, SAMPLED) for _ in calls]
        scaled = np.median(batch) * args.articles / SAMPLED
        self._times["plain towers"] = (np.median(one), None, scaled, None, None)

    def brute_force(self) -> None:
        """Times stock BruteForce on the vectors that the unknown user sees."""
        import tensorflow as tf
        import tensorflow_recommenders as tfrs

        index = tfrs.layers.factorized_top_k.BruteForce(k=K)
        two_stage = tfrs_npa.TwoStageTopK(self._model, retrieval=index, shortlist=K)
        two_stage.index()
        call = tf.function(lambda vectors: index(vectors), reduce_retracing=True)
        model = self._model

        def vectors(queries):
            users = model.users.index(queries["user_id"])
            history = model.catalog.index(queries["history"])
            vectors = model.query_tower({"user_id": users, "history": history})
            return model.query_tower.average(vectors)

        self._time("BruteForce, the floor", call, vectors)
        self._memory.append(["BruteForce", f"{4 * model.config.num_filters:,}", "", "", "", ""])

    def personalized(self, dtype: str) -> None:
        """Times PersonalizedTopK, and compares it with itself in float32."""
        started = time.perf_counter()
        index = tfrs_npa.PersonalizedTopK(self._model, K, dtype).index()
        seconds = time.perf_counter() - started
        name = f"PersonalizedTopK, {dtype}"
        scores, ids = self._time(name, index)
        if self._exact is None:
            every, _ = index(self._batch, k=index.num_articles)
            self._exact = ids.numpy(), scores.numpy(), every.numpy().std(axis=1, keepdims=True)
        _, exact, deviations = self._exact
        error = np.abs((scores.numpy() - exact) / deviations).max()
        size, refreshed = index.bytes_per_article, self._refresh(index)
        shown = [f"{size:,.0f}", f"{seconds:.0f}", *refreshed, f"{error:.0e}"]
        self._memory.append([name, *shown])
        self._note_recall(name, ids)

    def _refresh(self, index) -> list[str]:
        """Withdraws articles, twice; returns the seconds of each refresh that adds them again.

        The first moves the others to where there is room for more, the second finds it.
        """
        catalog, shown = self._model.catalog, []
        gone = slice(-min(REFRESHED, self._args.articles // 2), None)
        news = {"news_id": catalog.ids[gone], "title": catalog.titles[gone]}
        for _ in range(2):
            index.refresh(withdraw=news["news_id"])
            started = time.perf_counter()
            index.refresh(news)
            shown.append(f"{time.perf_counter() - started:.2f}")
        return shown

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

    def tables(self) -> list[dict]:
        """Returns the table of times and that of memory."""
        rows = []
        for name, (*seconds, recall) in self._shown():
            shown = ["" if value is None else f"{1e3 * value:,.1f}" for value in seconds]
            rows.append([name, *shown, "" if recall is None else f"{recall:.3f}"])
        args = self._args
        title = f"Top {K} of {args.articles:,} articles, {self._name}, milliseconds"
        of_batch = f"{args.batch_size} users"
        times = ["1 user, p50", "p99", of_batch, "1 user, CPU", f"{of_batch}, CPU"]
        headers = ["", *times, f"recall@{K}"]
        memory = table(
            f"Index, {self._name}",
            [
                "",
                "bytes per article",
                "made in, s",
                f"first refresh with {min(REFRESHED, args.articles // 2):,} articles, s",
                "the next, s",
                f"error of the {K} scores / deviation",
            ],
            self._memory,
        )
        return [table(title, headers, rows), memory]

    def _shown(self):
        for name, times in self._times.items():
            yield name, (times if len(times) == 6 else (*times, None))

    def measurements(self) -> list[dict]:
        """Returns the ratios to the towers and to the floor, and of the ways to keep words."""
        plain, floor = self._times["plain towers"], self._times["BruteForce, the floor"]
        ours, rounded = (self._times[f"PersonalizedTopK, {dtype}"] for dtype in DTYPES)
        measurements = []
        is_recipe = self._name == "recipe"
        for name, place, cpu in (("one user", 0, 3), (f"{self._args.batch_size} users", 2, 4)):
            of = f"top {K} of {self._args.articles:,}, {name}"
            of = of if is_recipe else f"{of}, {self._name}"
            measurements += [
                measurement(f"{of}: plain towers / ours", plain[place] / ours[place]),
                measurement(f"{of}: ours / BruteForce", ours[place] / floor[place]),
                measurement(f"{of}: CPU s, all scored / bfloat16 first", ours[cpu] / rounded[cpu]),
            ]
        return measurements


def progress(items, name):
    return tqdm(items, desc=name, leave=False, disable=None, file=sys.stderr)


if __name__ == "__main__":
    main()
