import re
import unicodedata

import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tfrs_npa.data.tokenizers import tokenize
from tfrs_npa.data.unicode_table import IGNORABLE
from tfrs_npa.settings import TOKENIZERS

SPACELESS = (
    *("CJK ", "IDEOGRAPHIC ", "HIRAGANA ", "KATAKANA", "BOPOMOFO "),
    *("THAI ", "LAO ", "KHMER ", "MYANMAR "),
)
# All that tells the tokenizers apart, and what is drawn too seldom from all of Unicode.
MIXED = (
    "aAzß_9.,!?;|- \0\n\u00a0\u200b\u3000éÉİıſςΣǅﬁ½²™…ＡＢ，！`´"
    "\u0300\u0301\u0302\u0307\u0308\u0313\u0323\u0327\u0328\u0331\u0342\u0345\u1fb3ᾳᾼΐάἀ"
    "각가각한ㅎｶﾞがか\u3099ーっ々〇漢字\uf900ไทยน้ำเลล\u0e33ກາມກໍາ"
    "कि\u093cक़न\u094d\u09c7\u09be\u0bc6\u0bbeมمُحَمَّدש\u05c1\u05bcﬁﷲ\u20dd\ufffd👍"
)
# Assigned since 2002, so that every Python knows the same of them.
TEXT = st.text(st.characters(codec="utf-8"), max_size=12).map(
    lambda text: "".join(c for c in text if unicodedata.ucd_3_2_0.category(c) != "Cn")
)
ANY_TEXT = st.one_of(st.text(st.sampled_from(MIXED), max_size=12), TEXT)

IN_TEN_SCRIPTS = {
    "latin": ("L’été à Nîmes : 30 °C, ÇA CHAUFFE !", "l été à nîmes 30 c , ça chauffe !"),
    "vietnamese": ("Giá VÀNG tăng mạnh", "giá vàng tăng mạnh"),
    "german": ("Straßenfest in KÖLN", "strassenfest in köln"),
    "greek": ("Ο ΚΑΙΡΟΣ ΣΉΜΕΡΑ; Ο καιρός", "ο καιροσ σήμερα ; ο καιρόσ"),
    "cyrillic": ("Новый мост открыт – «Ёлка»", "новый мост открыт ёлка"),
    "arabic": ("افْتُتِحَ الجِسْرُ الجَدِيدُ، أخيرًا", "افْتُتِحَ الجِسْرُ الجَدِيدُ أخيرًا"),
    "persian": ("می\u200cخواهم بروم", "میخواهم بروم"),
    "hebrew": ("הַגֶּשֶׁר הֶחָדָשׁ נִפְתַּח", "הַגֶּשֶׁר הֶחָדָשׁ נִפְתַּח"),
    "devanagari": ("दिल्ली में आज बारिश हुई।", "दिल्ली में आज बारिश हुई"),
    "tamil": ("புதிய பாலம் திறப்பு", "புதிய பாலம் திறப்பு"),
    "thai": ("ฝนตกหนักที่เมือง", "ฝ น ต ก ห นั ก ที่ เ มื อ ง"),
    "chinese": ("新桥今日开通，票价5元。", "新 桥 今 日 开 通 , 票 价 5 元"),
    "japanese": ("ＡＩが作るラーメン、人気！", "ai が 作 る ラ ー メ ン 人 気 !"),
    "korean": ("새 다리가 열렸다", "새 다리가 열렸다"),
}


def words(title, tokenizer="unicode"):
    return [word.decode() for word in tokenize([title], tokenizer).to_list()[0]]


def normal(title):
    """Unicode's toNFKC_Casefold."""
    title = unicodedata.normalize("NFD", title)
    title = "".join(c for c in title if ord(c) not in IGNORABLE)
    for _ in range(2):
        title = unicodedata.normalize("NFKD", title).casefold()
    return unicodedata.normalize("NFKC", title)


def is_letter(character):
    return unicodedata.category(character)[0] in "LN" or character == "_"


def is_spaceless(character):
    is_letter = unicodedata.category(character)[0] == "L"
    name = unicodedata.name(character, "")
    return character == "〇" or is_letter and name.startswith(SPACELESS)


def plain_words(title):
    """The words of a title, character by character."""
    found, takes = [], ""  # what may be added to the last word
    for c in normal(title):
        if unicodedata.category(c)[0] == "M":
            if takes:
                found[-1] += c
        elif c in ".,!?;|":
            found.append(c)
            takes = ""
        elif is_spaceless(c):
            found.append(c)
            takes = "marks"
        elif not is_letter(c):
            takes = ""
        elif takes == "marks and letters":
            found[-1] += c
        else:
            found.append(c)
            takes = "marks and letters"
    return found


@pytest.mark.parametrize(("title", "expected"), IN_TEN_SCRIPTS.values(), ids=IN_TEN_SCRIPTS)
def test_sentences_in_many_scripts(title, expected):
    expected = unicodedata.normalize("NFC", expected).split()
    assert words(title) == expected
    for form in ("NFC", "NFD"):
        assert words(unicodedata.normalize(form, title)) == expected


@settings(deadline=None, max_examples=200)
@given(st.lists(ANY_TEXT, max_size=4))
@example(["a\u0301\u0323", "\u0301", "e\u0323\u0301"])
def test_they_are_the_words_of_the_reference(titles):
    found = tokenize(tf.constant(titles, tf.string)).to_list()
    assert [[word.decode() for word in row] for row in found] == [*map(plain_words, titles)]


@settings(deadline=None, max_examples=50)
@given(ANY_TEXT)
def test_no_letter_is_lost(title):
    kept = "".join(words(title))
    assert [*filter(is_letter, kept)] == [*filter(is_letter, normal(title))]


@settings(deadline=None, max_examples=50)
@given(ANY_TEXT)
def test_words_stay_as_they_are_when_split_again(title):
    found = words(title)
    assert words(" ".join(found)) == found


@settings(deadline=None, max_examples=50)
@given(st.text(st.characters(max_codepoint=0x7F)))
def test_ascii_has_the_same_words_as_ever(title):
    # Both next to a title that is not ASCII, and alone.
    assert words(title) == words(title, "mind") == words(title + " é")[:-1]


@tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
def in_a_graph(titles):
    return tuple(tokenize(titles, tokenizer) for tokenizer in TOKENIZERS)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.binary(max_size=12) | ANY_TEXT.map(str.encode), max_size=4))
@example([b"a\xff", b"\xe2\x82 \xed\xa0\x80", "aÿ".encode(), b""])
def test_a_graph_and_python_agree_on_any_string(titles):
    """Bytes that are not UTF-8 are replaced as Python replaces them."""
    replaced = [title.decode("utf-8", errors="replace") for title in titles]
    graph = in_a_graph(tf.constant(titles, tf.string))
    for tokenizer, found in zip(TOKENIZERS, graph, strict=True):
        for given_titles in (titles, replaced):
            expected = tokenize(tf.constant(given_titles, tf.string), tokenizer)
            assert found.to_list() == expected.to_list()


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_leading_dimensions_stay(tokenizer):
    titles = [["a b", "é"], ["", "d"]]
    expected = [[[b"a", b"b"], ["é".encode()]], [[], [b"d"]]]
    assert tokenize(titles, tokenizer).to_list() == expected


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
def test_mind(title, expected):
    assert words(title, "mind") == expected


@settings(deadline=None, max_examples=60)
@given(st.text(st.characters(codec="utf-8", max_codepoint=0x24F, exclude_characters="İ")))
def test_mind_is_the_regular_expression_of_its_description(title):
    # Python's \w is Unicode, but also takes in what is neither letter, digit nor underscore.
    expected = re.findall(r"\w+|[.,!?;|]", title.lower())
    assert words(title, "mind") == expected


@settings(deadline=None, max_examples=60)
@given(ANY_TEXT)
def test_whitespace_separates_where_python_does(title):
    assert words(title, "whitespace") == title.split()


def test_whitespace_leaves_words_as_they_are():
    assert words(" New_York's  Café\tAI技術 ", "whitespace") == ["New_York's", "Café", "AI技術"]


def test_an_unknown_tokenizer():
    with pytest.raises(ValueError, match="'spaces'; it has to be one of unicode, mind, whitespace"):
        tokenize(["a"], "spaces")
