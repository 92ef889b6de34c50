"""A behaviors data set as packed arrays of integers."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfrs_npa.data import ragged
from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.data.users import UserIndex

BATCH_KEYS = ("impression_id", "user_id", "history", "candidates", "clicked")
_UNKNOWN_ARTICLE = 1
_CHUNK = 1024


@dataclasses.dataclass(frozen=True, eq=False)
class Impressions:
    """Impressions in file order, strings replaced by the numbers of a catalogue and a user index.

    Histories and candidate lists are packed: impression `i` has the history
    `history_values[history_splits[i] : history_splits[i + 1]]`, oldest first and at full length.
    The arrays may be memory maps.

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

    @classmethod
    def from_dataset(
        cls,
        behaviors: tf.data.Dataset,
        catalog: NewsCatalog,
        users: UserIndex,
        features: Sequence[str] = (),
    ) -> Impressions:
        """Converts a behaviors data set.

        Article ids that are not in `catalog` become the unknown article, and one warning counts
        them. The empty id is padding, in a history or a candidate list, and is dropped.

        Args:
            behaviors: unbatched elements `{"impression_id": int [], "user_id": string [],
                "history": string [clicks], "candidates": {"news_id": string [candidates],
                "clicked": int [candidates]}}`, and others.
            catalog: numbers of the articles.
            users: numbers of the users.
            features: names of other features to keep; each must have a fixed shape.

        Raises:
            TypeError: if `behaviors` is not a `tf.data.Dataset`.
            ValueError: if a feature is missing or of the wrong type, a label is not 1, 0 or -1, the
                labels of an impression are not as many as its candidates, or there are none.
        """
        _check_spec(behaviors, features)
        articles, user_table = catalog.table, users.table

        def to_integers(batch):
            history, candidates = _as_ragged(batch["history"]), batch["candidates"]
            news_id, clicked = _as_ragged(candidates["news_id"]), _as_ragged(candidates["clicked"])
            return {
                "impression_id": tf.cast(batch["impression_id"], tf.int64),
                "user_id": user_table.lookup(batch["user_id"]),
                "history": articles.lookup(history.values),
                "history_lengths": history.row_lengths(),
                "candidates": articles.lookup(news_id.values),
                "candidate_lengths": news_id.row_lengths(),
                "clicked": tf.cast(clicked.values, tf.int64),
                "clicked_lengths": clicked.row_lengths(),
                "features": {name: batch[name] for name in features},
            }

        # Only what is needed is batched: other features may have shapes that cannot be.
        wanted = ("impression_id", "user_id", "history", "candidates", *features)
        batches = (
            behaviors.map(lambda row: {name: row[name] for name in wanted})
            .ragged_batch(_CHUNK)
            .map(to_integers, num_parallel_calls=tf.data.AUTOTUNE)
            .prefetch(tf.data.AUTOTUNE)
        )
        total = max(0, int(behaviors.cardinality())) or None
        chunks = []
        with tqdm(
            total=total, desc="Reading impressions", unit=" rows", delay=2, disable=None
        ) as bar:
            for chunk in batches.as_numpy_iterator():
                chunks.append(_checked(chunk))
                bar.update(len(chunk["impression_id"]))
        if not chunks:
            raise ValueError("behaviors holds no impressions")
        impressions = _joined(chunks, features)
        _warn_of_unknown_articles(impressions)
        return impressions


def _check_spec(behaviors, features):
    if not isinstance(behaviors, tf.data.Dataset):
        raise TypeError(f"behaviors must be a tf.data.Dataset or Impressions, got {behaviors!r}")
    spec = behaviors.element_spec
    if not isinstance(spec, Mapping):
        raise ValueError(f"behaviors must be a data set of dicts, got elements of {spec}")
    candidates = spec.get("candidates", {})
    if not isinstance(candidates, Mapping):
        raise ValueError(f"candidates must hold news_id and clicked, got {candidates}")
    found = dict(spec) | {f"candidates/{name}": part for name, part in candidates.items()}
    ranks = {
        "impression_id": 0,
        "user_id": 0,
        "history": 1,
        "candidates/news_id": 1,
        "candidates/clicked": 1,
    }
    missing = [name for name in (*ranks, *features) if name not in found]
    if missing:
        raise ValueError(f"behaviors lacks {', '.join(missing)}; it has {', '.join(found)}")
    for name, rank in ranks.items():
        dtype, shape = found[name].dtype, found[name].shape
        if name in ("impression_id", "candidates/clicked"):
            right, kind = dtype.is_integer, "integers"
        else:
            right, kind = dtype == tf.string, "strings"
        if not right or shape.rank != rank:
            raise ValueError(
                f"behaviors: {name} must be {kind} of rank {rank}, got {dtype.name} of shape "
                f"{shape}; a batched data set needs unbatch() first"
            )
    for name in features:
        if name in BATCH_KEYS:
            raise ValueError(f"{name!r} is part of every batch: leave it out of features")
        if isinstance(spec[name], Mapping) or not spec[name].shape.is_fully_defined():
            raise ValueError(f"behaviors: feature {name} needs a fixed shape, got {spec[name]}")


def _as_ragged(tensor):
    if isinstance(tensor, tf.RaggedTensor):
        return tensor
    return tf.RaggedTensor.from_tensor(tensor)


def _checked(chunk):
    """The chunk without padding ids, after its labels have been checked."""
    rows = np.arange(len(chunk["impression_id"]))
    differ = np.flatnonzero(chunk["candidate_lengths"] != chunk["clicked_lengths"])
    if len(differ):
        row = differ[0]
        raise ValueError(
            f"impression {chunk['impression_id'][row]} has {chunk['candidate_lengths'][row]} "
            f"candidates but {chunk['clicked_lengths'][row]} labels"
        )
    row_of = np.repeat(rows, chunk["candidate_lengths"])
    wrong = np.flatnonzero(~np.isin(chunk["clicked"], (1, 0, -1)))
    if len(wrong):
        raise ValueError(
            f"impression {chunk['impression_id'][row_of[wrong[0]]]} has the label "
            f"{chunk['clicked'][wrong[0]]}; labels are 1 (clicked), 0 (not clicked), -1 (unknown)"
        )
    chunk["clicked"] = chunk["clicked"].astype(np.int8)
    kept = chunk["candidates"] != 0
    if not kept.all():
        chunk["candidates"], chunk["clicked"] = chunk["candidates"][kept], chunk["clicked"][kept]
        chunk["candidate_lengths"] = np.bincount(row_of[kept], minlength=len(rows))
    kept = chunk["history"] != 0
    if not kept.all():
        row_of = np.repeat(rows, chunk["history_lengths"])
        chunk["history"] = chunk["history"][kept]
        chunk["history_lengths"] = np.bincount(row_of[kept], minlength=len(rows))
    return chunk


def _joined(chunks, features):
    def join(name):
        return np.concatenate([chunk.pop(name) for chunk in chunks])

    return Impressions(
        impression_id=join("impression_id"),
        user_id=join("user_id"),
        history_values=join("history"),
        history_splits=ragged.splits_of(join("history_lengths")),
        candidate_values=join("candidates"),
        candidate_splits=ragged.splits_of(join("candidate_lengths")),
        clicked=join("clicked"),
        features={
            name: np.concatenate([chunk["features"][name] for chunk in chunks]) for name in features
        },
    )


def _warn_of_unknown_articles(impressions):
    counts = {
        "history": impressions.history_values,
        "candidate": impressions.candidate_values,
    }
    counts = {name: (np.count_nonzero(v == _UNKNOWN_ARTICLE), len(v)) for name, v in counts.items()}
    if any(unknown for unknown, _ in counts.values()):
        parts = [f"{unknown:,} of {size:,} {name} ids" for name, (unknown, size) in counts.items()]
        warnings.warn(
            f"{' and '.join(parts)} are not in the catalogue and count as the unknown article: "
            "extend the catalogue with their news",
            stacklevel=3,
        )
