"""What error messages quote of input."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrs_npa._quoting import did_you_mean, listed, quoted, reason_of, shortened


@pytest.mark.parametrize(
    "value",
    ["N1" * 10**6, b"\xff" * 10**6, "\x00" * 20, list(range(10**6)), {"a": ["b" * 10**6] * 99}],
    ids=lambda value: type(value).__name__,
)
def test_long_values_are_cut(value):
    assert "..." in quoted(value) and len(quoted(value)) <= 60


def test_integers_that_python_does_not_print():
    assert quoted(10**5000) == "int that is too long to show"
    assert len(quoted([10**5000])) < 80


@given(st.text(max_size=20) | st.binary(max_size=14) | st.lists(st.integers(0, 99), max_size=6))
def test_short_values_are_as_in_python(value):
    if len(repr(value)) <= 60:
        assert quoted(value) == repr(value)


@given(st.text(), st.integers(9, 40))
def test_shortened(text, longest):
    found = shortened(text, longest)
    assert found == text if len(text) <= longest else len(found) == longest


def test_the_reason_of_an_error():
    assert reason_of(ValueError("line 3:\n  no")) == reason_of("line 3: no ") == "line 3: no"
    assert reason_of(EOFError()) == reason_of(EOFError(" \n")) == "EOFError"
    assert len(reason_of(ValueError("x " * 10**6))) == 200


def test_listed():
    assert listed(["a", "b"]) == "a, b"
    assert listed(map(str, range(9))) == "0, 1, 2, 3, 4, 5 and 3 more"
    assert len(listed(["x" * 10**6] * 10**4)) < 500


def test_the_closest_name():
    assert did_you_mean("mx", ["min", "max"]) == "; did you mean 'max'?"
    others = ["", "other", "mx" * 10**6, 10**5000, None, b"max"]
    assert not any(did_you_mean(other, ["min", "max"]) for other in others)
