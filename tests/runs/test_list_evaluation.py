from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from tfrs_npa.data.article_values import ArticleValues
from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.data.impressions import Impressions
from tfrs_npa.metrics import divergences, lists
from tfrs_npa.metrics.table import MEASURES, lists_table
from tfrs_npa.runs import list_evaluation as module
from tfrs_npa.runs.baselines import Baselines
from tfrs_npa.runs.list_evaluation import ListArticles, evaluate_lists

ARTICLES = 40
IDS = [f"N{number}" for number in range(2, ARTICLES)]
WITH_VALUES = {"radio_alternative_voices", "radio_activation"}


@pytest.fixture(scope="module")
def catalog():
    words = "rain sun north team wins".split()
    titles = [f"{words[i % 5]} {words[i % 3]} {words[i % 2]}" for i in range(len(IDS))]
    return NewsCatalog().adapt({"news_id": IDS, "title": titles})


@pytest.fixture(scope="module")
def category():
    generator = np.random.default_rng(2)
    return np.append([0, 0], generator.integers(0, 4, ARTICLES - 2))


@pytest.fixture(scope="module")
def impressions():
    generator = np.random.default_rng(1)
    pools = [generator.permutation(np.arange(2, 30))[: generator.integers(1, 20)] for _ in range(9)]
    histories = [generator.integers(2, ARTICLES, generator.integers(0, 6)) for _ in pools]
    return Impressions(
        np.arange(9),
        generator.integers(0, 3, 9).astype(np.int32),
        np.concatenate(histories).astype(np.int32),
        np.cumsum([0, *map(len, histories)]),
        np.concatenate(pools).astype(np.int32),
        np.cumsum([0, *map(len, pools)]),
        np.zeros(sum(map(len, pools)), np.int8),
    )


@pytest.fixture(scope="module")
def scores(impressions):
    generator = np.random.default_rng(3)
    return {name: generator.random(len(impressions.clicked)) for name in ("random", "npa")}


@pytest.fixture(scope="module")
def baselines(catalog):
    vectors = catalog.word_embeddings(4, seed=0, from_titles=True, centered=True)
    return Baselines({"N2": (3, 5), "N4": (0, 2), "elsewhere": (1, 1)}, vectors)


@pytest.fixture(scope="module")
def values():
    generator = np.random.default_rng(4)
    columns = {
        "news_id": IDS,
        "alternative_voices": generator.random(len(IDS)),
        "activation": generator.uniform(-1, 1, len(IDS)),
        "representation": generator.choice(["left", "right", "left|right"], len(IDS)).tolist(),
        "story": generator.choice(["vote", "storm", "final", None], len(IDS)).tolist(),
    }
    return ArticleValues(pa.table(columns))


def test_measures_of_all_rankings(impressions, scores, catalog, category, baselines, monkeypatch):
    """In blocks of impressions, as if all were one."""
    articles = ListArticles.of(catalog, category, baselines)
    found = evaluate_lists(scores, impressions, articles)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["impressions"] == 9 and found["measures"].keys() == {"5", "10"}
    catalogue = np.unique(impressions.candidate_values)
    assert found["catalogue"] == len(catalogue)
    shown = lists.best_candidates(
        scores["npa"], impressions.candidate_values, impressions.candidate_splits, 5
    )
    history = impressions.history_values, impressions.history_splits
    measured = found["measures"]["5"]["npa"]
    assert measured.keys() == MEASURES.keys() - WITH_VALUES
    clicks = np.zeros(ARTICLES, int)
    clicks[2] = 3
    expected = {
        "coverage": len(np.unique(shown[shown > 0])) / len(catalogue),
        "gini": lists.gini(np.bincount(shown.ravel(), minlength=ARTICLES)[catalogue]),
        "personalisation": lists.personalisation(shown, impressions.user_id),
        "novelty": np.mean(lists.novelty(shown, clicks)),
        "category_diversity": np.nanmean(lists.category_diversity(shown, category)),
        "miscalibration": np.nanmean(lists.miscalibration(shown, category, *history)),
        "radio_calibration": np.nanmean(divergences.calibration(shown, category, *history)),
        "title_diversity": np.nanmean(lists.vector_diversity(shown, articles.vectors)),
        "radio_fragmentation": np.mean(divergences.fragmentation(shown, np.arange(ARTICLES))),
    }
    for name, value in expected.items():
        assert measured[name] == pytest.approx(value), name
    monkeypatch.setattr(module, "_BLOCK", 2)
    for length, rankings in evaluate_lists(scores, impressions, articles)["measures"].items():
        for name, again in rankings.items():
            assert again == pytest.approx(found["measures"][length][name])


def test_what_an_editor_knows(impressions, scores, catalog, category, baselines, values):
    plain = evaluate_lists(scores, impressions, ListArticles.of(catalog, category, baselines))
    articles = ListArticles.of(catalog, category, baselines, values)
    found = evaluate_lists(scores, impressions, articles)
    ours, before = (result["measures"]["10"]["npa"] for result in (found, plain))
    assert ours.keys() == MEASURES.keys()
    changed = {name for name, value in ours.items() if value != before.get(name)}
    assert changed == WITH_VALUES | {"radio_representation", "radio_fragmentation"}
    # Articles of one story are nearer to each other than articles of their own.
    assert ours["radio_fragmentation"] < before["radio_fragmentation"]
    no_story = np.flatnonzero(articles.story < ARTICLES)
    assert no_story.tolist() == articles.story[no_story].tolist()


def test_the_table(impressions, scores, catalog, category, baselines):
    found = evaluate_lists(scores, impressions, ListArticles.of(catalog, category, baselines))
    lines = lists_table(found).splitlines()
    assert lines[0] == "Top 5 of 9 impressions, of 26 articles that could be shown"
    assert lines[2].split() == ["random", "NPA"]
    (row,) = (line for line in lines[: len(lines) // 2] if line.startswith("Gini of exposure"))
    expected = [found["measures"]["5"][name]["gini"] for name in ("random", "npa")]
    assert row.split()[-2:] == [f"{value:.4f}" for value in expected]
    assert not any(line.startswith("RADio activation") for line in lines)


def test_without_categories_and_vectors(impressions, scores, catalog):
    """As in a run of an earlier version, or a log that has none."""
    articles = ListArticles.of(catalog, np.zeros(ARTICLES, int), Baselines({}))
    found = evaluate_lists(scores, impressions, articles)["measures"]["5"]["npa"]
    assert found["category_diversity"] is found["miscalibration"] is None
    assert found["radio_calibration"] is found["radio_representation"] is None
    assert "title_diversity" not in found and found["coverage"] > 0


def test_fragmentation_of_a_sample(impressions, scores, catalog, category, baselines, monkeypatch):
    monkeypatch.setattr(module, "FRAGMENTATION_LISTS", 4)
    articles = ListArticles.of(catalog, category, baselines)
    found = evaluate_lists(scores, impressions, articles)["measures"]["10"]["npa"]
    assert 0 < found["radio_fragmentation"] <= 1
