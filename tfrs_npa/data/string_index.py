"""Distinct strings and their indices, in order of appearance."""

from __future__ import annotations

import os
import pathlib
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from tfrs_npa._files import atomic_file

UNKNOWN = "[UNK]"


class StringIndex:
    """Distinct strings and their indices, in order of appearance after the class's special ones.

    The last special string is `"[UNK]"`: its index stands for every string that was never added.
    Unlike `tf.keras.layers.StringLookup`, it can grow.
    """

    specials: ClassVar[tuple[str, ...]] = (UNKNOWN,)

    def __init__(self):
        self.clear()

    def __len__(self) -> int:
        """Number of strings, the special ones included."""
        return len(self.strings)

    def __contains__(self, string: str) -> bool:
        return string in self._indices

    def __eq__(self, other) -> bool:
        return type(self) is type(other) and self.strings == other.strings

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self) - len(self.specials):,} strings)"

    def clear(self) -> None:
        """Removes all strings but the special ones."""
        self.strings = list(self.specials)
        self._indices = {string: index for index, string in enumerate(self.strings)}
        # The table and how many strings it has: one attribute, as threads share it.
        self._strings_table: tuple[tf.lookup.StaticHashTable | None, int] = None, 0
        self._array: pa.Array | None = None

    def add(self, string: str) -> int:
        """Adds `string` if it is new.

        Returns:
            The index of `string`.

        Raises:
            ValueError: if `string` is one of the special strings.
        """
        self.require_allowed(string)
        index = self._indices.setdefault(string, len(self.strings))
        if index == len(self.strings):
            self.strings.append(string)
        return index

    def require_allowed(self, string: str) -> None:
        """Raises a ValueError if `string` is one of the special strings."""
        if string in self.specials:
            raise ValueError(f"{string!r} is reserved: give it another name")

    def index(self, strings) -> np.ndarray:
        """Looks up many strings at once, eagerly.

        Args:
            strings: A list, array or tensor of strings of any shape, or an Arrow array.

        Returns:
            `int32` array of the same shape; the index of `"[UNK]"` for strings never added.
        """
        if isinstance(strings, pa.Array):
            return self._index_of_array(strings)
        return self.table.lookup(tf.convert_to_tensor(strings, tf.string)).numpy()

    def _index_of_array(self, strings: pa.Array) -> np.ndarray:
        text = pa.large_string()  # an array of nothing has no type of its own
        if self._array is None or len(self._array) < len(self):
            self._array = pa.array(self.strings, text)
        found = pc.index_in(strings.cast(text), value_set=self._array)
        return found.fill_null(len(self.specials) - 1).to_numpy()

    @property
    def table(self) -> tf.lookup.StaticHashTable:
        """The lookup in a graph: `table.lookup(strings)` returns `int32` indices.

        It holds the strings added so far; get it again after adding more.
        """
        table, number = self._strings_table
        if table is None or number < len(self.strings):
            strings = list(self.strings)
            with tf.init_scope():
                table = tf.lookup.StaticHashTable(
                    tf.lookup.KeyValueTensorInitializer(
                        tf.constant(strings), tf.range(len(strings), dtype=tf.int32)
                    ),
                    default_value=len(self.specials) - 1,
                )
            self._strings_table = table, len(strings)
        return table

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the strings, one a line, in order and without the special ones.

        Raises:
            ValueError: if a string holds a line break.
        """
        strings = self.strings[len(self.specials) :]
        for string in strings:
            if "\n" in string or "\r" in string:
                raise ValueError(f"cannot save {string!r} one a line: it holds a line break")
        with atomic_file(path) as temporary:
            temporary.write_text("".join(f"{string}\n" for string in strings), encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]):
        """Loads an index that `save` wrote.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if a line is empty, reserved or repeated; names the file and the line.
        """
        index = cls()
        text = pathlib.Path(path).read_text(encoding="utf-8-sig")
        for number, line in enumerate(text.removesuffix("\n").split("\n") if text else [], start=1):
            if not line or line in index:
                what = f"{line!r} is repeated or reserved" if line else "the line is empty"
                raise ValueError(f"{path}:{number}: {what}")
            index.add(line)
        return index
