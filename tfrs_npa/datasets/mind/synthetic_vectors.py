"""Word vectors of the synthetic world's language, as others publish theirs."""

from __future__ import annotations

import os
import pathlib

import numpy as np
from scipy import sparse

from .synthetic_language import Language, bags

_DEVIATION = 0.4  # as GloVe's have
_COMMON, _COMMON_OF_FREQUENT = 0.15, 0.35  # parts of the common direction, in _DEVIATION
_OVERSAMPLING, _POWER_ITERATIONS = 12, 2


def word_vectors(
    language: Language, sentences: int, dim: int, rng: np.random.Generator
) -> tuple[list[str], np.ndarray]:
    """Makes vectors of words that share sentences: positive pointwise mutual information, factored.

    The positive pointwise mutual information of two words, PPMI(v, w) = max(0, log(n(v, w) n /
    (n(v) n(w)))), counts the sentences n(v, w) with both. Vectors are the leading eigenvectors of
    the matrix, times the square root of the eigenvalue (Levy and Goldberg, 2014), by a randomised
    algorithm (Halko et al., 2011). Then a common direction is added, more so to frequent words, as
    vectors of real language have one (Mu and Viswanath, 2018), and all are turned at random, since
    the dimensions of published vectors have no order.

    Args:
        language: The language.
        sentences: Number of sentences of the corpus, over all days.
        dim: Length of a vector.
        rng: Generator of the corpus and of the algorithm.

    Returns:
        The words that occur at least `vector_min_count` times, most frequent first, and
        `float32 [words, dim]`, with a standard deviation of 0.4.

    Raises:
        ValueError: if `dim` is not between 1 and the number of such words.
    """
    knobs = language.knobs
    day = rng.integers(-knobs.days_before, knobs.training_days + 2, sentences)
    contents = language.draw_contents(day, rng)
    tokens, splits = language.write(contents, language.lengths(sentences, rng), rng)
    counts = np.bincount(tokens, minlength=len(language.words))
    kept = np.argsort(-counts, kind="stable")
    kept = kept[counts[kept] >= knobs.vector_min_count]
    if not 1 <= dim <= len(kept):
        raise ValueError(f"dim is {dim}; expected 1 to {len(kept)}, the number of words")
    has = bags(tokens, splits, len(language.words))
    has.data[:] = 1
    vectors = _factor(_information(has[:, kept]), dim, rng)
    own = rng.standard_normal(vectors.shape, np.float32)
    own *= np.linalg.norm(vectors, axis=1, keepdims=True) / np.sqrt(dim)
    vectors = np.sqrt(1 - knobs.vector_own) * vectors + np.sqrt(knobs.vector_own) * own
    vectors *= _DEVIATION / vectors.std()
    log = np.log(counts[kept])
    frequent = (log - log.min()) / max(log.max() - log.min(), 1e-9)
    common = _DEVIATION * rng.choice([-1.0, 1.0], dim)
    vectors += (_COMMON + _COMMON_OF_FREQUENT * frequent)[:, None] * common
    vectors = vectors @ np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    vectors *= _DEVIATION / vectors.std()
    return language.words[kept].tolist(), vectors.astype(np.float32)


def write_text(path: str | os.PathLike[str], words: list[str], vectors: np.ndarray) -> None:
    """Writes vectors as GloVe's files have them: a word and its numbers on a line, no header."""
    with pathlib.Path(path).open("w", encoding="utf-8") as file:
        for word, vector in zip(words, vectors.tolist(), strict=True):
            file.write(f"{word} {' '.join(f'{value:.5f}' for value in vector)}\n")


def _information(has: sparse.csr_array) -> sparse.csr_array:
    """Returns the positive pointwise mutual information of words, `float32 [words, words]`."""
    together = (has.T @ has).tocoo()
    row, column, count = together.row, together.col, together.data
    apart = row != column
    row, column, count = row[apart], column[apart], count[apart].astype(np.float64)
    share = np.bincount(row, count, has.shape[1])
    information = np.log(count * count.sum() / (share[row] * share[column]))
    positive = information > 0
    entries = (information[positive].astype(np.float32), (row[positive], column[positive]))
    return sparse.csr_array(entries, shape=together.shape)


def _factor(matrix: sparse.csr_array, dim: int, rng: np.random.Generator) -> np.ndarray:
    """Returns the leading eigenvectors times the square roots of their (positive) eigenvalues."""
    width = min(dim + _OVERSAMPLING, matrix.shape[0])
    # Double precision: sums depend on the number of threads, and no printed digit should.
    basis = rng.standard_normal((matrix.shape[0], width))
    for _ in range(1 + _POWER_ITERATIONS):
        basis = np.linalg.qr(matrix @ basis)[0]
    values, axes = np.linalg.eigh(basis.T @ (matrix @ basis))
    values, axes = values[::-1][:dim], axes[:, ::-1][:, :dim]
    return basis @ (axes * np.maximum(values, 0) ** 0.5)
