"""What readers of impressions give, before ids become indices."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Chunk(NamedTuple):
    """Consecutive impressions, lists packed one after the other.

    The ids in `history` and `candidates` are a list, a tensor or an Arrow array of strings.
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

    def wrong_labels(self) -> tuple[int, str] | None:
        """Returns the first impression with wrong labels, and what it has; None if there is none.

        Labels are 1, 0 or -1, and there is one for each candidate.
        """
        lengths = self.candidate_lengths
        differ = np.flatnonzero(lengths != self.clicked_lengths)
        if len(differ):
            row = int(differ[0])
            return row, f"{lengths[row]} candidates but {self.clicked_lengths[row]} labels"
        wrong = np.flatnonzero(~np.isin(self.clicked, (1, 0, -1)))
        if len(wrong):
            row = int(np.searchsorted(np.cumsum(lengths), wrong[0], side="right"))
            kinds = "labels are 1 (clicked), 0 (not clicked), -1 (unknown)"
            return row, f"the label {self.clicked[wrong[0]]}; {kinds}"
        return None
