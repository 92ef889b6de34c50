"""How well the synthetic world can be ranked, given its users' preferences or only their histories.

`true_preferences` ranks by the log odds that clicks were drawn from. `history_only` replaces the
users' tastes by a guess from their histories. For that, the process that makes histories is taken
as known: each click of a user is drawn from one of several distributions over the old articles, one
for each subject, name group and favourite category, and two for arbitrary and for indifferent
clicks. How often a user's clicks come from each is what has to be guessed: latent Dirichlet
allocation with known topics (Blei et al., 2003), with a level above it that chooses between
subjects, names, habit and the rest. A few iterations of collapsed variational inference (CVB0,
Asuncion et al., 2009) give the expected tastes.

It is an approximation, not a bound: it ignores that a user has few subjects from few categories,
that interests change, and liked words; and it treats a `strength` other than 1 as if each
distribution, rather than their mixture, were raised to that power.
"""

from __future__ import annotations

import itertools

import numpy as np

from .synthetic_articles import Articles
from .synthetic_language import Language
from .synthetic_log import SPLITS, Log
from .synthetic_users import Affinity, Tastes, taste_sizes

_ITERATIONS = 4  # more of them settle on too few subjects and rank worse
_CLICKS_AT_ONCE = 256  # what fits into a processor's cache
# Sums of the Dirichlet priors: of subjects, of names; and of the choice between kinds of clicks.
_SUBJECTS_PRIOR, _NAMES_PRIOR, _HABIT_PRIOR, _KINDS_PRIOR = 4.0, 3.0, 1.0, 3.0


def reference_auc(
    affinity: Affinity, language: Language, articles: Articles, log: Log
) -> dict[str, dict[str, dict[str, float]]]:
    """Returns the mean AUC of `true_preferences` and `history_only`, by split and group of users.

    Groups are `all`, `known_users` (with an impression in training) and `new_users`.
    """
    model = _Model(affinity, language, articles)
    known = np.unique(log.impressions["train"].user)
    result: dict[str, dict[str, dict[str, float]]] = {}
    for split in SPLITS[1:]:
        impressions = log.impressions[split]
        if not len(impressions):
            continue
        users, places = np.unique(impressions.user, return_inverse=True)
        guess = _guess_tastes(model, [log.histories[user] for user in users])
        row, candidates = impressions.row, impressions.candidates
        best = affinity.log_odds(affinity.pairs(guess, places[row], candidates))
        best = best + log.shared_log_odds(candidates, impressions.day[row])
        is_known = np.isin(impressions.user, known)
        groups = {"all": is_known | ~is_known, "known_users": is_known, "new_users": ~is_known}
        result[split] = {}
        for name, scores in (("true_preferences", impressions.log_odds), ("history_only", best)):
            values = auc(scores, impressions.clicked, impressions.splits)
            result[split][name] = {group: _mean(values[rows]) for group, rows in groups.items()}
    return result


def auc(scores: np.ndarray, clicked: np.ndarray, splits: np.ndarray) -> np.ndarray:
    """Returns the AUC of each impression; ties count half.

    Args:
        scores: `[candidates]`, of all impressions.
        clicked: `[candidates]`, 1 or 0.
        splits: `[impressions + 1]`, where each impression starts and ends.

    Returns:
        `[impressions]`, NaN where nothing or everything is clicked.
    """
    result = np.full(len(splits) - 1, np.nan)
    for row, (start, end) in enumerate(itertools.pairwise(splits.tolist())):
        part, is_click = scores[start:end], clicked[start:end] == 1
        difference = part[is_click, None] - part[~is_click]
        if difference.size:
            result[row] = np.mean((difference > 0) + 0.5 * (difference == 0))
    return result


def _mean(values: np.ndarray) -> float:
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")


def _guess_tastes(model: _Model, histories: list[np.ndarray]) -> Tastes:
    ends = np.cumsum([len(history) for history in histories])
    batches = np.split(np.arange(len(ends)), 1 + np.flatnonzero(np.diff(ends // _CLICKS_AT_ONCE)))
    parts = [model.posterior([histories[user] for user in batch]) for batch in batches]
    return Tastes(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


class _Model:
    """The distributions over old articles that clicks of a history are drawn from."""

    def __init__(self, affinity: Affinity, language: Language, articles: Articles):
        knobs, old = language.knobs, articles.old
        self._prior_subjects, self._prior_names = taste_sizes(knobs, language)
        shown = articles.popularity / articles.popularity[old].sum()
        drawn = shown * np.exp(articles.appeal)
        subjects, names = len(language.subject_sizes), len(language.name_sizes)
        users = subjects + names
        one = Tastes(
            np.eye(users, subjects, dtype=np.float32),
            np.eye(users, names, -subjects, dtype=np.float32),
            np.repeat(np.array([0, 1], np.float32), [subjects, names]),
        )
        # components[article, component]: subjects, names, categories (by habit), anything.
        liking = affinity.matrix(one, np.arange(len(articles))) - knobs.indifference
        liking = liking.T**knobs.strength * drawn[:, None]
        self._totals = liking[old].sum(axis=0) + 1e-12
        categories = len(language.category_sizes)
        habit = (articles.category[:, None] == np.arange(categories)) * shown[:, None]
        habit /= habit[old].sum(axis=0) + 1e-12
        drawn = drawn / drawn[old].sum()
        parts = [liking / self._totals, habit, shown[:, None], drawn[:, None]]
        self._components = np.hstack(parts).astype(np.float32)
        self._slices = np.split(
            np.arange(self._components.shape[1]), np.cumsum([subjects, names, categories])
        )
        self._priors = [
            (_SUBJECTS_PRIOR * self._prior_subjects).astype(np.float32),
            (_NAMES_PRIOR * self._prior_names).astype(np.float32),
            (_HABIT_PRIOR * language.category_sizes).astype(np.float32),
        ]
        self._kinds_prior = (_KINDS_PRIOR * self._prior_shares(language)).astype(np.float32)

    def _prior_shares(self, language: Language) -> np.ndarray:
        """Expected shares of clicks: subjects, names, habit, arbitrary, indifferent."""
        knobs = language.knobs
        subjects, names = self._slices[0], self._slices[1]
        of_subjects = self._prior_subjects @ self._totals[subjects] / 2
        of_names = self._prior_names @ self._totals[names] / 2
        reasoned = 1 - knobs.habitual - knobs.arbitrary
        shares = np.array([of_subjects, of_names, knobs.indifference])
        shares *= reasoned / shares.sum()
        return np.array([*shares[:2], knobs.habitual, knobs.arbitrary, shares[2]])

    def posterior(self, histories) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns subjects, names and share of names, as in `Tastes`."""
        lengths = np.array([len(history) for history in histories])
        user = np.repeat(np.arange(len(histories)), lengths)
        likelihood = self._components[np.concatenate(histories).astype(int)]
        starts = (np.cumsum(lengths) - lengths)[lengths > 0]
        counts = np.zeros((len(histories), likelihood.shape[1]), np.float32)
        reason = np.zeros_like(likelihood)
        for _ in range(_ITERATIONS):
            reason = likelihood * self._weights(counts[user] - reason)
            reason /= reason.sum(axis=1, keepdims=True) + 1e-30
            if len(reason):
                counts[lengths > 0] = np.add.reduceat(reason, starts, axis=0)
        return self._tastes(counts)

    def _weights(self, counts: np.ndarray) -> np.ndarray:
        """Returns the mean weight of each component given counts, up to a factor."""
        weights = self._kinds_prior + self._of_kinds(counts)
        parts = [
            (counts[:, columns] + prior)
            * (weights[:, kind] / (counts[:, columns].sum(axis=1) + prior.sum()))[:, None]
            for kind, (columns, prior) in enumerate(zip(self._slices, self._priors))
        ]
        return np.hstack([*parts, weights[:, len(parts) :]])

    def _of_kinds(self, counts) -> np.ndarray:
        sums = [counts[:, columns].sum(axis=1) for columns in self._slices[:3]]
        return np.column_stack([*sums, counts[:, self._slices[3]]])

    def _tastes(self, counts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        # A click on something much read needs less liking than one on something little read.
        shares = self._of_kinds(counts) + self._kinds_prior
        result, amounts = [], []
        for kind in (0, 1):
            columns = self._slices[kind]
            gamma = counts[:, columns] + self._priors[kind]
            gamma /= gamma.sum(axis=1, keepdims=True)
            weights = gamma / self._totals[columns]
            amounts.append(shares[:, kind] * weights.sum(axis=1))
            result.append((weights / weights.sum(axis=1, keepdims=True)).astype(np.float32))
        names_share = amounts[1] / (amounts[0] + amounts[1])
        return result[0], result[1], names_share.astype(np.float32)
