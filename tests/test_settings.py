from __future__ import annotations

import re

import pytest

from tfrs_npa.settings import DataSettings, SearchSettings, TrainingSettings

WORD_LIST = "word vectors in an .npy file need a word list, and a word list needs such a file"


@pytest.mark.parametrize("settings", [DataSettings, TrainingSettings, SearchSettings])
@pytest.mark.parametrize(
    "given",
    [{"word_vectors": "v.npy"}, {"word_vectors": "v.txt", "word_list": "w"}, {"word_list": "w"}],
)
def test_word_lists_are_of_arrays(settings, given):
    with pytest.raises(ValueError, match=re.escape(WORD_LIST)):
        settings("mind/small", **given)


@pytest.mark.parametrize(
    ("settings", "given", "expected"),
    [
        (DataSettings, {"holdout": "first-day"}, "one of auto, last-day, none"),
        (TrainingSettings, {"holdout": "first-day"}, "one of auto, last-day, none"),
        (DataSettings, {"tokenizer": "words"}, "one of unicode, mind, whitespace"),
        (TrainingSettings, {"epochs": 0}, "epochs is 0; it has to be at least 1"),
        (TrainingSettings, {"patience": 0}, "patience is 0; it has to be at least 1"),
        (TrainingSettings, {"precision": "float16"}, "one of float32, bfloat16"),
        (SearchSettings, {"holdout": "none"}, "'none'; it has to be one of auto, last-day"),
        (SearchSettings, {"tuner": "genetic"}, "one of hyperband, random, bayesian, grid"),
        (SearchSettings, {"epochs": 0}, "epochs is 0; it has to be at least 1"),
        (SearchSettings, {"max_trials": 0}, "max_trials is 0; it has to be at least 1"),
        (TrainingSettings, {"epochs": 10**30}, "it has to be at most 1,000,000"),
        (TrainingSettings, {"user_buckets": 2**31}, "it has to be at most 2,147,483,646"),
        (SearchSettings, {"seed": 2**32}, "seed is 4294967296; it has to be at most 4,294,967,295"),
        (SearchSettings, {"seed": -1}, "seed is -1; it has to be at least 0"),
    ],
)
def test_bad_values(settings, given, expected):
    with pytest.raises(ValueError, match=f"{re.escape(expected)}$"):
        settings("mind/small", **given)


@pytest.mark.parametrize(
    "given",
    [{}, {"holdout": "none", "word_vectors": "v.txt"}, {"word_vectors": "v.npy", "word_list": "w"}],
)
def test_good_values(given):
    settings = DataSettings("mind/small", **given)
    assert all(getattr(settings, name) == value for name, value in given.items())
