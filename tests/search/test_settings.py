from __future__ import annotations

import re

import pytest

from tfrs_npa.settings import SearchSettings


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"holdout": "none"}, "holdout is 'none'; it is one of auto, last-day"),
        ({"tuner": "genetic"}, "hyperband, random, bayesian, grid"),
        ({"epochs": 0}, "epochs is 0; the least is 1"),
        ({"max_trials": 0}, "max_trials is 0; the least is 1"),
        ({"seed": -1}, "seed is -1; the least is 0"),
        ({"word_list": "words.txt"}, "a word list goes with word vectors"),
    ],
)
def test_bad_settings(given, expected):
    with pytest.raises(ValueError, match=re.escape(expected)):
        SearchSettings("mind/small", **given)
