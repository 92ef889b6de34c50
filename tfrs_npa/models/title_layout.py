"""The layout of packed words in which titles of equal length lie in blocks."""

from __future__ import annotations

import copy

import numpy as np

# Rows of a group. Blocks begin with a group, which lies at a multiple of 64 bytes, and are
# multiplied by whole groups: a product of few rows would give equal titles unequal last bits.
ROWS = 32
# Words of a block, about: with their products, few enough for a processor's cache.
BLOCK = 16384


class TitleLayout:
    """Rows of a matrix for the words of titles.

    Titles of equal length are in blocks, which begin with a new group of rows. A block has the
    first words of all its titles, then all second words and so on; or it has one title after the
    other, and is completed to whole groups of titles.

    Args:
        lengths: `[titles]` words of each title.
        scored: How many of the first titles are scored, and have blocks of their own; None: all.
        by_title: Whether blocks have one title after the other.

    Attributes:
        blocks: `int32 [blocks, 3]` of scored titles: the first group, the words of a title, and the
            titles.
        order: `int32 [titles]`, the position of each title when one block comes after the other.
        places: How many such positions there are, those that titles have left included.
        scored: How many of them are in blocks of scored titles, which come first.
        first: `int32 [titles]`, the row of the first word of each title.
        step: `int32 [titles]`, by how much the row of each further word is higher.
        rows: Rows of the matrix, a multiple of `ROWS`.
    """

    def __init__(self, lengths: np.ndarray, scored: int | None = None, by_title: bool = False):
        self._lengths, self._by_title = lengths, by_title
        self.first = np.zeros(len(lengths), np.int32)
        self.step = np.zeros(len(lengths), np.int32)
        scored = len(lengths) if scored is None else min(scored, len(lengths))
        self.places, self.scored = len(lengths), scored
        is_scored = np.arange(len(lengths)) < scored
        by_block = np.lexsort((lengths, ~is_scored))
        self.order = np.empty(len(lengths), np.int32)
        self.order[by_block] = np.arange(len(lengths))
        blocks, group = [], 0
        for part in (by_block[:scored], by_block[scored:]):
            for length in np.unique(lengths[part]):
                same = part[slice(*np.searchsorted(lengths[part], [length, length + 1]))]
                most = max(1, BLOCK // max(1, length))
                for first in range(0, len(same), most):
                    titles = same[first : first + most]
                    place, number = np.arange(len(titles)), len(titles)
                    blocks.append((group, length, number, is_scored[titles[0]]))
                    self.first[titles] = ROWS * group + place * (length if by_title else 1)
                    self.step[titles] = 1 if by_title else number
                    group += (
                        length * -(-number // ROWS) if by_title else -(-length * number // ROWS)
                    )
        every = np.array(blocks, np.int32).reshape(-1, 4)
        self.blocks = every[every[:, 3] == 1, :3]
        self.rows = ROWS * int(group)

    def grown(
        self, lengths: np.ndarray, scored: int, target: np.ndarray, source: np.ndarray
    ) -> TitleLayout:
        """Returns a layout of other titles, some of which stay where they are in this one.

        The others come after all that is there. What left stays empty.

        Args:
            lengths: As above.
            scored: As above.
            target: `[staying]` titles of the new layout.
            source: `[staying]` the same titles in this one, where they are scored if they will be.
        """
        others = np.setdiff1d(np.arange(len(lengths)), target, assume_unique=True)
        added = TitleLayout(lengths[others], int(np.searchsorted(others, scored)), self._by_title)
        result = copy.copy(self)
        result._lengths = lengths
        result.first, result.step, result.order = np.empty([3, len(lengths)], np.int32)
        result.first[target], result.first[others] = self.first[source], self.rows + added.first
        result.step[target], result.step[others] = self.step[source], added.step
        own, new = self.order[source], added.order
        result.order[target] = own + np.where(own < self.scored, 0, added.scored)
        result.order[others] = new + np.where(new < added.scored, self.scored, self.places)
        moved = added.blocks + np.array([self.rows // ROWS, 0, 0], np.int32)
        result.blocks = np.concatenate([self.blocks, moved])
        result.places, result.scored = self.places + added.places, self.scored + added.scored
        result.rows = self.rows + added.rows
        return result

    def words(self, titles: np.ndarray) -> np.ndarray:
        """Returns the rows of the words of some titles, `int32`, one title after the other."""
        lengths = self._lengths[titles]
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        first, step = (np.repeat(part[titles], lengths) for part in (self.first, self.step))
        rows = first + within * step
        return rows.astype(np.int32)
