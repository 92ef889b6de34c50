"""A behaviors data set as packed arrays of integers."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from tfrs_npa.data import ragged
from tfrs_npa.data.cache import Cache, joined, state_of
from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.data.integers import check_spec, integer_pieces
from tfrs_npa.data.users import UserIndex

_UNKNOWN_ARTICLE = 1
_CHUNK = 65536
_FEATURE = "features/"


@dataclasses.dataclass(frozen=True, eq=False)
class Impressions:
    """Impressions in file order, strings replaced by the numbers of a catalogue and a user index.

    Histories and candidate lists are packed: impression `i` has the history
    `history_values[history_splits[i] : history_splits[i + 1]]`, oldest first and at full length.
    The arrays may be read-only memory maps.

    Attributes:
        impression_id: `int64 [impressions]`.
        user_id: `int32 [impressions]`; 0 is the unknown user.
        history_values: `int32 [clicked articles]`; 1 is the unknown article.
        history_splits: `int64 [impressions + 1]`.
        candidate_values: `int32 [candidates]`; 1 is the unknown article.
        candidate_splits: `int64 [impressions + 1]`.
        clicked: `int8 [candidates]`; 1 clicked, 0 not clicked, -1 not labelled.
        features: other features by name, each `[impressions, ...]`.

    Raises:
        ValueError: if the arrays do not fit together.
    """

    impression_id: np.ndarray
    user_id: np.ndarray
    history_values: np.ndarray
    history_splits: np.ndarray
    candidate_values: np.ndarray
    candidate_splits: np.ndarray
    clicked: np.ndarray
    features: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        rows = len(self)
        lengths = {
            "user_id": (len(self.user_id), rows),
            "history_splits": (len(self.history_splits), rows + 1),
            "history_values": (len(self.history_values), self.history_splits[-1]),
            "candidate_splits": (len(self.candidate_splits), rows + 1),
            "candidate_values": (len(self.candidate_values), self.candidate_splits[-1]),
            "clicked": (len(self.clicked), self.candidate_splits[-1]),
            **{name: (len(array), rows) for name, array in self.features.items()},
        }
        for name, (length, expected) in lengths.items():
            if length != expected:
                raise ValueError(f"{name} has {length:,} entries, expected {expected:,}")

    def __len__(self) -> int:
        """Number of impressions."""
        return len(self.impression_id)

    def take(self, rows) -> Impressions:
        """The chosen impressions, in the order of `rows`.

        Args:
            rows: whatever selects from a NumPy array: positions, a boolean mask, a slice.
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
        )

    def pieces(self, rows: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
        """The chosen impressions as `from_pieces` takes them, of which few are in memory.

        Args:
            rows: their positions, `[chosen]`.
        """
        for first in range(0, max(1, len(rows)), _CHUNK):
            part = self.take(rows[first : first + _CHUNK])
            yield {
                "impression_id": part.impression_id,
                "user_id": part.user_id,
                "history_values": part.history_values,
                "history_lengths": np.diff(part.history_splits),
                "candidate_values": part.candidate_values,
                "candidate_lengths": np.diff(part.candidate_splits),
                "clicked": part.clicked,
                **{_FEATURE + name: array for name, array in part.features.items()},
            }

    @classmethod
    def from_pieces(
        cls,
        make: Callable[[], Iterable[dict[str, np.ndarray]]],
        cache: Cache | None = None,
        key: object = None,
    ) -> Impressions:
        """Joins pieces, in memory or in a cache.

        Args:
            make: gives the pieces, as `integer_pieces` does.
            cache: where they are kept; if they are there already, nothing is made.
            key: all that they depend on; see `Cache.arrays`.
        """
        if cache is None:
            columns = joined(_with_splits(make()))
        else:
            columns = cache.arrays(key, lambda: _with_splits(make()))
        features = {
            name.removeprefix(_FEATURE): columns.pop(name)
            for name in list(columns)
            if name.startswith(_FEATURE)
        }
        return cls(**columns, features=features)

    @classmethod
    def from_dataset(
        cls,
        behaviors: tf.data.Dataset,
        catalog: NewsCatalog,
        users: UserIndex,
        features: Sequence[str] = (),
        *,
        cache: Cache | None = None,
        files: Sequence[str | os.PathLike] = (),
        part: str = "",
    ) -> Impressions:
        """Converts a behaviors data set.

        Article ids that are not in `catalog` become the unknown article, and one warning counts
        them. The empty id is padding, in a history or a candidate list, and is dropped.

        With a cache this is done once, and the arrays are memory maps. It is done again when a file
        has changed, or the articles, the users or the features are others.

        >>> behaviors, info = tfds.load("mind/small-behaviors", split="train", with_info=True)
        >>> cache, files = Cache("my-cache"), info.splits["train"].filepaths
        >>> Impressions.from_dataset(behaviors, catalog, users, cache=cache, files=files)

        Args:
            behaviors: unbatched elements `{"impression_id": int [], "user_id": string [],
                "history": string [clicks], "candidates": {"news_id": string [candidates],
                "clicked": int [candidates]}}`, and others.
            catalog: numbers of the articles.
            users: numbers of the users.
            features: names of other features to keep; each must have a fixed shape, and hold
                numbers if there is a cache.
            cache: where the arrays are kept.
            files: with a cache, all files that `behaviors` is read from.
            part: with a cache, what tells `behaviors` from other data sets made of the same files.

        Raises:
            OSError: if one of `files` is missing.
            TypeError: if `behaviors` is not a `tf.data.Dataset`; if a feature that is to be kept in
                a cache holds text.
            ValueError: if a feature is missing or of the wrong type, a label is not 1, 0 or -1, the
                labels of an impression are not as many as its candidates, or there are none; if
                there is a cache but no `files`.
        """
        check_spec(behaviors, features)
        key = None
        if cache is not None:
            size = int(behaviors.cardinality())
            key = impressions_key(files, catalog, users, features, [part, size])
        impressions = cls.from_pieces(
            lambda: integer_pieces(behaviors, catalog, users, features), cache, key
        )
        _warn_of_unknown_articles(impressions)
        return impressions


def impressions_key(
    files: Sequence[str | os.PathLike],
    catalog: NewsCatalog,
    users: UserIndex,
    features: Sequence[str],
    part: object,
) -> list:
    """Everything that impressions read from `files` depend on, as the key of a `Cache`.

    Args:
        files: with their sizes and times; see `state_of`.
        catalog: of which all ids matter.
        users: of which all ids matter.
        features: names of the features kept.
        part: what tells apart data made of the same files; anything that JSON can hold.

    Raises:
        OSError: if a file is missing.
        ValueError: if there are no files.
    """
    if not files:
        raise ValueError("files is empty: name those that behaviors is read from")
    ids = [_fingerprint(catalog.ids), _fingerprint(users.ids)]
    return ["impressions", state_of(files), *ids, list(features), part]


def _fingerprint(strings: list[str]) -> str:
    return hashlib.sha256(json.dumps(strings).encode()).hexdigest()


def _with_splits(pieces: Iterable[dict[str, np.ndarray]]) -> Iterator[dict[str, np.ndarray]]:
    """The pieces with row splits that go on from piece to piece, in place of lengths."""
    ends = {"history": 0, "candidate": 0}
    for number, piece in enumerate(pieces):
        columns = dict(piece)
        for name, end in ends.items():
            splits = end + ragged.splits_of(columns.pop(f"{name}_lengths"))
            ends[name] = splits[-1]
            columns[f"{name}_splits"] = splits if number == 0 else splits[1:]
        yield columns


def _warn_of_unknown_articles(impressions):
    counts = {
        "history": impressions.history_values,
        "candidate": impressions.candidate_values,
    }
    counts = {name: (_count_unknown(values), len(values)) for name, values in counts.items()}
    if any(unknown for unknown, _ in counts.values()):
        parts = [f"{unknown:,} of {size:,} {name} ids" for name, (unknown, size) in counts.items()]
        warnings.warn(
            f"{' and '.join(parts)} are not in the catalogue and count as the unknown article: "
            "extend the catalogue with their news",
            stacklevel=3,
        )


def _count_unknown(values):
    return sum(
        np.count_nonzero(values[first : first + _CHUNK] == _UNKNOWN_ARTICLE)
        for first in range(0, len(values), _CHUNK)
    )
