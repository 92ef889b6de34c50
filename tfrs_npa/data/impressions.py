"""A behaviors data set as packed arrays of integers."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_npa.data import ragged
from tfrs_npa.data.arrow_tables import checked_table, table_of_frame
from tfrs_npa.data.cache import Cache, joined, state_of
from tfrs_npa.data.catalog import UNKNOWN_ARTICLE, NewsCatalog
from tfrs_npa.data.click_log import NEGATIVES, WINDOW, columns_of_clicks
from tfrs_npa.data.conversion import (
    CANDIDATE_FEATURE,
    FEATURE,
    USER_IDS,
    Behaviors,
    check_spec,
    convert,
    num_rows,
    user_ids_of,
)
from tfrs_npa.data.parquet import ParquetLog
from tfrs_npa.data.users import UserIndex

_CHUNK = 65536


@dataclasses.dataclass(frozen=True, eq=False)
class Impressions:
    """Impressions in file order, strings replaced by the indices of a catalogue and a user index.

    Histories and candidate lists are packed: impression `i` has the history
    `history_values[history_splits[i] : history_splits[i + 1]]`, oldest first and at full length.
    The arrays may be read-only memory maps.

    Attributes:
        impression_id: `int64 [impressions]`.
        user_id: `int32 [impressions]`; 0 is the unknown user.
        history_values: `int32 [clicked articles]`; 1 is the unknown article.
        history_splits: `int64 [impressions + 1]`; in a `view`, `[impressions, 2]`: where the
            history of each impression starts and ends.
        candidate_values: `int32 [candidates]`; 1 is the unknown article.
        candidate_splits: As `history_splits`, for candidates.
        clicked: `int8 [candidates]`; 1 clicked, 0 not clicked, -1 not labelled.
        features: Other features by name, each `[impressions, ...]`.
        candidate_features: Features of each candidate by name, numbers `[candidates, ...]`.

    Raises:
        ValueError: if the lengths of the arrays do not match.
    """

    impression_id: np.ndarray
    user_id: np.ndarray
    history_values: np.ndarray
    history_splits: np.ndarray
    candidate_values: np.ndarray
    candidate_splits: np.ndarray
    clicked: np.ndarray
    features: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    candidate_features: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        rows = len(self)
        lengths = {
            "user_id": (len(self.user_id), rows),
            "clicked": (len(self.clicked), len(self.candidate_values)),
            **{name: (len(array), rows) for name, array in self.features.items()},
        }
        for name, array in self.candidate_features.items():
            lengths[name] = len(array), len(self.candidate_values)
        for name in ("history", "candidate"):
            splits, values = getattr(self, f"{name}_splits"), getattr(self, f"{name}_values")
            if splits.ndim == 2:
                lengths[f"{name}_splits"] = len(splits), rows
            else:
                lengths[f"{name}_splits"] = len(splits), rows + 1
                lengths[f"{name}_values"] = len(values), splits[-1]
        for name, (length, expected) in lengths.items():
            if length != expected:
                raise ValueError(f"{name} has {length:,} entries, expected {expected:,}")

    def __len__(self) -> int:
        """Number of impressions."""
        return len(self.impression_id)

    def view(self, rows) -> Impressions:
        """The chosen impressions, without a copy of their histories and candidates.

        `history_values`, `candidate_values`, `clicked` and `candidate_features` remain those of all
        impressions.

        Args:
            rows: Anything that selects from a NumPy array: positions, a boolean mask, a slice.
        """
        rows = np.arange(len(self))[rows]
        return dataclasses.replace(
            self,
            impression_id=self.impression_id[rows],
            user_id=self.user_id[rows],
            history_splits=ragged.select(self.history_splits, rows),
            candidate_splits=ragged.select(self.candidate_splits, rows),
            features={name: array[rows] for name, array in self.features.items()},
        )

    def take(self, rows) -> Impressions:
        """The chosen impressions, packed, in the order of `rows`.

        Args:
            rows: As in `view`.
        """
        rows = np.arange(len(self))[rows]
        return Impressions(
            impression_id=self.impression_id[rows],
            user_id=self.user_id[rows],
            history_values=ragged.gather(self.history_values, self.history_splits, rows),
            history_splits=ragged.splits_of(ragged.bounds(self.history_splits, rows)[1]),
            candidate_values=ragged.gather(self.candidate_values, self.candidate_splits, rows),
            candidate_splits=ragged.splits_of(ragged.bounds(self.candidate_splits, rows)[1]),
            clicked=ragged.gather(self.clicked, self.candidate_splits, rows),
            features={name: array[rows] for name, array in self.features.items()},
            candidate_features={
                name: ragged.gather(array, self.candidate_splits, rows)
                for name, array in self.candidate_features.items()
            },
        )

    def without_unknown_clicks(self) -> Impressions:
        """The impressions as if nobody had clicked an article that the catalogue does not hold."""
        is_known = self.history_values != UNKNOWN_ARTICLE
        if is_known.all():
            return self
        kept = ragged.splits_of(is_known)
        return dataclasses.replace(
            self,
            history_values=self.history_values[is_known],
            history_splits=kept[self.history_splits],
        )

    @classmethod
    def from_columns(cls, columns: Mapping[str, np.ndarray]) -> Impressions:
        """Makes impressions of columns that hold lengths instead of splits.

        Args:
            columns: As `tfrs_npa.data.conversion.convert` yields them, joined.
        """
        features, candidate_features = (
            {
                name.removeprefix(prefix): array
                for name, array in columns.items()
                if name.startswith(prefix)
            }
            for prefix in (FEATURE, CANDIDATE_FEATURE)
        )
        return cls(
            columns["impression_id"],
            columns["user_id"],
            columns["history_values"],
            ragged.splits_of(columns["history_lengths"]),
            columns["candidate_values"],
            ragged.splits_of(columns["candidate_lengths"]),
            columns["clicked"],
            features,
            candidate_features,
        )

    @classmethod
    def from_dataset(
        cls,
        behaviors: tf.data.Dataset,
        catalog: NewsCatalog,
        users: UserIndex,
        features: Sequence[str] = (),
        *,
        cache: Cache | None = None,
        files: Sequence[str | os.PathLike[str]] = (),
        part: str = "",
    ) -> Impressions:
        """Converts a behaviors data set.

        Article ids that are not in `catalog` become the unknown article, and one warning counts
        them. The empty id is padding, in a history or a candidate list, and is dropped.

        With a cache this is done once, and the arrays are memory maps. It is repeated when a file,
        the articles or the features change.

        >>> behaviors, info = tfds.load("mind/small-behaviors", split="train", with_info=True)
        >>> cache, files = Cache("my-cache"), info.splits["train"].filepaths
        >>> Impressions.from_dataset(behaviors, catalog, users, cache=cache, files=files)

        Args:
            behaviors: Unbatched elements `{"impression_id": int [], "user_id": string [],
                "history": string [clicks], "candidates": {"news_id": string [candidates],
                "clicked": int [candidates]}}`, and others.
            catalog: Indices of the articles.
            users: Indices of the users.
            features: Names of other features to keep. A fixed shape makes it one of the impression;
                it must hold numbers if there is a cache. A shape `[None, ...]` makes it one of each
                candidate: numbers, as many as candidates.
            cache: Keeps the arrays.
            files: With a cache, all files that `behaviors` is read from.
            part: With a cache, what tells `behaviors` from other data sets of the same files.

        Raises:
            OSError: if one of `files` is missing.
            TypeError: if `behaviors` is not a `tf.data.Dataset`; if a feature that is to be kept in
                a cache holds text.
            ValueError: if a feature is missing or of the wrong type, a label is not 1, 0 or -1, an
                impression has more or fewer labels, or values of a feature, than candidates, or
                there are no impressions; if there is a cache but no `files`.
        """
        if not isinstance(behaviors, tf.data.Dataset):
            raise TypeError(
                "behaviors must be a tf.data.Dataset or Impressions, got "
                f"{type(behaviors).__name__}"
            )
        check_spec(behaviors.element_spec, features)
        impressions, own_users = read_impressions(
            behaviors, catalog, features, users.buckets, cache=cache, files=files, part=part
        )
        return with_users(impressions, own_users, users)

    @classmethod
    def from_arrow(
        cls, table: pa.Table, catalog: NewsCatalog, users: UserIndex, features: Sequence[str] = ()
    ) -> Impressions:
        """Converts an Arrow table with a row for each impression.

        >>> table = pa.table({
        ...     "user_id": ["U1"],
        ...     "history": [["N1", "N2"]],
        ...     "candidates": [["N3", "N4", "N5"]],
        ...     "clicked": [[0, 1, 0]],
        ... })
        >>> impressions = Impressions.from_arrow(table, catalog, users)

        Args:
            table: `user_id`, strings; `history`, lists of the ids of clicked articles, oldest
                first, of which a missing one is empty; `candidates`, lists of article ids;
                `clicked`, lists of 1 or true, 0 or false, and -1 where there is no label;
                `impression_id`, integers: without it, rows count from 0.
            catalog: Indices of the articles.
            users: Indices of the users.
            features: Names of other columns to keep. A number, a string or a list of fixed size in
                each row is a feature of the impression; datetimes become seconds since the epoch. A
                list with a number, or a list of fixed size, for each candidate is a feature of the
                candidates.

        Raises:
            TypeError: if it is no Arrow table.
            ValueError: if a column is missing or of the wrong type, a value is missing, a label is
                not one of these, or a row has more or fewer labels, or values of a feature, than
                candidates.
        """
        table = checked_table(table, features)
        impressions, own_users = read_impressions(table, catalog, features, users.buckets)
        return with_users(impressions, own_users, users)

    @classmethod
    def from_pandas(
        cls, frame, catalog: NewsCatalog, users: UserIndex, features: Sequence[str] = ()
    ) -> Impressions:
        """Converts a pandas data frame with a row for each impression.

        Args, Raises: as `from_arrow`; lists are lists or arrays.
        """
        return cls.from_arrow(table_of_frame(frame, features), catalog, users, features)

    @classmethod
    def from_parquet(
        cls,
        path: str | os.PathLike[str],
        catalog: NewsCatalog,
        users: UserIndex,
        features: Sequence[str] = (),
    ) -> Impressions:
        """Converts a Parquet file with a row for each impression, which is never all in memory.

        Args, Raises: as `from_arrow`; OSError if the file cannot be read.
        """
        log = ParquetLog(path)
        impressions, own_users = read_impressions(log, catalog, features, users.buckets)
        return with_users(impressions, own_users, users)

    @classmethod
    def from_clicks(
        cls,
        clicks: Mapping[str, Any],
        catalog: NewsCatalog,
        users: UserIndex,
        *,
        negatives: int = NEGATIVES,
        window: float = WINDOW,
        seed: int = 0,
    ) -> Impressions:
        """Makes impressions of a log of clicks, in which nothing says what else was shown.

        Each click is an impression, by time: its history is what the same user clicked before, its
        candidates are the clicked article, first, and articles that others clicked in the `window`
        before, drawn in proportion to their clicks. So a model learns what this user prefers among
        what was popular at the time, and nothing about popularity itself; metrics on such
        impressions say the same, and are not those of what was really shown. A negative is known
        to the catalogue and was clicked by the user neither before nor later. Where fewer articles
        than `negatives` are found, as for the first clicks of the log, the list is shorter.

        Args:
            clicks: A dict of columns, a pandas data frame or an Arrow table: `user_id` and
                `news_id`, strings, and `time`, seconds since the epoch or datetimes, in any order.
            catalog: Indices of the articles.
            users: Indices of the users.
            negatives: Articles that each click is compared with, at most.
            window: For how long before a click its negatives were clicked, in seconds.
            seed: Seed of the draws.

        Returns:
            Impressions whose `impression_id` is the row of the click in the log; histories are not
            copied, as in a `view`.

        Raises:
            ValueError: if a column or a value is missing or of the wrong type, times seem to be in
                milliseconds, there are no clicks, or `negatives` or `window` is not positive.
        """
        fields, ids = columns_of_clicks(clicks, catalog, negatives, window, seed)
        impressions = cls(user_id=users.index(ids.tolist()), **fields)
        _warn_of_unknown_articles(impressions, stacklevel=3)
        return impressions


def read_impressions(
    behaviors: Behaviors,
    catalog: NewsCatalog,
    features: Sequence[str] = (),
    user_buckets: int | None = None,
    *,
    cache: Cache | None = None,
    files: Sequence[str | os.PathLike[str]] = (),
    part: str = "",
) -> tuple[Impressions, UserIndex]:
    """Converts impressions together with their users.

    Args:
        behaviors: As `tfrs_npa.data.conversion.convert` takes them.
        catalog: Indices of the articles.
        features: Names of other features to keep.
        user_buckets: Number of buckets of users, see `UserIndex.hashed`; None: no buckets.
        cache: Keeps the arrays.
        files: With a cache, all files that `behaviors` is read from.
        part: With a cache, what tells `behaviors` from other data sets of the same files.

    Returns:
        The impressions, and the index of the users in them, in order of appearance or in buckets.

    Raises:
        OSError, TypeError, ValueError: As `Impressions.from_dataset`.
    """
    make = functools.partial(convert, behaviors, catalog, features, user_buckets)
    if cache is None:
        columns = joined(make())
    else:
        if not files:
            raise ValueError("files is empty: name those that behaviors is read from")
        content = [_fingerprint(catalog.ids), list(features), part, num_rows(behaviors)]
        if user_buckets is not None:
            content.append({"user_buckets": user_buckets})
        columns = cache.arrays(["impressions", state_of(files), *content], make)
    columns, users = _own_users(columns, user_buckets)
    impressions = Impressions.from_columns(columns)
    _warn_of_unknown_articles(impressions)
    return impressions, users


def _own_users(
    columns: dict[str, np.ndarray], user_buckets: int | None
) -> tuple[dict[str, np.ndarray], UserIndex]:
    """Returns converted columns with the indices of the users in them, and those users."""
    if user_buckets is not None:
        return columns, UserIndex.hashed(user_buckets).mark(columns["user_id"])
    user_ids = user_ids_of(columns)
    users = UserIndex().adapt({"user_id": user_ids})
    others = {name: array for name, array in columns.items() if name != USER_IDS}
    return others | {"user_id": users.index(user_ids)[columns["user_id"]]}, users


def with_users(impressions: Impressions, users: UserIndex, others: UserIndex) -> Impressions:
    """Returns impressions with the indices of other users.

    Args:
        impressions: The impressions.
        users: The index that they were converted with.
        others: The index that they get; users who are not in it become the unknown user.

    Raises:
        ValueError: as `UserIndex.indices_in`.
    """
    if users == others:
        return impressions
    user_id = users.indices_in(others, impressions.user_id)
    return dataclasses.replace(impressions, user_id=user_id)


def _fingerprint(strings: list[str]) -> str:
    return hashlib.sha256(json.dumps(strings).encode()).hexdigest()


def _warn_of_unknown_articles(impressions: Impressions, stacklevel: int = 4) -> None:
    columns = {
        "history": impressions.history_values,
        "candidate": impressions.candidate_values,
    }
    counts = {name: (_count_unknown(values), len(values)) for name, values in columns.items()}
    if any(unknown for unknown, _ in counts.values()):
        parts = [f"{unknown:,} of {size:,} {name} ids" for name, (unknown, size) in counts.items()]
        warnings.warn(
            f"{' and '.join(parts)} are not in the catalogue, so nothing is known of them (see "
            "NPAConfig.unknown_articles): extend the catalogue with their news",
            stacklevel=stacklevel,
        )


def _count_unknown(values: np.ndarray) -> int:
    return sum(
        int(np.count_nonzero(values[first : first + _CHUNK] == UNKNOWN_ARTICLE))
        for first in range(0, len(values), _CHUNK)
    )
