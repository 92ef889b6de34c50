"""Reading and writing news.tsv and behaviors.tsv."""

import io
import pathlib
import pickle
import tracemalloc

import pytest
import tensorflow as tf
from etils import epath
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_npa.datasets.mind.errors import MindFileError
from tfrs_npa.datasets.mind.tsv import (
    BEHAVIORS_COLUMNS,
    NEWS_COLUMNS,
    buffered,
    read_behaviors,
    read_news,
    write_behaviors,
    write_news,
)

NEWS = "N1\tsports\trowing\tA title\t\thttps://example.org/1\t[]\t[]\n"
LABELLED = "7\tU1\t11/15/2019 8:55:22 AM\tN1 N2 N1\tN3-1 N4-0\n"
UNLABELLED = "8\tU2\t11/16/2019 12:00:00 PM\t\tN3 N4\n"


def behaviors(text):
    return list(read_behaviors(io.BytesIO(text.encode()), name="behaviors.tsv"))


def news(text):
    return list(read_news(io.BytesIO(text.encode()), name="news.tsv"))


class TestWhatIsRead:
    def test_labelled_impression(self):
        assert behaviors(LABELLED) == [
            {
                "impression_id": 7,
                "user_id": "U1",
                "time": 1573808122,  # date -u -d "2019-11-15 08:55:22" +%s
                "history": ["N1", "N2", "N1"],
                "candidates": {"news_id": ["N3", "N4"], "clicked": [1, 0]},
            }
        ]

    def test_unlabelled_impression_without_history(self):
        (impression,) = behaviors(UNLABELLED)
        assert impression["history"] == []
        assert impression["candidates"] == {"news_id": ["N3", "N4"], "clicked": [-1, -1]}

    @pytest.mark.parametrize(
        ("clock", "hour"), [("12:00:00 AM", 0), ("1:00:00 AM", 1), ("12:00:00 PM", 12)]
    )
    def test_twelve_hour_clock(self, clock, hour):
        (impression,) = behaviors(LABELLED.replace("8:55:22 AM", clock))
        assert impression["time"] % 86_400 == hour * 3600

    def test_article(self):
        (article,) = news(NEWS)
        assert article == {
            "news_id": "N1",
            "category": "sports",
            "subcategory": "rowing",
            "title": "A title",
            "abstract": "",
            "url": "https://example.org/1",
            "title_entities": "[]",
            "abstract_entities": "[]",
        }

    def test_quotes_are_text_and_the_last_column_may_be_empty(self):
        (article,) = news('N1\ta\tb\t"Half a quote\tSays "so"\turl\t[]\t\n')
        assert article["title"] == '"Half a quote'
        assert article["abstract"] == 'Says "so"'
        assert article["abstract_entities"] == ""

    @pytest.mark.parametrize(
        "change",
        [
            lambda text: text.replace("\n", "\r\n"),
            lambda text: "\ufeff" + text,
            lambda text: text + "\n\r\n",
            lambda text: text.rstrip("\n"),
        ],
        ids=["crlf", "byte-order mark", "empty lines at the end", "no line end at the end"],
    )
    def test_accepted_variants(self, change):
        assert behaviors(change(LABELLED * 2)) == behaviors(LABELLED * 2)
        assert news(change(NEWS)) == news(NEWS)

    def test_unusual_line_separators_do_not_end_a_line(self):
        (article,) = news(NEWS.replace("A title", "A\u2028b\x85c\rd"))
        assert article["title"] == "A\u2028b\x85c\rd"

    @pytest.mark.parametrize(
        ("candidate", "news_id", "clicked"),
        [("N1--1", "N1-", 1), ("N1--0", "N1-", 0), ("N1-0-1", "N1-0", 1), ("---1", "--", 1)],
    )
    def test_what_follows_the_last_hyphen_is_the_label(self, candidate, news_id, clicked):
        (impression,) = behaviors(LABELLED.replace("N3-1", candidate))
        assert impression["candidates"]["news_id"][0] == news_id
        assert impression["candidates"]["clicked"][0] == clicked

    @pytest.mark.parametrize("space", ["\xa0", "\x85", "\u3000", "\x1c", "\u2028", "\x0b"])
    def test_only_blanks_separate_ids(self, space):
        (impression,) = behaviors(
            LABELLED.replace("N1 N2", f"N1{space}N2").replace("N3-1", f"N3{space}-1")
        )
        assert impression["history"] == [f"N1{space}N2", "N1"]
        assert impression["candidates"]["news_id"] == [f"N3{space}", "N4"]
        assert news(NEWS.replace("N1", f"N{space}1"))[0]["news_id"] == f"N{space}1"

    def test_hyphens_in_ids(self):
        (impression,) = behaviors(LABELLED.replace("N3-1", "a-1-b-1"))
        assert impression["candidates"]["news_id"] == ["a-1-b", "N4"]

    def test_first_of_repeated_articles_is_kept_and_the_others_are_counted(self, caplog):
        repeats = [NEWS.replace("A title", title) for title in ("Second", "Third")]
        articles = news(NEWS + "".join(repeats) + NEWS.replace("N1", "N2"))
        assert [article["news_id"] for article in articles] == ["N1", "N2"]
        assert articles[0]["title"] == "A title"
        assert len(caplog.records) == 1
        assert "news.tsv: 2 lines repeat" in caplog.text

    def test_path_and_file_give_the_same(self, tmp_path):
        path = tmp_path / "behaviors.tsv"
        path.write_text(LABELLED)
        assert list(read_behaviors(path)) == list(read_behaviors(str(path))) == behaviors(LABELLED)

    def test_memory_does_not_grow_with_the_file(self, tmp_path):
        path = tmp_path / "behaviors.tsv"
        path.write_text(LABELLED * 10_000)
        tracemalloc.start()
        rows = sum(1 for _ in read_behaviors(path))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert rows == 10_000
        assert peak < path.stat().st_size / 10


class TestBadLines:
    @pytest.mark.parametrize(
        ("bad", "message"),
        [
            ("7\tU1\t11/15/2019 8:55:22 AM\tN1 N3-1 N4-0\n", "4 columns instead of 5"),
            (LABELLED.replace("N1 N2", "N1\tN2"), "6 columns instead of 5"),
            (LABELLED.replace("N3-1", "N3-2"), "'N3-2' does not end in -1"),
            (LABELLED.replace("N3-1", "N3-"), "'N3-' does not end in -1"),
            (LABELLED.replace("N3-1", "N3"), "'N3' does not end in -1"),
            (LABELLED.replace("N3-1", "-1"), "'-1' has no news id"),
            (LABELLED.replace("N3-1 N4-0", ""), "no candidates"),
            (UNLABELLED, "has no labels, unlike the lines before"),
            (LABELLED.replace("U1", ""), "user_id is empty"),
            (LABELLED.replace("7", "", 1), "impression_id ''"),
            (LABELLED.replace("7", "x7", 1), "impression_id 'x7'"),
            (LABELLED.replace("7", "-7", 1), "impression_id '-7'"),
            (LABELLED.replace("7", "٧", 1), "impression_id '٧'"),
            (LABELLED.replace("7", str(2**63), 1), "not a whole number"),
            (LABELLED.replace("11/15/2019", "2019-11-15"), "time '2019-11-15 8:55:22 AM'"),
            (LABELLED.replace("11/15", "15/11"), "time '15/11/2019"),
            (LABELLED.replace("11/15", "11/31"), "time '11/31/2019"),
            (LABELLED.replace("8:55:22 AM", "13:55:22 PM"), "13:55:22 PM' is not like"),
            (LABELLED.replace("8:55:22 AM", "0:55:22 AM"), "0:55:22 AM' is not like"),
            (LABELLED.replace("8:55:22 AM", "8:60:22 AM"), "8:60:22 AM' is not like"),
            (LABELLED.replace(" AM", ""), "is not like"),
            (LABELLED.replace("7", "9" * 4301, 1), "impression_id '999.*not a whole number"),
            (LABELLED.replace("U1", "U\r1"), r"user_id has an id with a carriage return, 'U\\r1'"),
            (LABELLED.replace("U1", "U" * 1025), "user_id has an id of 1,025 bytes, 'UUU"),
            (LABELLED.replace("N1 N2", "N1" * 600), "history has an id of 1,20"),
            (LABELLED.replace("N3-1", "é" * 513 + "-1"), "candidates has an id of 1,026 bytes"),
        ],
    )
    def test_behaviors(self, bad, message):
        with pytest.raises(MindFileError, match=message) as caught:
            behaviors(LABELLED * 2 + bad + LABELLED)
        assert str(caught.value).startswith("behaviors.tsv, line 3: ")
        assert (caught.value.file, caught.value.line) == ("behaviors.tsv", 3)

    def test_labels_after_unlabelled_lines(self):
        with pytest.raises(MindFileError, match="line 2: has labels, unlike"):
            behaviors(UNLABELLED + LABELLED)

    @pytest.mark.parametrize(
        ("bad", "message"),
        [
            (NEWS.replace("\t[]\t[]", "\t[]"), "7 columns instead of 8"),
            (NEWS.replace("A title", "A\ttitle"), "9 columns instead of 8"),
            (NEWS.replace("N1", ""), "news_id ''"),
            (NEWS.replace("N1", "N 1"), "news_id 'N 1'"),
            (NEWS.replace("N1", "N" * 131_073), "news_id has an id of 131,073 bytes, 'NNN"),
        ],
    )
    def test_news(self, bad, message):
        with pytest.raises(MindFileError, match=message) as caught:
            news(NEWS + bad)
        assert str(caught.value).startswith("news.tsv, line 2: ")

    @pytest.mark.parametrize(
        ("read", "header"),
        [
            (news, NEWS_COLUMNS),
            (news, [name.replace("_", " ").title() for name in NEWS_COLUMNS]),
            (news, ["id", "category", "subcategory", "title", "abstract", "link", "", ""]),
            (behaviors, BEHAVIORS_COLUMNS),
            (behaviors, [name.upper() for name in BEHAVIORS_COLUMNS]),
        ],
    )
    def test_a_header(self, read, header):
        with pytest.raises(MindFileError, match="line 1: a header, .* remove the line"):
            read("\ufeff" + "\t".join(header) + "\n" + (NEWS if read is news else LABELLED))

    @pytest.mark.parametrize("column", range(5))
    def test_messages_quote_a_few_characters_of_a_long_field(self, column):
        fields = LABELLED.split("\t")
        fields[column] = "x" * 20_000_000
        with pytest.raises(MindFileError) as caught:
            behaviors("\t".join(fields).strip() + "\n")
        assert len(str(caught.value)) < 300

    @pytest.mark.parametrize("content", ["", "\n", "\ufeff", "\r\n\r\n"])
    @pytest.mark.parametrize("read", [behaviors, news])
    def test_empty_file(self, read, content):
        with pytest.raises(MindFileError, match="tsv: the file is empty"):
            read(content)

    def test_empty_line_in_the_middle(self):
        with pytest.raises(MindFileError, match="line 2: the line is empty"):
            behaviors(LABELLED + "\n\n" + LABELLED)

    def test_not_utf8(self):
        latin = NEWS.replace("title", "café").encode("latin-1")
        with pytest.raises(MindFileError, match="line 2: not UTF-8: byte 0xe9"):
            list(read_news(io.BytesIO(NEWS.encode() + latin), name="news.tsv"))

    @pytest.mark.parametrize("kind", [str, pathlib.Path, epath.Path, open])
    @pytest.mark.parametrize("read", [read_news, read_behaviors])
    def test_the_whole_path_is_named(self, read, kind, tmp_path):
        path = tmp_path / "bad.tsv"
        path.write_text("bad\n")
        source = path.open("rb") if kind is open else kind(path)
        with pytest.raises(MindFileError) as caught:
            next(read(source))
        assert str(caught.value).startswith(f"{path}, line 1: ")
        assert caught.value.file == str(path)

    @pytest.mark.parametrize("read", [read_news, read_behaviors])
    def test_missing_file(self, read, tmp_path):
        path = tmp_path / "x.tsv"
        with pytest.raises(MindFileError, match="no such file; .* news.tsv, behaviors") as caught:
            next(read(path))
        assert str(caught.value).startswith(f"{path}: ")

    def test_the_error_can_cross_processes(self):
        with pytest.raises(MindFileError) as caught:
            behaviors("bad\n")
        copy = pickle.loads(pickle.dumps(caught.value))
        assert str(copy) == str(caught.value)
        assert (copy.file, copy.line) == ("behaviors.tsv", 1)

    def test_good_lines_before_the_bad_one_are_read(self):
        rows = read_behaviors(io.BytesIO((LABELLED + "bad\n").encode()))
        assert next(rows)["impression_id"] == 7
        with pytest.raises(MindFileError):
            next(rows)


# Any id without spaces, control characters and marks; any text without a tab or a line break.
ids = st.text(st.characters(categories=["L", "N", "P", "S"], include_characters="-"), min_size=1)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\n\r"))
articles = st.fixed_dictionaries(
    {
        "news_id": ids,
        **dict.fromkeys(
            "category subcategory title abstract url title_entities abstract_entities".split(),
            texts,
        ),
    }
)


@st.composite
def impressions(draw, labelled):
    candidate = ids if labelled else ids.filter(lambda news_id: "-" not in news_id)
    news_ids = draw(st.lists(candidate, min_size=1, max_size=8))
    size = len(news_ids)
    labels = st.lists(st.sampled_from([0, 1]), min_size=size, max_size=size)
    return {
        "impression_id": draw(st.integers(0, 2**63 - 1)),
        "user_id": draw(texts.filter(bool)),
        # Years 1 to 9999.
        "time": draw(st.integers(-62_135_596_800, 253_402_300_799)),
        "history": draw(st.lists(ids, max_size=8)),
        "candidates": {
            "news_id": news_ids,
            "clicked": draw(labels) if labelled else [-1] * size,
        },
    }


class TestWhatIsWritten:
    @settings(deadline=None)
    @given(rows=st.lists(articles, min_size=1, unique_by=lambda article: article["news_id"]))
    def test_news_round_trip(self, rows, tmp_path_factory):
        path = tmp_path_factory.mktemp("round") / "news.tsv"
        write_news(path, rows)
        assert list(read_news(path)) == rows

    @settings(deadline=None)
    @given(st.booleans().flatmap(lambda labelled: st.lists(impressions(labelled), min_size=1)))
    def test_behaviors_round_trip(self, tmp_path_factory, rows):
        path = tmp_path_factory.mktemp("round") / "behaviors.tsv"
        write_behaviors(path, rows)
        assert list(read_behaviors(path)) == rows

    def test_text_is_reproduced(self, tmp_path):
        for name, read, write, text in [
            ("news", read_news, write_news, NEWS + NEWS.replace("N1", "N2")),
            ("behaviors", read_behaviors, write_behaviors, LABELLED * 2),
            ("behaviors", read_behaviors, write_behaviors, UNLABELLED),
        ]:
            path = tmp_path / "new" / f"{name}.tsv"
            write(path, read(io.BytesIO(text.encode())))
            assert path.read_bytes() == text.encode()

    @pytest.mark.parametrize("text", ["a\tb", "a\nb", "a\r"])
    def test_text_that_cannot_be_written(self, text, tmp_path):
        article = {**news(NEWS)[0], "title": text}
        with pytest.raises(ValueError, match="line 1: a tab or line break"):
            write_news(tmp_path / "news.tsv", [article])

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"history": ["N 1"]}, "'N 1' is empty or holds a space"),
            ({"candidates": {"news_id": [""], "clicked": [1]}}, "'' is empty"),
            ({"candidates": {"news_id": ["N1", "N2"], "clicked": [1, -1]}}, "0s and 1s"),
            ({"candidates": {"news_id": ["N-1"], "clicked": [-1]}}, "hold a hyphen"),
            ({"candidates": {"news_id": ["N1", "N2"], "clicked": [1]}}, "shorter"),
        ],
    )
    def test_impression_that_cannot_be_written(self, change, message, tmp_path):
        impression = {**behaviors(LABELLED)[0], **change}
        with pytest.raises(ValueError, match=message):
            write_behaviors(tmp_path / "behaviors.tsv", [impression])

    def test_a_failure_leaves_the_old_file_and_nothing_else(self, tmp_path):
        path = tmp_path / "news.tsv"
        path.write_text("old")

        def broken():
            yield from news(NEWS)
            raise RuntimeError("midway")

        with pytest.raises(RuntimeError, match="midway"):
            write_news(path, broken())
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]


def test_files_of_tensorflow(tmp_path):
    """As `epath` opens buckets; their `readline` takes no length."""
    path = tmp_path / "news.tsv"
    path.write_text(NEWS, encoding="utf-8")
    with tf.io.gfile.GFile(path, "rb") as file:
        assert list(read_news(file)) == list(read_news(path))
    with tf.io.gfile.GFile(path, "rb") as file:
        whole = path.read_bytes()
        assert buffered(file).read(7) == whole[:7]
        found = buffered(file)
        assert found.seek(3) == 3 and found.readline(5) == whole[3:8]
