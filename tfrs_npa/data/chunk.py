"""What readers of impressions give, before ids become indices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from tfrs_npa.data import ragged
from tfrs_npa.datasets.mind.columns import ImpressionColumns
from tfrs_npa.datasets.mind.tsv import LONGEST_ID


class Chunk(NamedTuple):
    """Consecutive impressions, lists packed one after the other.

    User ids are an Arrow array of strings; the ids in `history` and `candidates` are that or a
    tensor. Of a feature of each candidate, there are the values and how many each impression has.
    """

    impression_id: Any
    user_id: pa.Array
    history: Any
    history_lengths: np.ndarray
    candidates: Any
    candidate_lengths: np.ndarray
    clicked: np.ndarray
    clicked_lengths: np.ndarray
    features: dict[str, np.ndarray]
    candidate_features: dict[str, tuple[np.ndarray, np.ndarray]]

    @classmethod
    def of_columns(cls, columns: ImpressionColumns, features: Sequence[str] = ()) -> Chunk:
        """Returns impressions of a `behaviors.tsv`.

        Args:
            columns: The impressions.
            features: `time`, to keep it, or nothing.
        """
        of: dict[str, Any] = columns._asdict()
        return cls(
            columns.impression_id,
            columns.user_id,
            columns.history,
            columns.history_lengths,
            columns.candidates,
            columns.candidate_lengths,
            columns.clicked,
            columns.candidate_lengths,
            {name: of[name] for name in features},
            {},
        )

    @classmethod
    def of_tensors(cls, batch, history, news_id, clicked, features=(), candidate_features=None):
        """Returns impressions of a `tf.data` pipeline.

        Args:
            batch: `impression_id`, `user_id` and features, dense.
            history: Ragged `[impressions, (clicks)]` strings.
            news_id: Ragged `[impressions, (candidates)]` strings.
            clicked: Ragged `[impressions, (candidates)]`.
            features: The names of features in `batch`.
            candidate_features: As the attribute; None: none.
        """
        return cls(
            batch["impression_id"].numpy(),
            pa.array(texts_of(batch["user_id"]), pa.string()),
            # Strings stay with TensorFlow, which looks them up.
            history.values,
            history.row_lengths().numpy(),
            news_id.values,
            news_id.row_lengths().numpy(),
            clicked.values.numpy(),
            clicked.row_lengths().numpy(),
            {name: batch[name].numpy() for name in features},
            candidate_features or {},
        )

    def pieces(self, size: int) -> Iterator[Chunk]:
        """Yields the impressions, `size` at a time; they have no features of candidates."""
        history, candidates = map(ragged.splits_of, (self.history_lengths, self.candidate_lengths))
        for first in range(0, len(self.user_id), size):
            rows = slice(first, first + size)
            last = min(first + size, len(self.user_id))
            clicks = slice(history[first], history[last])
            shown = slice(candidates[first], candidates[last])
            yield Chunk(
                self.impression_id[rows],
                self.user_id[rows],
                self.history[clicks],
                self.history_lengths[rows],
                self.candidates[shown],
                self.candidate_lengths[rows],
                self.clicked[shown],
                self.clicked_lengths[rows],
                {name: values[rows] for name, values in self.features.items()},
                {},
            )

    def checked(self, where: str, numbers: Sequence[int] | np.ndarray) -> Chunk:
        """Returns itself; there has to be a label, 1, 0 or -1, for each candidate.

        Of each feature of candidates, there has to be a value for each candidate, too. Ids have at
        most `LONGEST_ID` bytes.

        Args:
            where: How an impression is named, such as `"impression {}"`.
            numbers: What stands for `{}` in it, for each impression.

        Raises:
            ValueError: if there is not; names the impression.
        """
        if wrong := self._mistake():
            raise ValueError(f"{where.format(numbers[wrong[0]])} has {wrong[1]}")
        return self

    def _mistake(self) -> tuple[int, str] | None:
        lengths = self.candidate_lengths
        others = {"labels": self.clicked_lengths}
        others |= {f"values of {name}": of for name, (_, of) in self.candidate_features.items()}
        for what, found in others.items():
            differ = np.flatnonzero(lengths != found)
            if len(differ):
                row = int(differ[0])
                return row, f"{lengths[row]} candidates but {found[row]} {what}"
        wrong = np.flatnonzero((self.clicked < -1) | (self.clicked > 1))
        if len(wrong):
            row = int(np.searchsorted(np.cumsum(lengths), wrong[0], side="right"))
            kinds = "labels are 1 (clicked), 0 (not clicked), -1 (unknown)"
            return row, f"the label {self.clicked[wrong[0]]}; {kinds}"
        rows = np.arange(len(lengths))
        for name, ids, of in (
            ("user_id", self.user_id, np.ones_like(rows)),
            ("history", self.history, self.history_lengths),
            ("candidates", self.candidates, lengths),
        ):
            sizes = _sizes(ids)
            wrong = np.flatnonzero(sizes > LONGEST_ID)
            if len(wrong):
                what = f"an id of {sizes[wrong[0]]:,} bytes in {name}"
                return int(np.repeat(rows, of)[wrong[0]]), f"{what}; at most {LONGEST_ID:,}"
        return None


def _sizes(ids) -> np.ndarray:
    """Returns the bytes of ids, `[ids]`."""
    if isinstance(ids, pa.Array):
        if pa.types.is_dictionary(ids.type):
            return _sizes(ids.dictionary)[ids.indices.to_numpy()]
        # Empty lists alone have no type.
        texts = ids.cast(pa.string()) if pa.types.is_null(ids.type) else ids
        return pc.binary_length(texts).to_numpy(zero_copy_only=False)
    return tf.strings.length(ids).numpy()


def texts_of(ids) -> list[str]:
    """Returns the ids of `Chunk.history` or `Chunk.candidates`."""
    if isinstance(ids, pa.Array):
        return ids.to_pylist()
    return [text.decode("utf-8", errors="replace") for text in ids.numpy()]
