"""What readers of impressions give, before ids become indices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Chunk(NamedTuple):
    """Consecutive impressions, lists packed one after the other.

    The ids in `history` and `candidates` are a list, a tensor or an Arrow array of strings. Of a
    feature of each candidate, there are the values and how many each impression has.
    """

    impression_id: Any
    user_id: list[str]
    history: Any
    history_lengths: np.ndarray
    candidates: Any
    candidate_lengths: np.ndarray
    clicked: np.ndarray
    clicked_lengths: np.ndarray
    features: dict[str, np.ndarray]
    candidate_features: dict[str, tuple[np.ndarray, np.ndarray]]

    def checked(self, where: str, numbers: Sequence[int] | np.ndarray) -> Chunk:
        """Returns itself; there has to be a label, 1, 0 or -1, for each candidate.

        Of each feature of candidates, there has to be a value for each candidate, too.

        Args:
            where: How an impression is named, such as `"impression {}"`.
            numbers: What stands for `{}` in it, for each impression.

        Raises:
            ValueError: if there is not; names the impression.
        """
        if wrong := self._mistake():
            raise ValueError(f"{where.format(numbers[wrong[0]])} has {wrong[1]}")
        return self

    def _mistake(self) -> tuple[int, str] | None:
        lengths = self.candidate_lengths
        others = {"labels": self.clicked_lengths}
        others |= {f"values of {name}": of for name, (_, of) in self.candidate_features.items()}
        for what, found in others.items():
            differ = np.flatnonzero(lengths != found)
            if len(differ):
                row = int(differ[0])
                return row, f"{lengths[row]} candidates but {found[row]} {what}"
        wrong = np.flatnonzero(~np.isin(self.clicked, (1, 0, -1)))
        if len(wrong):
            row = int(np.searchsorted(np.cumsum(lengths), wrong[0], side="right"))
            kinds = "labels are 1 (clicked), 0 (not clicked), -1 (unknown)"
            return row, f"the label {self.clicked[wrong[0]]}; {kinds}"
        return None
