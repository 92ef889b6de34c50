"""`tfrs-npa recommend`."""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np
from tabulate import tabulate
from tqdm import tqdm

from tfrs_npa.commands.options import cache_of, data_of
from tfrs_npa.data.mind import MindData
from tfrs_npa.data.pipelines import without_autotuning
from tfrs_npa.data.sources import text_columns
from tfrs_npa.models.npa import NPA
from tfrs_npa.retrieval.personalized_top_k import PersonalizedTopK
from tfrs_npa.run import Run

_UNKNOWN_ARTICLE = 1
_CHUNK = 1024


def run(options: argparse.Namespace) -> None:
    """Prints the best articles for a user."""
    if not options.user and options.history is None:
        raise ValueError("--user is missing: whom to recommend to; or give a --history")
    if options.k < 1:
        raise ValueError(f"--k is {options.k}; the least is 1")
    trained = Run(options.run)
    data = None
    if options.data is not None or options.history is None:
        data = data_of(options, trained, cache_of(options))
    model = trained.load_model()
    if options.data is not None:
        model.set_catalog(data.add_articles(model.catalog))
    user = options.user or ""
    if options.history is None:
        source, history = data.name, _latest_history(data, user)
        if history is None:
            source, history = f"{data.name}, where {user} has no impression", []
    else:
        source, history = "--history", _ids(options.history)
    unknown = [
        news_id
        for news_id, number in zip(history, model.catalog.index(history), strict=True)
        if number == _UNKNOWN_ARTICLE
    ]
    if unknown and unknown == history:
        raise ValueError(
            f"the run knows none of the {len(history):,} articles of the history in {source} (for "
            f"example {unknown[0]}); give --data that has them"
        )
    answer = {
        "user_id": user,
        "known_user": user in model.users.ids[1:],
        "history": history,
        "unknown_history": unknown,
        "articles": _articles(model, data, user, history, options),
    }
    if options.json:
        print(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        print(_report(answer, source, options))


def _ids(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _latest_history(data: MindData, user: str) -> list[str] | None:
    """What a user had clicked before the latest impression; None if there is no impression."""
    latest, history = -1, None
    rows = sum(int(behaviors.cardinality()) for behaviors in data.behaviors.values())
    with tqdm(total=rows, desc="Reading histories", unit=" rows", delay=2, disable=None) as bar:
        for behaviors in data.behaviors.values():
            chunks = behaviors.map(
                lambda row: (row["user_id"], row["time"], row["history"])
            ).ragged_batch(_CHUNK)
            for users, times, histories in without_autotuning(chunks):
                for row in np.flatnonzero(users.numpy() == user.encode()):
                    # Of the same second, the later one in the file.
                    if times[row] >= latest:
                        latest, history = times[row], histories[row].numpy().tolist()
                bar.update(len(users))
    return None if history is None else [news_id.decode() for news_id in history]


def _articles(
    model: NPA, data: MindData | None, user: str, history: list[str], options
) -> list[dict[str, Any]]:
    """The best articles, from the best on; their categories where there is data to look in."""
    index = PersonalizedTopK(model).index()
    scores, found = index(
        {"user_id": [user], "history": [history]},
        k=min(options.k, index.num_articles),
        exclude_history=not options.include_clicked,
    )
    ids = [news_id.decode() for news_id in found[0].numpy() if news_id]
    titles = [model.catalog.titles[number] for number in model.catalog.index(ids)]
    articles = [
        {"rank": rank, "score": float(score), "news_id": news_id, "title": title}
        # Where all that is left is fewer than k, the last places are empty.
        for rank, (score, news_id, title) in enumerate(zip(scores[0], ids, titles), start=1)
    ]
    if data is not None:
        categories = _categories(data, set(ids))
        for article in articles:
            article["category"] = categories.get(article["news_id"], "")
    return articles


def _categories(data: MindData, wanted: set[str]) -> dict[str, str]:
    found = {}
    for news in data.news.values():
        for chunk in text_columns(news, ["news_id", "category"], "news"):
            found.update((news_id, name) for news_id, name in zip(*chunk) if news_id in wanted)
            if len(found) == len(wanted):
                return found
    return found


def _report(answer: dict[str, Any], source: str, options) -> str:
    """A line for each thing to know about the user, and a table of the articles."""
    user, history, unknown = (answer[name] for name in ("user_id", "history", "unknown_history"))
    lines = []
    if not user:
        lines.append("A visitor without a name, so what counts is the history alone.")
    elif not answer["known_user"]:
        lines.append(
            f"{user} is a new user: the run was not trained on any of their clicks, so what counts "
            "is the history alone."
        )
    if history:
        clicks = "1 click" if len(history) == 1 else f"{len(history):,} clicks"
        lines.append(f"The history in {source} has {clicks}.")
    else:
        lines.append(f"There is no history in {source}.")
    if unknown:
        lines.append(
            f"The run does not know {len(unknown):,} of the articles (for example {unknown[0]}); "
            "they count as articles without a title."
        )
    articles = answer["articles"]
    if len(articles) < options.k:
        what = "articles" if options.include_clicked else "articles that are not in the history"
        lines.append(f"There are no more than {len(articles):,} {what}.")
    rows = [{**article, "score": f"{article['score']:.4f}"} for article in articles]
    # Titles that look like numbers are left alone.
    table = tabulate(rows, headers="keys", disable_numparse=True, colalign=("right", "right"))
    return "\n".join([*lines, "", table])
