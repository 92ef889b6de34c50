"""Word vectors: read from GloVe, word2vec and NumPy files, or made of titles."""

from __future__ import annotations

import functools
import logging
import os
import pathlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import BinaryIO

import numpy as np
from scipy import sparse
from tqdm import tqdm

from tfrs_npa._quoting import quoted
from tfrs_npa.data.eigenvectors import largest_eigenvectors
from tfrs_npa.data.named_rows import first_not_finite, read_named_rows, require_regular_file

_FIRST_ROWS = 1024
_CHUNK = 65536
# Of a vector, and the bytes of a line.
_MOST_NUMBERS, _LONGEST_LINE = 10_000, 1 << 20
# About the standard deviation of GloVe's vectors.
_DEVIATION = 0.4

logger = logging.getLogger(__name__)


class WordVectors:
    """Words and their vectors.

    >>> vectors = WordVectors(["cat", "dog"], np.eye(2, dtype=np.float32))
    >>> vectors.coverage(["cat", "cat", "cow", "dog"])
    0.75

    Args:
        words: Distinct words.
        vectors: `float32 [words, dim]`, one row for each word.

    Raises:
        ValueError: if `vectors` is not one row a word, a word is repeated, or a number is not
            finite.
    """

    def __init__(self, words: Iterable[str], vectors: np.ndarray):
        self._rows = {word: row for row, word in enumerate(words)}
        self.vectors = np.asarray(vectors, np.float32)
        if self.vectors.ndim != 2 or len(self.vectors) != len(self._rows):
            raise ValueError(
                f"{len(self._rows):,} distinct words need an array [{len(self._rows)}, dim], "
                f"got shape {self.vectors.shape}"
            )
        row = first_not_finite(self.vectors)
        if row is not None:
            raise ValueError(f"row {row} (the first is 0) holds a number that is not finite")

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, word: str) -> bool:
        return word in self._rows

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.vectors.shape[1]

    @property
    def words(self) -> list[str]:
        """The words in the order of their rows in `vectors`."""
        return list(self._rows)

    def coverage(self, words: Iterable[str]) -> float:
        """Returns the share of `words` that have a vector; a repeated word counts each time.

        Returns:
            A number from 0 to 1; 0 if there are no words.
        """
        known = [word in self._rows for word in words]
        return sum(known) / len(known) if known else 0.0

    def matrix(self, words: Iterable[str], seed: int) -> np.ndarray:
        """Returns vectors of `words`, with draws for those that have none.

        Missing words are drawn from a normal distribution with the mean and the standard deviation,
        dimension by dimension, of the words that are known.

        Args:
            words: The words, in order.
            seed: Seed of the draws.

        Returns:
            `float32 [len(words), dim]`.

        Raises:
            ValueError: if none of `words` has a vector.
        """
        rows = np.array([self._rows.get(word, -1) for word in words], np.int64)
        missing = rows < 0
        if missing.all():
            raise ValueError(
                f"none of {len(rows):,} words has a vector; is this the right file of word vectors?"
            )
        matrix = self.vectors[rows]
        known = matrix[~missing]
        generator = np.random.default_rng(seed)
        draws = generator.standard_normal((np.count_nonzero(missing), self.dim), np.float32)
        mean, deviation = known.mean(axis=0, dtype=np.float64), known.std(axis=0, dtype=np.float64)
        matrix[missing] = mean + deviation * draws
        return matrix

    @classmethod
    def read(
        cls, path: str | os.PathLike[str] | None, words_path: str | os.PathLike[str] | None = None
    ) -> WordVectors | None:
        """Reads a text file, or with a word list an `.npy` file, as the command line names them.

        Args:
            path: The vectors; None: there are none.
            words_path: The word list of `from_npy`.

        Returns:
            The vectors; None without a `path`.
        """
        if path is None:
            return None
        return cls.from_text(path) if words_path is None else cls.from_npy(path, words_path)

    @classmethod
    def from_text(
        cls, path: str | os.PathLike[str], words: Collection[str] | None = None
    ) -> WordVectors:
        """Reads a text file with a word and its numbers on each line, separated by blanks.

        GloVe's files start with the first word; word2vec's with a line `count dim`. A word may hold
        blanks itself (glove.840B has some). Of a repeated word, the first vector counts.

        Args:
            path: The file, in UTF-8.
            words: The only words to keep, to save memory; None: all.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if a line is malformed, with file and line, if there are fewer or more lines
                than word2vec's first line says, or no vectors.
        """
        path = pathlib.Path(path)
        require_regular_file(path)
        rows: dict[str, int] = {}
        with path.open("rb") as file:
            lines = enumerate(_lines(file), start=1)
            first = next(lines, (1, b""))[1].split()
            count = None
            if len(first) == 2 and all(field.isdigit() for field in first):
                # Python reads no more than 4,300 digits; of 18, the rest is too large.
                count, dim = (int(field[:18]) for field in first)
            else:
                dim = len(first) - 1
                file.seek(0)
                lines = enumerate(_lines(file), start=1)
            if dim < 1:
                raise ValueError(f"{path}:1: no word vectors here: expected a word and its numbers")
            if dim > _MOST_NUMBERS:
                raise ValueError(
                    f"{path}:1: vectors of {dim:,} numbers; at most {_MOST_NUMBERS:,} are allowed: "
                    "expected a word and its numbers on each line"
                )
            # No more than the file can hold.
            most = path.stat().st_size // (2 * dim) + 1
            vectors = np.empty((min(_FIRST_ROWS, most), dim), np.float32)
            number = 1
            with _progress(path) as bar:
                for number, line in lines:
                    bar.update(len(line))
                    word, vector = _parse(line, dim, path, number)
                    if word in rows or (words is not None and word not in words):
                        continue
                    if len(rows) == len(vectors):
                        # Grown in place: a second array would double the memory.
                        vectors.resize((len(vectors) * 3 // 2 + 1, dim), refcheck=False)
                    vectors[len(rows)] = vector
                    rows[word] = len(rows)
        if count is not None and number != count + 1:
            raise ValueError(f"{path}:1: promises {count:,} words, but {number - 1:,} follow")
        if not rows:
            raise ValueError(f"{path} holds no vector for any of the words wanted")
        vectors.resize((len(rows), dim), refcheck=False)
        return cls(rows, vectors)

    @classmethod
    def from_npy(
        cls, path: str | os.PathLike[str], words_path: str | os.PathLike[str]
    ) -> WordVectors:
        """Reads a NumPy array of vectors and the text file with its words, one a line.

        Args:
            path: An `.npy` file of floats `[words, dim]`.
            words_path: The words in the order of the rows, in UTF-8.

        Raises:
            FileNotFoundError: if a file does not exist.
            ValueError: if the array is not `[words, dim]`, there are more or fewer words than rows,
                a word is repeated, or a number is not finite.
        """
        words, vectors = read_named_rows(path, words_path, "words")
        return cls(words, vectors)


def _parse(line: bytes, dim: int, path: pathlib.Path, number: int) -> tuple[str, np.ndarray]:
    fields = line.rstrip(b" \t\r\n").replace(b"\t", b" ").rsplit(b" ", dim)
    if len(line) > _LONGEST_LINE:
        raise ValueError(f"{path}:{number}: the line has more than {_LONGEST_LINE:,} bytes")
    try:
        vector = np.fromiter(map(float, fields[1:]), np.float32, dim)
    except ValueError:
        vector = None
    if vector is None or not np.isfinite(vector).all():
        shown = quoted(b" ".join(fields[:3])[:99].decode("utf-8", errors="replace"))
        raise ValueError(
            f"{path}:{number}: expected a word and {dim} finite numbers, got {shown}..."
        )
    return fields[0].decode("utf-8", errors="replace"), vector


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Returns the lines of a file; of one that is too long, its beginning."""
    return iter(functools.partial(file.readline, _LONGEST_LINE + 1), b"")


def _progress(path: pathlib.Path) -> tqdm:
    return tqdm(
        total=path.stat().st_size,
        desc=f"Reading {path.name}",
        unit="B",
        unit_scale=True,
        delay=2,
        disable=None,
    )


def title_word_vectors(
    words: Sequence[str], token_values: np.ndarray, token_splits: np.ndarray, dim: int
) -> WordVectors | None:
    """Makes vectors in which words of the same titles are alike, for use without pretrained ones.

    The vectors factorise the positive pointwise mutual information of words in titles, `max(0, log
    p(v, w) / (p(v) p(w)))`, by its largest eigenvalues: as word2vec does implicitly (Levy &
    Goldberg, NIPS 2014, sections 4 and 5.2), the same at each call. The mean is taken out, and the
    standard deviation is about that of GloVe's vectors.

    Args:
        words: Words by index, 0 and 1 for padding and the unknown word.
        token_values: `int32 [tokens]`, the words of all titles, packed.
        token_splits: `int64 [titles + 1]`, where each title starts and ends.
        dim: Length of a vector. If there are fewer distinct words, the rest is 0.

    Returns:
        Vectors of the words that share a title with another word; None if there are none.
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
    values, vectors = largest_eigenvectors(pairs.tocsr(), min(dim, len(known)))
    vectors = vectors * np.sqrt(np.maximum(values, 0))
    vectors -= vectors.mean(axis=0)
    vectors *= _DEVIATION / max(vectors.std(), 1e-9)
    table = np.zeros((len(known), dim), np.float32)
    table[:, : vectors.shape[1]] = vectors
    return WordVectors([words[index] for index in known.tolist()], table)


def _cooccurrences(token_values, token_splits, num_words):
    """Returns how many titles two different words share, `[num_words, num_words]`."""
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
