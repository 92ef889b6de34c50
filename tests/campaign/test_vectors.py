"""Vectors of words and of articles from elsewhere: text, `.npy`, and the names of their rows."""

from __future__ import annotations

import io
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_npa.data.article_vectors import ArticleVectors
from tfrs_npa.data.word_vectors import WordVectors

CAMPAIGN = settings.get_profile("campaign")
READERS = [WordVectors.from_npy, ArticleVectors.load]
DIGITS = b"9" * 5000


def saved(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def with_header(shape, descr="'<f4'"):
    """An `.npy` file whose header says whatever it likes."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}"
    header = (text.ljust(-(-(len(text) + 11) // 64) * 64 - 11) + "\n").encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(16)


GOOD = saved(np.eye(2, 3, dtype=np.float32))
ARRAYS = {
    "nothing": b"",
    "truncated": GOOD[:-3],
    "a truncated header": GOOD[:20],
    "text": b"hello\n",
    "pickled objects": saved(np.array([[{}], [{}]], object), allow_pickle=True),
    "texts": saved(np.array([["a"], ["b"]])),
    "structures": saved(np.zeros((2, 1), [("a", "f4")])),
    "complex numbers": saved(np.zeros((2, 2), complex)),
    "dates": saved(np.zeros((2, 2), "M8[s]")),
    "terabytes that are promised": with_header("(2, 1000000000000)"),
    "a shape that overflows": with_header("(4294967296, 4294967296, 4294967296)"),
    "a negative shape": with_header("(2, -1)"),
    "a shape of thousands of digits": with_header(f"(2, {'9' * 5000})"),
    "a shape that is code": with_header("__import__('os').getcwd()"),
    "a type that is code": with_header("(2, 2)", "__import__('os')"),
    "deep brackets": with_header("(" * 3000 + "2" + ")" * 3000),
    "a later version": b"\x93NUMPY\x09\x00" + GOOD[8:],
    "a number": saved(np.float32(1)),
    "a row": saved(np.zeros(2, np.float32)),
    "vectors without numbers": saved(np.zeros((2, 0), np.float32)),
    "NaN": saved(np.array([[1, 2], [np.nan, 1]], np.float32)),
    "infinity": saved(np.array([[1, 2], [np.inf, 1]], np.float32)),
    "too large for float32": saved(np.array([[1, 2], [1e300, 1]])),
}
TEXTS = {
    "nothing": b"",
    "a word": b"a\n",
    "NaN": b"a 1 2\nb 1 nan\n",
    "infinity": b"a 1 2\nb 1 1e999\n",
    "terabytes that are promised": b"2 1000000000000\na 1 2\n",
    "long vectors that are promised": b"1000000 100000000\na 1 2\n",
    "a count of thousands of digits": DIGITS + b" 2\na 1 2\n",
    "a count that is too large": b"1000000000000000000000 2\na 1 2\n",
    "a length of thousands of digits": b"2 " + DIGITS + b"\na 1 2\n",
    "a number of thousands of digits": b"a 1 " + DIGITS + b"\n",
    "zeros": bytes(5_000_000),
    "a line of millions of numbers": b"a " + b"1 " * 1_000_000 + b"\n",
    "a later line of millions of numbers": b"a 1 2\nb " + b"1 " * 1_000_000 + b"\n",
    "a vector of length 0": b"2 0\na\nb\n",
    "a word2vec binary": b"2 3\na " + np.ones(3, np.float32).tobytes() + b"\n",
    "numbers in base 16": b"a 0x1 2\n",
    "a number too few": b"a 1 2\nb 1\n",
    "a line too few": b"3 2\na 1 2\nb 1 2\n",
}
NAMES = {
    "not UTF-8": b"a\n\xe9\n",
    "repeated": b"a\na\n",
    "repeated and long": (b"x" * 1_000_000 + b"\n") * 2,
    "too few": b"a\n",
    "too many": b"a\nb\nc\n",
    "nothing": b"",
    "zeros": bytes(1_000_000),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("content", ARRAYS.values(), ids=ARRAYS)
def test_arrays(reader, content, tmp_path, attempt):
    path, names = tmp_path / "v.npy", tmp_path / "names.txt"
    path.write_bytes(content)
    names.write_text("a\nb\n")
    assert attempt(lambda: reader(path, names), path)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("content", NAMES.values(), ids=NAMES)
def test_names(reader, content, tmp_path, attempt):
    path, names = tmp_path / "v.npy", tmp_path / "names.txt"
    path.write_bytes(GOOD)
    names.write_bytes(content)
    assert attempt(lambda: reader(path, names), names)


@pytest.mark.parametrize("content", TEXTS.values(), ids=TEXTS)
def test_texts(content, tmp_path, attempt):
    path = tmp_path / "v.txt"
    path.write_bytes(content)
    assert attempt(lambda: WordVectors.from_text(path), path)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink(path, path)])
def test_what_is_no_file(make, tmp_path, attempt):
    good, other = tmp_path / "good", tmp_path / "other"
    make(other)
    assert attempt(lambda: WordVectors.from_text(other), other)
    for reader in READERS:
        good.write_bytes(GOOD)
        assert attempt(lambda: reader(good, other), other)  # noqa: B023
        good.write_text("a\nb\n")
        assert attempt(lambda: reader(other, good), other)  # noqa: B023


@CAMPAIGN
@given(
    changes=st.lists(st.tuples(st.integers(0), st.binary(min_size=1, max_size=8)), max_size=3),
    length=st.none() | st.integers(0),
    reader=st.sampled_from(READERS),
)
def test_damaged_arrays(changes, length, reader, tmp_path_factory, attempt):
    folder = tmp_path_factory.getbasetemp()
    path, names = folder / "v.npy", folder / "names.txt"
    names.write_text("a\nb\n")
    content = bytearray(GOOD)
    for place, written in changes:
        place %= len(content)
        content[place : place + len(written)] = written
    path.write_bytes(content if length is None else content[: length % len(content)])
    message = attempt(lambda: reader(path, names), path)
    assert bool(message) == (length is not None) or changes


FIELDS = st.sampled_from(
    ["1", "-0.5", "1e5", "nan", "inf", "a", "", "1_0", "٣", "9" * 4400, "\x00"]
)
LINES = st.lists(FIELDS, max_size=4).map(" ".join)


@CAMPAIGN
@given(
    text=st.lists(LINES, max_size=4).map("\n".join) | st.text(max_size=30),
    end=st.binary(max_size=3),
)
def test_texts_near_vectors(text, end, tmp_path_factory, attempt):
    path = tmp_path_factory.getbasetemp() / "v.txt"
    path.write_bytes(text.encode("utf-8", "surrogatepass") + end)
    found = []
    message = attempt(lambda: found.append(WordVectors.from_text(path)), path)
    assert message or np.isfinite(found[0].vectors).all()
