"""The log of the synthetic world: histories, and impressions with their clicks."""

from __future__ import annotations

import dataclasses

import numpy as np

from .synthetic_articles import Articles
from .synthetic_users import Affinity, Tastes, Users

SPLITS = ("train", "validation", "test")
_CANDIDATES_MIN = 2
_USERS_AT_ONCE = 64


@dataclasses.dataclass
class Impressions:
    """The impressions of a split: `[impressions]`, and their candidates, one after the other.

    Attributes:
        user: Index of the user.
        day: Day; the first training day is 0.
        splits: `[impressions + 1]`, where each impression starts and ends in what follows.
        candidates: `[candidates]`, indices of the articles that were shown.
        log_odds: `[candidates]`, log odds of a click.
        clicked: `int64 [candidates]`, 1 for clicked, 0 for not.
    """

    user: np.ndarray
    day: np.ndarray
    splits: np.ndarray
    candidates: np.ndarray
    log_odds: np.ndarray
    clicked: np.ndarray

    def __len__(self) -> int:
        return len(self.user)

    @property
    def row(self) -> np.ndarray:
        """The impression of each candidate, `[candidates]`."""
        return np.repeat(np.arange(len(self)), np.diff(self.splits))


class Log:
    """Histories, and the impressions of each split.

    Args:
        articles: The articles.
        users: The users.
        affinity: How much they like what articles are about.
        impressions: Number of impressions of each split.
        history_rng: Generator of the histories.
        impression_rngs: Generator of the impressions of each split.

    Attributes:
        histories: For each user, indices of articles clicked before the log, oldest first.
        impressions: By split.
        seen: `bool [articles]`, what was shown in training or is in a history of its users.
    """

    def __init__(
        self,
        articles: Articles,
        users: Users,
        affinity: Affinity,
        impressions: tuple[int, int, int],
        history_rng: np.random.Generator,
        impression_rngs: list[np.random.Generator],
    ):
        self._knobs = affinity.knobs
        self._articles, self._users, self._affinity = articles, users, affinity
        self.histories = self._draw_histories(history_rng)
        self.impressions: dict[str, Impressions] = {}
        self.seen = np.zeros(len(articles), bool)
        for split, number, rng in zip(SPLITS, impressions, impression_rngs, strict=True):
            self.impressions[split] = self._draw_impressions(rng, split, number)
            if split == "train":
                self.seen[self.articles_of(split)] = True

    def articles_of(self, split: str) -> np.ndarray:
        """Returns the articles that the candidate lists and histories of a split name."""
        impressions = self.impressions[split]
        histories = [self.histories[user] for user in np.unique(impressions.user)]
        return np.unique(np.concatenate([impressions.candidates, *histories]))

    def shared_log_odds(self, articles: np.ndarray, day: np.ndarray) -> np.ndarray:
        """Returns the part of the log odds of a click that is the same for all users, `[pairs]`."""
        age = day - self._articles.contents.day[articles]
        return self._articles.appeal[articles] + self._knobs.age_appeal * age

    def _log_odds(self, users: np.ndarray, articles: np.ndarray, day: np.ndarray) -> np.ndarray:
        affinity = self._affinity.pairs(self._users.tastes, users, articles)
        liking = np.asarray(self._users.liking[users, articles]).ravel()
        return self._affinity.log_odds(affinity) + liking + self.shared_log_odds(articles, day)

    def _draw_histories(self, rng: np.random.Generator) -> list[np.ndarray]:
        knobs, users = self._knobs, self._users
        number = len(users)
        lengths = rng.lognormal(np.log(knobs.history_median), knobs.history_sigma, number)
        lengths = np.clip(lengths.astype(int), 1, knobs.history_max)
        lengths[rng.random(number) < knobs.empty_history] = 0
        # Half of the clicks of a user whose interests changed come from the former ones.
        early = np.where(users.changed, lengths // 2, 0)
        before = self._draw_clicks(rng, users.former, early)
        after = self._draw_clicks(rng, users.tastes, lengths - early)
        return [np.concatenate(parts) for parts in zip(before, after, strict=True)]

    def _draw_clicks(self, rng, tastes: Tastes, counts: np.ndarray) -> list[np.ndarray]:
        """Draws `counts[i]` old articles that user i clicks, by day of publication."""
        result = [np.zeros(0, int)] * len(counts)
        someone = np.flatnonzero(counts)
        for some in np.split(someone, range(_USERS_AT_ONCE, len(someone), _USERS_AT_ONCE)):
            liked, habitual = self._weights(tastes, some)
            for row, user in enumerate(some):
                result[user] = self._draw_clicks_of_one(
                    rng, liked[row], habitual[row], counts[user]
                )
        return result

    def _weights(self, tastes: Tastes, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns weights of clicks by preference and of clicks out of habit, `[users, old]`."""
        articles, old = self._articles, self._articles.old
        popularity = articles.popularity[old]
        affinity = self._affinity.matrix(tastes[users], old)
        log_odds = self._affinity.log_odds(affinity)
        log_odds += self._users.liking[users].toarray()[:, old]
        log_odds += (articles.appeal[old] + np.log(popularity)).astype(np.float32)
        liked = np.exp(log_odds, out=log_odds)
        of_favourite = articles.category[old] == self._users.favourite[users][:, None]
        return liked, of_favourite * popularity

    def _draw_clicks_of_one(self, rng, liked, habitual, count: int) -> np.ndarray:
        knobs, old = self._knobs, self._articles.old
        # Twice as many as needed, since most of the repeated ones are dropped.
        kind, draws = rng.random((2, 2 * count))
        chosen = _pick(liked, draws)
        if habitual.any():
            habit = kind < knobs.habitual
            chosen[habit] = _pick(habitual, draws[habit])
        arbitrary = kind >= 1 - knobs.arbitrary
        chosen[arbitrary] = _pick(self._articles.popularity[old], draws[arbitrary])
        first = np.zeros(len(chosen), bool)
        first[np.unique(chosen, return_index=True)[1]] = True
        kept = old[chosen[first | (rng.random(len(chosen)) < knobs.history_repeats)][:count]]
        return kept[np.argsort(self._articles.contents.day[kept], kind="stable")]

    def _draw_impressions(self, rng: np.random.Generator, split: str, number: int) -> Impressions:
        knobs = self._knobs
        day = rng.integers(knobs.training_days, size=number)
        if split != "train":
            day[:] = knobs.training_days + SPLITS.index(split) - 1
        user = self._choose_users(rng, split, number)
        lengths = rng.lognormal(np.log(knobs.candidates_median), knobs.candidates_sigma, number)
        lengths = np.clip(lengths.astype(int), _CANDIDATES_MIN, knobs.candidates_max)
        rows, candidates = self._choose_candidates(rng, split, day, lengths)
        splits = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=number))])
        log_odds = self._log_odds(user[rows], candidates, day[rows])
        clicks = 1 + rng.poisson(knobs.extra_clicks, number)
        clicked = _click(rng, log_odds, rows, splits, clicks, knobs.arbitrary)
        return Impressions(user, day, splits, candidates, log_odds, clicked)

    def _choose_users(self, rng, split: str, number: int) -> np.ndarray:
        def choose(users: np.ndarray) -> np.ndarray:
            weights = self._users.activity[users]
            return rng.choice(users, number, p=weights / weights.sum())

        everyone = np.arange(len(self._users))
        new = max(1, int(len(everyone) * self._knobs.new_users / 2))
        train, *later = np.split(everyone, [-2 * new, -new])
        if split == "train":
            return choose(train)
        known = choose(np.unique(self.impressions["train"].user))
        is_new = rng.random(number) < self._knobs.new_user_impressions
        return np.where(is_new, choose(later[SPLITS.index(split) - 1]), known)

    def _choose_candidates(self, rng, split, day, lengths) -> tuple[np.ndarray, np.ndarray]:
        """Returns rows of impressions, ascending, and an article that was shown in each."""
        knobs, published = self._knobs, self._articles.contents.day
        parts = [(np.zeros(0, int), np.zeros(0, int))]
        for today in np.unique(day):
            rows = np.flatnonzero(day == today)
            age = today - published
            weights = self._articles.popularity * np.exp(-age / knobs.freshness_days) * (age >= 0)
            pools, counts = [weights], [lengths[rows]]
            if split != "train":
                fresh = ~self.seen & (published >= knobs.training_days)
                new = rng.binomial(lengths[rows], knobs.new_candidates)
                new = np.minimum(new, np.count_nonzero(weights * fresh))
                pools = [weights * self.seen, weights * fresh]
                counts = [lengths[rows] - new, new]
            for pool, count in zip(pools, counts, strict=True):
                places, articles = _draw(rng, pool, count)
                parts.append((rows[places], articles))
        row, article = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        order = np.lexsort((rng.random(len(row)), row))
        return row[order], article[order]


def _pick(weights: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Returns an index by weight for each uniform draw."""
    totals = np.cumsum(weights, dtype=np.float64)
    return np.minimum(np.searchsorted(totals, draws * totals[-1]), len(weights) - 1)


def _draw(rng, weights: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draws `counts[i]` distinct items by weight for each row i, or all if there are fewer.

    Returns:
        The rows, ascending, and their items.
    """
    pool = np.flatnonzero(weights)
    counts = np.minimum(counts, len(pool))
    row = np.repeat(np.arange(len(counts)), 2 * counts)
    # With replacement, and what comes again is passed over.
    item = _pick(weights[pool], rng.random(len(row))) if len(row) else row
    first = np.sort(np.unique(row * len(pool) + item, return_index=True)[1])
    row, item = row[first], item[first]
    found = np.bincount(row, minlength=len(counts))
    place = np.arange(len(row)) - np.repeat(np.cumsum(found) - found, found)
    # Rows that came out short are drawn once more, by sorting the pool in a random order.
    short = np.flatnonzero(found < counts)
    kept = (place < counts[row]) & (found >= counts)[row]
    parts = [(row[kept], item[kept])]
    log = np.log(weights[pool])
    for one in short:
        order = np.argsort(-(log + rng.gumbel(size=len(pool))))[: counts[one]]
        parts.append((np.full(counts[one], one), order))
    row, item = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    order = np.argsort(row, kind="stable")
    return row[order], pool[item[order]]


def _click(rng, log_odds, rows, splits, clicks, arbitrary: float) -> np.ndarray:
    """Draws clicks by their log odds (Plackett-Luce), some at random, never all of an impression.

    Returns:
        `int64 [candidates]`, 1 for clicked.
    """
    clicks = np.minimum(clicks, np.diff(splits) - 1)
    reasonless = rng.binomial(clicks, arbitrary)
    place = np.arange(len(rows)) - splits[rows]
    random = np.lexsort((rng.random(len(rows)), rows))
    clicked = np.zeros(len(rows), np.int64)
    clicked[random[place < reasonless[rows]]] = 1
    keys = log_odds + rng.gumbel(size=len(rows))
    order = np.lexsort((-np.where(clicked, -np.inf, keys), rows))
    clicked[order[place < (clicks - reasonless)[rows]]] = 1
    return clicked
