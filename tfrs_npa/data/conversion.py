"""Converts a behaviors data set from strings to integers, a chunk of impressions at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, TypeAlias

import numpy as np
import pyarrow as pa
import tensorflow as tf
from tqdm import tqdm

from tfrs_npa.data.arrow_tables import table_chunks
from tfrs_npa.data.catalog import PADDING, NewsCatalog
from tfrs_npa.data.chunk import Chunk
from tfrs_npa.data.pipelines import without_autotuning
from tfrs_npa.data.users import hashed_indices

FEATURE = "features/"
"""Prefix of the columns of other features."""
CANDIDATE_FEATURE = "candidate_features/"
"""Prefix of the columns of features of each candidate."""
USER_IDS = "user_ids"

_BATCH_KEYS = ("impression_id", "user_id", "history", "candidates", "clicked")
_CHUNK = 1024

Behaviors: TypeAlias = "tf.data.Dataset | pa.Table | Log"


class Log(Protocol):
    """Impressions in files, which are read many at a time."""

    def __len__(self) -> int:
        """Number of impressions."""

    def chunks(self, features: Sequence[str] = ()) -> Iterator[Chunk]:
        """Reads the impressions; args as those of `convert`."""


def convert(
    behaviors: Behaviors,
    catalog: NewsCatalog,
    features: Sequence[str] = (),
    user_buckets: int | None = None,
) -> Iterator[dict[str, np.ndarray]]:
    """Converts impressions.

    Args:
        behaviors: A data set that passed `check_spec`, a `checked_table` of Arrow, or a log in
            files.
        catalog: The articles and their indices.
        features: Names of other features to keep.
        user_buckets: Number of buckets of users, see `UserIndex.hashed`; None: no buckets.

    Yields:
        Pieces of columns, to be joined along their first axis: `impression_id` and `user_id`
        `[impressions]`, `history_values` `[clicked articles]` and `history_lengths`
        `[impressions]`, `candidate_values` and `clicked` `[candidates]`, `candidate_lengths`
        `[impressions]`, `features/NAME` `[impressions, ...]`, and `candidate_features/NAME`
        `[candidates, ...]`. Users count from 0 in order of appearance; the last piece holds their
        ids as `user_ids`, see `user_ids_of`. With buckets, they are `hashed_indices`, and nothing
        holds their ids.

    Raises:
        ValueError: if a label is wrong, there are more or fewer labels or values of a feature than
            candidates, or there are no impressions.
    """
    user_codes: dict[str, int] = {}

    def users_of(ids: pa.Array) -> np.ndarray:
        coded = ids.dictionary_encode()
        distinct = coded.dictionary.to_pylist()
        if user_buckets is not None:
            codes = hashed_indices(distinct, user_buckets)
        else:
            codes = np.array(
                [user_codes.setdefault(user, len(user_codes)) for user in distinct], np.int32
            )
        return codes[coded.indices.to_numpy()]

    has_rows = False
    for chunk in chunks(behaviors, features):
        has_rows = True
        piece: dict[str, np.ndarray] = {
            "impression_id": np.asarray(chunk.impression_id, np.int64),
            "user_id": users_of(chunk.user_id),
            "history_values": _indices(catalog, chunk.history),
            "history_lengths": chunk.history_lengths,
            "candidate_values": _indices(catalog, chunk.candidates),
            "candidate_lengths": chunk.candidate_lengths,
            "clicked": chunk.clicked,
        }
        of_candidates = {
            CANDIDATE_FEATURE + name: values
            for name, (values, _) in chunk.candidate_features.items()
        }
        piece |= of_candidates
        _drop_padding(piece, "history", ["history_values"])
        _drop_padding(piece, "candidate", ["candidate_values", "clicked", *of_candidates])
        piece["clicked"] = piece["clicked"].astype(np.int8)
        yield piece | {FEATURE + name: array for name, array in chunk.features.items()}
    if not has_rows:
        raise ValueError("behaviors holds no impressions")
    if user_buckets is None:
        yield {USER_IDS: np.frombuffer(json.dumps(list(user_codes)).encode(), np.uint8)}


def num_rows(behaviors: Behaviors) -> int:
    """Returns the number of impressions; 0 if unknown."""
    if isinstance(behaviors, tf.data.Dataset):
        return max(0, int(behaviors.cardinality()))
    return len(behaviors)


def user_ids_of(columns: dict[str, np.ndarray]) -> list[str]:
    """Returns the ids of the users that the column `user_id` refers to."""
    return json.loads(columns[USER_IDS].tobytes())


def check_spec(spec, features: Sequence[str] = ()) -> None:
    """Raises the errors of `Impressions.from_dataset` if elements are no impressions.

    Args:
        spec: The specification of an element, `tf.data.Dataset.element_spec`.
        features: Names of other features that are wanted.
    """
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
    for name in features:
        inside = name.removeprefix("candidates/")
        is_own = name not in spec and inside in ("news_id", "clicked")
        if is_own or name in _BATCH_KEYS:
            raise ValueError(f"{name!r} is part of every batch: leave it out of features")
        if name not in spec and inside in candidates:
            raise ValueError(
                f"behaviors: the feature {inside} is part of candidates; put it beside them, with "
                "a value for each candidate"
            )
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
        if not isinstance(spec[name], tf.TensorSpec) or not _is_feature(spec[name]):
            raise ValueError(
                f"behaviors: feature {name} needs a fixed shape, or numbers of the shape "
                f"[None, ...] with a fixed rest, one for each candidate; got {spec[name]}"
            )


def _is_feature(spec: tf.TensorSpec) -> bool:
    """Whether a feature is one of the impression, or numbers for each candidate."""
    if spec.shape.is_fully_defined():
        return True
    return _is_of_candidates(spec) and spec.dtype != tf.string


def _is_of_candidates(spec: tf.TensorSpec) -> bool:
    """Whether the shape of a feature says that it has a value for each candidate."""
    shape = spec.shape
    return bool(shape.rank) and shape[0] is None and shape[1:].is_fully_defined()


def chunks(behaviors: Behaviors, features: Sequence[str] = ()) -> Iterator[Chunk]:
    """Reads impressions a chunk at a time, with a progress bar.

    Args:
        behaviors: As in `convert`.
        features: As in `convert`.

    Raises:
        ValueError: as `convert`, but for a data set without impressions.
    """
    if isinstance(behaviors, tf.data.Dataset):
        found = _dataset_chunks(behaviors, features)
    elif isinstance(behaviors, pa.Table):
        found = table_chunks(behaviors, features)
    else:
        found = behaviors.chunks(features)
    with tqdm(
        total=num_rows(behaviors) or None,
        desc="Reading impressions",
        unit=" rows",
        delay=2,
        disable=None,
    ) as bar:
        for chunk in found:
            yield chunk
            bar.update(len(chunk.user_id))


def _dataset_chunks(dataset: tf.data.Dataset, features) -> Iterator[Chunk]:
    # Only these are batched: other features may have shapes that cannot be.
    wanted = ("impression_id", "user_id", "history", "candidates", *features)
    batches = dataset.map(lambda row: {name: row[name] for name in wanted}).ragged_batch(_CHUNK)
    spec = dataset.element_spec
    of_candidates = [name for name in features if _is_of_candidates(spec[name])]
    for batch in without_autotuning(batches.prefetch(1)):
        chunk = Chunk.of_tensors(
            batch,
            _as_ragged(batch["history"]),
            _as_ragged(batch["candidates"]["news_id"]),
            _as_ragged(batch["candidates"]["clicked"]),
            [name for name in features if name not in of_candidates],
            {name: _numbers(_as_ragged(batch[name])) for name in of_candidates},
        )
        yield chunk.checked("impression {}", chunk.impression_id)


def _indices(catalog: NewsCatalog, ids) -> np.ndarray:
    if isinstance(ids, pa.DictionaryArray):
        return catalog.index(ids.dictionary)[ids.indices.to_numpy()]
    return catalog.index(ids)


def _numbers(tensor: tf.RaggedTensor) -> tuple[np.ndarray, np.ndarray]:
    return tensor.values.numpy(), tensor.row_lengths().numpy()


def _as_ragged(tensor):
    if isinstance(tensor, tf.RaggedTensor):
        return tensor
    return tf.RaggedTensor.from_tensor(tensor)


def _drop_padding(piece, name: str, columns: list[str]) -> None:
    """Drops the empty id, which is padding, from the lists of a piece."""
    kept = piece[f"{name}_values"] != PADDING
    if kept.all():
        return
    rows = np.arange(len(piece["impression_id"]))
    row_of = np.repeat(rows, piece[f"{name}_lengths"])
    for column in columns:
        piece[column] = piece[column][kept]
    piece[f"{name}_lengths"] = np.bincount(row_of[kept], minlength=len(rows))
