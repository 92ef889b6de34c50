"""What is in the lists that a ranking shows, whoever clicks: coverage, novelty, diversity and more.

Lists are matrices of article indices `[lists, k]`, the best article first, 0 where a list is
shorter. Measures of single lists are NaN where there is nothing to measure: `mean` leaves those
out.
"""

from __future__ import annotations

import numpy as np

CALIBRATION_ALPHA = 0.01
"""How much of a reader's own distribution `miscalibration` mixes into that of a list."""


def best_candidates(
    scores: np.ndarray, articles: np.ndarray, splits: np.ndarray, k: int
) -> np.ndarray:
    """Returns the list of each impression: its `k` candidates with the highest scores.

    >>> best_candidates(np.array([0.1, 0.7, 0.9, 0.2]), np.array([7, 8, 9, 5]), [0, 3, 4], 2)
    array([[9, 8],
           [5, 0]])

    Args:
        scores: float `[candidates]` of all impressions; of equal scores, the earlier comes first.
        articles: int `[candidates]`, indices of the articles from 1 on.
        splits: int `[impressions + 1]`; impression `i` has `articles[splits[i] : splits[i + 1]]`.
        k: Length of a list.

    Returns:
        `[impressions, k]` of the type of `articles`.
    """
    splits = np.asarray(splits)
    lengths = np.diff(splits)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    order = np.lexsort((-np.asarray(scores), rows))
    positions = np.arange(len(articles)) - np.repeat(splits[:-1], lengths)
    shown = positions < k
    lists = np.zeros((len(lengths), k), articles.dtype)
    lists[rows[shown], positions[shown]] = articles[order[shown]]
    return lists


def mean(values: np.ndarray) -> float | None:
    """Returns the mean of the lists that can be measured, `[lists]`; None if there are none."""
    values = values[~np.isnan(values)]
    return float(np.mean(values, dtype=np.float64)) if len(values) else None


def exposure(lists: np.ndarray, articles: int) -> np.ndarray:
    """Returns in how many lists each article is, `int64 [articles]`.

    Args:
        lists: `[lists, k]`.
        articles: How many indices there are.
    """
    return np.bincount(lists[lists > 0].ravel(), minlength=articles)


def coverage(counts: np.ndarray) -> float | None:
    """Returns the share of articles that are in some list.

    The catalogue coverage of Ge, Delgado-Battenfeld & Jannach (Beyond accuracy, RecSys 2010).

    Args:
        counts: In how many lists each article is, of those that could be in one, `[articles]`.
    """
    return float(np.mean(counts > 0)) if len(counts) else None


def gini(counts: np.ndarray) -> float | None:
    """Returns the Gini coefficient of exposure: 0 if all articles are shown equally often.

    Near 1 if a single one is shown. Half the mean absolute difference of two articles' exposure,
    divided by the mean exposure (Fleder & Hosanagar, Blockbuster culture's next rise or fall,
    Management Science 2009).

    Args:
        counts: In how many lists each article is, of those that could be in one, `[articles]`.
    """
    if not counts.sum():
        return None
    ordered, number = np.sort(counts).astype(np.float64), len(counts)
    weights = 2 * np.arange(1, number + 1) - number - 1
    return float(weights @ ordered / (number * ordered.sum()))


def novelty(lists: np.ndarray, clicks: np.ndarray) -> np.ndarray:
    """Returns the mean self-information of the articles of each list, in bits, `[lists]`.

    `-log2 p(i)`, with p the share of all clicks that are of article i (Vargas & Castells, Rank and
    relevance in novelty and diversity metrics, RecSys 2011; self-information in Zhou et al., PNAS
    2010). One click is added to each article, so that one without clicks counts too.

    Args:
        lists: `[lists, k]`.
        clicks: int `[articles]`, by index: the clicks of training. Index 0 is padding.
    """
    smoothed = clicks[1:] + 1.0
    information = np.append(0, -np.log2(smoothed / smoothed.sum()))
    return _divided(information[lists].sum(axis=1), np.count_nonzero(lists, axis=1))


def category_diversity(lists: np.ndarray, category: np.ndarray) -> np.ndarray:
    """Returns the share of pairs of articles that differ in category, of each list, `[lists]`.

    Intra-list diversity (Ziegler et al., Improving recommendation lists through topic
    diversification, WWW 2005) with distance 1 between categories. Articles without one are left
    out; a list with less than two others has none.

    Args:
        lists: `[lists, k]`.
        category: int `[articles]`, 0 without one; index 0, padding, has none.
    """
    found = category[lists]
    first, second = np.triu_indices(lists.shape[1], 1)
    first, second = found[:, first], found[:, second]
    known = (first > 0) & (second > 0)
    return _divided(
        np.count_nonzero(known & (first != second), axis=1), np.count_nonzero(known, axis=1)
    )


def vector_diversity(lists: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Returns the mean of 1 - cosine over the pairs of articles of each list, `[lists]`.

    Intra-list diversity, see `category_diversity`. Articles without a vector are left out.

    Args:
        lists: `[lists, k]`.
        vectors: float `[articles, dim]` of unit length, or zeros; index 0 has zeros.
    """
    number = np.count_nonzero(np.any(vectors, axis=1)[lists], axis=1)
    total = vectors[lists].sum(axis=1, dtype=np.float64)
    # Of n unit vectors: the square of the sum is n and twice the sum over pairs.
    pairs = number * (number - 1) / 2
    return 1 - _divided((np.einsum("nd,nd->n", total, total) - number) / 2, pairs)


def category_shares(rows: np.ndarray, categories: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Returns what share of each row's articles each category has, `[rows, categories]`.

    Args:
        rows: int `[entries]`, the row of each article.
        categories: int `[entries]`, its category; those of 0 are left out.
        shape: Numbers of rows and of categories.

    Returns:
        Zeros for a row without any category.
    """
    known = categories > 0
    counts = np.bincount(rows[known] * shape[1] + categories[known], minlength=shape[0] * shape[1])
    counts = counts.reshape(shape).astype(np.float64)
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def miscalibration(
    lists: np.ndarray, category: np.ndarray, history: np.ndarray, splits: np.ndarray
) -> np.ndarray:
    """Returns how far each list is from its reader's mix of categories, `[lists]`.

    The Kullback-Leibler divergence of Steck (Calibrated recommendations, RecSys 2018):
    the sum over categories of `p log(p / ((1 - alpha) q + alpha p))`, with p the shares of
    categories among the clicks, q those in the list, alpha = 0.01 and the natural logarithm. All
    clicks, and all places of a list, weigh the same. 0: the same mix; 4.6 (log 100): nothing in
    common. A list without categories, or of a reader without clicks that have one, has none.

    Args:
        lists: `[lists, k]`.
        category: int `[articles]`, 0 without one; index 0, padding, has none.
        history: int `[clicks]`, the clicks of all readers.
        splits: int `[lists + 1]`, the reader of list `i` clicked
            `history[splits[i] : splits[i + 1]]`.
    """
    shape = len(lists), int(category.max(initial=0)) + 1
    clicks = np.repeat(np.arange(len(lists)), np.diff(splits))
    wanted = category_shares(clicks, category[history], shape)
    places = np.repeat(np.arange(len(lists)), lists.shape[1])
    shown = category_shares(places, category[lists].ravel(), shape)
    there = wanted.any(axis=1) & shown.any(axis=1)
    return np.where(there, kl_divergence(wanted, shown), np.nan)


def kl_divergence(wanted: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Returns the divergence of `miscalibration` from shares of categories.

    Args:
        wanted: float `[..., categories]`, among the clicks of a reader.
        shown: float `[..., categories]`, in a list, of the same shape or one that broadcasts.

    Returns:
        `[...]`: 0 where nothing is wanted.
    """
    mixed = (1 - CALIBRATION_ALPHA) * shown + CALIBRATION_ALPHA * wanted
    ratios = np.divide(wanted, mixed, out=np.ones(mixed.shape), where=wanted > 0)
    return np.sum(wanted * np.log(ratios), axis=-1)


def personalisation(lists: np.ndarray, users: np.ndarray) -> float | None:
    """Returns the mean of `1 - overlap / k` over all pairs of full lists of different users.

    The distance h of Zhou et al. (Solving the apparent diversity-accuracy dilemma of recommender
    systems, PNAS 2010), by counting instead of comparing pairs. Lists shorter than k are left out.

    Args:
        lists: `[lists, k]`, no article twice in one.
        users: int `[lists]`; lists of 0, the unknown user, are all of different users.
    """
    full = lists.all(axis=1)
    lists, users = lists[full].astype(np.int64), users[full].astype(np.int64)
    # Pairs of all lists, less the pairs of one user.
    pairs = _pairs(np.array([len(lists)])) - _pairs(np.bincount(users)[1:])
    if not pairs:
        return None
    width = int(lists.max()) + 1
    cells = (users[:, np.newaxis] * width + lists)[users > 0]
    own = np.unique(cells, return_counts=True)[1]
    overlap = _pairs(np.bincount(lists.ravel())) - _pairs(own)
    return float(1 - overlap / (pairs * lists.shape[1]))


def _pairs(counts: np.ndarray) -> float:
    counts = counts.astype(np.float64)
    return float(np.sum(counts * (counts - 1)) / 2)


def _divided(totals: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Divides; NaN where the number is 0."""
    result = np.full(totals.shape, np.nan)
    return np.divide(totals, numbers, out=result, where=numbers > 0)
