"""Vectors of articles, computed elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import numpy as np

from tfrs_npa.data.named_rows import first_not_finite, read_named_rows


class ArticleVectors:
    """Vectors of articles by id, such as sentence embeddings of their titles.

    An article gets its vector, or none, when it is added to a catalogue that has these, and keeps
    it. `NewsCatalog.set_article_vectors` replaces those of all articles.

    >>> vectors = ArticleVectors(["N7", "N9"], [[0.0, 1.0], [0.6, 0.8]])
    >>> vectors.matrix(["N9", "N1"]).tolist()
    [[0.6, 0.8], [0.0, 0.0]]

    Args:
        ids: Distinct ids of articles.
        vectors: `float32 [ids, dim]`, one row for each id. They are used as they are; of about unit
            length, they train best.

    Raises:
        ValueError: if `vectors` is not one row an id, an id is repeated, or a number is not finite.
    """

    def __init__(self, ids: Iterable[str], vectors):
        self._rows = {news_id: row for row, news_id in enumerate(ids)}
        self._vectors = np.asarray(vectors, np.float32)
        if self._vectors.ndim != 2 or len(self._vectors) != len(self._rows):
            raise ValueError(
                f"{len(self._rows):,} distinct ids need an array [{len(self._rows)}, dim], got "
                f"shape {self._vectors.shape}"
            )
        row = first_not_finite(self._vectors)
        if row is not None:
            raise ValueError(f"row {row} (the first is 0) holds a number that is not finite")

    def __len__(self) -> int:
        """Number of articles that have a vector."""
        return len(self._rows)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._vectors.shape[1]

    @classmethod
    def load(cls, path: str | os.PathLike[str], ids_path: str | os.PathLike[str]) -> ArticleVectors:
        """Reads an array of vectors and the text file with its ids, one a line.

        Args:
            path: An `.npy` file of floats `[ids, dim]`.
            ids_path: The ids in the order of the rows, in UTF-8.

        Raises:
            FileNotFoundError: if a file does not exist.
            ValueError: if the array is not `[ids, dim]`, there are more or fewer ids than rows, an
                id is repeated, or a number is not finite.
        """
        ids, vectors = read_named_rows(path, ids_path, "ids")
        try:
            return cls(ids, vectors)
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)}: {error}") from error

    def extend(self, ids: Iterable[str], vectors) -> ArticleVectors:
        """Adds vectors, or replaces those of the same ids; returns itself.

        They count for articles that are added to a catalogue from now on.

        Args, Raises: as the class, and if the vectors are of another length.
        """
        more = ArticleVectors(ids, vectors)
        if more.dim != self.dim:
            raise ValueError(f"the vectors have {self.dim} numbers, the new ones {more.dim}")
        rows = [self._rows.setdefault(news_id, len(self._rows)) for news_id in more._rows]
        # A copy: the array may be the caller's, or that of a file.
        vectors = np.zeros((len(self._rows), self.dim), np.float32)
        vectors[: len(self._vectors)] = self._vectors
        vectors[rows] = more._vectors
        self._vectors = vectors
        return self

    def items(self) -> tuple[list[str], np.ndarray]:
        """Returns the ids and their vectors, `float32 [ids, dim]`."""
        return list(self._rows), self.matrix(list(self._rows))

    def matrix(self, ids: Sequence[str]) -> np.ndarray:
        """Returns the vectors of articles, `float32 [ids, dim]`; zeros for those without."""
        found = np.fromiter((self._rows.get(news_id, -1) for news_id in ids), np.int64, len(ids))
        matrix = np.zeros((len(ids), self.dim), np.float32)
        matrix[found >= 0] = self._vectors[found[found >= 0]]
        return matrix
