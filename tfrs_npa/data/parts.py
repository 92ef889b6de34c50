"""What is trained on, what early stopping looks at, and what is reported on."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from tfrs_npa.data.cache import Cache
from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.data.impressions import Impressions, impressions_key
from tfrs_npa.data.mind import MindData, load_mind
from tfrs_npa.data.settings import DataSettings
from tfrs_npa.data.users import UserIndex
from tfrs_npa.data.word_vectors import WordVectors

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


def read_data(settings: DataSettings, cache: Cache | None = None) -> tuple[NewsCatalog, Parts]:
    """Reads articles and impressions.

    Args:
        settings: where they are, and what is held out.
        cache: where preprocessed data is kept.

    Returns:
        The articles of all splits, with the words of the training titles and of the word vectors,
        and the parts.

    Raises:
        ValueError: if anything about the files or the settings is not as it should be.
    """
    vectors = WordVectors.read(settings.word_vectors, settings.word_list)
    data = load_mind(settings.data, settings.data_dir, settings.manual_dir, cache)
    catalog = data.add_articles(NewsCatalog(vectors).adapt(data.titles("train")))
    return catalog, read_parts(data, catalog, settings.holdout)


def read_parts(data: MindData, catalog: NewsCatalog, holdout: str) -> Parts:
    """Reads the impressions and decides what is trained on, stopped on and reported on.

    Args:
        data: all splits.
        catalog: the articles of all splits.
        holdout: see `DataSettings`.

    Raises:
        ValueError: if the last day shall be held out, and there is only one; if the split to
            report or to stop on has no labels.
    """
    report_split = data.report_split
    if not data.is_labelled(report_split):
        raise ValueError(f"the split {report_split} of {data.name} has no labels to measure by")
    if holdout == "auto":
        holdout = "validation" if report_split == "test" else "last-day"
    users = data.users("train")
    train = data.impressions("train", catalog, users, ["time"])
    stopping = None
    names = {"train": "train", "stopping": None, "report": report_split}
    if holdout == "last-day":
        train, stopping, users = hold_out_last_day(
            train, users, functools.partial(_kept, data, catalog, users)
        )
        names |= {"train": "train without its last day", "stopping": "last day of train"}
    elif holdout == "validation":
        stopping = data.impressions("validation", catalog, users)
        names |= {"stopping": "validation"}
    reported = data.impressions(report_split, catalog, users)
    return Parts(data, users, train, stopping, reported, names)


def _kept(data: MindData, catalog: NewsCatalog, users: UserIndex, part: str, make) -> Impressions:
    """A part of the training impressions, as `data` keeps all of them."""
    key = None
    if data.cache is not None:
        key = impressions_key(data.files["behaviors"]["train"], catalog, users, ["time"], part)
    return Impressions.from_pieces(make, data.cache, key)


def hold_out_last_day(
    impressions: Impressions,
    users: UserIndex,
    join: Callable[[str, Callable], Impressions] = lambda part, make: Impressions.from_pieces(make),
) -> tuple[Impressions, Impressions, UserIndex]:
    """Parts the impressions of the last day from the earlier ones.

    A user who is seen on the last day only is a new user there, as most users of a news site are:
    the user index that is returned knows the users of the earlier days alone.

    Args:
        impressions: impressions with the feature `time`, in seconds since the epoch. The last day
            is the UTC day of the latest one.
        users: the index that `impressions` were converted with.
        join: makes impressions of the name of a part and what gives its pieces.

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
    numbers = [number for number in dict.fromkeys(impressions.user_id[~last].tolist()) if number]
    kept = UserIndex()
    for number in numbers:
        kept.add(users.ids[number])
    renumbered = np.zeros(len(users), np.int32)
    renumbered[numbers] = np.arange(1, len(kept))

    def pieces(rows):
        for piece in impressions.pieces(np.flatnonzero(rows)):
            yield piece | {"user_id": renumbered[piece["user_id"]]}

    earlier = join("earlier days", lambda: pieces(~last))
    later = join("last day", lambda: pieces(last))
    return earlier, later, kept
