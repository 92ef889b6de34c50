"""From a behaviors data set to integers, a piece at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.data.pipelines import without_autotuning
from tfrs_npa.data.users import UserIndex

_BATCH_KEYS = ("impression_id", "user_id", "history", "candidates", "clicked")
_CHUNK = 1024


def integer_pieces(
    behaviors: tf.data.Dataset,
    catalog: NewsCatalog,
    users: UserIndex,
    features: Sequence[str] = (),
) -> Iterator[dict[str, np.ndarray]]:
    """Converts a behaviors data set that passed `check_spec`; see `Impressions.from_dataset`.

    Yields:
        Consecutive impressions: `impression_id` and `user_id` `[impressions]`, `history_values`
        `[clicked articles]` and `history_lengths` `[impressions]`, `candidate_values` and `clicked`
        `[candidates]`, `candidate_lengths` `[impressions]`, and `features/NAME`
        `[impressions, ...]`.
    """
    articles, user_table = catalog.table, users.table

    def to_integers(batch):
        history, candidates = _as_ragged(batch["history"]), batch["candidates"]
        news_id, clicked = _as_ragged(candidates["news_id"]), _as_ragged(candidates["clicked"])
        return {
            "impression_id": tf.cast(batch["impression_id"], tf.int64),
            "user_id": user_table.lookup(batch["user_id"]),
            "history_values": articles.lookup(history.values),
            "history_lengths": history.row_lengths(),
            "candidate_values": articles.lookup(news_id.values),
            "candidate_lengths": news_id.row_lengths(),
            "clicked": tf.cast(clicked.values, tf.int64),
            "clicked_lengths": clicked.row_lengths(),
            **{f"features/{name}": batch[name] for name in features},
        }

    # Only what is needed is batched: other features may have shapes that cannot be.
    wanted = ("impression_id", "user_id", "history", "candidates", *features)
    batches = (
        behaviors.map(lambda row: {name: row[name] for name in wanted})
        .ragged_batch(_CHUNK)
        .map(to_integers, num_parallel_calls=tf.data.AUTOTUNE)
        .prefetch(1)
    )
    total = max(0, int(behaviors.cardinality())) or None
    found = False
    with tqdm(total=total, desc="Reading impressions", unit=" rows", delay=2, disable=None) as bar:
        for piece in without_autotuning(batches).as_numpy_iterator():
            found = True
            yield _checked(piece)
            bar.update(len(piece["impression_id"]))
    if not found:
        raise ValueError("behaviors holds no impressions")


def check_spec(behaviors: tf.data.Dataset, features: Sequence[str] = ()) -> None:
    """Raises what `Impressions.from_dataset` does if it is no data set of impressions."""
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
        if name in _BATCH_KEYS:
            raise ValueError(f"{name!r} is part of every batch: leave it out of features")
        if isinstance(spec[name], Mapping) or not spec[name].shape.is_fully_defined():
            raise ValueError(f"behaviors: feature {name} needs a fixed shape, got {spec[name]}")


def _as_ragged(tensor):
    if isinstance(tensor, tf.RaggedTensor):
        return tensor
    return tf.RaggedTensor.from_tensor(tensor)


def _checked(piece):
    """The piece without padding ids, after its labels have been checked."""
    rows = np.arange(len(piece["impression_id"]))
    clicked_lengths = piece.pop("clicked_lengths")
    differ = np.flatnonzero(piece["candidate_lengths"] != clicked_lengths)
    if len(differ):
        row = differ[0]
        raise ValueError(
            f"impression {piece['impression_id'][row]} has {piece['candidate_lengths'][row]} "
            f"candidates but {clicked_lengths[row]} labels"
        )
    row_of = np.repeat(rows, piece["candidate_lengths"])
    wrong = np.flatnonzero(~np.isin(piece["clicked"], (1, 0, -1)))
    if len(wrong):
        raise ValueError(
            f"impression {piece['impression_id'][row_of[wrong[0]]]} has the label "
            f"{piece['clicked'][wrong[0]]}; labels are 1 (clicked), 0 (not clicked), -1 (unknown)"
        )
    piece["clicked"] = piece["clicked"].astype(np.int8)
    kept = piece["candidate_values"] != 0
    if not kept.all():
        for name in ("candidate_values", "clicked"):
            piece[name] = piece[name][kept]
        piece["candidate_lengths"] = np.bincount(row_of[kept], minlength=len(rows))
    kept = piece["history_values"] != 0
    if not kept.all():
        row_of = np.repeat(rows, piece["history_lengths"])
        piece["history_values"] = piece["history_values"][kept]
        piece["history_lengths"] = np.bincount(row_of[kept], minlength=len(rows))
    return piece
