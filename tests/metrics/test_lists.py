from __future__ import annotations

import itertools
import json
import math
import pathlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_npa.metrics import lists as module

ORACLE = json.loads((pathlib.Path(__file__).parents[1] / "oracle" / "lists.json").read_text())
ARTICLES, CATEGORIES = 12, 4


@st.composite
def worlds(draw):
    """Lists of distinct articles, their categories and unit vectors, histories and users."""
    seed = draw(st.integers(0, 2**32 - 1))
    generator = np.random.default_rng(seed)
    number, k = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    lists = np.zeros((number, k), np.int32)
    for row in lists:
        length = generator.integers(0, k + 1) if draw(st.booleans()) else k
        row[:length] = generator.permutation(np.arange(1, ARTICLES))[:length]
    category = np.append(0, generator.integers(0, CATEGORIES, ARTICLES - 1))
    vectors = generator.normal(size=(ARTICLES, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[[0, *generator.integers(1, ARTICLES, 2)]] = 0
    lengths = generator.integers(0, 5, number)
    history = generator.integers(1, ARTICLES, lengths.sum())
    splits = np.concatenate([[0], np.cumsum(lengths)])
    users = generator.integers(0, 3, number)
    return lists, category, vectors, history, splits, users


def shown(row):
    return [int(article) for article in row if article]


def average(values):
    return sum(values) / len(values) if values else math.nan


def agree(found, expected):
    np.testing.assert_allclose(np.asarray(found, float), expected, atol=1e-9)


@settings(deadline=None, max_examples=40)
@given(worlds())
def test_lists_one_by_one(world):
    """The definitions, written as loops."""
    lists, category, vectors, history, splits, _ = world
    clicks = np.random.default_rng(len(history)).integers(0, 9, ARTICLES)
    clicks[0] = 0
    total = sum(count + 1 for count in clicks[1:])
    agree(
        module.novelty(lists, clicks),
        [average([-math.log2((clicks[a] + 1) / total) for a in shown(row)]) for row in lists],
    )
    pairs = [list(itertools.combinations(shown(row), 2)) for row in lists]
    agree(
        module.category_diversity(lists, category),
        [
            average([category[a] != category[b] for a, b in row if category[a] and category[b]])
            for row in pairs
        ],
    )
    agree(
        module.vector_diversity(lists, vectors),
        [
            average(
                [1 - vectors[a] @ vectors[b] for a, b in row if any(vectors[a]) and any(vectors[b])]
            )
            for row in pairs
        ],
    )
    expected = []
    for number, row in enumerate(lists):
        clicked = [category[a] for a in history[splits[number] : splits[number + 1]] if category[a]]
        listed = [category[a] for a in shown(row) if category[a]]
        value = 0 if clicked and listed else math.nan
        for name in set(clicked):
            if listed:
                p, q = (side.count(name) / len(side) for side in (clicked, listed))
                value += p * math.log(p / (0.99 * q + 0.01 * p))
        expected.append(value)
    agree(module.miscalibration(lists, category, history, splits), expected)


@settings(deadline=None, max_examples=40)
@given(worlds())
def test_all_lists_together(world):
    lists, *_, users = world
    counts = module.exposure(lists, ARTICLES)
    assert counts.tolist() == [
        sum(article in shown(row) for row in lists) if article else 0 for article in range(ARTICLES)
    ]
    counts = counts[1:]
    assert module.coverage(counts) == sum(count > 0 for count in counts) / len(counts)
    differences = [abs(a - b) for a in counts.tolist() for b in counts.tolist()]
    if counts.any():
        gini = sum(differences) / (2 * len(counts) * counts.sum())
        assert module.gini(counts) == pytest.approx(gini)
        assert 0 <= gini < 1
    else:
        assert module.gini(counts) is None
    overlaps = [
        len({*lists[a]} & {*lists[b]}) / lists.shape[1]
        for a, b in itertools.combinations(range(len(lists)), 2)
        if lists[a].all() and lists[b].all() and (users[a] != users[b] or not users[a])
    ]
    found = module.personalisation(lists, users)
    assert found == (pytest.approx(1 - average(overlaps)) if overlaps else None)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_the_best_candidates(data):
    impressions = data.draw(st.lists(st.lists(st.sampled_from([0.0, -1.0, 2.0, 0.5]), max_size=5)))
    k = data.draw(st.integers(1, 6))
    scores = np.array([score for row in impressions for score in row], np.float32)
    articles = np.random.default_rng(len(scores)).integers(1, 99, len(scores)).astype(np.int32)
    splits = np.cumsum([0, *map(len, impressions)])
    found = module.best_candidates(scores, articles, splits, k)
    assert found.dtype == np.int32 and found.shape == (len(impressions), k)
    for number, row in enumerate(impressions):
        order = sorted(range(len(row)), key=lambda place: -row[place])[:k]  # stable
        assert shown(found[number]) == [articles[splits[number] + place] for place in order]


def test_extremes():
    one, all_ = np.array([8, 0, 0, 0]), np.array([2, 2, 2, 2])
    assert (module.gini(one), module.gini(all_)) == (0.75, 0)
    assert (module.coverage(one), module.coverage(all_)) == (0.25, 1)
    assert module.coverage(np.zeros(0)) is None
    same, different = np.array([[1, 2], [2, 1]]), np.array([[1, 2], [3, 4]])
    assert module.personalisation(same, np.array([1, 2])) == 0
    assert module.personalisation(different, np.array([1, 2])) == 1
    assert module.personalisation(same, np.array([1, 1])) is None
    # Nothing of what the reader clicks: log 100.
    far = module.miscalibration(np.array([[1]]), np.array([0, 1, 2]), np.array([2]), [0, 1])
    assert far[0] == pytest.approx(math.log(100))
    assert module.mean(np.array([np.nan, 1.0, 2.0])) == 1.5
    assert module.mean(np.array([np.nan])) is None


def test_as_lenskit_and_informfully():
    lists, vectors = np.array(ORACLE["lists"]), np.array(ORACLE["vectors"])
    counts = module.exposure(lists, len(vectors))[1:]
    assert module.gini(counts) == pytest.approx(ORACLE["gini"], abs=1e-9)
    np.testing.assert_allclose(
        module.vector_diversity(lists, vectors), ORACLE["vector_diversity"], atol=1e-5
    )
    agree(
        module.category_diversity(lists, np.array(ORACLE["category"])), ORACLE["category_diversity"]
    )
