from __future__ import annotations

import argparse

import pytest

from tfrs_npa.cli.options import (
    at_least_zero,
    ids_in,
    require_same,
    settings_given,
    tokenizer_of,
)
from tfrs_npa.config import PRESETS, NPAConfig
from tfrs_npa.settings import DataSettings


def test_paths_of_settings_are_absolute(tmp_path, monkeypatch):
    """A run can be resumed from another working directory."""
    monkeypatch.chdir(tmp_path)
    options = argparse.Namespace(
        data="my-data", data_dir="~x", manual_dir=None, word_vectors="v.txt", word_list=None,
        holdout="auto", tokenizer=None, epochs=3, news="news.parquet",
        article_vectors=None, article_ids=None, user_buckets=None,
    )  # fmt: skip
    assert settings_given(options, DataSettings) == {
        "data": str(tmp_path / "my-data"),
        "data_dir": str(tmp_path / "~x"),
        "word_vectors": str(tmp_path / "v.txt"),
        "holdout": "auto",
        "news": str(tmp_path / "news.parquet"),
    }
    options.data = "mind/small"
    assert settings_given(options, DataSettings)["data"] == "mind/small"


def test_published_presets_split_titles_as_published_code_does():
    presets = {name: tokenizer_of(NPAConfig.preset(name)) for name in PRESETS}
    assert presets == {"recommenders": "mind", "paper": "mind", "small": "unicode"}
    assert tokenizer_of(NPAConfig.preset("paper").replace(dropout=0.1)) == "mind"
    assert tokenizer_of(NPAConfig()) == "unicode"


def test_all_that_differs_is_named():
    had = {"epochs": 3, "seed": 1, "tuner": "grid"}
    require_same("r", had, {"epochs": 3})
    with pytest.raises(ValueError) as caught:
        require_same("r", had, {"seed": 2, "tuner": "random", "epochs": 3}, ["another space"])
    assert str(caught.value) == (
        "r was started with seed 1, not 2, tuner 'grid', not 'random', another space; --resume "
        "alone keeps its settings"
    )


@pytest.mark.parametrize("text", ["0", "1.5", "inf"])
def test_at_least_zero(text):
    assert at_least_zero(text) == float(text)


@pytest.mark.parametrize("text", ["-0.1", "nan", "-inf", "much", ""])
def test_less_than_zero_or_no_number(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is not a number of at least 0"):
        at_least_zero(text)


def test_ids_of_articles_in_a_file(tmp_path):
    path = tmp_path / "ids.txt"
    path.write_text("\ufeffN1\r\nN\xa02 \nN\x1c3\n", encoding="utf-8")
    assert ids_in(path) == ["N1", "N\xa02", "N\x1c3"]
    path.write_text("")
    assert ids_in(path) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"N1\n\nN2\n", ":2: expected the id of an article, found ''"),
        (b"N1\n" + b"x y" * 10**6, ":2: expected the id of an article, found 'x yx y"),
        (b"N1\nN\xff2\n", ":2: not UTF-8"),
        (b"\xef\xbb\xbfN1\n\xff\n", ":2: not UTF-8"),
    ],
)
def test_a_file_without_ids_of_articles(tmp_path, content, message):
    path = tmp_path / "ids.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        ids_in(path)
    assert message in str(caught.value) and len(str(caught.value)) < 400
