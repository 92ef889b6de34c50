"""What is shown of readers: their clicks, their best articles, and why, as data."""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from tfrs_npa.explaining.explainer import Explainer


@dataclasses.dataclass(frozen=True)
class Word:
    """A word that the model reads of a title.

    Attributes:
        text: The word as the vocabulary has it.
        weight: Its attention weight for the reader.
        effect: What the score of the article lacks without the word: the score of the title less
            that of the title without it, computed again; None: the article is a click.
        start: Where it starts in the title, in characters; None: the title is written in another
            way, such as with an accent of its own.
        end: Where it ends.
    """

    text: str
    weight: float
    effect: float | None
    start: int | None
    end: int | None


@dataclasses.dataclass(frozen=True)
class Title:
    """An article as a reader sees it.

    Attributes:
        news_id: Its id.
        title: The title.
        category: The category; `""` where it is not known.
        words: The words that are read, in order; their weights sum to 1 over the title, padding
            included where it takes part.
    """

    news_id: str
    title: str
    category: str
    words: tuple[Word, ...]


@dataclasses.dataclass(frozen=True)
class Click:
    """A clicked article that is read.

    Attributes:
        article: The article.
        weight: Its attention weight.
    """

    article: Title
    weight: float


@dataclasses.dataclass(frozen=True)
class WithoutClick:
    """A score, had the reader not clicked an article: computed again, not estimated.

    Attributes:
        score: The score.
        rank: The rank.
    """

    score: float
    rank: int | None


@dataclasses.dataclass(frozen=True)
class Candidate:
    """An article that is scored for a reader.

    Attributes:
        article: The article.
        score: Its score: `base_score` plus the sum of `contributions`.
        rank: Its rank among the articles that may be recommended and that the reader has not
            clicked, 1 for the best; None if it is none of these.
        base_score: What the score is without any click.
        contributions: What each click adds to it, in the order of the reader's clicks; see
            `tfrs_npa.models.user_encoder.UserEncoder.contributions`.
        without: The score and the rank without each click, in the same order.
    """

    article: Title
    score: float
    rank: int | None
    base_score: float
    contributions: tuple[float, ...]
    without: tuple[WithoutClick, ...]


@dataclasses.dataclass(frozen=True)
class Reader:
    """A user, and why they are shown what they are shown.

    Attributes:
        user_id: Their id.
        is_known: Whether the model knows them; if not, only their history counts.
        clicks: The clicks that are read, oldest first.
        num_clicks: Number of all clicks of the history.
        best: Their best articles, the best first.
        compared: The articles that all readers are compared on.
    """

    user_id: str
    is_known: bool
    clicks: tuple[Click, ...]
    num_clicks: int
    best: tuple[Candidate, ...]
    compared: tuple[Candidate, ...]


@dataclasses.dataclass(frozen=True)
class Report:
    """Readers and their explanations.

    Attributes:
        source: What explained: the folder of the run or export.
        num_articles: Number of articles that may be recommended.
        readers: The readers.
    """

    source: str
    num_articles: int
    readers: tuple[Reader, ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns it as what JSON can hold."""
        return dataclasses.asdict(self)


def explain_readers(
    explainer: Explainer,
    histories: Mapping[str, Sequence[str]],
    source: str,
    k: int = 10,
    compared: Sequence[str] = (),
    categories: Mapping[str, str] | None = None,
) -> Report:
    """Explains why readers are shown their best articles.

    >>> explainer = Explainer.of_model(model)
    >>> report = explain_readers(explainer, {"U1": ["N3", "N7"], "U2": ["N5"]}, "my model")
    >>> [word.text for word in report.readers[0].best[0].article.words]

    Args:
        explainer: Scores and explains.
        histories: By the id of a reader, ids of the articles that they clicked, oldest first.
        source: What to call the model.
        k: How many of the best articles to explain.
        compared: Ids of articles to compare the readers on; empty: where there are several
            readers, the best of each in turn, `k` together.
        categories: Categories of articles by id, or None.

    Returns:
        A `Report`.

    Raises:
        ValueError: if there is no reader, `k` is below 1, or an article to compare on is unknown or
            has no title.
    """
    if not histories:
        raise ValueError("there is no reader to explain")
    if k < 1:
        raise ValueError(f"k is {k}; it has to be at least 1")
    best = {user: _best(explainer, user, clicks, k) for user, clicks in histories.items()}
    if not compared and len(histories) > 1:
        turns = [news_id for turn in zip(*best.values()) for news_id in turn]
        compared = list(dict.fromkeys(turns))[:k]
    compared = list(dict.fromkeys(compared))
    with tqdm(
        total=len(histories), desc="Explaining", unit=" readers", delay=2, disable=None
    ) as bar:
        readers = []
        for user, clicks in histories.items():
            reader = _reader(explainer, user, list(clicks), best[user], compared, categories or {})
            readers.append(reader)
            bar.update()
    return Report(source, len(explainer.ids), tuple(readers))


def _best(explainer: Explainer, user: str, clicks: Sequence[str], k: int) -> list[str]:
    """Returns the ids of the best articles that a user has not clicked, at most k."""
    scores = explainer.scores(user, [clicks])[0]
    clicked = set(clicks)
    order = np.argsort(-scores, kind="stable")
    ids = (explainer.ids[position] for position in order)
    return [news_id for news_id in ids if news_id not in clicked][:k]


def _reader(
    explainer: Explainer,
    user: str,
    clicks: list[str],
    best: Sequence[str],
    compared: Sequence[str],
    categories: Mapping[str, str],
) -> Reader:
    shown = list(dict.fromkeys([*best, *compared]))
    found = {name: rows[0] for name, rows in explainer.explain(user, [clicks], shown).items()}
    untitled = [id_ for id_ in compared if not found["candidate_titles"][shown.index(id_)]]
    if untitled:
        raise ValueError(
            f"{len(untitled):,} of the articles to compare the readers on are not known, or have "
            f"no title, such as {untitled[0]!r}; give --data that has them"
        )
    read = [column for column, weight in enumerate(found["history_weights"]) if weight > 0]
    without = _without(explainer, user, clicks, read, shown)

    words = [[word for word in row if word] for row in found["candidate_words"]]
    effects = word_effects(explainer, user, clicks, words)

    def title(
        news_id: str, side: str, column: int, effects: Sequence[float] | None = None
    ) -> Title:
        text = found[f"{side}_titles"][column]
        words = [word for word in found[f"{side}_words"][column] if word]
        columns = (
            words,
            found[f"{side}_word_weights"][column].tolist(),
            [None] * len(words) if effects is None else effects,
            *zip(*spans(text, words)),
        )
        return Title(news_id, text, categories.get(news_id, ""), tuple(map(Word, *columns)))

    ranks = _ranks(explainer, explainer.scores(user, [clicks])[0], clicks, shown)
    candidates = {
        news_id: Candidate(
            title(news_id, "candidate", column, effects[column]),
            float(found["scores"][column]),
            ranks[column],
            float(found["base_scores"][column]),
            tuple(found["contributions"][column, read].tolist()),
            tuple(rows[column] for rows in without),
        )
        for column, news_id in enumerate(shown)
    }
    return Reader(
        user,
        bool(found["known_users"]),
        tuple(
            Click(title(clicks[column], "history", column), float(found["history_weights"][column]))
            for column in read
        ),
        len(clicks),
        tuple(candidates[news_id] for news_id in best),
        tuple(candidates[news_id] for news_id in compared),
    )


def word_effects(
    explainer: Explainer, user_id: str, history: Sequence[str], titles: Sequence[Sequence[str]]
) -> list[list[float]]:
    """Returns what the scores of titles lack without each of their words, computed again.

    Args:
        explainer: Scores titles.
        user_id: The id of a reader.
        history: Ids of the articles that they clicked, oldest first.
        titles: Titles as lists of words.

    Returns:
        For each title the score less that of the title without a word, for each of its words.
    """
    variants = [[*words[:i], *words[i + 1 :]] for words in titles for i in range(len(words))]
    every = [" ".join(words) for words in [*titles, *variants]]
    scores = iter(explainer.score_titles(user_id, history, every).tolist())
    whole = [next(scores) for _ in titles]
    return [[score - next(scores) for _ in words] for score, words in zip(whole, titles)]


def _without(
    explainer: Explainer,
    user: str,
    clicks: list[str],
    read: Sequence[int],
    shown: Sequence[str],
) -> list[list[WithoutClick]]:
    """Returns the score and the rank of each article of `shown` without each click of `read`."""
    histories = [clicks[:column] + clicks[column + 1 :] for column in read]
    if not histories:
        return []
    scores = explainer.explain(user, histories, shown)["scores"]
    every = explainer.scores(user, histories)
    return [
        [
            WithoutClick(float(score), rank)
            for score, rank in zip(row, _ranks(explainer, of_all, clicks, shown))
        ]
        for row, of_all in zip(scores, every)
    ]


def _ranks(
    explainer: Explainer, scores: np.ndarray, clicks: Sequence[str], shown: Sequence[str]
) -> list[int | None]:
    """Returns the rank of each article of `shown` among those that are not clicked.

    Args:
        explainer: The explainer.
        scores: `[articles]` of all that may be recommended.
        clicks: Ids of the clicked articles, which do not count.
        shown: Ids of articles.
    """
    positions = explainer.positions
    counts = np.ones(len(scores), bool)
    counts[[positions[news_id] for news_id in set(clicks) if news_id in positions]] = False
    others = np.sort(scores[counts])
    return [
        1 + len(others) - int(np.searchsorted(others, scores[positions[news_id]], "right"))
        if news_id in positions and counts[positions[news_id]]
        else None
        for news_id in shown
    ]


def spans(title: str, words: Sequence[str]) -> list[tuple[int | None, int | None]]:
    """Finds where words are in a title, in their order.

    Args:
        title: The title.
        words: Words of it as a tokenizer returns them, in lower case and folded.

    Returns:
        For each word its start and end in characters; None and None if the title does not hold
        one of them as it is written.
    """
    # Folding may make several characters of one; each knows where it is from.
    folded = [(part, at) for at, character in enumerate(title) for part in _folded(character)]
    text = "".join(part for part, _ in folded)
    found: list[tuple[int | None, int | None]] = []
    start = 0
    for word in words:
        place = text.find(word, start)
        if place < 0:
            return [(None, None)] * len(words)
        start = place + len(word)
        found.append((folded[place][1], folded[start - 1][1] + 1))
    return found


def _folded(character: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", character).casefold())
