"""User ids to indices: a number for each user, or one of a fixed number of buckets."""

from __future__ import annotations

import os
import zipfile

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_npa._files import atomic_file
from tfrs_npa._shards import lookup
from tfrs_npa.data.columns import text_columns
from tfrs_npa.data.string_index import StringIndex

UNKNOWN_USER = 0
"""Index of every user who is not in a `UserIndex`."""

_MOST_BUCKETS = np.iinfo(np.int32).max - 1
_CHUNK = 2**20
_ZIP = b"PK\x03\x04"


class UserIndex(StringIndex):
    """Users and their indices: 0 is the unknown user, others from 1 on in order of appearance.

    The empty id is an anonymous visitor, and so the unknown user too.

    >>> users = UserIndex().adapt([{"user_id": "U8"}, {"user_id": "U3"}, {"user_id": "U8"}])
    >>> users.index(["U3", "U99", "U8"]).tolist()
    [2, 0, 1]

    Attributes:
        buckets: Number of buckets that users share, see `UserIndex.hashed`; None: each user has an
            index of their own.
    """

    buckets: int | None = None

    file_name = "users.txt"
    """Name of the file in a run that `save` writes."""

    @staticmethod
    def hashed(buckets: int) -> HashedUserIndex:
        """Returns an index that keeps no ids, for more users than a table of strings can hold.

        See `HashedUserIndex`.
        """
        return HashedUserIndex(buckets)

    def empty(self) -> UserIndex:
        """Returns an index of the same kind without users."""
        return UserIndex()

    def adapt(self, behaviors) -> UserIndex:
        """Replaces all users by those of `behaviors`.

        Args:
            behaviors: A `tf.data.Dataset` or iterable of dicts, or a dict of columns, with the
                string feature `user_id`.

        Returns:
            The index itself.

        Raises:
            ValueError: if `user_id` is missing or not a string.
        """
        self.clear()
        return self.extend(behaviors)

    def extend(self, behaviors) -> UserIndex:
        """Adds the new users of `behaviors`; the indices of the others stay.

        Args, Returns, Raises: as `adapt`.
        """
        for (user_ids,) in text_columns(behaviors, ["user_id"], "behaviors"):
            for user_id in dict.fromkeys(user_ids):
                if user_id not in ("", *self.specials):
                    self.add(user_id)
        return self

    def extend_from(self, other: UserIndex, indices: np.ndarray | None = None) -> UserIndex:
        """Adds users of another index.

        Args:
            other: The other index.
            indices: `[n]` indices in it, in the order in which to add them; None: all users.

        Returns:
            The index itself.

        Raises:
            ValueError: if `other` keeps no ids, or other buckets.
        """
        ids = other.ids
        if indices is not None:
            first = np.unique(indices, return_index=True)[1]
            ids = np.array(ids, object)[indices[np.sort(first)]].tolist()
        return self.extend({"user_id": ids})

    def indices_in(self, other: UserIndex, indices: np.ndarray | None = None) -> np.ndarray:
        """Returns the indices of users in another index.

        Args:
            other: The other index.
            indices: Their indices here, of any shape; None: all from 0 on.

        Returns:
            `int32`, of the same shape: 0 where `other` does not know them.

        Raises:
            ValueError: if the users cannot be matched: this index keeps no ids, or other buckets.
        """
        found = other.index(self.ids)
        return found if indices is None else found[indices]

    @property
    def ids(self) -> list[str]:
        """All user ids by index: `ids[0]` is `"[UNK]"`.

        Raises:
            ValueError: if the users are in buckets, of which no ids are kept.
        """
        return self.strings

    @property
    def known(self) -> np.ndarray:
        """`bool [len]`, whether an index is that of a known user: all but index 0 are."""
        return np.arange(len(self)) != UNKNOWN_USER

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> UserIndex:
        """Loads an index that `save` wrote, of either kind.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is damaged; or if a line is empty, reserved or repeated: names the
                file and the line.
        """
        with open(path, "rb") as file:
            is_hashed = file.read(len(_ZIP)) == _ZIP
        return HashedUserIndex._read(path) if is_hashed else super(UserIndex, UserIndex).load(path)


class HashedUserIndex(UserIndex):
    """Users in buckets: 0 is the unknown user, others have 1 + a hash of their id.

    The memory is one bit for each bucket, whether a user of `adapt` and `extend` is in it: 12.5 MB
    for 10^8 buckets. A user in a bucket without any is the unknown user, whose row is trained;
    one in a bucket with users shares their row. So of users whom `adapt` has not seen, the share
    `expected_sharing` passes for known ones.

    The hash is `tf.strings.to_hash_bucket_fast`, FarmHash's 64-bit fingerprint modulo the buckets,
    which does not change between processes, machines and versions of TensorFlow. Eager calls,
    graphs and exports use this same operation.

    >>> users = UserIndex.hashed(1000).adapt({"user_id": ["U8", "U3"]})
    >>> users.index(["U3", "U99", "U8", ""]).tolist()
    [846, 0, 831, 0]

    Args:
        buckets: Number of buckets. The user table has a row for each, and one for the unknown user.

    Attributes:
        buckets: Number of buckets.
        seen: `uint8 [(buckets + 9) // 8]`; bit `i % 8` of byte `i // 8` says whether index i has a
            user.

    Raises:
        ValueError: if `buckets` is not from 1 to 2^31 - 2.
    """

    buckets: int
    file_name = "users.npz"

    def __init__(self, buckets: int):
        if not 1 <= buckets <= _MOST_BUCKETS:
            raise ValueError(f"buckets is {buckets:,}; it has to be from 1 to {_MOST_BUCKETS:,}")
        self.buckets = buckets
        self._table: HashedTable | None = None
        super().__init__()

    def __len__(self) -> int:
        """Number of indices, and of rows of the user table: the buckets and the unknown user."""
        return self.buckets + 1

    def __contains__(self, user_id: str) -> bool:
        return bool(self.index(user_id) != UNKNOWN_USER)

    def __eq__(self, other) -> bool:
        return (
            isinstance(other, HashedUserIndex)
            and self.buckets == other.buckets
            and np.array_equal(self.seen, other.seen)
        )

    def __repr__(self) -> str:
        return (
            f"UserIndex.hashed({self.buckets:,} buckets, "
            f"{np.count_nonzero(self.known):,} of them with users)"
        )

    def empty(self) -> HashedUserIndex:
        """Returns an index of as many buckets without users."""
        return HashedUserIndex(self.buckets)

    def clear(self) -> None:
        """Removes all users."""
        self.seen = np.zeros(len(self) // 8 + 1, np.uint8)
        self._update_table()

    def add(self, string: str) -> int:
        """Adds a user; as `StringIndex.add`."""
        self.require_allowed(string)
        index = hashed_indices([string], self.buckets)
        self.mark(index)
        return int(index[0])

    def extend(self, behaviors) -> HashedUserIndex:
        """Adds the users of `behaviors`; as `UserIndex.extend`.

        Not for the index of a trained model, whose rows of empty buckets have never learnt:
        `NPA.add_users` has them start as the unknown user does.
        """
        for (user_ids,) in text_columns(behaviors, ["user_id"], "behaviors"):
            self._set(hashed_indices(user_ids, self.buckets))
        self._update_table()
        return self

    def extend_from(self, other: UserIndex, indices: np.ndarray | None = None) -> HashedUserIndex:
        """Adds users of another index; as `UserIndex.extend_from`."""
        if not isinstance(other, HashedUserIndex):
            super().extend_from(other, indices)
            return self
        self._require_same_buckets(other)
        if indices is not None:
            return self.mark(indices[other._has(indices)])
        self.seen |= other.seen
        self._update_table()
        return self

    def mark(self, indices: np.ndarray) -> HashedUserIndex:
        """Adds the users who have `indices`, `[n]`; 0, the unknown user, changes nothing.

        Returns:
            The index itself.
        """
        self._set(indices)
        self._update_table()
        return self

    def indices_in(self, other: UserIndex, indices: np.ndarray | None = None) -> np.ndarray:
        """Returns the indices of users in another index, where they are the same.

        Args, Returns, Raises: as `UserIndex.indices_in`.
        """
        if not isinstance(other, HashedUserIndex):
            raise ValueError(f"users in {self.buckets:,} buckets have no ids to find elsewhere")
        self._require_same_buckets(other)
        if indices is None:
            indices = np.arange(len(self), dtype=np.int32)
        return np.where(self._has(indices) & other._has(indices), indices, np.int32(UNKNOWN_USER))

    @property
    def ids(self) -> list[str]:
        """Raises a ValueError: a bucket does not tell whose it is."""
        raise ValueError(
            f"the users are hashed to {self.buckets:,} buckets, and their ids are not kept: they "
            "cannot be listed, only looked up with `index`"
        )

    @property
    def known(self) -> np.ndarray:
        """`bool [len]`, whether an index is that of a bucket with users."""
        return np.unpackbits(self.seen, count=len(self), bitorder="little").view(bool)

    @property
    def table(self) -> HashedTable:
        """The lookup in a graph: `table.lookup(strings)` returns `int32` indices.

        Users who are added later are in it too.
        """
        if self._table is None:
            with tf.init_scope():
                self._table = HashedTable(self.buckets, self.seen)
        return self._table

    def sharing(self, user_ids) -> float:
        """Returns the share of distinct users whose bucket another one of them has too.

        Args:
            user_ids: Ids of users. `expected_sharing` is what to expect of them.
        """
        indices = hashed_indices(list(dict.fromkeys(user_ids)), self.buckets)
        indices = indices[indices != UNKNOWN_USER]
        _, counts = np.unique(indices, return_counts=True)
        return float(counts[counts > 1].sum() / max(len(indices), 1))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes an `.npz` file of `buckets` and `seen`."""
        with atomic_file(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, buckets=np.int64(self.buckets), seen=self.seen)

    @classmethod
    def _read(cls, path: str | os.PathLike[str]) -> HashedUserIndex:
        try:
            with np.load(path, allow_pickle=False) as arrays:
                index, seen = cls(int(arrays["buckets"])), arrays["seen"]
            if seen.dtype != np.uint8 or seen.shape != index.seen.shape:
                raise ValueError(f"seen is {seen.dtype} of shape {seen.shape}")
        except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} is damaged, or holds no users: {error}") from error
        index.seen = seen
        return index

    def _index_of_array(self, strings: pa.Array) -> np.ndarray:
        return self.index(strings.to_pylist())

    def _set(self, indices: np.ndarray) -> None:
        for first in range(0, len(indices), _CHUNK):
            some = indices[first : first + _CHUNK]
            np.bitwise_or.at(self.seen, some >> 3, np.left_shift(1, some & 7).astype(np.uint8))
        self.seen[0] &= 0xFE  # the unknown user

    def _update_table(self) -> None:
        if self._table is not None:  # graphs that read it follow
            self._table.seen.assign(self.seen)

    def _has(self, indices: np.ndarray) -> np.ndarray:
        return (self.seen[indices >> 3] >> (indices & 7).astype(np.uint8) & 1).view(bool)

    def _require_same_buckets(self, other: HashedUserIndex) -> None:
        if self.buckets != other.buckets:
            raise ValueError(
                f"users in {self.buckets:,} buckets cannot be found in {other.buckets:,} others"
            )


class HashedTable(tf.Module):
    """The lookup of a `HashedUserIndex` in a graph; a SavedModel tracks it.

    Args:
        buckets: Number of buckets.
        seen: As in `HashedUserIndex`.
    """

    def __init__(self, buckets: int, seen: np.ndarray):
        super().__init__(name="users")
        self._buckets = buckets
        # In shards if it is made in the scope of a strategy with parameter servers.
        with tf.device("CPU:0"):  # with the strings, which no GPU has
            self.seen = tf.Variable(seen, trainable=False, name="seen")

    def lookup(self, user_id) -> tf.Tensor:
        """Returns `int32` indices of string ids, in their shape; 0 for unknown users."""
        indices = _hashed(user_id, self._buckets)
        bits = tf.cast(lookup(self.seen, indices // 8), tf.int32)
        is_seen = tf.bitwise.right_shift(bits, indices % 8) % 2
        return indices * is_seen


def hashed_indices(user_ids, buckets: int) -> np.ndarray:
    """Returns the indices of users in buckets, whether anyone was seen there or not.

    Args:
        user_ids: Strings, of any shape.
        buckets: Number of buckets.

    Returns:
        `int32`, of the same shape: 1 + hash; 0 for the empty id, the unknown user.
    """
    return _hashed(tf.convert_to_tensor(user_ids, tf.string), buckets).numpy()


def expected_sharing(users: int, buckets: int) -> float:
    """Returns the share of buckets that `users` users are in, if the hash is as good as random.

    It is the probability that one more user shares a bucket with them: of each of `users + 1`
    users, and of a user whom training has not seen.

    >>> round(expected_sharing(10**6, 10**7), 3)
    0.095
    """
    return -float(np.expm1(users * np.log1p(-1 / buckets))) if buckets > 1 else float(users > 0)


def _hashed(user_id, buckets):
    indices = tf.cast(tf.strings.to_hash_bucket_fast(user_id, buckets) + 1, tf.int32)
    is_nobody = tf.reduce_any([user_id == string for string in ("", *UserIndex.specials)], axis=0)
    return tf.where(is_nobody, UNKNOWN_USER, indices)
