"""What the tokenizer `unicode` knows of each character, of one version of Unicode.

TensorFlow has no operations for it, and the Unicode of Python differs from version to version, so
the table is a file of the package. `python -m tfrs_npa.data.unicode_table` writes it, on a Python
of that Unicode version.
"""

from __future__ import annotations

import functools
import pathlib
import sys
import unicodedata
from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np

from tfrs_npa._files import atomic_file

VERSION = "14.0.0"
"""Version of Unicode."""
SEPARATOR, LETTER, MARK, PUNCTUATION, CHARACTER = range(5)
"""Kinds of characters: letters and digits make up words, marks belong to the letter before them,
and punctuation and the characters of scripts without spaces are words of their own."""
PAGE = 256
IOTA_SUBSCRIPT, IOTA = 0x345, 0x3B9
NOT_ALONE = -1
SECOND_BITS = 21
"""Bits of the second code point in a key of `pairs`."""

_FILE = pathlib.Path(__file__).with_name(f"unicode-{VERSION}.npz")
_PUNCTUATION = ".,!?;|"
# Beginnings of the names of scripts written without spaces.
_SPACELESS = (
    *("CJK ", "IDEOGRAPHIC ", "HIRAGANA ", "KATAKANA", "HENTAIGANA ", "BOPOMOFO ", "THAI ", "LAO "),
    *("KHMER ", "MYANMAR ", "TAI ", "NEW TAI LUE ", "AHOM ", "JAVANESE ", "BALINESE "),
)
# Unassigned code points of the two planes of ideographs will be ideographs.
_IDEOGRAPHS = range(0x20000, 0x3FFFE)
_HANGUL = range(0xAC00, 0xD7A4)
# Where Unicode assigns characters; any other code point is treated as U+0000, a separator.
_CODES = (*range(0x40000), *range(0xE0000, 0xE1000))
# Default_Ignorable_Code_Point without U+200B, the space of zero width, which separates.
IGNORABLE = frozenset(
    [0x00AD, 0x034F, 0x061C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFEFF, 0xFFA0]
    + [*range(0x180B, 0x1810), *range(0x200C, 0x2010), *range(0x202A, 0x202F)]
    + [*range(0x2060, 0x2070), *range(0xFE00, 0xFE10), *range(0xFFF0, 0xFFF9)]
    + [*range(0x1BCA0, 0x1BCA4), *range(0x1D173, 0x1D17B), *range(0xE0000, 0xE1000)]
)


class UnicodeTable(NamedTuple):
    """What is known of each code point, by records that many of them share.

    The record of code point `c` is `records[pages[c // PAGE] * PAGE + c % PAGE]`.

    Attributes:
        pages: `int32 [0x110000 / PAGE]`.
        records: `int32 [pages * PAGE]`.
        kinds: `int32 [records]`, such as `LETTER`; of what the code point folds into.
        classes: `int32 [records]`, canonical combining classes.
        is_second: `bool [records]`, whether it may compose with a code point before it.
        folds: `int32 [records]`, what the code point folds into, whatever is around it; 0 for
            itself, `NOT_ALONE` if that is not one code point or depends on others.
        splits: `int32 [records + 1]`; a code point decomposes into
            `sequences[splits[r] : splits[r + 1]]`.
        sequences: `int32`, folded code points; 0 for the code point itself.
        pairs: `int64`, ascending: two code points that compose, `first << SECOND_BITS | second`.
        composites: `int32`, what they compose into.
    """

    pages: np.ndarray
    records: np.ndarray
    kinds: np.ndarray
    classes: np.ndarray
    is_second: np.ndarray
    folds: np.ndarray
    splits: np.ndarray
    sequences: np.ndarray
    pairs: np.ndarray
    composites: np.ndarray


@functools.cache
def unicode_table() -> UnicodeTable:
    """Returns the table of `VERSION`."""
    with np.load(_FILE, allow_pickle=False) as file:
        return UnicodeTable(**file)


def make_table() -> UnicodeTable:
    """Makes the table of the Unicode version of this Python."""
    pairs = dict(sorted(_pairs()))
    seconds = {chr(pair & (1 << SECOND_BITS) - 1) for pair in pairs}
    rows: dict[tuple[Any, ...], int] = {}
    record_of = np.zeros(sys.maxunicode + 1, np.int32)
    for code in _CODES:
        row = _row(chr(code), seconds)
        record_of[code] = rows.setdefault(row, len(rows))
    kinds, classes, is_second, folds, sequences = zip(*rows, strict=True)
    records, pages = np.unique(record_of.reshape(-1, PAGE), axis=0, return_inverse=True)
    return UnicodeTable(
        pages=pages.ravel().astype(np.int32),
        records=records.ravel(),
        kinds=np.array(kinds, np.int32),
        classes=np.array(classes, np.int32),
        is_second=np.array(is_second),
        folds=np.array(folds, np.int32),
        splits=np.cumsum([0, *map(len, sequences)], dtype=np.int32),
        sequences=np.concatenate(sequences).astype(np.int32),
        pairs=np.array([*pairs], np.int64),
        composites=np.array([*pairs.values()], np.int32),
    )


def _row(character: str, seconds: Collection[str]) -> tuple[int, int, bool, int, tuple[int, ...]]:
    """Returns kind, combining class, whether it may be second, fold and decomposition."""
    decomposed = _decomposed(character)
    sequence = (0,) if decomposed == character else tuple(map(ord, decomposed))
    folded = unicodedata.normalize("NFC", decomposed.replace(chr(IOTA_SUBSCRIPT), chr(IOTA)))
    combining = unicodedata.combining(character)
    is_alone = (
        len(folded) == 1 and folded not in seconds and unicodedata.combining(folded) == combining
    )
    fold = NOT_ALONE if not is_alone else 0 if folded == character else ord(folded)
    kind = _kind(folded if is_alone else character)
    return kind, combining, character in seconds, fold, sequence


def _decomposed(text: str) -> str:
    """Returns the full compatibility decomposition of a character with its case folded.

    The iota subscript is left to the tokenizer: marks have to be in order before it is folded. A
    syllable of Hangul stays whole, because nothing comes before the vowel or after it in order.
    """
    if ord(text) in _HANGUL:
        return text
    before, text = "", unicodedata.normalize("NFD", text)
    while text != before:
        before = text
        text = "".join(c if ord(c) == IOTA_SUBSCRIPT else c.casefold() for c in text)
        text = unicodedata.normalize("NFKD", text)
        text = "".join(c for c in text if ord(c) not in IGNORABLE)
    return text


def _pairs():
    for code in _CODES:
        character = chr(code)
        if code in _HANGUL:
            # A syllable is a consonant and a vowel, or such a syllable and a final consonant.
            parts = unicodedata.normalize("NFD", character)
            first, second = unicodedata.normalize("NFC", parts[:-1]), parts[-1]
        else:
            first, _, second = unicodedata.decomposition(character).partition(" ")
            if not second or first.startswith("<") or not _is_normal(character):
                continue
            first, second = chr(int(first, 16)), chr(int(second, 16))
        yield ord(first) << SECOND_BITS | ord(second), code


def _is_normal(character: str) -> bool:
    """Whether folding and composing give back a character."""
    decomposed = _decomposed(character)
    return (
        chr(IOTA_SUBSCRIPT) not in decomposed
        and unicodedata.normalize("NFC", decomposed) == character
    )


def _kind(character: str) -> int:
    category = unicodedata.category(character)
    if character in _PUNCTUATION:
        return PUNCTUATION
    if category[0] == "M":
        return MARK
    is_letter = category[0] == "L" or character == "〇"
    if is_letter and unicodedata.name(character, "").startswith(_SPACELESS):
        return CHARACTER
    if category == "Cn" and ord(character) in _IDEOGRAPHS:
        return CHARACTER
    return LETTER if category[0] in "LN" or character == "_" else SEPARATOR


def main() -> None:
    """Writes the file of the package."""
    if unicodedata.unidata_version != VERSION:
        raise SystemExit(
            f"the table is of Unicode {VERSION}; this Python has {unicodedata.unidata_version}"
        )
    with atomic_file(_FILE) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **make_table()._asdict())


if __name__ == "__main__":
    main()
