"""Word vectors from nothing but titles, for want of pretrained ones."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import eigsh

from tfrs_npa.data.word_vectors import WordVectors

_CHUNK = 65536
# About that of GloVe's vectors.
_DEVIATION = 0.4

logger = logging.getLogger(__name__)


def title_word_vectors(
    words: Sequence[str], token_values: np.ndarray, token_splits: np.ndarray, dim: int
) -> WordVectors | None:
    """Makes vectors in which words that stand in the same titles are alike.

    The vectors factorise the positive pointwise mutual information of words in titles, `max(0, log
    p(v, w) / (p(v) p(w)))`, by its largest eigenvalues: what word2vec does implicitly (Levy &
    Goldberg, NIPS 2014, sections 4 and 5.2), without a random draw. The mean is taken out, and the
    standard deviation is about that of GloVe's vectors.

    Args:
        words: words by number, 0 and 1 for padding and the unknown word.
        token_values: `int32 [tokens]`, the words of all titles, packed.
        token_splits: `int64 [titles + 1]`, where each title starts and ends.
        dim: length of a vector. Where there are fewer distinct words, the rest is 0.

    Returns:
        Vectors of the words that stand in a title with another word; None if there are none.
    """
    together = _cooccurrences(token_values, token_splits, len(words))
    totals = np.asarray(together.sum(axis=1)).ravel()
    known = np.flatnonzero(totals)
    if not len(known):
        return None
    logger.info("making word vectors from %s titles", f"{len(token_splits) - 1:,}")
    pairs = together[known][:, known].tocoo()
    share = totals[known]
    information = np.log(pairs.data * share.sum() / (share[pairs.row] * share[pairs.col]))
    pairs.data = np.maximum(information, 0)
    if len(known) > dim + 1:
        # A start of our own: the usual one is random.
        start = np.ones(len(known))
        values, vectors = eigsh(pairs.tocsr(), dim, which="LA", v0=start, tol=1e-4)
    else:
        values, vectors = np.linalg.eigh(pairs.toarray())
    vectors = vectors * np.sqrt(np.maximum(values, 0))
    vectors -= vectors.mean(axis=0)
    vectors *= _DEVIATION / max(vectors.std(), 1e-9)
    table = np.zeros((len(known), dim), np.float32)
    # The largest eigenvalues are the last.
    table[:, : vectors.shape[1]] = vectors[:, -dim:]
    return WordVectors([words[number] for number in known], table)


def _cooccurrences(token_values, token_splits, num_words):
    """How many titles two different words share, `[num_words, num_words]`."""
    together = sparse.csr_array((num_words, num_words), dtype=np.float64)
    for first in range(0, len(token_splits) - 1, _CHUNK):
        splits = token_splits[first : first + _CHUNK + 1]
        values = token_values[splits[0] : splits[-1]]
        shape = (len(splits) - 1, num_words)
        titles = sparse.csr_array((np.ones(len(values)), values, splits - splits[0]), shape=shape)
        titles.sum_duplicates()
        titles.data[:] = 1
        together = together + titles.T @ titles
    together.setdiag(0)
    together.eliminate_zeros()
    return together
