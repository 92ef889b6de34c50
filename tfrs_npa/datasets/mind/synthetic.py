"""A made-up news site with MIND's shape and known preferences.

Every article has a topic in each of three fields (think of its sport, its place, its people) and a
form (report, quiz, ...). Its title names all of them, each with words of its own, among filler.
A user cares for one of the fields only, likes three topics of it, and has one form that is clicked
out of habit, whatever it is about:

- word-level preference: only the words of the user's own field tell what will be clicked;
- news-level preference: clicks on the habitual form tell little about the user.

Both differ from user to user, so a model that weighs words and clicked articles for each user can
learn what one with the same weights for everyone cannot. Shares, lengths and rates follow what is
published of MIND: titles of about 11 words, candidate lists of 2 to 300 with 37 on average, about
4 % clicked, mostly one click, histories that follow a long-tailed distribution and are now and then
empty. After training there are new users and new articles. The constants below are all of it.

Since a user is one of a finite number of kinds, the probability of each kind given a history can be
summed up exactly, and with it the best ranking that anyone could make from that history.
"""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

SPLITS = ("train", "validation", "test")

# Articles.
FIELDS, TOPICS, FORMS = 3, 8, 4
WORDS_PER_TOPIC, WORDS_PER_FORM, HOOK_WORDS, FILLER_WORDS = 10, 5, 10, 300
TITLE_MEDIAN, TITLE_SIGMA, TITLE_MIN, TITLE_MAX = 11, 0.4, 4, 30
SHARE_WITH_HOOK = 0.2
SECOND_WORD = 0.7  # of a field that a title with room for it names by two words
SHARE_OLD, SHARE_NEW = 0.42, 0.2  # born before the first training day; after the last one
FRESHNESS_DAYS = 2.0  # what is shown is mostly recent: exp(-age / FRESHNESS_DAYS)

# Users.
LIKED_TOPICS = 2
SHARE_NEW_USERS, SHARE_IMPRESSIONS_OF_NEW_USERS = 0.12, 0.2
SHARE_EMPTY_HISTORY = 0.02
HISTORY_MEDIAN, HISTORY_SIGMA, HISTORY_MAX = 18, 0.95, 300
SHARE_HABITUAL = 0.35  # of the clicks in a history
ACTIVITY_SIGMA = 0.7  # of the logarithm of how often a user comes

# Impressions.
LIKING = 2.5  # log odds of a click on a liked topic against any other, all else equal
HOOK = 0.5  # log odds of a click on an article with a hook in its title
SHARE_NEW_CANDIDATES = 0.3
CANDIDATES_MEDIAN, CANDIDATES_SIGMA, CANDIDATES_MIN, CANDIDATES_MAX = 24, 0.93, 2, 300
EXTRA_CLICKS = 0.5  # mean number of clicks after the first
TRAINING_DAYS = 6
FIRST_DAY = datetime.datetime(2019, 11, 9, tzinfo=datetime.timezone.utc)


class SyntheticWorld:
    """Articles, users and impressions of the made-up site; the same arguments give the same world.

    Args:
        seed: Seed of everything.
        users: Users in all splits together.
        articles: Articles of the site.
        impressions: Impressions in the splits `train`, `validation` and `test`.

    Example:
        >>> world = SyntheticWorld(users=200, articles=500, impressions=(300, 50, 50))
        >>> next(world.behaviors("train"))["candidates"]["clicked"].sum() >= 1
        True
    """

    def __init__(
        self,
        seed: int = 0,
        users: int = 5_000,
        articles: int = 8_000,
        impressions: tuple[int, int, int] = (20_000, 4_000, 4_000),
    ):
        rng = np.random.default_rng(seed)
        self._make_articles(rng, articles)
        self._make_users(rng, users)
        self._impressions: dict[str, dict[str, Any]] = {}
        for split, number in zip(SPLITS, impressions, strict=True):
            self._impressions[split] = self._make_impressions(rng, split, number)

    def news(self, split: str) -> Iterator[dict[str, str]]:
        """Yields the articles that the histories and candidate lists of a split name."""
        impressions = self._impressions[split]
        histories = [self._history[user] for user in np.unique(impressions["user"])]
        for article in np.unique(np.concatenate([*impressions["candidates"], *histories])):
            yield {
                "news_id": self._news_ids[article],
                "category": f"topic{self._topics[article, 0]}",
                "subcategory": f"form{self._forms[article]}",
                "title": self._titles[article],
                "abstract": self._abstracts[article],
                "url": f"https://example.org/{self._news_ids[article].lower()}",
                "title_entities": "[]",
                "abstract_entities": "[]",
            }

    def behaviors(self, split: str) -> Iterator[dict[str, Any]]:
        """Yields the impressions of a split, in no order of time, as MIND's files have them."""
        impressions = self._impressions[split]
        for row, candidates in enumerate(impressions["candidates"]):
            user = impressions["user"][row]
            yield {
                "impression_id": row + 1,
                "user_id": self._user_ids[user],
                "time": int(impressions["time"][row]),
                "history": [self._news_ids[article] for article in self._history[user]],
                "candidates": {
                    "news_id": [self._news_ids[article] for article in candidates],
                    "clicked": impressions["clicked"][row],
                },
            }

    def reference_auc(self) -> dict[str, dict[str, dict[str, float]]]:
        """Returns the AUC of two rankings that no model has, for each split after training.

        `true_preferences` ranks by the probabilities that the clicks were drawn from.
        `history_only` ranks by the probability of a click given the user's history, the exact
        posterior mean over all kinds of user. Each is a mean over impressions, as MIND's is, for
        `all`, `known_users` (seen in training) and `new_users`.
        """
        known = np.unique(self._impressions["train"]["user"])
        return {split: self._split_reference(split, known) for split in SPLITS[1:]}

    # How the world is made.

    def _make_articles(self, rng: np.random.Generator, number: int) -> None:
        popular = (np.arange(TOPICS) + 2.0) ** -0.6
        popular /= popular.sum()
        self._topics = rng.choice(TOPICS, (number, FIELDS), p=popular)
        self._forms = rng.integers(FORMS, size=number)
        self._hooks = rng.random(number) < SHARE_WITH_HOOK
        self._appeal = HOOK * self._hooks
        self._popularity = np.exp(rng.normal(size=number))
        # Day -1: before the log begins; TRAINING_DAYS and later: after training.
        days = [-1, *range(TRAINING_DAYS), TRAINING_DAYS, TRAINING_DAYS + 1]
        daily = (1 - SHARE_OLD - SHARE_NEW) / TRAINING_DAYS
        shares = [SHARE_OLD, *[daily] * TRAINING_DAYS, SHARE_NEW / 2, SHARE_NEW / 2]
        self._born = rng.choice(days, number, p=shares)
        self._news_ids = [f"N{name}" for name in rng.permutation(number) + 1]
        self._titles, self._abstracts = _write(rng, self._topics, self._forms, self._hooks)

    def _make_users(self, rng: np.random.Generator, number: int) -> None:
        self._kinds = [
            (field, liked)
            for field in range(FIELDS)
            for liked in itertools.combinations(range(TOPICS), LIKED_TOPICS)
        ]
        # likes[kind, article]
        self._likes = np.stack([np.isin(self._topics[:, f], liked) for f, liked in self._kinds])
        self._kind = rng.integers(len(self._kinds), size=number)
        self._habit = rng.integers(FORMS, size=number)
        self._activity = np.exp(ACTIVITY_SIGMA * rng.normal(size=number))
        self._user_ids = [f"U{name}" for name in rng.permutation(number) + 1]
        new = int(number * SHARE_NEW_USERS / 2)
        self._users_of = dict(
            zip(SPLITS, np.split(np.arange(number), [number - 2 * new, number - new]), strict=True)
        )

        old = np.flatnonzero(self._born < 0)
        appeal = self._popularity[old]
        self._old_weights = np.where(self._likes[:, old], np.exp(LIKING), 1.0) * appeal
        self._old_totals = self._old_weights.sum(axis=1)
        habitual = np.stack([appeal * (self._forms[old] == form) for form in range(FORMS)])
        self._habit_totals = habitual.sum(axis=1)
        by_kind = np.cumsum(self._old_weights, axis=1) / self._old_totals[:, None]
        by_habit = np.cumsum(habitual, axis=1) / self._habit_totals[:, None]

        lengths = rng.lognormal(np.log(HISTORY_MEDIAN), HISTORY_SIGMA, number).astype(int)
        lengths = np.clip(lengths, 1, HISTORY_MAX)
        lengths[rng.random(number) < SHARE_EMPTY_HISTORY] = 0
        self._history = []
        for kind, habit, length in zip(self._kind, self._habit, lengths, strict=True):
            draws = rng.random(length)
            chosen = np.where(
                rng.random(length) < SHARE_HABITUAL,
                np.searchsorted(by_habit[habit], draws),
                np.searchsorted(by_kind[kind], draws),
            )
            self._history.append(old[np.minimum(chosen, len(old) - 1)])

    def _make_impressions(self, rng: np.random.Generator, split: str, number: int) -> dict:
        day = rng.integers(TRAINING_DAYS, size=number)
        users = self._users_of["train"]
        if split == "train":
            user = _choose(rng, users, self._activity, number)
        else:
            day[:] = TRAINING_DAYS + SPLITS.index(split) - 1
            train = self._impressions["train"]
            seen = np.unique(np.concatenate([*train["candidates"], *self._histories(train)]))
            user = np.where(
                rng.random(number) < SHARE_IMPRESSIONS_OF_NEW_USERS,
                _choose(rng, self._users_of[split], self._activity, number),
                _choose(rng, np.unique(train["user"]), self._activity, number),
            )
        lengths = rng.lognormal(np.log(CANDIDATES_MEDIAN), CANDIDATES_SIGMA, number).astype(int)
        lengths = np.clip(lengths, CANDIDATES_MIN, CANDIDATES_MAX)
        candidates: list[Any] = [None] * number
        for today in np.unique(day):
            rows = np.flatnonzero(day == today)
            age = today - self._born
            weights = self._popularity * np.exp(-age / FRESHNESS_DAYS) * (age >= 0)
            if split == "train":
                pools, counts = [weights], [lengths[rows]]
            else:
                old = np.isin(np.arange(len(weights)), seen)
                new = rng.binomial(lengths[rows], SHARE_NEW_CANDIDATES)
                fresh = ~old & (self._born >= TRAINING_DAYS)
                pools, counts = [weights * old, weights * fresh], [lengths[rows] - new, new]
            drawn = [_draw(rng, pool, count) for pool, count in zip(pools, counts, strict=True)]
            for row, *parts in zip(rows, *drawn, strict=True):
                candidates[row] = rng.permutation(np.concatenate(parts))
        clicks = 1 + rng.poisson(EXTRA_CLICKS, number)
        clicked = [
            self._click(rng, user[row], candidates[row], clicks[row]) for row in range(number)
        ]
        midnight = int(FIRST_DAY.timestamp()) + 86_400 * day
        time = midnight + rng.integers(86_400, size=number)
        return {"user": user, "time": time, "candidates": candidates, "clicked": clicked}

    def _click(self, rng, user: int, candidates: np.ndarray, clicks: int) -> np.ndarray:
        """Draws clicks one after the other by utility (Plackett-Luce), never all of the list."""
        utility = LIKING * self._likes[self._kind[user], candidates] + self._appeal[candidates]
        order = np.argsort(-(utility + rng.gumbel(size=len(candidates))))
        clicked = np.zeros(len(candidates), np.int64)
        clicked[order[: min(clicks, len(candidates) - 1)]] = 1
        return clicked

    def _histories(self, impressions: dict) -> list[np.ndarray]:
        return [self._history[user] for user in np.unique(impressions["user"])]

    # What the best ranking reaches.

    def _split_reference(self, split: str, known: np.ndarray) -> dict[str, dict[str, float]]:
        impressions = self._impressions[split]
        posterior = {
            user: self._posterior(self._history[user]) for user in np.unique(impressions["user"])
        }
        true, best = [], []
        rows = zip(
            impressions["user"], impressions["candidates"], impressions["clicked"], strict=True
        )
        for user, candidates, clicked in rows:
            likes = self._likes[:, candidates]
            odds = np.exp(LIKING * likes + self._appeal[candidates])
            true.append(_auc(odds[self._kind[user]], clicked))
            chances = odds / odds.sum(axis=1, keepdims=True)
            best.append(_auc(posterior[user] @ chances, clicked))
        is_known = np.isin(impressions["user"], known)
        groups: dict[str, Any] = {
            "all": slice(None),
            "known_users": is_known,
            "new_users": ~is_known,
        }
        return {
            name: {group: float(np.mean(np.array(values)[rows])) for group, rows in groups.items()}
            for name, values in (("true_preferences", true), ("history_only", best))
        }

    def _posterior(self, history: np.ndarray) -> np.ndarray:
        """Returns the probability of each kind of user given the clicks of a history."""
        likes = self._likes[:, history]
        # Each click is habitual or not; the article's own popularity cancels.
        chosen = np.where(likes, np.exp(LIKING), 1.0) / self._old_totals[:, None]
        log = [
            np.log(
                (1 - SHARE_HABITUAL) * chosen
                + SHARE_HABITUAL * (self._forms[history] == form) / self._habit_totals[form]
            ).sum(axis=1)
            for form in range(FORMS)
        ]
        weights = np.exp(np.stack(log) - np.max(log))
        return weights.sum(axis=0) / weights.sum()


def _choose(rng, items: np.ndarray, weights: np.ndarray, number: int) -> np.ndarray:
    return rng.choice(items, number, p=weights[items] / weights[items].sum())


def _draw(rng, weights: np.ndarray, counts: np.ndarray) -> list[np.ndarray]:
    """Draws `counts[i]` items without replacement for each i, by weight (Gumbel top-k)."""
    pool = np.flatnonzero(weights)
    log = np.log(weights[pool])
    drawn = []
    for count in counts:
        keys = log + rng.gumbel(size=len(pool))
        count = min(count, len(pool))
        drawn.append(pool[np.argpartition(-keys, max(count - 1, 0))[:count]])
    return drawn


def _auc(scores: np.ndarray, clicked: np.ndarray) -> float:
    positive, negative = scores[clicked == 1, None], scores[clicked == 0]
    return float(np.mean((positive > negative) + 0.5 * (positive == negative)))


def _write(rng, topics, forms, hooks) -> tuple[list[str], list[str]]:
    """Writes a title and an abstract for each article."""
    sizes = [FIELDS * TOPICS * WORDS_PER_TOPIC, FORMS * WORDS_PER_FORM, HOOK_WORDS, FILLER_WORDS]
    words = _made_up_words(rng, sum(sizes))
    topic_words, form_words, hook_words, filler = np.split(words, np.cumsum(sizes[:-1]))
    topic_words = topic_words.reshape(FIELDS, TOPICS, WORDS_PER_TOPIC)
    form_words = form_words.reshape(FORMS, WORDS_PER_FORM)
    zipf = {}
    for size in (WORDS_PER_TOPIC, FILLER_WORDS):
        weights = 1 / np.arange(1, size + 1)
        zipf[size] = weights / weights.sum()

    def sentence(article: int, length: int) -> str:
        # Phrases in any order; the words of one field stand together, as in a name.
        phrases = [[rng.choice(form_words[forms[article]])]]
        if hooks[article]:
            phrases.append([rng.choice(hook_words)])
        room = length - len(phrases) - FIELDS
        for field in range(FIELDS):
            number = 2 if room > 0 and rng.random() < SECOND_WORD else 1
            room -= number - 1
            own = topic_words[field, topics[article, field]]
            phrases.append(list(rng.choice(own, number, p=zipf[WORDS_PER_TOPIC])))
        phrases.extend([word] for word in rng.choice(filler, max(0, room), p=zipf[FILLER_WORDS]))
        order = rng.permutation(len(phrases))
        text = " ".join(word for phrase in order for word in phrases[phrase])
        return text[0].upper() + text[1:]

    lengths = rng.lognormal(np.log(TITLE_MEDIAN), TITLE_SIGMA, len(topics)).astype(int)
    lengths = np.clip(lengths, TITLE_MIN, TITLE_MAX)
    titles = [sentence(article, length) for article, length in enumerate(lengths)]
    abstracts = [sentence(article, 20) + "." for article in range(len(topics))]
    return titles, abstracts


def _made_up_words(rng, number: int) -> np.ndarray:
    """Returns `number` distinct pronounceable words that mean nothing, some with accents."""
    onsets = np.array("b d f g h j k l m n p r s t v w z br dr gr kr pl st tr".split())
    vowels = np.array("a e i o u ai é ö".split())
    words: dict[str, None] = {}
    while len(words) < number:
        syllables = rng.integers(2, 4)
        parts = zip(rng.choice(onsets, syllables), rng.choice(vowels, syllables), strict=True)
        words["".join(itertools.chain.from_iterable(parts))] = None
    return rng.permutation(list(words))
