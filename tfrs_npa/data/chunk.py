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
