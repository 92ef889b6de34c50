import re

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_npa.data.vocabulary import Vocabulary, tokenize


def words(title):
    return [word.decode() for word in tokenize([title]).to_list()[0]]


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("The CAFÉ's menu", ["the", "café", "s", "menu"]),
        ("Wait, what?! 2.5|3;", ["wait", ",", "what", "?", "!", "2", ".", "5", "|", "3", ";"]),
        ("ÄÖÜ straße – ÉTÉ", ["äöü", "straße", "été"]),
        ("日本語 «Новости»", ["日本語", "новости"]),
        ("snake_case $100%", ["snake_case", "100"]),
        ("tabs\tand\u00a0such", ["tabs", "and", "such"]),
        ("", []),
        (" -- ", []),
    ],
)
def test_tokenize(title, expected):
    assert words(title) == expected


@settings(deadline=None, max_examples=60)
@given(st.text(st.characters(codec="utf-8", max_codepoint=0x24F, exclude_characters="İ")))
def test_tokenize_is_the_regular_expression_of_its_description(title):
    # Python's \w is Unicode, but also takes in what is neither letter, digit nor underscore.
    expected = re.findall(r"\w+|[.,!?;|]", title.lower())
    assert words(title) == expected


def test_invalid_utf8_separates():
    assert tokenize([b"ab\xff\xfecd"]).to_list() == [[b"ab", b"cd"]]


def test_tokenize_keeps_leading_dimensions():
    assert tokenize([["a b", "c"], ["", "d"]]).to_list() == [[[b"a", b"b"], [b"c"]], [[], [b"d"]]]


def test_graph_and_eager_agree():
    titles = tf.constant(["Déjà vu, AGAIN?", "", "x|y"])
    vocabulary = Vocabulary.from_words(["vu", "x", "déjà"])
    eager = vocabulary.encode(titles)
    graph = tf.function(vocabulary.encode, input_signature=[tf.TensorSpec([None], tf.string)])
    assert eager.dtype == tf.int32
    assert eager.to_list() == [[4, 2, 1, 1, 1], [], [3, 1, 1]] == graph(titles).to_list()
    assert tf.function(tokenize)(titles).to_list() == tokenize(titles).to_list()


def test_numbers():
    vocabulary = Vocabulary.from_words(["b", "a", "b"])
    assert vocabulary.words == ["", "[UNK]", "b", "a"]
    assert len(vocabulary) == 4
    assert vocabulary.index(["a", "", "zzz", "[UNK]"]).tolist() == [3, 0, 1, 1]


@pytest.mark.parametrize("word", ["", "two words", "no\u00a0break", "line\n"])
def test_what_no_title_can_match_is_refused(word):
    with pytest.raises(ValueError, match="not a word"):
        Vocabulary.from_words(["fine", word])


def test_saves_and_loads(tmp_path):
    vocabulary = Vocabulary.from_words(["café", ",", "日本語"])
    vocabulary.save(tmp_path / "words.txt")
    assert (tmp_path / "words.txt").read_text(encoding="utf-8") == "café\n,\n日本語\n"
    loaded = Vocabulary.load(tmp_path / "words.txt")
    assert loaded == vocabulary
    assert loaded.encode(["Café, 日本語!"]).to_list() == [[2, 3, 4, 1]]
