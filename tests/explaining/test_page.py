"""The page as text; tests/browser looks at it as a reader does."""

from __future__ import annotations

import html.parser
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrs_npa.explaining.page import page, pieces
from tfrs_npa.explaining.report import Title, Word

EVIL = "<script>alert(1)</script>"
# Elements without an end.
VOID = {"meta", "link", "rect"}


class Parser(html.parser.HTMLParser):
    """Checks that elements are nested, and gathers them and their text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.text = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID - {"rect"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_all_titles_and_readers_are_on_the_page(make_report):
    parsed = Parser(page(make_report()))
    text = re.sub(r"\s+", " ", "".join(parsed.text))
    for expected in ("my <run> ranks 1,234 articles", "<b>U2</b>", "sports & games"):
        assert expected in text
    assert "The model knows this reader. It reads 5 of 8 clicks." in text
    assert "The model does not know this reader: only the history counts." in text
    assert text.count("without any click") == 4
    rects = [attributes for tag, attributes in parsed.elements if tag == "rect"]
    assert len(rects) == 2 * 5 + 2 * 2
    assert {rect["class"] for rect in rects} == {"more", "less"}


def test_titles_stay_text(make_report):
    text = page(make_report(titles=(EVIL, "\"' onload='x' &amp; Ｃ")))
    parsed = Parser(text)
    assert [tag for tag, _ in parsed.elements].count("script") == 1
    assert not any(name.startswith("on") for _, attrs in parsed.elements for name in attrs)
    assert "alert(1)" in "".join(parsed.text)


def test_nothing_comes_from_elsewhere(make_report):
    parsed = Parser(page(make_report()))
    for _, attributes in parsed.elements:
        assert "src" not in attributes
        assert attributes.get("href", "#").startswith(("#", "data:,"))
    assert "url(" not in page(make_report()) and "@import" not in page(make_report())
    (policy,) = [a["content"] for _, a in parsed.elements if "http-equiv" in a]
    assert policy.startswith("default-src 'none'; ")


@pytest.mark.parametrize("clicks", [(0, 0), (1, 40)])
def test_few_and_many_clicks(clicks, make_report):
    text = "".join(Parser(page(make_report(clicks=clicks))).text)
    assert ("It reads no click" in text) == (clicks == (0, 0))
    assert ("37 other clicks" in text) == (clicks == (1, 40))


WORDS = st.lists(st.tuples(st.text("ab", min_size=1, max_size=3), st.booleans()), max_size=6)


@given(WORDS)
def test_pieces_make_up_the_title(parts):
    words, title = [], ""
    for text, is_read in parts:
        start = len(title) + 1
        title += f" {text}"
        if is_read:
            words.append(Word(text, 1 / len(parts), 0.5, start, start + len(text)))
    found = list(pieces(Title("N1", title, "", tuple(words))))
    assert "".join(piece.text for piece in found) == title
    assert [piece.word for piece in found if piece.word] == words
    assert all(0 <= piece.shade <= 1 and 0 <= piece.line <= 1 for piece in found)


def test_words_without_a_place_are_shown_themselves():
    words = (Word("cafe", 0.5, None, None, None), Word("rain", 0.5, None, None, None))
    found = list(pieces(Title("N1", "CAFÉ—Rain", "", words)))
    assert "".join(piece.text for piece in found) == "cafe rain "
