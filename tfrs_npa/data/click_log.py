"""Impressions made of a log of clicks alone, in which nothing says what else was shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from tfrs_npa.data.catalog import UNKNOWN_ARTICLE, NewsCatalog
from tfrs_npa.data.times import require_seconds

NEGATIVES = 20
"""Articles that each click is compared with."""
WINDOW = 24 * 3600.0
"""For how long before a click its negatives were clicked, in seconds."""
_ROUNDS = 8
_CHUNK = 65536


def columns_of_clicks(
    clicks: Mapping[str, Any], catalog: NewsCatalog, negatives: int, window: float, seed: int
) -> tuple[dict[str, Any], np.ndarray]:
    """Makes impressions of clicks; see `Impressions.from_clicks`.

    Returns:
        The fields of `Impressions` but `user_id`, and the ids of their users, `[impressions]`.

    Raises:
        ValueError: as `Impressions.from_clicks`.
    """
    if negatives < 1 or not window > 0:
        raise ValueError(
            f"negatives is {negatives} and window {window:g}; at least one negative is needed, of "
            "a window of more than 0 seconds"
        )
    users, news, times = (_column(clicks, name) for name in ("user_id", "news_id", "time"))
    if not len(users) == len(news) == len(times):
        lengths = f"{len(users):,}, {len(news):,} and {len(times):,}"
        raise ValueError(f"user_id, news_id and time differ in length: {lengths}")
    if not len(users):
        raise ValueError("the log holds no clicks")
    if "" in news:
        raise ValueError(f"row {np.flatnonzero(news == '')[0]} (the first is 0) has no news_id")
    seconds = _seconds(times)
    codes = np.unique(users, return_inverse=True)[1].astype(np.int64)
    # Anonymous visitors are not one user.
    anonymous = np.flatnonzero(users == "")
    codes[anonymous] = len(codes) + anonymous
    distinct, places = np.unique(news, return_inverse=True)
    articles = catalog.index(distinct.tolist())[places]
    # By time; of equal times, in the order of the log.
    order = np.argsort(seconds, kind="stable")
    codes, articles, seconds = codes[order], articles[order], seconds[order]
    candidates, lengths = _candidates(codes, articles, seconds, negatives, window, seed)
    clicked = np.zeros(len(candidates), np.int8)
    ends = np.cumsum(lengths)
    clicked[ends - lengths] = 1
    # The clicks of each user one after the other: a history is the part before a click.
    by_user = np.argsort(codes, kind="stable")
    first = np.searchsorted(codes[by_user], codes)
    position = np.empty(len(codes), np.int64)
    position[by_user] = np.arange(len(codes))
    fields = {
        "impression_id": order.astype(np.int64),
        "history_values": articles[by_user],
        "history_splits": np.stack([first, position], axis=1),
        "candidate_values": candidates,
        "candidate_splits": np.append(0, ends),
        "clicked": clicked,
    }
    return fields, users[order]


def _candidates(users, articles, seconds, negatives, window, seed):
    """Returns each click and its negatives, packed, and how many articles each list has."""
    generator = np.random.default_rng(seed)
    first = np.searchsorted(seconds, seconds - window)
    number = int(articles.max()) + 1
    own = np.unique(users * number + articles)

    def drawn_for(clicks):
        lists = np.zeros((len(clicks), negatives), articles.dtype)
        # What is drawn in vain, such as an article that the user clicked, is drawn again.
        for _ in range(_ROUNDS):
            rows, columns = np.nonzero((lists == 0) & (first[clicks] < clicks)[:, np.newaxis])
            drawn = articles[generator.integers(first[clicks[rows]], clicks[rows])]
            pairs = users[clicks[rows]] * number + drawn
            found = np.minimum(np.searchsorted(own, pairs), len(own) - 1)
            drawn[(own[found] == pairs) | (drawn == UNKNOWN_ARTICLE)] = 0
            lists[rows, columns] = drawn
            lists.sort(axis=1)
            lists[:, 1:][lists[:, 1:] == lists[:, :-1]] = 0
        return lists

    candidates, lengths = [], []
    for start in range(0, len(articles), _CHUNK):
        clicks = np.arange(start, min(start + _CHUNK, len(articles)))
        lists = np.column_stack([articles[clicks], drawn_for(clicks)])
        candidates.append(lists[lists != 0])
        lengths.append(np.count_nonzero(lists, axis=1))
    return np.concatenate(candidates), np.concatenate(lengths)


def _column(clicks, name):
    try:
        column = np.asarray(clicks[name])
    except KeyError as error:
        raise ValueError(f"the log lacks {name}; it needs user_id, news_id and time") from error
    if not len(column):
        return column
    if column.dtype.kind in "OU" and name != "time":
        wrong = [row for row, value in enumerate(column) if not isinstance(value, str)]
        if wrong:
            raise ValueError(
                f"row {wrong[0]} (the first is 0) has the {name} {column[wrong[0]]!r}, not a string"
            )
        return column.astype(object)
    if name != "time":
        raise ValueError(f"{name} must hold strings, got {column.dtype}")
    return column


def _seconds(times):
    if times.dtype == object:
        times = _of_objects(times)
    if times.dtype.kind == "M":
        missing = np.isnat(times)
        seconds = times.astype("datetime64[us]").astype(np.int64) / 1e6
    elif times.dtype.kind in "iuf":
        missing, seconds = np.isnan(times), times.astype(np.float64)
    else:
        raise ValueError(f"time must hold seconds or datetimes, got {times.dtype}")
    if missing.any():
        raise ValueError(f"row {np.flatnonzero(missing)[0]} (the first is 0) has no time")
    require_seconds(seconds, range(len(seconds)))
    return seconds


def _of_objects(times):
    """Returns numbers, or datetimes in UTC, of Python's objects and those of pandas."""
    try:
        array = pa.array(times)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ValueError(f"time must hold seconds or datetimes: {error}") from error
    if pa.types.is_timestamp(array.type):
        array = array.cast(pa.timestamp("us", array.type.tz)).cast(pa.timestamp("us"))
    return array.to_numpy(zero_copy_only=False)
