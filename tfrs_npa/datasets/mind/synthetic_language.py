"""The language of the synthetic world: made-up words, topics, and the titles made of them.

Each word belongs to one list: function words, general words, and the words of a category (which its
subjects share), of a subject or of a name group. Within a list, words follow Zipf's law. A title is
about one subject or two, mentions at most one name group, and has function and random words
between. The corpus that word vectors are made from consists of the same kind of sentences.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
from scipy import sparse

from .synthetic_knobs import WorldKnobs

# The sizes in WorldKnobs are for this number of articles; fewer articles have fewer topics.
_ARTICLES = 26_000
_ARTICLES_PER_SUBJECT, _ARTICLES_PER_NAME, _SUBJECTS_PER_CATEGORY = 40, 100, 4
_LEAST_SUBJECTS, _LEAST_NAMES = 12, 6
_LEAST_WORDS = 4  # in a list
_REDRAWS = 2  # of repeated words; what is still repeated then stays
_ANY_COMPANY = 0.1  # added to the affinity of subjects when the second one of a title is drawn
_ONSETS = "b d f g h j k l m n p r s t v w z br dr gr kr pl st tr".split()
_VOWELS = "a e i o u ai é ö ou ü".split()
_CODAS = ["", "", "n", "r", "s", "t", "l", "m"]


@dataclasses.dataclass
class Contents:
    """What sentences are about; all arrays are `[sentences]`.

    Attributes:
        day: Day of publication; the first training day is 0.
        subject: Index of the subject.
        second: Index of a second subject, mixed in; -1: none.
        name: Index of the name group that is mentioned; -1: none.
    """

    day: np.ndarray
    subject: np.ndarray
    second: np.ndarray
    name: np.ndarray

    def __len__(self) -> int:
        return len(self.day)


class Language:
    """Topics, words and the grammar that makes titles of them.

    Args:
        knobs: What the language is like.
        articles: Number of articles, by which the language is scaled.
        rng: Generator of everything that is drawn here.

    Attributes:
        words: `str [words]`, the vocabulary; function words first.
        category: `[subjects]`, the category of each subject.
        category_sizes: `[categories]`, popularity of categories; sums to 1.
        subject_sizes: `[subjects]`, popularity of subjects; sums to 1.
        name_category: `[names]`, the category that a name group belongs to.
        name_sizes: `[names]`, popularity of name groups; sums to 1.
        affinity: `[subjects, subjects]`, how much a user of one likes the other, at most 1.
        word_day: `[words]`, the day on which a word is coined, before all days for most.
        appeal: `[words]`, log odds of a click that a word adds to its title.
    """

    def __init__(self, knobs: WorldKnobs, articles: int, rng: np.random.Generator):
        self.knobs = knobs
        self._make_topics(articles, rng)
        self._make_words(articles, rng)
        self._make_appeal(rng)

    def _make_topics(self, articles: int, rng: np.random.Generator) -> None:
        knobs = self.knobs
        subjects = min(knobs.subjects, max(_LEAST_SUBJECTS, articles // _ARTICLES_PER_SUBJECT))
        names = min(knobs.names, max(_LEAST_NAMES, articles // _ARTICLES_PER_NAME))
        categories = min(knobs.categories, max(1, subjects // _SUBJECTS_PER_CATEGORY))
        sizes = rng.lognormal(sigma=knobs.size_sigma, size=categories)
        # Each category has at least one subject.
        more = rng.choice(categories, max(0, subjects - categories), p=sizes / sizes.sum())
        self.category = np.sort(np.concatenate([np.arange(min(subjects, categories)), more]))
        sizes = rng.lognormal(sigma=knobs.size_sigma, size=subjects)
        self.subject_sizes = sizes / sizes.sum()
        self.category_sizes = np.bincount(self.category, self.subject_sizes, categories)
        self.name_category = rng.choice(categories, names, p=self.category_sizes)
        sizes = rng.lognormal(sigma=knobs.size_sigma, size=names)
        self.name_sizes = sizes / sizes.sum()

        axes = _unit(rng.normal(size=(categories, knobs.latent_dim)))
        deviations = _unit(rng.normal(size=(subjects, knobs.latent_dim)))
        latent = _unit(axes[self.category] + knobs.subject_spread * deviations)
        self.affinity = np.exp(knobs.affinity_kappa * (latent @ latent.T - 1))

        # Drift: the popularity of subjects is a random walk over all days.
        days = knobs.days_before + knobs.training_days + 2
        steps = rng.normal(scale=knobs.drift, size=(days, subjects))
        self._daily_sizes = self.subject_sizes * np.exp(np.cumsum(steps, axis=0))

    def _make_words(self, articles: int, rng: np.random.Generator) -> None:
        knobs = self.knobs
        scale = (articles / _ARTICLES) ** knobs.vocabulary_growth
        content = int(knobs.vocabulary * scale)
        sizes = np.sqrt(self.subject_sizes)
        own = max(0.0, 1 - knobs.general_words - knobs.category_words - knobs.name_words)
        by_size = np.sqrt(self.category_sizes) / np.sqrt(self.category_sizes).sum()
        names = np.sqrt(self.name_sizes) / np.sqrt(self.name_sizes).sum()
        counts = [
            np.array([knobs.function_words]),
            np.array([knobs.general_words * content]),
            knobs.category_words * content * by_size,
            own * content * sizes / sizes.sum(),
            knobs.name_words * content * names,
        ]
        lengths = [np.maximum(count.astype(int), _LEAST_WORDS) for count in counts]
        # List l holds the words from self._starts[l] on, self._lengths[l] of them, by rank.
        self._lengths = np.concatenate(lengths)
        self._starts = np.cumsum(self._lengths) - self._lengths
        first = np.cumsum([0, *map(len, lengths)])
        self._general, self._of_category, self._of_subject, self._of_name = first[1:5]
        number = int(self._lengths.sum())
        self.words = _made_up_words(rng, knobs.function_words, number)
        # The order of random words by frequency: general words come first.
        start = knobs.function_words
        end = start + self._lengths[self._general]
        rest = rng.permutation(np.arange(end, number))
        self._all = np.concatenate([np.arange(start, end), rest])

        self.word_day = np.full(number, np.iinfo(np.int64).min)
        late = np.flatnonzero(rng.random(number) < knobs.late_words)
        late = late[late >= self._starts[self._of_subject]]
        late = np.setdiff1d(late, self._starts)  # so that each list has a word on every day
        self.word_day[late] = rng.integers(0, knobs.training_days + 2, len(late))

    def _make_appeal(self, rng: np.random.Generator) -> None:
        knobs = self.knobs
        number = len(self.words)
        draws = rng.normal(size=number)
        self.appeal = np.where(
            rng.random(number) < knobs.appealing_words, knobs.word_appeal * draws, 0.0
        )
        self.appeal[: knobs.function_words] = 0
        # Hooks lie evenly over the logarithms of the ranks of general words.
        general = self._lengths[self._general]
        ranks = np.unique(np.geomspace(1, general, min(knobs.hook_words, general)).astype(int) - 1)
        ranks = np.concatenate([ranks, np.setdiff1d(np.arange(general), ranks)])
        hooks = knobs.function_words + ranks[: knobs.hook_words]
        self.hooks = np.sort(hooks)
        self.appeal[self.hooks] = knobs.hook_appeal * draws[self.hooks]

    def draw_contents(self, day: np.ndarray, rng: np.random.Generator) -> Contents:
        """Draws what sentences of the given days, `[sentences]`, are about."""
        knobs, number = self.knobs, len(day)
        subject = _draw_rows(rng.random(number), self._daily_sizes, day + knobs.days_before)
        mixed = rng.random(number) < knobs.second_subject
        company = (self.affinity + _ANY_COMPANY) * self.subject_sizes
        np.fill_diagonal(company, 0)
        second = _draw_rows(rng.random(number), company, subject)
        home = self.name_category == np.arange(len(self.category_sizes))[:, None]
        at_home = home * self.name_sizes
        at_home /= np.maximum(at_home.sum(axis=1, keepdims=True), 1e-12)
        anywhere = (1 - knobs.name_at_home) * self.name_sizes + 1e-12
        name = _draw_rows(
            rng.random(number), knobs.name_at_home * at_home + anywhere, self.category[subject]
        )
        named = rng.random(number) < knobs.named
        return Contents(day, subject, np.where(mixed, second, -1), np.where(named, name, -1))

    def write(
        self, contents: Contents, lengths: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Writes a sentence about each of `contents`.

        Args:
            contents: What they are about.
            lengths: `[sentences]`, their numbers of words.
            rng: Generator of the draws.

        Returns:
            `int [tokens]`, indices of words, one sentence after the other, and
            `int [sentences + 1]`, where each sentence starts and ends.
        """
        knobs = self.knobs
        row = np.repeat(np.arange(len(lengths)), lengths)
        splits = np.concatenate([[0], np.cumsum(lengths)])
        role = rng.random(len(row))
        about_second = (rng.random(len(row)) < knobs.second_weight) & (contents.second[row] >= 0)
        subject = np.where(about_second, contents.second[row], contents.subject[row])
        shared = rng.random(len(row)) < knobs.sibling_share
        lists = np.where(
            shared, self._of_category + self.category[subject], self._of_subject + subject
        )
        left_out = rng.random(len(lengths)) < knobs.topic_left_out
        lists[left_out[row]] = self._general
        lists[role < knobs.function_share] = 0
        self._mention(lists, contents.name, lengths, splits, rng)
        words = self._draw_words(lists, contents.day[row], row, rng)
        is_random = (role >= 1 - knobs.random_share) & (lists < self._of_name)
        ranks = _zipf_ranks(rng.random(len(row)), np.full(len(row), len(self._all)), 1.0)
        random = self._all[ranks]
        is_random &= self.word_day[random] <= contents.day[row]
        return np.where(is_random, random, words), splits

    def _mention(self, lists, name, lengths, splits, rng) -> None:
        """Gives one word, or two that stand together, to the name group of each sentence."""
        place = (rng.random(len(lengths)) * lengths).astype(int)
        two = rng.random(len(lengths)) < self.knobs.two_name_words
        for offset, rows in ((0, name >= 0), (1, (name >= 0) & two)):
            places = splits[:-1] + (place + offset) % np.maximum(lengths, 1)
            lists[places[rows]] = self._of_name + name[rows]

    def _draw_words(self, lists, day, row, rng) -> np.ndarray:
        """Draws a word of each list, redrawing what its sentence already has."""
        words = self._draw(lists, day, rng.random(len(lists)))
        for _ in range(_REDRAWS):
            again = _repeated(words, row)
            words[again] = self._draw(lists[again], day[again], rng.random(len(again)))
        return words

    def _draw(self, lists: np.ndarray, day: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """Draws a word of each list by Zipf's law, among those that are known on the day."""
        ranks = _zipf_ranks(draws, self._lengths[lists], self.knobs.zipf)
        while (early := self.word_day[self._starts[lists] + ranks] > day).any():
            ranks[early] //= 2
        return self._starts[lists] + ranks

    def lengths(self, number: int, rng: np.random.Generator) -> np.ndarray:
        """Draws the numbers of words of titles."""
        knobs = self.knobs
        lengths = rng.lognormal(np.log(knobs.title_median), knobs.title_sigma, number)
        return np.clip(np.rint(lengths).astype(int), knobs.title_min, knobs.title_max)

    def words_of(self, subjects: np.ndarray, names: np.ndarray) -> list[str]:
        """Returns the words that belong to some subjects and name groups, and to no others.

        Args:
            subjects: Indices of subjects.
            names: Indices of name groups.
        """
        lists = np.concatenate([self._of_subject + subjects, self._of_name + names])
        ends = self._starts[lists] + self._lengths[lists]
        return [
            word for a, b in zip(self._starts[lists], ends) for word in self.words[a:b].tolist()
        ]

    def text(self, tokens: np.ndarray, splits: np.ndarray) -> list[str]:
        """Returns sentences as text; the first letter is a capital."""
        words = self.words[tokens].tolist()
        texts = [" ".join(words[a:b]) for a, b in itertools.pairwise(splits.tolist())]
        return [text[:1].upper() + text[1:] for text in texts]


def bags(tokens: np.ndarray, splits: np.ndarray, words: int) -> sparse.csr_array:
    """Returns how often sentences have words, as a sparse `float32 [sentences, words]`."""
    ones = np.ones(len(tokens), np.float32)
    # A copy, since summing sorts the arrays in place.
    counts = sparse.csr_array((ones, tokens, splits), shape=(len(splits) - 1, words), copy=True)
    counts.sum_duplicates()
    return counts


def _zipf_ranks(draws: np.ndarray, sizes: np.ndarray, exponent: float) -> np.ndarray:
    """Turns uniform draws into ranks from 0 to size - 1, with weight about (rank + 1)^-exponent.

    These are the whole parts of a power law on [1, size + 1], which needs no table for each size.
    """
    if abs(exponent - 1) < 1e-6:
        values = (sizes + 1.0) ** draws
    else:
        power = 1 - exponent
        values = (1 + draws * ((sizes + 1.0) ** power - 1)) ** (1 / power)
    return np.minimum(values.astype(np.int64), sizes) - 1


def _repeated(words: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Returns the places of words that occur earlier in the same row."""
    order = np.lexsort((words, row))
    same = (np.diff(words[order]) == 0) & (np.diff(row[order]) == 0)
    return order[1:][same]


def _draw_rows(draws: np.ndarray, weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Draws a column for each of `rows` by the weights of that row, from uniform draws."""
    totals = np.cumsum(weights, axis=1)
    totals /= totals[:, -1:]
    result = np.searchsorted((totals + np.arange(len(totals))[:, None]).ravel(), draws + rows)
    return np.minimum(result - rows * weights.shape[1], weights.shape[1] - 1)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _made_up_words(rng: np.random.Generator, short: int, number: int) -> np.ndarray:
    """Returns `number` distinct pronounceable words that mean nothing, some with accents.

    The first `short` of them have one syllable, the others two or three.
    """
    syllables = [a + b + c for a, b in itertools.product(_ONSETS, _VOWELS) for c in set(_CODAS)]
    syllables = sorted(set(syllables))
    words = dict.fromkeys(rng.permutation(syllables)[:short].tolist())
    while len(words) < number:
        parts = rng.integers(len(_ONSETS) * len(_VOWELS), size=(number, 3))
        lengths, codas = rng.integers(2, 4, number), rng.integers(len(_CODAS), size=number)
        for places, length, coda in zip(parts.tolist(), lengths.tolist(), codas.tolist()):
            word = "".join(
                _ONSETS[place // len(_VOWELS)] + _VOWELS[place % len(_VOWELS)]
                for place in places[:length]
            )
            words[word + _CODAS[coda]] = None
    return np.array(list(words)[:number])
