"""What is trained on, what early stopping looks at, and what is reported on."""

from __future__ import annotations

import dataclasses

import numpy as np

from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.data.impressions import Impressions
from tfrs_npa.data.mind import MindData
from tfrs_npa.data.users import UserIndex

_SECONDS_PER_DAY = 86_400


@dataclasses.dataclass(frozen=True, eq=False)
class Parts:
    """What a training reads.

    Attributes:
        data: where all of it comes from.
        users: the users of the impressions that are trained on.
        train: the impressions that are trained on.
        stopping: those that early stopping looks at; None if it does not.
        report: those that the figures are of; early stopping never sees them.
        names: what the three are, by name.
    """

    data: MindData
    users: UserIndex
    train: Impressions
    stopping: Impressions | None
    report: Impressions
    names: dict[str, str | None]


def read_parts(data: MindData, catalog: NewsCatalog, holdout: str) -> Parts:
    """Reads the impressions and decides what is trained on, stopped on and reported on.

    Args:
        data: all splits.
        catalog: the articles of all splits.
        holdout: see `TrainingSettings`.

    Raises:
        ValueError: if the last day shall be held out, and there is only one; if the split to
            report or to stop on has no labels.
    """
    report_split = data.report_split
    if not data.is_labelled(report_split):
        raise ValueError(f"the split {report_split} of {data.name} has no labels to measure by")
    if holdout == "auto":
        holdout = "validation" if report_split == "test" else "last-day"
    users = UserIndex().adapt(data.behaviors["train"])
    train = Impressions.from_dataset(data.behaviors["train"], catalog, users, ["time"])
    stopping = None
    names = {"train": "train", "stopping": None, "report": report_split}
    if holdout == "last-day":
        train, stopping, users = hold_out_last_day(train, users)
        names |= {"train": "train without its last day", "stopping": "last day of train"}
    elif holdout == "validation":
        stopping = Impressions.from_dataset(data.behaviors["validation"], catalog, users)
        names |= {"stopping": "validation"}
    reported = Impressions.from_dataset(data.behaviors[report_split], catalog, users)
    return Parts(data, users, train, stopping, reported, names)


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
