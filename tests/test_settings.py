from __future__ import annotations

import re

import pytest

from tfrs_npa.settings import DataSettings


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"holdout": "first-day"}, "holdout is 'first-day'; it is one of auto, last-day, none"),
        ({"word_vectors": "v.npy"}, "a word list goes with word vectors"),
        ({"word_vectors": "v.txt", "word_list": "w.txt"}, "a word list goes with word vectors"),
        ({"word_list": "w.txt"}, "a word list goes with word vectors"),
    ],
)
def test_bad_settings(given, expected):
    with pytest.raises(ValueError, match=re.escape(expected)):
        DataSettings("mind/small", **given)


@pytest.mark.parametrize(
    "given",
    [{}, {"holdout": "none", "word_vectors": "v.txt"}, {"word_vectors": "v.npy", "word_list": "w"}],
)
def test_good_settings(given):
    settings = DataSettings("mind/small", **given)
    assert all(getattr(settings, name) == value for name, value in given.items())
