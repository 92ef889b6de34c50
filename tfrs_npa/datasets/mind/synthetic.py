"""A made-up news site like MIND, whose users' preferences are known.

The site has 26,000 articles, whose titles use 15,000 to 20,000 words by Zipf's law, so that most
words are rare, as in MIND. An article is about one of 260 subjects in 17 categories, or about two,
and may mention one of 60 groups of names. A user likes a mixture of subjects and of names, and
users differ in which of the two decides their clicks: this is what personalised attention can
learn. Single words, the appeal of an article and its age count too, and some clicks are arbitrary.
Every constant is a field of `WorldKnobs`; other knobs and seeds draw other worlds of the family.

The log odds of a click of a user on a candidate are

    strength * log(affinity) + liked words + appeal + age_appeal * age

with the affinity of `synthetic_users.Affinity`. The clicks of an impression are drawn one after the
other, without replacement (Plackett-Luce), except for the arbitrary ones.

What the world is made of, in this order: `synthetic_language` (topics and words),
`synthetic_articles`, `synthetic_users` (tastes), `synthetic_log` (histories and impressions).
`synthetic_optima` computes how well it can be ranked, `synthetic_vectors` makes word vectors.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from tfrs_npa._files import atomic_folder

from . import synthetic_optima, synthetic_vectors
from .synthetic_articles import Articles
from .synthetic_knobs import WorldKnobs
from .synthetic_language import Language
from .synthetic_log import SPLITS, Log
from .synthetic_users import Affinity, Users
from .tsv import write_behaviors, write_news

_FOLDERS = ("train", "valid", "test")
_FIRST_DAY = datetime.datetime(2019, 11, 9, tzinfo=datetime.timezone.utc)
_LEAST_USERS, _LEAST_ARTICLES = 10, 20
# Each part of the world has its own stream of random numbers, so that a knob leaves alone what it
# says nothing about: knobs of users change neither titles nor word vectors.
(
    _LANGUAGE,
    _ARTICLES,
    _ABSTRACTS,
    _IDS,
    _USERS,
    _HISTORIES,
    _IMPRESSIONS,
    _TIMES,
    _VECTORS,
) = range(9)


class SyntheticWorld:
    """Articles, users and impressions of the made-up site; the same arguments give the same world.

    Args:
        knobs: What the world is like; None: `WorldKnobs()`.
        seed: Seed of everything.
        users: Number of users, in all splits together.
        articles: Number of articles; it also scales the language, see `WorldKnobs`.
        impressions: Number of impressions in the splits `train`, `validation` and `test`.

    Attributes:
        knobs: As given, or the defaults.
        seed: As given.

    Raises:
        ValueError: if a size or the seed is out of range.

    Example:
        >>> world = SyntheticWorld(users=200, articles=500, impressions=(300, 50, 50))
        >>> next(world.behaviors("train"))["candidates"]["clicked"].sum() >= 1
        True
    """

    def __init__(
        self,
        knobs: WorldKnobs | None = None,
        *,
        seed: int = 0,
        users: int = 5_000,
        articles: int = 26_000,
        impressions: tuple[int, int, int] = (20_000, 4_000, 4_000),
    ):
        self.knobs = knobs = WorldKnobs() if knobs is None else knobs
        self.seed = seed
        _check("seed", seed, 0)
        _check("users", users, _LEAST_USERS)
        _check("articles", articles, _LEAST_ARTICLES)
        for split, number in zip(SPLITS, impressions, strict=True):
            _check(f"impressions of {split}", number, 1 if split == "train" else 0)
        self._sizes = {"users": users, "articles": articles, "impressions": impressions}
        self._language = Language(knobs, articles, self._rng(_LANGUAGE))
        self._articles = Articles.draw(knobs, self._language, articles, self._rng(_ARTICLES))
        self._titles = self._articles.titles(self._language)
        self._abstracts = self._articles.abstracts(self._language, self._rng(_ABSTRACTS))
        self._affinity = Affinity(knobs, self._language, self._articles.contents)
        self._articles.appeal -= self._affinity.crowding(self._language)
        self._users = Users.draw(knobs, self._language, self._articles, users, self._rng(_USERS))
        self._log = Log(
            self._articles,
            self._users,
            self._affinity,
            impressions,
            self._rng(_HISTORIES),
            [self._rng(_IMPRESSIONS, number) for number in range(len(SPLITS))],
        )
        ids = self._rng(_IDS)
        self._news_ids, self._user_ids = _ids("N", articles, ids), _ids("U", users, ids)

    def __reduce__(self):
        # Whoever unpickles a world makes it again: its arguments are smaller by megabytes.
        sizes: dict[str, Any] = self._sizes
        return functools.partial(SyntheticWorld, self.knobs, seed=self.seed, **sizes), ()

    def _rng(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *stream])

    def news(self, split: str) -> Iterator[dict[str, str]]:
        """Yields the articles that the histories and candidate lists of a split name."""
        for article in self._log.articles_of(split):
            yield {
                "news_id": self._news_ids[article],
                "category": f"category{self._articles.category[article]}",
                "subcategory": f"subject{self._articles.contents.subject[article]}",
                "title": self._titles[article],
                "abstract": self._abstracts[article],
                "url": f"https://example.org/{self._news_ids[article].lower()}",
                "title_entities": "[]",
                "abstract_entities": "[]",
            }

    def behaviors(self, split: str) -> Iterator[dict[str, Any]]:
        """Yields the impressions of a split, in no order of time, as MIND's files have them."""
        impressions, ids = self._log.impressions[split], self._news_ids
        times = self._rng(_TIMES, SPLITS.index(split)).integers(86_400, size=len(impressions))
        times += int(_FIRST_DAY.timestamp()) + 86_400 * impressions.day
        for row, user in enumerate(impressions.user):
            part = slice(*impressions.splits[row : row + 2])
            yield {
                "impression_id": row + 1,
                "user_id": self._user_ids[user],
                "time": int(times[row]),
                "history": ids[self._log.histories[user]].tolist(),
                "candidates": {
                    "news_id": ids[impressions.candidates[part]].tolist(),
                    "clicked": impressions.clicked[part],
                },
            }

    def reference_auc(self) -> dict[str, dict[str, dict[str, float]]]:
        """Returns the AUC of two rankings that no model has, for each split after training.

        `true_preferences` ranks by the log odds that the clicks were drawn from. `history_only`
        ranks by the best guess from a user's history, given everything about the world except its
        users: an approximation, see `synthetic_optima`. Each is a mean over impressions, as MIND's
        is, for `all`, `known_users` (with an impression in training) and `new_users`; NaN for a
        group without impressions. A split without impressions is left out.
        """
        return self._reference_auc

    @functools.cached_property
    def _reference_auc(self) -> dict[str, dict[str, dict[str, float]]]:
        return synthetic_optima.reference_auc(
            self._affinity, self._language, self._articles, self._log
        )

    def topic_words(self) -> set[str]:
        """Returns the words that belong to one subject or one name group, in lower case."""
        subjects, names = map(len, (self._language.category, self._language.name_category))
        return self._lower_words(np.arange(subjects), np.arange(names))

    def preferred_words(self, user_id: str) -> set[str]:
        """Returns the words of the subjects and of the names that a user likes, in lower case.

        Of the `topic_words` of a title, these are the ones that make it one for this user.

        Args:
            user_id: The id of a user of this world.

        Raises:
            KeyError: if there is no such user.
        """
        tastes, row = self._users.tastes, self._user_rows[user_id]
        subjects, names = tastes.subjects[row], tastes.names[row]
        return self._lower_words(np.flatnonzero(subjects), np.flatnonzero(names))

    def _lower_words(self, subjects, names):
        return {word.lower() for word in self._language.words_of(subjects, names)}

    @functools.cached_property
    def _user_rows(self) -> dict[str, int]:
        return {user_id: row for row, user_id in enumerate(self._user_ids)}

    def word_vectors(self, dim: int) -> tuple[list[str], np.ndarray]:
        """Returns word vectors, made from a separate corpus of the same language.

        They depend on `dim`, the seed, the number of articles, and the knobs of the language, of
        titles and of the vectors: never on a title of the site, a user or a click. As with
        published vectors, words coined after training have one too, and the mean is not zero.

        Args:
            dim: Length of a vector.

        Returns:
            The words, most frequent first, and `float32 [words, dim]`.

        Raises:
            ValueError: if `dim` is not between 1 and the number of words in the corpus.
        """
        sentences = min(
            self.knobs.corpus_sentences,
            self.knobs.corpus_per_article * len(self._articles),
        )
        rng = self._rng(_VECTORS)
        return synthetic_vectors.word_vectors(self._language, sentences, dim, rng)

    def write(self, folder: str | os.PathLike[str], word_vector_dim: int | None = None) -> None:
        """Writes the world as a folder in MIND's format, atomically.

        The folder has `train`, `valid` and `test`, each with `news.tsv` and `behaviors.tsv`, and
        `world.json` with all arguments and `reference_auc`.

        Args:
            folder: The folder to create; it may exist if it is empty.
            word_vector_dim: Also writes `word_vectors.txt`, in the format of GloVe's files, with
                vectors of this length; None: no vectors.

        Raises:
            FileExistsError: if `folder` exists and is not empty.
            ValueError: as `word_vectors`.
        """
        folder = pathlib.Path(folder)
        if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            raise FileExistsError(f"{folder} exists; remove it or give another name")
        with atomic_folder(folder) as temporary:
            for split, name in zip(SPLITS, _FOLDERS, strict=True):
                write_news(temporary / name / "news.tsv", self.news(split))
                write_behaviors(temporary / name / "behaviors.tsv", self.behaviors(split))
            if word_vector_dim is not None:
                vectors = self.word_vectors(word_vector_dim)
                synthetic_vectors.write_text(temporary / "word_vectors.txt", *vectors)
            world = {"seed": self.seed, **self._sizes, "knobs": dataclasses.asdict(self.knobs)}
            world["reference_auc"] = self.reference_auc()
            text = json.dumps(world, indent=2) + "\n"
            (temporary / "world.json").write_text(text, encoding="utf-8")


def _check(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{name} is {value}; expected at least {least}")


def _ids(letter: str, number: int, rng: np.random.Generator) -> np.ndarray:
    return np.array([f"{letter}{name}" for name in rng.permutation(number) + 1], object)
