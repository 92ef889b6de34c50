"""What users hand over as strings."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfrs_npa.retrieval.requests import string_matrix, string_vector

EXPECTED = [[b"a", b"b"], [b"c", b""]]


@pytest.mark.parametrize(
    "value",
    [
        [["a", "b"], ["c"]],
        (("a", "b"), ("c", "")),
        [np.array(["a", "b"]), np.array(["c"])],
        np.array([["a", "b"], ["c", ""]]),
        np.array([["a", "b"], ["c", ""]], object),
        tf.constant([["a", "b"], ["c", ""]]),
        tf.ragged.constant([["a", "b"], ["c"]]),
        [[b"a", b"b"], [b"c"]],
    ],
    ids=["lists", "tuples", "arrays", "array", "objects", "tensor", "ragged", "bytes"],
)
def test_matrix(value):
    assert string_matrix(value, "history", 2).numpy().tolist() == EXPECTED


@pytest.mark.parametrize("value", [[[], []], np.zeros([2, 0], object), tf.zeros([2, 0], tf.string)])
def test_matrix_without_columns(value):
    assert string_matrix(value, "history", 2).shape == (2, 0)


def test_matrix_from_a_row():
    row = string_matrix(["a", "b"], "candidates", 5, or_one_for_all=True)
    assert row.numpy().tolist() == [[b"a", b"b"]]
    assert string_matrix([], "candidates", 5, or_one_for_all=True).shape == (1, 0)


@pytest.mark.parametrize(
    "value, message",
    [
        (["a", "b"], r"history has to have the shape \[batch, articles\]; found \(2,\)"),
        ("a", r"history has to have the shape .* found \(\)"),
        ([[["a"]], [["b"]]], r"found \(2, 1, 1\)"),
        ([["a", ["b"]], ["c"]], "history has to be strings"),
        (tf.zeros([2, 3, 4], tf.string), r"found \(2, 3, 4\)"),
        ([["a"], "b"], "history mixes strings and rows"),
        ([[1, 2], [3, 4]], "history has to be strings"),
        (tf.constant([[1, 2], [3, 4]]), "history has to be strings; found int32"),
        (tf.ragged.constant([[1], [2]]), "history has to be strings; found int32"),
        ([["a"]], "history has 1 rows; there are 2 users"),
    ],
)
def test_bad_matrix(value, message):
    with pytest.raises(ValueError, match=message):
        string_matrix(value, "history", 2)


def test_vector():
    for value in (["a", "b"], np.array(["a", "b"]), tf.constant(["a", "b"])):
        assert string_vector(value, "user_id").numpy().tolist() == [b"a", b"b"]
    for value in ("a", [["a"]]):
        with pytest.raises(ValueError, match=r"user_id has to have the shape \[batch\]"):
            string_vector(value, "user_id")
    with pytest.raises(ValueError, match="user_id has to be strings; found int32"):
        string_vector([1, 2], "user_id")
