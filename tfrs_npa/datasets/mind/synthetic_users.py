"""What the users of the synthetic world like, and how much they like an article."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from scipy import sparse

from .synthetic_articles import Articles
from .synthetic_knobs import WorldKnobs
from .synthetic_language import Contents, Language, bags


@dataclasses.dataclass
class Tastes:
    """What users like; a row for each user.

    Attributes:
        subjects: `float32 [users, subjects]`, weights that sum to 1.
        names: `float32 [users, names]`, weights that sum to 1.
        names_share: `float32 [users]`, how much names rather than subjects count.
    """

    subjects: np.ndarray
    names: np.ndarray
    names_share: np.ndarray

    def __getitem__(self, users: np.ndarray) -> Tastes:
        return Tastes(self.subjects[users], self.names[users], self.names_share[users])

    @classmethod
    def draw(
        cls, knobs: WorldKnobs, language: Language, users: int, rng: np.random.Generator
    ) -> Tastes:
        """Draws a few subjects of a few categories, and a few name groups, for each user."""
        of_subjects, of_names = taste_sizes(knobs, language)
        of_categories = language.category_sizes**knobs.taste_by_size
        most = min(knobs.categories_of_user, len(of_categories))
        chosen = _few(of_categories, users, most, rng)
        subjects = np.where(chosen[:, language.category], of_subjects, 0.0)
        names_share = rng.beta(knobs.names_alpha, knobs.names_alpha, users).astype(np.float32)
        return cls(
            _weigh(_few(subjects, users, knobs.subjects_of_user, rng), knobs, rng),
            _weigh(_few(of_names, users, knobs.names_of_user, rng), knobs, rng),
            names_share,
        )

    def mixed_with(self, other: Tastes, weight: np.ndarray) -> Tastes:
        """Returns tastes of which a share, `weight [users]`, are those of `other`."""
        weight = weight[:, None].astype(np.float32)
        return Tastes(
            (1 - weight) * self.subjects + weight * other.subjects,
            (1 - weight) * self.names + weight * other.names,
            self.names_share,
        )


class Affinity:
    """How much users like what articles are about, single words aside.

    The affinity of a user and an article is

        (1 - names_share) * sum_s subjects[s] A[s, article]
            + names_share * sum_e names[e] B[e, article] + indifference

    where A and B, at most 1, say how much users of subject s and of name group e like the article.
    The odds of a click are proportional to the affinity to the power of `strength`.

    Args:
        knobs: What the world is like.
        language: Topics and names.
        contents: What the articles are about.
    """

    def __init__(self, knobs: WorldKnobs, language: Language, contents: Contents):
        self.knobs, self._contents = knobs, contents
        mixed = (contents.second >= 0).astype(np.float32)
        self._weight = np.float32(knobs.second_weight) * mixed
        self.of_subjects = language.affinity.astype(np.float32)
        names = len(language.name_sizes)
        same = language.name_category[:, None] == language.name_category
        of_names = np.where(np.eye(names, dtype=bool), 1.0, knobs.affinity_names * same)
        # The last column is that of articles without a name, whose index is -1.
        self.of_names = np.hstack([of_names, np.zeros((names, 1))]).astype(np.float32)

    def matrix(self, tastes: Tastes, articles: np.ndarray) -> np.ndarray:
        """Returns the affinity of all users in `tastes` to `articles`, `[users, articles]`."""
        return self._mix(tastes, lambda table, topic: np.take(table, topic, axis=1), articles)

    def pairs(self, tastes: Tastes, users: np.ndarray, articles: np.ndarray) -> np.ndarray:
        """Returns the affinity of `users[i]` to `articles[i]`, `[pairs]`."""
        return self._mix(tastes, lambda table, topic: table[users, topic], articles)

    def crowding(self, language: Language) -> np.ndarray:
        """Returns the log odds that articles lose because many like them, `[articles]`."""
        subjects, names = taste_sizes(self.knobs, language)
        mean_user = Tastes(subjects[None], names[None], np.array([0.5]))
        mean = self.matrix(mean_user, np.arange(len(self._contents)))[0]
        return self.knobs.crowding * self.log_odds(mean)

    def log_odds(self, affinity: np.ndarray) -> np.ndarray:
        """Returns the log odds of a click at a given affinity."""
        return self.knobs.strength * np.log(affinity)

    def _mix(
        self,
        tastes: Tastes,
        look_up: Callable[[np.ndarray, np.ndarray], np.ndarray],
        articles: np.ndarray,
    ) -> np.ndarray:
        """Looks up users' affinity to the topics of articles, `[users, topics]`, and adds up."""
        contents = self._contents
        subjects = tastes.subjects @ self.of_subjects
        subjects *= 1 - tastes.names_share[:, None]
        names = (tastes.names * tastes.names_share[:, None]) @ self.of_names
        result = look_up(subjects, contents.subject[articles])
        second = look_up(subjects, contents.second[articles])
        second -= result
        second *= self._weight[articles]
        result += second
        result += look_up(names + np.float32(self.knobs.indifference), contents.name[articles])
        return result


@dataclasses.dataclass
class Users:
    """The readers of the site; arrays have a row for each user.

    Attributes:
        tastes: What they like now.
        former: What they liked during the first half of their history.
        changed: `bool [users]`, whether the two differ.
        favourite: `[users]`, the category of their habitual clicks.
        activity: `[users]`, how often they visit, by weight.
        liking: `float32 [users, articles]`, sparse: log odds of a click that the words of a title
            that a user likes or dislikes add to those of `Affinity`.
    """

    tastes: Tastes
    former: Tastes
    changed: np.ndarray
    favourite: np.ndarray
    activity: np.ndarray
    liking: sparse.csr_array

    def __len__(self) -> int:
        return len(self.activity)

    @classmethod
    def draw(
        cls,
        knobs: WorldKnobs,
        language: Language,
        articles: Articles,
        number: int,
        rng: np.random.Generator,
    ) -> Users:
        """Draws users."""
        tastes = Tastes.draw(knobs, language, number, rng)
        other = Tastes.draw(knobs, language, number, rng)
        changed = rng.random(number) < knobs.drifting_users
        # The favourite category is one of the user's own, or any.
        own = language.category[tastes.subjects.argmax(axis=1)]
        sizes = language.category_sizes
        any_one = rng.choice(len(sizes), number, p=sizes)
        return cls(
            tastes=tastes,
            former=tastes.mixed_with(other, knobs.new_interests * changed),
            changed=changed,
            favourite=np.where(rng.random(number) < 0.5, own, any_one),
            activity=rng.lognormal(sigma=knobs.activity_sigma, size=number),
            liking=_draw_liking(knobs, language, articles, number, rng),
        )


def _draw_liking(knobs, language, articles, users: int, rng) -> sparse.csr_array:
    vocabulary = len(language.words)
    titles = bags(articles.tokens, articles.splits, vocabulary)
    weights = np.sqrt(np.bincount(articles.tokens, minlength=vocabulary))
    weights[: knobs.function_words] = 0
    words = rng.choice(vocabulary, (users, knobs.liked_words), p=weights / weights.sum())
    effects = knobs.word_liking * rng.normal(size=words.shape)
    splits = np.arange(users + 1) * knobs.liked_words
    shape = (users, vocabulary)
    liking = sparse.csr_array((effects.ravel(), words.ravel(), splits), shape=shape)
    return (liking.astype(np.float32) @ titles.T).tocsr()


def taste_sizes(knobs: WorldKnobs, language: Language) -> tuple[np.ndarray, np.ndarray]:
    """Returns how often subjects and name groups are liked; each sums to 1."""
    of_names = language.name_sizes**knobs.taste_by_size
    of_subjects = language.subject_sizes**knobs.taste_by_size
    # As often as the category; then by size among its subjects.
    of_categories = language.category_sizes**knobs.taste_by_size
    of_subjects *= (of_categories / np.bincount(language.category, of_subjects))[language.category]
    return of_subjects / of_subjects.sum(), of_names / of_names.sum()


def _few(sizes: np.ndarray, users: int, most: int, rng: np.random.Generator) -> np.ndarray:
    """Draws 1 to `most` columns for each user, by their sizes; `bool [users, columns]`."""
    columns = sizes.shape[-1]
    with np.errstate(divide="ignore"):
        keys = np.log(sizes) + rng.gumbel(size=(users, columns))
    number = np.minimum(rng.integers(1, most + 1, users), columns)
    ordered = -np.sort(-keys, axis=1)
    least = ordered[np.arange(users), number - 1]
    return (keys >= least[:, None]) & np.isfinite(keys)


def _weigh(chosen: np.ndarray, knobs: WorldKnobs, rng: np.random.Generator) -> np.ndarray:
    """Draws Dirichlet weights for the chosen columns of each user."""
    weights = np.where(chosen, rng.gamma(knobs.taste_concentration, size=chosen.shape) + 1e-9, 0.0)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
