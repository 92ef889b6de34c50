"""Made-up articles, impressions and weights, at the size and shape of MIND-small."""

from __future__ import annotations

import datetime
import pathlib
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import tfrs_npa

WORDS, USERS, ARTICLES = 30_000, 50_000, 65_000
PIECE = 16_384


def news_columns(articles: int) -> dict[str, list[str]]:
    """Returns the ids and titles of articles.

    Titles have 11 words on average, by Zipf's law; all words occur first.
    """
    rng = np.random.default_rng(1)
    unseen = iter(range(WORDS))
    columns: dict[str, list[str]] = {"news_id": [], "title": []}
    for article in range(articles):
        words = (rng.zipf(1.2, max(1, rng.poisson(11))) - 1) % WORDS
        words = [next(unseen, word) for word in words]
        columns["news_id"].append(f"N{article}")
        columns["title"].append(" ".join(f"w{word}" for word in words))
    return columns


def user_columns(users: int) -> dict[str, list[str]]:
    """Returns the ids of users."""
    return {"user_id": [f"U{user}" for user in range(users)]}


def impression_pieces(impressions: int, users: int = USERS) -> Iterator[dict[str, np.ndarray]]:
    """Yields pieces of the columns that `Impressions.from_columns` takes, of so many users.

    Histories have a mean of 32 articles and a long tail, lists 37 candidates of which 4 % and at
    least one were clicked.
    """
    rng = np.random.default_rng(0)
    for first in range(0, impressions, PIECE):
        rows = min(PIECE, impressions - first)
        history = np.minimum(rng.lognormal(np.log(18.8), 1.05, rows), 558).astype(np.int64)
        candidates = np.clip(rng.gamma(1.2, 30, rows).round() + 2, 2, 300).astype(np.int64)
        clicked = rng.random(candidates.sum()) < 0.013
        clicked[np.cumsum(candidates) - candidates + rng.integers(candidates)] = True
        yield {
            "impression_id": np.arange(first, first + rows),
            "user_id": rng.integers(0, users, rows, np.int32),
            "history_values": rng.integers(2, ARTICLES, history.sum(), np.int32),
            "history_lengths": history,
            "candidate_values": rng.integers(2, ARTICLES, candidates.sum(), np.int32),
            "candidate_lengths": candidates,
            "clicked": clicked.astype(np.int8),
        }


def tables_of_strings(impressions: int, users: int = USERS) -> Iterator[pa.Table]:
    """Yields the impressions of `impression_pieces` with ids, and with times of six days."""
    ids = pa.array([f"N{article - 2}" for article in range(ARTICLES)])

    def lists(piece, name, values):
        splits = np.append(0, np.cumsum(piece[f"{name}_lengths"])).astype(np.int32)
        return pa.ListArray.from_arrays(splits, values)

    for piece in impression_pieces(impressions, users):
        candidates = ids.take(pa.array(piece["candidate_values"]))
        yield pa.table(
            {
                "impression_id": piece["impression_id"],
                "user_id": pc.binary_join_element_wise("U", _text(piece["user_id"]), ""),
                "time": 1_573_344_000 + piece["impression_id"] * 6 * 86_400 // impressions,
                "history": lists(piece, "history", ids.take(pa.array(piece["history_values"]))),
                "candidates": lists(piece, "candidate", candidates),
                "clicked": lists(piece, "candidate", pa.array(piece["clicked"])),
            }
        )


def write_split(folder: pathlib.Path, impressions: int, users: int = USERS) -> None:
    """Writes the `news.tsv` and the `behaviors.tsv` of a split."""
    folder.mkdir(parents=True)
    news = news_columns(ARTICLES - 2)
    rest = "\t" + "A made-up summary of an article. " * 4 + "\thttps://example.org/n\t[]\t[]\n"
    with open(folder / "news.tsv", "w", encoding="utf-8") as file:
        for news_id, title in zip(news["news_id"], news["title"], strict=True):
            file.write(f"{news_id}\tc\ts\t{title}{rest}")
    with open(folder / "behaviors.tsv", "w", encoding="utf-8") as file:
        for table in tables_of_strings(impressions, users):
            table = table.combine_chunks()
            history, candidates = (table[name].chunk(0) for name in ("history", "candidates"))
            labels = _text(table["clicked"].chunk(0).flatten())
            pairs = pc.binary_join_element_wise(candidates.flatten(), labels, "-")
            candidates = pa.ListArray.from_arrays(candidates.offsets, pairs)
            columns = [
                _text(table["impression_id"]).to_pylist(),
                table["user_id"].to_pylist(),
                [_clock(time) for time in table["time"].to_pylist()],
                pc.binary_join(history, " ").to_pylist(),
                pc.binary_join(candidates, " ").to_pylist(),
            ]
            file.writelines("\t".join(fields) + "\n" for fields in zip(*columns, strict=True))


def _text(numbers) -> pa.Array:
    numbers = pa.array(numbers) if isinstance(numbers, np.ndarray) else numbers
    return numbers.cast(pa.string())


def _clock(time: int) -> str:
    moment = datetime.datetime.fromtimestamp(time, datetime.timezone.utc)
    return f"{moment.month}/{moment.day}/{moment:%Y %I:%M:%S} {'AP'[moment.hour >= 12]}M"


def recommenders_weights(
    config: tfrs_npa.NPAConfig, words: int, users: int, seed: int
) -> list[np.ndarray]:
    """Draws weights with which scores differ from user to user and from article to article.

    The initial weights would not do: all users start at zero.

    Args:
        config: Dimensions of the model.
        words: Words of the catalogue.
        users: Known users.
        seed: Seed of the draws.

    Returns:
        The arrays that `tfrs_npa.load_recommenders_weights` takes: word table `[1 + words, E]`,
        user table `[1 + users, U]`, kernel `[window, E, F]` and bias `[F]` of the convolution;
        then, for words and for articles, kernel `[U, A]` and bias `[A]` of the query, kernel
        `[F, A]` and bias `[A]` of the keys.
    """
    rng = np.random.default_rng(seed)
    word_dim, user_dim = config.word_embedding_dim, config.user_embedding_dim
    filters, attention = config.num_filters, config.attention_dim

    def normal(deviation: float, *shape: int) -> np.ndarray:
        return rng.normal(scale=deviation, size=shape).astype(np.float32)

    weights = [
        normal(0.2, 1 + words, word_dim),
        normal(0.3, 1 + users, user_dim),
        normal(0.03, config.window_size, word_dim, filters),
        normal(0.05, filters) - 0.1,
    ]
    for _ in ("words", "articles"):
        weights += [normal(0.2, user_dim, attention), normal(0.1, attention)]
        weights += [normal(0.2, filters, attention), normal(0.1, attention)]
    return weights
