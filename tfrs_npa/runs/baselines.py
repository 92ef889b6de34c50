"""Scores that need no training: what a model has to beat."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np
from scipy import sparse

from tfrs_npa.data import ragged
from tfrs_npa.data.catalog import FIRST_ARTICLE, UNKNOWN_ARTICLE, NewsCatalog
from tfrs_npa.data.impressions import Impressions

BASELINES = ("random", "popularity", "cosine", "density_ratio")
"""Names of the baselines; the last two need word vectors."""
SHARPNESS = 4.0
"""The factor of cosines in a density: a click counts `exp(4)` times as much at cosine 1 as at 0."""
BACKGROUND = 512
"""How many clicks the density of everyone's clicks is estimated from."""
HISTORY = 50
"""How many clicks of a user are read, the latest ones."""
_SEED = 0
_CHUNK = 16384


@dataclasses.dataclass(frozen=True, eq=False)
class Baselines:
    """The baselines of a training set.

    Of an article n and a user whose clicks are j, with unit title vectors r:

    - `random`: a draw;
    - `popularity`: the click-through rate of n in training, 0 if it was never shown;
    - `cosine`: the mean of `r_n . r_j`, so the cosine of n and the user's mean title, times what is
      the same for all candidates;
    - `density_ratio`: `log mean_j exp(b r_n . r_j) - log mean_k exp(b r_n . r_k)` with b = 4 and a
      sample k of everyone's clicks in training: whether n lies where this user clicks, rather than
      where everyone does.

    The vector of a title is the mean of its words', at unit length. A title of which no word has a
    vector is left out of a history, and a candidate with such a title scores 0; so do all
    candidates of a user without clicks.

    Attributes:
        popularity: For articles by id, how often each was clicked and shown in training.
        word_vectors: `float16 [words, dim]` by index of the catalogue, centred by how often words
            occur; None: the last two baselines cannot be computed.
    """

    popularity: Mapping[str, tuple[int, int]]
    word_vectors: np.ndarray | None = None

    @classmethod
    def of_training(cls, impressions: Impressions, catalog: NewsCatalog, dim: int) -> Baselines:
        """Returns the baselines of training impressions.

        Args:
            impressions: The labelled impressions.
            catalog: Their articles. Its pretrained word vectors are used; without them, those of
                the titles that `adapt` saw.
            dim: The length of vectors made of titles.
        """
        if catalog.word_vectors is not None:
            dim = catalog.word_vectors.dim
        # The seed is of words without a vector, which are 0 when centred.
        vectors = catalog.word_embeddings(dim, seed=0, from_titles=True, centered=True)
        if vectors is not None:
            vectors = vectors.astype(np.float16)
        return cls(popularity_counts(impressions, catalog), vectors)

    def scores(
        self, impressions: Impressions, catalog: NewsCatalog
    ) -> Iterator[tuple[str, np.ndarray]]:
        """Yields the name of each baseline that can be computed, and its scores.

        Args:
            impressions: The impressions.
            catalog: Their articles, with the words that the vectors belong to.

        Yields:
            Name, and float32 `[candidates]` of all impressions, packed.
        """
        packed = impressions.without_unknown_clicks().take(slice(None))
        generator = np.random.default_rng(_SEED)
        yield "random", generator.random(len(packed.candidate_values), np.float32)
        yield "popularity", self._rates(catalog)[packed.candidate_values]
        if self.word_vectors is not None:
            titles = title_vectors(catalog, self.word_vectors)
            yield from content_scores(packed, titles, self._background(catalog))

    def _rates(self, catalog):
        rates = np.zeros(len(catalog), np.float32)
        clicked, shown = self._counts
        rates[catalog.index(list(self.popularity))] = clicked / shown
        # Where articles are counted that the catalogue does not hold.
        rates[UNKNOWN_ARTICLE] = 0
        return rates

    def _background(self, catalog):
        """Returns the articles of a sample of everyone's clicks."""
        clicked, _ = self._counts
        articles = catalog.index(list(self.popularity))
        if not clicked.sum():
            return articles[:0]
        generator = np.random.default_rng(_SEED)
        return generator.choice(articles, BACKGROUND, p=clicked / clicked.sum())

    @property
    def _counts(self):
        return np.array([*self.popularity.values()], np.float64).reshape(-1, 2).T


def popularity_counts(impressions: Impressions, catalog: NewsCatalog) -> dict[str, tuple[int, int]]:
    """Counts how often each article was clicked and shown.

    Args:
        impressions: Labelled impressions, such as those of training.
        catalog: Their articles.

    Returns:
        `(clicked, shown)` by id, for the known articles that were shown.
    """
    shown, clicked = np.zeros((2, len(catalog)), np.int64)
    for first in range(0, len(impressions), _CHUNK):
        rows = np.arange(first, min(first + _CHUNK, len(impressions)))
        positions = ragged.positions(impressions.candidate_splits, rows)
        articles = impressions.candidate_values[positions]
        is_click = impressions.clicked[positions] == 1
        shown += np.bincount(articles, minlength=len(catalog))
        clicked += np.bincount(articles[is_click], minlength=len(catalog))
    ids = catalog.ids
    return {
        ids[index]: (int(clicked[index]), int(shown[index]))
        for index in np.flatnonzero(shown)
        if index >= FIRST_ARTICLE
    }


def title_vectors(catalog: NewsCatalog, word_vectors: np.ndarray) -> np.ndarray:
    """Returns the mean of the word vectors of each title, at unit length.

    Args:
        catalog: The articles.
        word_vectors: float `[words, dim]`.

    Returns:
        `float32 [articles, dim]`; zeros where no word has a vector.

    Raises:
        ValueError: if there are more or fewer vectors than words.
    """
    words = len(catalog.require_vocabulary())
    if len(word_vectors) != words:
        raise ValueError(f"{len(word_vectors):,} word vectors do not fit {words:,} words")
    used, columns = np.unique(catalog.token_values, return_inverse=True)
    shape = (len(catalog), len(used))
    counts = np.ones(len(columns), np.float32)
    titles = sparse.csr_array((counts, columns, catalog.token_splits), shape=shape)
    # A sum: the length of the title cancels out.
    vectors = titles @ word_vectors[used].astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    # float16 leaves sums of opposite vectors that are not quite zero.
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 1e-6)


def content_scores(
    impressions: Impressions, titles: np.ndarray, background: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """Yields `cosine` and `density_ratio`, each with its scores as `Baselines.scores`.

    Args:
        impressions: Impressions, packed.
        titles: float32 `[articles, dim]` of unit length, or zeros.
        background: Articles of everyone's clicks, `[sample]`; empty: their density is left out.
    """
    cosine, ratio = np.zeros((2, len(impressions.candidate_values)), np.float32)
    has_vector = np.any(titles, axis=1)
    log_background = _log_densities(titles, impressions.candidate_values, titles[background])
    history_splits, candidate_splits = impressions.history_splits, impressions.candidate_splits
    for row in range(len(impressions)):
        end = history_splits[row + 1]
        clicks = impressions.history_values[max(history_splits[row], end - HISTORY) : end]
        clicks = clicks[has_vector[clicks]]
        if not len(clicks):
            continue
        shown = slice(candidate_splits[row], candidate_splits[row + 1])
        candidates = impressions.candidate_values[shown]
        # Not @: on a busy machine, the threads of so small a product wait for each other 100 times
        # as long as it takes.
        cosines = np.einsum("nd,jd->nj", titles[candidates], titles[clicks])
        cosine[shown] = cosines.mean(axis=1)
        density = np.exp(SHARPNESS * cosines).mean(axis=1)
        ratio[shown] = np.log(density) - log_background[candidates]
    yield "cosine", cosine
    yield "density_ratio", ratio


def _log_densities(titles, candidates, background):
    """Returns the log density of everyone's clicks at the candidates, by article `[articles]`."""
    log_densities = np.zeros(len(titles), np.float32)
    if len(background):
        articles = np.unique(candidates)
        for first in range(0, len(articles), _CHUNK):
            chunk = articles[first : first + _CHUNK]
            cosines = titles[chunk] @ background.T
            log_densities[chunk] = np.log(np.exp(SHARPNESS * cosines).mean(axis=1))
    return log_densities
