"""What is in the lists that rankings would show, whatever was clicked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfrs_npa.data import ragged
from tfrs_npa.data.article_values import ArticleValues
from tfrs_npa.data.catalog import FIRST_ARTICLE, NewsCatalog
from tfrs_npa.data.impressions import Impressions
from tfrs_npa.metrics import divergences, lists
from tfrs_npa.runs.baselines import Baselines, title_vectors

LENGTHS = (5, 10)
"""Lengths of the lists."""
FRAGMENTATION_LISTS = 20_000
"""How many lists fragmentation is measured on; if there are more, they are drawn."""
_BLOCK = 16384
_SEED = 0


@dataclasses.dataclass(frozen=True, eq=False)
class ListArticles:
    """What lists are measured by: articles, by index of a catalogue.

    Attributes:
        category: int `[articles]`: 0 where an article has none.
        clicks: int `[articles]`: the clicks of training.
        voices: Of whom or what each article speaks, `int64 [values]` and `int64 [articles + 1]`:
            article `i` has `values[splits[i] : splits[i + 1]]`.
        story: int `[articles]`, the same for articles about the same event.
        vectors: float32 `[articles, dim]` of titles, of unit length, or zeros; None: there are
            none.
        minority: float `[articles]`, see `divergences.alternative_voices`; None: not known.
        score: float `[articles]`, see `divergences.activation`; None: not known.
    """

    category: np.ndarray
    clicks: np.ndarray
    voices: tuple[np.ndarray, np.ndarray]
    story: np.ndarray
    vectors: np.ndarray | None = None
    minority: np.ndarray | None = None
    score: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        catalog: NewsCatalog,
        category: np.ndarray,
        baselines: Baselines,
        values: ArticleValues | None = None,
    ) -> ListArticles:
        """Returns what is known of the articles of a catalogue.

        Args:
            catalog: The articles.
            category: int `[articles]`: 0 where an article has none.
            baselines: Those of the training, for its clicks and its word vectors.
            values: Flags and scores of articles. Without them, an article speaks of its category,
                and is a story of its own.
        """
        clicks = np.zeros(len(catalog), np.int64)
        clicks[catalog.index(list(baselines.popularity))] = [
            clicked for clicked, _ in baselines.popularity.values()
        ]
        clicks[:FIRST_ARTICLE] = 0
        has_category = category > 0
        given: dict[str, Any] = {}
        voices, stories = None, None
        if baselines.word_vectors is not None:
            given["vectors"] = title_vectors(catalog, baselines.word_vectors)
        if values is not None:
            given["minority"] = values.numbers("alternative_voices", catalog)
            given["score"] = values.numbers("activation", catalog)
            voices = values.texts("representation", catalog)
            stories = values.texts("story", catalog)
        if voices is None:
            voices = category[has_category].astype(np.int64), ragged.splits_of(has_category)
        story = np.arange(len(catalog))
        if stories is not None:
            texts, splits = stories
            story[np.diff(splits) > 0] = len(story) + texts
        return cls(category, clicks, voices, story, **given)


def evaluate_lists(
    scores: Mapping[str, np.ndarray], impressions: Impressions, articles: ListArticles
) -> dict[str, Any]:
    """Measures the lists of the best candidates of each impression.

    Args:
        scores: By name of the ranking, float `[candidates]` of all impressions.
        impressions: The impressions, packed.
        articles: Their articles.

    Returns:
        In types that JSON has: `impressions`; `catalogue`, how many articles are a candidate of
        some impression; and `measures`, by length of the list (`"5"`, `"10"`), name of the ranking
        and name of the measure: None where there is nothing to measure.
    """
    candidates = impressions.candidate_values
    catalogue = np.unique(candidates[candidates >= FIRST_ARTICLE])
    measures: dict[str, dict[str, dict[str, float | None]]] = {str(k): {} for k in LENGTHS}
    for name, column in scores.items():
        shown = lists.best_candidates(
            column, candidates, impressions.candidate_splits, max(LENGTHS)
        )
        for k in LENGTHS:
            measures[str(k)][name] = _measures(shown[:, :k], impressions, articles, catalogue)
    return {"impressions": len(impressions), "catalogue": len(catalogue), "measures": measures}


def _measures(shown, impressions, articles: ListArticles, catalogue) -> dict[str, float | None]:
    counts = lists.exposure(shown, len(articles.category))[catalogue]
    found: dict[str, float | None] = {
        "coverage": lists.coverage(counts),
        "gini": lists.gini(counts),
        "personalisation": lists.personalisation(shown, impressions.user_id),
    }
    blocks = [
        _of_each(shown[first : first + _BLOCK], impressions, first, articles)
        for first in range(0, len(shown), _BLOCK)
    ]
    found |= {
        name: lists.mean(np.concatenate([block[name] for block in blocks])) for name in blocks[0]
    }
    found["radio_fragmentation"] = lists.mean(_fragmentation(shown, articles.story))
    return found


def _of_each(shown, impressions: Impressions, first: int, articles) -> dict[str, np.ndarray]:
    """Returns the measures of single lists: those of impressions from `first` on."""
    rows = slice(first, first + len(shown) + 1)
    history, history_splits = _packed(impressions.history_values, impressions.history_splits[rows])
    pool, pool_splits = _packed(impressions.candidate_values, impressions.candidate_splits[rows])
    category = articles.category
    found = {
        "novelty": lists.novelty(shown, articles.clicks),
        "category_diversity": lists.category_diversity(shown, category),
        "miscalibration": lists.miscalibration(shown, category, history, history_splits),
        "radio_calibration": divergences.calibration(shown, category, history, history_splits),
        "radio_representation": divergences.representation(
            shown, articles.voices, pool, pool_splits
        ),
    }
    if articles.vectors is not None:
        found["title_diversity"] = lists.vector_diversity(shown, articles.vectors)
    if articles.minority is not None:
        found["radio_alternative_voices"] = divergences.alternative_voices(
            shown, articles.minority, pool, pool_splits
        )
    if articles.score is not None:
        found["radio_activation"] = divergences.activation(shown, articles.score, pool, pool_splits)
    return found


def _fragmentation(shown: np.ndarray, story: np.ndarray) -> np.ndarray:
    if len(shown) > FRAGMENTATION_LISTS:
        generator = np.random.default_rng(_SEED)
        shown = shown[generator.choice(len(shown), FRAGMENTATION_LISTS, replace=False)]
    return divergences.fragmentation(shown, story, seed=_SEED)


def _packed(values, splits) -> tuple[np.ndarray, np.ndarray]:
    return values[splits[0] : splits[-1]], splits - splits[0]
