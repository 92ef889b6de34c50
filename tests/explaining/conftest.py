"""Small models to explain, and a report that no model made."""

from __future__ import annotations

import numpy as np
import pytest

import tfrs_npa
from tfrs_npa.explaining.report import Candidate, Click, Reader, Report, Title, WithoutClick, Word

TITLES = {
    "N1": "Rain in the North",
    "N2": "Team wins, team celebrates!",
    "N3": "",
    "N4": "A very long title of more words than are read",
    "N5": "North team",
    "N6": "Rain rain Café",
    "N7": "Wins the final",
    "N8": "ＡＩ in the north",
}
HISTORIES = {"U1": ["N1", "N6", "gone", "N2"], "nobody": ["N5"]}


def _model(**changes):
    fields = {
        "title_length": 5,
        "history_length": 4,
        "word_embedding_dim": 5,
        "user_embedding_dim": 3,
        "num_filters": 4,
        "attention_dim": 6,
        "seed": 5,
    }
    news = {"news_id": list(TITLES), "title": list(TITLES.values())}
    users = tfrs_npa.UserIndex().adapt({"user_id": ["U1", "U2"]})
    config = tfrs_npa.NPAConfig(**fields | changes)
    model = tfrs_npa.NPA(config, tfrs_npa.NewsCatalog().adapt(news), users)
    generator = np.random.default_rng(3)
    model.set_weights([generator.normal(0, 0.6, w.shape) for w in model.get_weights()])
    return model


@pytest.fixture(scope="session")
def model():
    """A model with random weights, of eight articles and two users."""
    return _model()


@pytest.fixture(scope="session")
def make_model():
    """Makes one with changes of the configuration."""
    return _model


@pytest.fixture(scope="session")
def histories():
    """Clicks of a known user, one of which is of an unknown article, and of a new one."""
    return HISTORIES


def _title(news_id, title, effects):
    words, start = [], 0
    for text in title.split():
        start = title.index(text, start)
        end = start + len(text)
        effect = (-1) ** len(words) * 0.3 if effects else None
        words.append(Word(text.lower(), 1 / len(title.split()), effect, start, end))
        start = end
    return Title(news_id, title, "sports & games", tuple(words))


def _candidate(news_id, title, rank, clicks):
    contributions = tuple(0.5 - 0.4 * click for click in range(clicks))
    return Candidate(
        _title(news_id, title, effects=True),
        0.25 + sum(contributions),
        rank,
        0.25,
        contributions,
        tuple(WithoutClick(0.125 * click, rank and rank + click) for click in range(clicks)),
    )


def _reader(user_id, titles, clicks):
    history = tuple(
        Click(_title(f"C{click}", f"clicked headline {click}", effects=False), 1 / clicks)
        for click in range(clicks)
    )
    shown = tuple(
        _candidate(f"N{rank}", title, rank, clicks) for rank, title in enumerate(titles, start=1)
    )
    return Reader(user_id, user_id == "U1", history, clicks + 3, shown, shown[:2])


def _report(titles=("Rain in the north", "Team wins the final"), clicks=(5, 2)):
    users = ["U1", "<b>U2</b>"]
    readers = tuple(_reader(user, titles, number) for user, number in zip(users, clicks))
    return Report("my <run>", 1234, readers)


@pytest.fixture(scope="session")
def make_report():
    """Makes a report of two readers, given titles of articles and numbers of clicks."""
    return _report
