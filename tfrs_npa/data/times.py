"""Times of impressions and clicks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# In seconds, the year 5138; in milliseconds, 1973.
_NO_SECONDS = 1e11


def require_seconds(times: np.ndarray, rows: Sequence[int] | np.ndarray) -> None:
    """Raises a ValueError if times are not in seconds since the epoch; names the row.

    Args:
        times: Numbers, `[rows]`.
        rows: The index of each row.
    """
    if times.dtype.kind not in "iuf":
        raise ValueError(f"time must hold seconds or datetimes, got {times.dtype}")
    wrong = np.flatnonzero(~(np.abs(times) < _NO_SECONDS))
    if len(wrong):
        time = times[wrong[0]]
        hint = "; are they milliseconds? divide them by 1000" if np.isfinite(time) else ""
        raise ValueError(
            f"row {rows[wrong[0]]} (the first is 0) has the time {time}; times are seconds since "
            f"the epoch{hint}"
        )
