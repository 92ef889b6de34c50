"""Re-ranks the best articles of a user, so that the list is more diverse, or more like the user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.metrics.lists import category_shares, kl_divergence
from tfrs_npa.retrieval.requests import string_matrix
from tfrs_npa.retrieval.top_k import ArticleTopK
from tfrs_npa.settings import POOL, RERANKINGS

# The score that the layers give where there is no article.
_NOTHING = np.float32(-1e9)


def mmr(scores: np.ndarray, vectors: np.ndarray, k: int, trade_off: float) -> np.ndarray:
    """Chooses articles by maximal marginal relevance.

    One after the other, the candidate with the greatest `(1 - trade_off) * score - trade_off * the
    greatest cosine to an article chosen before` (Carbonell & Goldstein, The use of MMR,
    diversity-based reranking for reordering documents and producing summaries, SIGIR 1998, whose
    lambda is `1 - trade_off`). Scores are first scaled to [0, 1] over the candidates of a row, so
    that the trade-off means the same for all users and models.

    Args:
        scores: float `[rows, candidates]`; -inf: there is no candidate.
        vectors: float `[rows, candidates, dim]`, of unit length, or zeros where there is none.
        k: How many to choose.
        trade_off: From 0, the order of the scores, to 1.

    Returns:
        int `[rows, min(k, candidates)]`: the positions of the chosen candidates, the first choice
        first; -1 where a row has fewer. Of equals, the earlier one is chosen.
    """
    relevance = _scaled(scores, trade_off)
    closest = np.full(scores.shape, -np.inf)
    penalty = np.zeros(scores.shape)

    def gains():
        return (1 - trade_off) * relevance - trade_off * penalty

    def choose(chosen):
        found = np.take_along_axis(vectors, chosen[:, np.newaxis, np.newaxis], axis=1)[:, 0]
        np.maximum(closest, np.einsum("rcd,rd->rc", vectors, found), out=closest)
        penalty[:] = closest

    return _greedy(scores, k, gains, choose)


def calibrated(
    scores: np.ndarray, category: np.ndarray, wanted: np.ndarray, k: int, trade_off: float
) -> np.ndarray:
    """Chooses articles so that the list has the mix of categories that its reader clicks.

    Greedily, the list with the greatest `(1 - trade_off) * sum of scores - trade_off * divergence`
    (Steck, Calibrated recommendations, RecSys 2018), with the divergence of
    `tfrs_npa.metrics.lists.miscalibration`. Scores are scaled as in `mmr`.

    Args:
        scores: float `[rows, candidates]`; -inf: there is no candidate.
        category: int `[rows, candidates]`; 0: none.
        wanted: float `[rows, categories]`, the shares of categories among the clicks of the reader;
            zeros for a reader without any, whose order stays.
        k: How many to choose.
        trade_off: From 0, the order of the scores, to 1.

    Returns:
        As `mmr`.
    """
    relevance = _scaled(scores, trade_off)
    rows, categories = wanted.shape
    counts = np.zeros((rows, categories))
    # What one more article of each category adds; index 0: nothing.
    more = np.eye(categories)
    more[0] = 0

    def gains():
        lists = counts[:, np.newaxis] + more
        shares = lists / np.maximum(lists.sum(axis=-1, keepdims=True), 1)
        divergence = kl_divergence(wanted[:, np.newaxis], shares)
        return (1 - trade_off) * relevance - trade_off * np.take_along_axis(
            divergence, category, axis=1
        )

    def choose(chosen):
        found = np.take_along_axis(category, chosen[:, np.newaxis], axis=1)[:, 0]
        counts[:] += more[found]

    return _greedy(scores, k, gains, choose)


class Reranker:
    """Re-ranks what a top K layer returns, for serving.

    It asks the layer for more articles than are wanted, the pool, and chooses among them.

    >>> index = PersonalizedTopK(model).index()
    >>> reranker = Reranker(index, model.catalog, "mmr", 0.3, vectors=title_vectors)
    >>> scores, ids = reranker({"user_id": ["U1"], "history": [["N1", "N2"]]}, k=10)

    Args:
        index: The layer, such as `PersonalizedTopK`.
        catalog: The articles of its model.
        method: `mmr` or `calibrated`.
        trade_off: What the other aim counts, from 0, which changes nothing, to 1.
        vectors: For `mmr`, by index of the catalogue, float `[articles, dim]` of unit
            length, or zeros. Articles added later have none.
        category: For `calibrated`, by index, int `[articles]`; 0: none. Likewise.
        pool: How many articles to choose from.

    Raises:
        ValueError: if the method is another one, what it needs is missing, `trade_off` is not from
            0 to 1, or `pool` is less than 1.
    """

    def __init__(
        self,
        index: ArticleTopK,
        catalog: NewsCatalog,
        method: str,
        trade_off: float,
        vectors: np.ndarray | None = None,
        category: np.ndarray | None = None,
        pool: int = POOL,
    ):
        if method not in RERANKINGS:
            raise ValueError(f"method is {method!r}; it has to be one of {', '.join(RERANKINGS)}")
        require_trade_off(trade_off)
        if pool < 1:
            raise ValueError(f"pool is {pool}; it has to be at least 1")
        name, needed = ("vectors", vectors) if method == "mmr" else ("category", category)
        if needed is None:
            raise ValueError(f"{method} needs {name} of the articles")
        self._index, self._catalog, self._pool = index, catalog, pool
        self._method, self._trade_off = method, trade_off
        self._of_article = needed

    def __call__(
        self, queries: Mapping[str, Any], k: int, **options: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the chosen articles of each user.

        Args:
            queries: As the layer takes them, with `history`.
            k: How many articles to return.
            options: Others of the layer's, such as `exclude_history`.

        Returns:
            Scores as the layer's, and ids as bytes, each `[batch, k]`, in the order of choice;
            where fewer are left, a score of -1e9 and the empty id.
        """
        with self._index.unchanged():
            pool = min(max(self._pool, k), self._index.num_articles)
            scores, ids = (part.numpy() for part in self._index(queries, k=pool, **options))
        scores = np.where(ids == b"", -np.inf, scores)
        catalog, of_article = self._catalog, self._of_article
        articles = catalog.index(ids)
        if self._method == "mmr":
            places = mmr(scores, _known(of_article, articles), k, self._trade_off)
        else:
            history = catalog.index(string_matrix(queries["history"], "history").numpy())
            rows = np.repeat(np.arange(len(history)), history.shape[1])
            shape = len(history), int(of_article.max(initial=0)) + 1
            wanted = category_shares(rows, _known(of_article, history).ravel(), shape)
            places = calibrated(scores, _known(of_article, articles), wanted, k, self._trade_off)
        chosen = places >= 0
        scores = np.where(chosen, np.take_along_axis(scores, places, axis=1), _NOTHING)
        return scores, np.where(chosen, np.take_along_axis(ids, places, axis=1), b"")


def require_trade_off(trade_off: float) -> None:
    """Raises a ValueError if a trade-off is not from 0 to 1."""
    if not 0 <= trade_off <= 1:
        raise ValueError(f"the trade-off is {trade_off:g}; it has to be from 0 to 1")


def _known(of_article: np.ndarray, articles: np.ndarray) -> np.ndarray:
    """Returns what articles have; nothing for those that came later."""
    is_known = articles < len(of_article)
    return of_article[np.where(is_known, articles, 0)]


def _scaled(scores: np.ndarray, trade_off: float) -> np.ndarray:
    require_trade_off(trade_off)
    there = np.isfinite(scores)
    low = np.min(scores, axis=1, keepdims=True, where=there, initial=np.inf)
    high = np.max(scores, axis=1, keepdims=True, where=there, initial=-np.inf)
    width = high - low
    return np.where(there, scores - np.where(there, low, 0), 0) / np.where(width > 0, width, 1)


def _greedy(scores: np.ndarray, k: int, gains, choose) -> np.ndarray:
    rows = np.arange(len(scores))
    left = np.isfinite(scores)
    places = np.full((len(scores), min(k, scores.shape[1])), -1)
    for step in range(places.shape[1]):
        best = np.argmax(np.where(left, gains(), -np.inf), axis=1)
        places[:, step] = np.where(left[rows, best], best, -1)
        left[rows, best] = False
        choose(best)
    return places
