"""The articles of the synthetic world."""

from __future__ import annotations

import dataclasses

import numpy as np

from .synthetic_knobs import WorldKnobs
from .synthetic_language import Contents, Language, bags

_ABSTRACT_WORDS = 20


@dataclasses.dataclass
class Articles:
    """The articles of the site; arrays are `[articles]` unless said otherwise.

    Attributes:
        contents: What they are about, and the day each was published.
        category: Index of the category.
        tokens: `int [tokens]`, the words of all titles.
        splits: `int [articles + 1]`, where each title starts and ends in `tokens`.
        popularity: How often an article is shown, by weight.
        appeal: Log odds of a click that an article has for everyone, whatever its age.
    """

    contents: Contents
    category: np.ndarray
    tokens: np.ndarray
    splits: np.ndarray
    popularity: np.ndarray
    appeal: np.ndarray

    @classmethod
    def draw(
        cls, knobs: WorldKnobs, language: Language, number: int, rng: np.random.Generator
    ) -> Articles:
        """Draws articles; the same share is published on each day of the log."""
        later = knobs.training_days + 2
        days = np.arange(-knobs.days_before, later)
        shares = np.where(
            days < 0, knobs.old_articles / knobs.days_before, (1 - knobs.old_articles) / later
        )
        contents = language.draw_contents(rng.choice(days, number, p=shares), rng)
        tokens, splits = language.write(contents, language.lengths(number, rng), rng)
        log_popularity = knobs.popularity_sigma * rng.normal(size=number)
        readable = bags(tokens, splits, len(language.words)) @ language.appeal
        appeal = readable + knobs.article_appeal * rng.normal(size=number)
        appeal += knobs.popularity_appeal * log_popularity
        category = language.category[contents.subject]
        return cls(contents, category, tokens, splits, np.exp(log_popularity), appeal)

    def __len__(self) -> int:
        return len(self.contents)

    @property
    def old(self) -> np.ndarray:
        """Indices of the articles from before the log, from which histories are drawn."""
        day = self.contents.day
        old = np.flatnonzero(day < 0)
        return old if len(old) else np.array([day.argmin()])

    def titles(self, language: Language) -> list[str]:
        """Returns the titles as text."""
        return language.text(self.tokens, self.splits)

    def abstracts(self, language: Language, rng: np.random.Generator) -> list[str]:
        """Writes a sentence about what each article is about."""
        lengths = np.full(len(self), _ABSTRACT_WORDS)
        texts = language.text(*language.write(self.contents, lengths, rng))
        return [f"{text}." for text in texts]
