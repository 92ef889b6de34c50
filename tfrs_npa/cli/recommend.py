"""`tfrs-npa recommend`."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from tfrs_npa.cli.messages import import_tensorflow
from tfrs_npa.cli.options import DATA, add_data, cache_of, data_of, require_inputs
from tfrs_npa.runs.run import Run
from tfrs_npa.settings import DEFAULT_K, POOL, RERANKINGS, TRADE_OFF

if TYPE_CHECKING:
    from tfrs_npa.data.loading import MindData
    from tfrs_npa.models.npa import NPA
    from tfrs_npa.retrieval.personalized_top_k import PersonalizedTopK
    from tfrs_npa.retrieval.reranking import Reranker

_UNKNOWN = {"left_out": "left out", "untitled": "read as articles without a title"}

SUMMARY = "print the best articles for a user"
DESCRIPTION = """\
Prints the articles that the best model of a run ranks highest for a user, among all articles of
the run and, with --data, those of all splits of that data.

The user's clicks so far are taken from --history, or else from the data: the history of the
latest impression that the user has there. The user may be one that the run was not trained on;
with a --history, none need be given.
"""
EPILOG = """\
examples:
  tfrs-npa recommend --run runs/demo --user U13
  tfrs-npa recommend --run runs/demo --user U13 --history N7,N42 --k 5 --include-clicked
  tfrs-npa recommend --run runs/demo --history N7 --data todays-news --json
  tfrs-npa recommend --run runs/demo --user U13 --rerank mmr --trade-off 0.5
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command."""
    parser.add_argument("--run", required=True, metavar="DIR", help="folder of the run")
    parser.add_argument("--user", metavar="ID", help="can be left out if there is a --history")
    parser.add_argument(
        "--history", metavar="ID,ID,...", help="ids of the articles clicked so far, oldest first"
    )
    parser.add_argument(
        "--k",
        type=int,
        default=DEFAULT_K,
        metavar="N",
        help=f"how many articles (default: {DEFAULT_K})",
    )
    parser.add_argument(
        "--include-clicked",
        action="store_true",
        help="recommend articles of the history too (default: leave them out)",
    )
    parser.add_argument(
        "--rerank",
        choices=RERANKINGS,
        help=f"choose among the best {POOL}: mmr, so that titles differ; calibrated, so that the "
        "categories are those of the history",
    )
    parser.add_argument(
        "--trade-off",
        type=float,
        metavar="X",
        help="with --rerank: what that counts, from 0, which changes nothing, to 1 "
        f"(default: {TRADE_OFF})",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    add_data(parser, f"default: the data the run was trained on; other data: {DATA}")


def run(options: argparse.Namespace) -> None:
    """Prints the best articles for a user."""
    require_inputs(options)
    if not options.user and options.history is None:
        raise ValueError("--user is missing: give a user, a --history or both")
    if options.k < 1:
        raise ValueError(f"--k is {options.k}; it has to be at least 1")
    if options.trade_off is not None and options.rerank is None:
        raise ValueError("--trade-off needs --rerank")
    trade_off = TRADE_OFF if options.trade_off is None else options.trade_off
    if not 0 <= trade_off <= 1:
        raise ValueError(f"--trade-off is {trade_off:g}; it has to be from 0 to 1")
    trained = Run(options.run)
    import_tensorflow()
    from tfrs_npa.data.catalog import UNKNOWN_ARTICLE
    from tfrs_npa.data.users import UNKNOWN_USER

    data: MindData | None = None
    # Calibration needs the categories of articles.
    if options.data is not None or options.history is None or options.rerank == "calibrated":
        data = data_of(options, trained, cache_of(options))
    with _eagerly():
        model = trained.load_model()
    if data is not None and options.data is not None:
        for split in data.splits:
            model.add_articles(data.titles(split))
    user = options.user or ""
    if data is None or options.history is not None:
        source, history = "--history", _ids(options.history)
    else:
        found = data.latest_histories([user]).get(user)
        source = data.name if found is not None else f"{data.name}, where {user} has no impression"
        history = found or []
    indices = model.catalog.index(history)
    unknown = [id_ for id_, index in zip(history, indices) if index == UNKNOWN_ARTICLE]
    if unknown and unknown == history:
        raise ValueError(
            f"the run knows none of the {len(history):,} articles of the history in {source} (for "
            f"example {unknown[0]}); give --data that has them"
        )
    with _eagerly():
        articles = _articles(trained, model, data, user, history, trade_off, options)
    answer = {
        "user_id": user,
        "known_user": bool(model.users.index(user) != UNKNOWN_USER),
        "history": history,
        "unknown_history": unknown,
        "articles": articles,
    }
    if options.rerank is not None:
        answer["rerank"] = {"method": options.rerank, "trade_off": trade_off}
    if options.json:
        print(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        print(_report(answer, source, options, model.config.unknown_articles))


@contextlib.contextmanager
def _eagerly() -> Iterator[None]:
    """Traces nothing: a graph that is run once takes longer to make than it saves."""
    import tensorflow as tf

    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


def _ids(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _articles(
    run: Run,
    model: NPA,
    data: MindData | None,
    user: str,
    history: list[str],
    trade_off: float,
    options: argparse.Namespace,
) -> list[dict[str, Any]]:
    """Returns the best articles, the best first, with their categories if there is data."""
    from tfrs_npa.retrieval.personalized_top_k import PersonalizedTopK

    index = PersonalizedTopK(model).index()
    top_k: Any = index
    if options.rerank is not None:
        top_k = _reranker(index, run, model, data, trade_off, options.rerank)
    scores, found = top_k(
        {"user_id": [user], "history": [history]},
        k=min(options.k, index.num_articles),
        exclude_history=not options.include_clicked,
    )
    scores, found = np.asarray(scores), np.asarray(found)
    # If fewer than k are left, the last ids are empty.
    ids = [news_id.decode() for news_id in found[0] if news_id]
    titles = [model.catalog.titles[article] for article in model.catalog.index(ids)]
    articles: list[dict[str, Any]] = [
        {"rank": rank, "score": float(score), "news_id": news_id, "title": title}
        for rank, (score, news_id, title) in enumerate(zip(scores[0], ids, titles), start=1)
    ]
    if data is not None:
        topics = data.topics()
        for article in articles:
            article["category"], _ = topics.get(article["news_id"], ("", ""))
    return articles


def _reranker(
    index: PersonalizedTopK,
    run: Run,
    model: NPA,
    data: MindData | None,
    trade_off: float,
    method: str,
) -> Reranker:
    from tfrs_npa.data.article_values import category_indices
    from tfrs_npa.retrieval.reranking import Reranker
    from tfrs_npa.runs.baselines import title_vectors

    vectors, category = None, None
    if method == "mmr":
        words = run.baselines.word_vectors
        if words is None:
            raise ValueError(
                f"{run.path} holds no word vectors, being of an earlier version: --rerank mmr "
                "cannot compare titles; train again, or use --rerank calibrated"
            )
        vectors = title_vectors(model.catalog, words)
    elif data is not None:
        category, names = category_indices(data.topics(), model.catalog)
        if len(names) == 1:
            raise ValueError(
                f"the articles of {data.name} have no category, so --rerank calibrated cannot be "
                "used; use --rerank mmr, or add the column category"
            )
    return Reranker(index, model.catalog, method, trade_off, vectors, category)


def _report(
    answer: dict[str, Any], source: str, options: argparse.Namespace, unknown_articles: str
) -> str:
    """Formats the answer: lines about the user, and a table of the articles."""
    from tabulate import tabulate

    user, history, unknown = (answer[name] for name in ("user_id", "history", "unknown_history"))
    lines = []
    if not user:
        lines.append("An anonymous visitor, so only the history counts.")
    elif not answer["known_user"]:
        lines.append(
            f"{user} is a new user: the run was not trained on any of their clicks, so only the "
            "history counts."
        )
    if history:
        clicks = "1 click" if len(history) == 1 else f"{len(history):,} clicks"
        lines.append(f"The history in {source} has {clicks}.")
    else:
        lines.append(f"There is no history in {source}.")
    if unknown:
        lines.append(
            f"The run does not know {len(unknown):,} of the articles (for example {unknown[0]}): "
            f"they are {_UNKNOWN[unknown_articles]}; give --data that has them."
        )
    articles = answer["articles"]
    if len(articles) < options.k:
        kind = "articles" if options.include_clicked else "articles that are not in the history"
        lines.append(f"There are only {len(articles):,} {kind}.")
    rows = [{**article, "score": f"{article['score']:.4f}"} for article in articles]
    # Titles that look like numbers are left alone.
    table = tabulate(rows, headers="keys", disable_numparse=True, colalign=("right", "right"))
    return "\n".join([*lines, "", table])
