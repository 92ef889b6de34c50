"""RADio: rank-aware divergences between what is shown to a reader and what it is compared with.

Vrijenhoek, Bénédict, Gutierrez Granada, Odijk & de Rijke, RADio: Rank-aware divergence metrics to
measure normative diversity in news recommendations, RecSys 2022 (arXiv:2209.13520). Each measure is
the distance of two distributions: P of a context, such as the reader's history or the articles
that could have been shown, and Q of the list. In a distribution of something ranked, place r
weighs `1 / r`, the discount of the reciprocal rank. 0: the same; near 1: nothing in common. Which
of the two is better is a question of values, not of accuracy.

Lists are as in `tfrs_npa.metrics.lists`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

ALPHA = 0.001
"""How much of each distribution is mixed into the other, as the authors do."""
ACTIVATION_BINS = 5
"""Bins of equal width that activation is divided into."""


class Weighted(NamedTuple):
    """Distributions as entries: what is counted in each row, and how much it weighs.

    Attributes:
        rows: int `[entries]`.
        keys: int `[entries]`, from 0 on; negative: nothing, the entry is left out.
        weights: float `[entries]`, not negative. They need not sum to 1.
    """

    rows: np.ndarray
    keys: np.ndarray
    weights: np.ndarray


def ranked(lists: np.ndarray) -> Weighted:
    """Returns the articles of lists, by rank: place r, from 1 on, weighs `1 / r`."""
    rows, places = np.nonzero(lists)
    return Weighted(rows, lists[rows, places], 1 / (places + 1.0))


def packed(articles: np.ndarray, splits: np.ndarray, latest_first: bool = False) -> Weighted:
    """Returns packed articles: all the same, or by rank.

    Args:
        articles: int `[articles]` of all rows.
        splits: int `[rows + 1]`.
        latest_first: Whether the last article of a row is at rank 1, as in a history.
    """
    splits = np.asarray(splits)
    rows = np.repeat(np.arange(len(splits) - 1), np.diff(splits))
    weights = np.ones(len(articles))
    if latest_first:
        weights = 1 / (splits[1:][rows] - np.arange(len(articles)))
    return Weighted(rows, articles, weights)


def keyed(articles: Weighted, keys: np.ndarray) -> Weighted:
    """Returns what articles have, one thing each, in place of the articles.

    Args:
        articles: The articles.
        keys: int `[articles]` by index; negative: nothing.
    """
    return articles._replace(keys=keys[articles.keys])


def split_among(articles: Weighted, values: np.ndarray, splits: np.ndarray) -> Weighted:
    """Returns what articles have, several things each, which share the weight of the article.

    Args:
        articles: The articles.
        values: int `[values]` of all articles.
        splits: int `[articles + 1]`, article `i` has `values[splits[i] : splits[i + 1]]`.
    """
    starts = splits[articles.keys]
    lengths = splits[articles.keys + 1] - starts
    entries = np.repeat(np.arange(len(lengths)), lengths)
    offsets = np.arange(len(entries)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return Weighted(
        articles.rows[entries],
        values[starts[entries] + offsets],
        articles.weights[entries] / lengths[entries],
    )


def distance(context: Weighted, shown: Weighted, rows: int) -> np.ndarray:
    """Returns the Jensen-Shannon distance of the two distributions of each row, in [0, 1].

    The square root of the Jensen-Shannon divergence with logarithms of base 2, as the authors
    compute it, after `ALPHA` of each distribution is mixed into the other.

    >>> of_history = Weighted(np.array([0, 0]), np.array([3, 4]), np.array([1.0, 1.0]))
    >>> of_list = Weighted(np.array([0]), np.array([3]), np.array([1.0]))
    >>> distance(of_history, of_list, 1).round(3)
    array([0.556])

    Args:
        context: P, any number of entries a row.
        shown: Q, likewise.
        rows: How many rows there are.

    Returns:
        `[rows]`; NaN where either has nothing.
    """
    sides = []
    for side in (context, shown):
        side = Weighted(*(column[side.keys >= 0] for column in side))
        totals = np.bincount(side.rows, side.weights, rows)
        # A row without any weight has no entry that counts.
        side = Weighted(*(column[totals[side.rows] > 0] for column in side))
        sides.append((side._replace(weights=side.weights / totals[side.rows]), totals > 0))
    (p, has_p), (q, has_q) = sides
    width = max(p.keys.max(initial=0), q.keys.max(initial=0)) + np.int64(1)
    cells = np.concatenate([side.rows * width + side.keys for side in (p, q)])
    cells, entries = np.unique(cells, return_inverse=True)
    p_shares = np.bincount(entries[: len(p.rows)], p.weights, len(cells))
    q_shares = np.bincount(entries[len(p.rows) :], q.weights, len(cells))
    mixed_p = (1 - ALPHA) * p_shares + ALPHA * q_shares
    mixed_q = (1 - ALPHA) * q_shares + ALPHA * p_shares
    middle = (p_shares + q_shares) / 2
    terms = mixed_p * _log2_ratio(mixed_p, middle) + mixed_q * _log2_ratio(mixed_q, middle)
    divergence = np.bincount(cells // width, terms / 2, rows)
    return np.where(has_p & has_q, np.sqrt(np.clip(divergence, 0, 1)), np.nan)


def calibration(
    lists: np.ndarray, category: np.ndarray, history: np.ndarray, splits: np.ndarray
) -> np.ndarray:
    """Returns how far the categories of each list are from those its reader clicked, `[lists]`.

    Both are ranked: the latest click weighs most. Unlike `lists.miscalibration`, which is Steck's.

    Args:
        lists: `[lists, k]`.
        category: int `[articles]` by index; 0: none.
        history: int `[clicks]` of all readers, oldest first.
        splits: int `[lists + 1]`.
    """
    keys = np.where(category > 0, category, -1)
    clicks = packed(history, splits, latest_first=True)
    return distance(keyed(clicks, keys), keyed(ranked(lists), keys), len(lists))


def fragmentation(
    lists: np.ndarray, story: np.ndarray, samples: int = 5, seed: int = 0
) -> np.ndarray:
    """Returns how far each list is from the lists of others, in stories, `[lists]`.

    Args:
        lists: `[lists, k]`.
        story: int `[articles]` by index: articles about the same event have the same; negative:
            none.
        samples: How many other lists each is compared with, drawn at random; the mean counts.
        seed: Seed of the draws.
    """
    number = len(lists)
    if number < 2:
        return np.full(number, np.nan)
    generator = np.random.default_rng(seed)
    entries = keyed(ranked(lists), story)
    found = []
    for _ in range(samples):
        others = (np.arange(number) + generator.integers(1, number, number)) % number
        found.append(distance(keyed(ranked(lists[others]), story), entries, number))
    measured = ~np.isnan(found)
    totals = np.where(measured, found, 0).sum(axis=0)
    counts = measured.sum(axis=0)
    return np.divide(totals, counts, out=np.full(number, np.nan), where=counts > 0)


def representation(
    lists: np.ndarray,
    voices: tuple[np.ndarray, np.ndarray],
    candidates: np.ndarray,
    splits: np.ndarray,
) -> np.ndarray:
    """Returns how far who is heard in each list is from who is heard in its pool, `[lists]`.

    Args:
        lists: `[lists, k]`.
        voices: Parties, people or subjects: int `[values]` and int `[articles + 1]`, article `i`
            has `values[splits[i] : splits[i + 1]]`. Several of one article share its weight;
            articles without any are left out.
        candidates: int `[candidates]`, the pools of all lists, which have no ranks.
        splits: int `[lists + 1]`.
    """
    pool = split_among(packed(candidates, splits), *voices)
    return distance(pool, split_among(ranked(lists), *voices), len(lists))


def alternative_voices(
    lists: np.ndarray, minority: np.ndarray, candidates: np.ndarray, splits: np.ndarray
) -> np.ndarray:
    """Returns how far the share of minority voices in each list is from its pool's, `[lists]`.

    Args:
        lists: `[lists, k]`.
        minority: float `[articles]` by index, from 0 to 1: the share of an article's voices that
            are of a minority, or a flag; NaN: the article has no voices and is left out.
        candidates: int `[candidates]`, the pools of all lists, which have no ranks.
        splits: int `[lists + 1]`.
    """

    def voices(articles: Weighted) -> Weighted:
        share = minority[articles.keys]
        known = ~np.isnan(share)
        rows, weights, share = articles.rows[known], articles.weights[known], share[known]
        return Weighted(
            np.concatenate([rows, rows]),
            np.repeat([0, 1], len(rows)),
            np.concatenate([weights * share, weights * (1 - share)]),
        )

    return distance(voices(packed(candidates, splits)), voices(ranked(lists)), len(lists))


def activation(
    lists: np.ndarray, score: np.ndarray, candidates: np.ndarray, splits: np.ndarray
) -> np.ndarray:
    """Returns how far the strength of feeling in each list is from that of its pool, `[lists]`.

    The absolute scores are divided into five bins of equal width between the least and the greatest
    of the pool.

    Args:
        lists: `[lists, k]`, of articles of the pool.
        score: float `[articles]` by index, such as the polarity of the article from -1 to 1; NaN:
            the article is left out.
        candidates: int `[candidates]`, the pools of all lists, which have no ranks.
        splits: int `[lists + 1]`.
    """
    strength = np.abs(score)
    pool = packed(candidates, splits)
    pool = Weighted(*(column[~np.isnan(strength[pool.keys])] for column in pool))
    low, high = np.full(len(lists), np.inf), np.full(len(lists), -np.inf)
    np.minimum.at(low, pool.rows, strength[pool.keys])
    np.maximum.at(high, pool.rows, strength[pool.keys])
    width = np.where(high > low, high - low, 1) / ACTIVATION_BINS

    def binned(articles: Weighted) -> Weighted:
        values = strength[articles.keys]
        known = ~np.isnan(values) & np.isfinite(low[articles.rows])
        rows, _, weights = (column[known] for column in articles)
        bins = np.floor((values[known] - low[rows]) / width[rows]).astype(np.int64)
        return Weighted(rows, np.clip(bins, 0, ACTIVATION_BINS - 1), weights)

    return distance(binned(pool), binned(ranked(lists)), len(lists))


def _log2_ratio(shares: np.ndarray, middle: np.ndarray) -> np.ndarray:
    # Shares are positive: each cell has an entry of one side, unless its weight is 0.
    ratio = np.divide(shares, middle, out=np.ones_like(shares), where=shares > 0)
    return np.log2(ratio)
