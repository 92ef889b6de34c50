from __future__ import annotations

import collections
import json
import math
import pathlib

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy

from tfrs_npa.metrics import divergences as module

ORACLE = json.loads((pathlib.Path(__file__).parents[1] / "oracle" / "lists.json").read_text())
ARTICLES, KINDS = 12, 4


@st.composite
def worlds(draw):
    """Lists, the pools that they are of, histories, and values of articles with gaps."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    number, k = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    pools = [
        generator.permutation(np.arange(1, ARTICLES))[: generator.integers(0, 7)]
        for _ in range(number)
    ]
    lists = np.zeros((number, k), np.int32)
    for row, pool in zip(lists, pools):
        row[: len(pool)] = generator.permutation(pool)[:k]
    histories = [generator.integers(1, ARTICLES, generator.integers(0, 6)) for _ in range(number)]
    kind = generator.integers(-1, KINDS, ARTICLES)
    number = np.where(generator.random(ARTICLES) < 0.3, np.nan, generator.uniform(-1, 1, ARTICLES))
    return lists, pools, histories, kind, number


def packed(rows):
    values = np.concatenate([*rows, []]).astype(np.int32)
    return values, np.cumsum([0, *map(len, rows)])


def smoothed_distance(p, q):
    """The distance of two distributions as dicts, by SciPy's relative entropy."""
    if not sum(p.values()) or not sum(q.values()):
        return math.nan
    keys = sorted({*p, *q})
    p, q = (np.array([side.get(key, 0) for key in keys]) / sum(side.values()) for side in (p, q))
    alpha = module.ALPHA
    p, q = (1 - alpha) * p + alpha * q, (1 - alpha) * q + alpha * p
    divergence = (entropy(p, (p + q) / 2, base=2) + entropy(q, (p + q) / 2, base=2)) / 2
    return math.sqrt(max(divergence, 0))


def distribution(articles, parts_of, by_rank):
    """The weight of each thing that articles have; the first article is at rank 1."""
    weights = collections.Counter()
    for place, article in enumerate(articles, start=1):
        parts = parts_of(article)
        for thing, share in parts.items():
            weights[thing] += share / place if by_rank else share
    return weights


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, atol=1e-7)


@settings(deadline=None, max_examples=40)
@given(worlds())
def test_one_by_one(world):
    lists, pools, histories, kind, number = world
    history, history_splits = packed(histories)
    pool, pool_splits = packed(pools)
    rows = [[int(a) for a in row if a] for row in lists]

    def of_kind(article):
        return {kind[article]: 1} if kind[article] >= 0 else {}

    assert_close(
        module.calibration(lists, kind + 1, history, history_splits),
        [
            smoothed_distance(
                distribution(clicks[::-1], of_kind, True), distribution(row, of_kind, True)
            )
            for clicks, row in zip(histories, rows)
        ],
    )

    # Articles with no, one or several voices.
    voices = [[], *([a % 3, 7] if a % 2 else [a % 5] * (a % 4 > 0) for a in range(1, ARTICLES))]

    def of_voices(article):
        return collections.Counter(
            {v: voices[article].count(v) / len(voices[article]) for v in voices[article]}
        )

    assert_close(
        module.representation(lists, packed(voices), pool, pool_splits),
        [
            smoothed_distance(
                distribution(candidates, of_voices, False), distribution(row, of_voices, True)
            )
            for candidates, row in zip(pools, rows)
        ],
    )

    def of_minority(article):
        share = abs(number[article])
        return {} if np.isnan(share) else {"minority": share, "majority": 1 - share}

    assert_close(
        module.alternative_voices(lists, np.abs(number), pool, pool_splits),
        [
            smoothed_distance(
                distribution(candidates, of_minority, False), distribution(row, of_minority, True)
            )
            for candidates, row in zip(pools, rows)
        ],
    )

    expected = []
    for candidates, row in zip(pools, rows):
        strengths = [abs(number[a]) for a in candidates if not np.isnan(number[a])]
        low, high = min(strengths, default=0), max(strengths, default=0)

        def of_bin(article, low=low, high=high):
            strength = abs(number[article])
            if np.isnan(strength):
                return {}
            return {min(4, int((strength - low) / ((high - low) / 5))) if high > low else 0: 1}

        expected.append(
            smoothed_distance(
                distribution(candidates, of_bin, False), distribution(row, of_bin, True)
            )
        )
    assert_close(module.activation(lists, number, pool, pool_splits), expected)


@settings(deadline=None, max_examples=40)
@given(worlds(), st.integers(0, 99))
def test_fragmentation(world, seed):
    """Of two lists, each is compared with the other, whatever is drawn."""
    lists, _, _, kind, _ = world
    two = lists[[0, -1]]
    first, second = (
        distribution([a for a in row if a], lambda a: {kind[a]: 1} if kind[a] >= 0 else {}, True)
        for row in two
    )
    for samples in (1, 5):
        found = module.fragmentation(two, kind, samples, seed)
        assert_close(found, [smoothed_distance(first, second)] * 2)
    found = module.fragmentation(lists, kind, seed=seed)
    assert np.all(np.isnan(found) | (found >= 0) & (found <= 1))
    assert np.isnan(module.fragmentation(lists[:1], kind)).all()


@settings(deadline=None, max_examples=40)
@given(worlds())
def test_what_is_the_same_is_at_distance_0(world):
    lists, _, _, kind, _ = world
    articles = module.keyed(module.ranked(lists), kind)
    found = module.distance(articles, articles, len(lists))
    assert np.all(np.isnan(found) | (np.abs(found) < 1e-7))
    other = articles._replace(keys=np.where(articles.keys < 0, -1, articles.keys + KINDS))
    apart = module.distance(articles, other, len(lists))
    assert np.all(np.isnan(apart) | (apart > 0.98))


def test_as_informfully():
    """Their shares are rounded to four digits, and their harmonic numbers are approximate."""
    lists, category = (np.array(ORACLE[name]) for name in ("lists", "category"))
    history, history_splits = packed(ORACLE["histories"])
    pool, pool_splits = packed(ORACLE["pools"])
    theirs = ORACLE["divergences"]
    found = {
        "calibration": module.calibration(lists, category, history, history_splits),
        "activation": module.activation(lists, np.array(ORACLE["score"]), pool, pool_splits),
        "representation": module.representation(lists, packed(ORACLE["voices"]), pool, pool_splits),
        "alternative_voices": module.alternative_voices(
            lists, np.array(ORACLE["minority"]), pool, pool_splits
        ),
        "fragmentation": module.fragmentation(lists[:2], category)[:1],
    }
    assert found.keys() == theirs.keys()
    for name, values in found.items():
        np.testing.assert_allclose(values, theirs[name], atol=2e-3, err_msg=name)
        assert np.std([*values, 0]) > 0.01
