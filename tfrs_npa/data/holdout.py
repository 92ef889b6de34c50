"""Setting part of the training impressions aside, to stop the training on."""

from __future__ import annotations

import dataclasses

import numpy as np

from tfrs_npa.data.impressions import Impressions
from tfrs_npa.data.users import UserIndex

_SECONDS_PER_DAY = 86_400


def hold_out_last_day(
    impressions: Impressions, users: UserIndex
) -> tuple[Impressions, Impressions, UserIndex]:
    """Parts the impressions of the last day from the earlier ones.

    A user who is seen on the last day only is a new user there, as most users of a news site are:
    the user index that is returned knows the users of the earlier days alone.

    Args:
        impressions: impressions with the feature `time`, in seconds since the epoch. The last day
            is the UTC day of the latest one.
        users: the index that `impressions` were converted with.

    Returns:
        The impressions of the earlier days and those of the last day, both with the numbers of the
        new user index, and that index.

    Raises:
        ValueError: if all impressions are of one day.
    """
    days = impressions.features["time"] // _SECONDS_PER_DAY
    last = days == days.max()
    if last.all():
        raise ValueError(
            "all training impressions are of one day, so its last day cannot be held out to stop "
            "on; use --holdout none, which trains for a fixed number of epochs"
        )
    earlier, later = impressions.take(~last), impressions.take(last)
    numbers = [number for number in dict.fromkeys(earlier.user_id.tolist()) if number]
    kept = UserIndex()
    for number in numbers:
        kept.add(users.ids[number])
    renumbered = np.zeros(len(users), np.int32)
    renumbered[numbers] = np.arange(1, len(kept))
    earlier, later = (
        dataclasses.replace(part, user_id=renumbered[part.user_id]) for part in (earlier, later)
    )
    return earlier, later, kept
