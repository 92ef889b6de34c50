"""Blocks and ranges of lines, against the file as a whole."""

from __future__ import annotations

import io
import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfrs_npa.datasets.mind import blocks, read_behaviors, read_news
from tfrs_npa.datasets.mind.errors import MindFileError
from tfrs_npa.datasets.mind.tsv import LONGEST_ID, LONGEST_LINE, NEWS_COLUMNS


def outcome(read):
    try:
        return list(read())
    except MindFileError as error:
        return str(error)


# What is good and seldom, what is nearly good, and what is bad.
LONG = "é" * (LONGEST_ID // 2)  # as long as an id may be, in bytes
USERS = ("U1", "U 1", "é", "U\xa01", '"U1"', "", LONG, LONG + "a")
TIMES = (
    *("1/2/2019 12:00:00 AM", "02/28/1969 1:59:59 PM", "2/29/2020 10:00:00 AM"),
    *("1/1/0001 1:00:00 AM", "2/29/2019 1:00:00 AM", "1/1/0000 1:00:00 AM"),
    *("13/1/2019 1:00:00 AM", "0/1/2019 1:00:00 AM", "1/1/2019 0:00:00 AM"),
    *("1/1/2019 1:60:00 AM", "1/1/2019 1:00:60 AM", "1/1/2019 1:00:00 am"),
    *("1/0/2019 1:00:00 AM", "1/1/2019 13:00:00 PM", " 1/1/2019 1:00:00 AM"),
    *("1/1/2019 1:00:00 AM ", "٣/1/2019 1:00:00 AM"),
)
NUMBERS = ("1", "007", str(2**63 - 1), str(2**63), "0" * 30 + "1", "9" * 4301, "0" * 5000)
NUMBERS += ("", "-1", "+1", " 1", "٧", "0x1")
IDS = ("N1", "N2", "N1-1", "é", "a\x00b", "\ufeffN3", "", "-", '"', "N-", LONG, LONG + "a")
SPACES = ("  ", "\x0b", "\x1c", "\x85", "\xa0", "\u1680", "\u2009", "\u2028", "\u3000", "\r")
LABELS = ("-0", "-1", "", "-2", "--1", "-")
ENDS = ("\n", "\r\n", "\r\r\n", "", "\n\n", "\r")


def line(number="7", user="U1", time=TIMES[0], history="N1 N2", candidates="N3-1 N4-0", end="\n"):
    return "\t".join([number, user, time, history, candidates]) + end


def with_one_odd_thing():
    """Lines with one thing that is odd, good or bad, in files with and without labels."""
    for good, suffixes in (("N3-1 N4-0", LABELS), ("N3 N4", ("", "-1"))):
        yield from (line(number=number, candidates=good) for number in NUMBERS)
        yield from (line(user=user, candidates=good) for user in USERS)
        yield from (line(time=time, candidates=good) for time in TIMES)
        yield from (line(end=end, candidates=good) for end in (*ENDS, "\tmore\n", "\t\n"))
        for ids in ("", " ", *IDS, *(f"N1{space}N2" for space in SPACES), " N1", "N1 "):
            yield line(history=ids, candidates=good)
            yield line(candidates=good.replace("N3", ids))
            yield line(candidates=ids)
        for suffix in suffixes:
            yield line(candidates=f"N3{suffix} N4-0")
            yield line(candidates=f"N3 N4{suffix}")
            yield from (line(candidates=f"N3{space}N4{suffix}") for space in SPACES)


def usually(values):
    """Draws the first value most of the time, so that a file is good but for one thing."""
    return st.integers(0, 60).flatmap(
        lambda number: st.sampled_from(values) if number == 1 else st.just(values[0])
    )


@st.composite
def lists(draw, suffixes, least):
    ids = st.tuples(usually(IDS), suffixes).map("".join)
    return draw(usually((" ", *SPACES))).join(draw(st.lists(ids, min_size=least, max_size=4)))


@st.composite
def files(draw):
    """Files, most of which are good."""
    suffixes = draw(st.sampled_from((usually(("",)), st.sampled_from(("-0", "-1")))))
    lines = st.builds(
        line,
        number=usually(NUMBERS),
        user=usually(USERS),
        time=st.one_of(st.sampled_from(TIMES[:4]), usually(TIMES)),
        history=lists(st.just(""), 0),
        candidates=lists(suffixes, 1),
        end=usually(ENDS),
    )
    text = "".join(draw(st.lists(lines, min_size=1, max_size=5)))
    end = draw(usually((b"", b"\n", b"\n\r\n", b"\xff\n")))
    data = (draw(usually(("", "\ufeff"))) + text).encode() + end
    return data.rstrip(b"\r\n") if draw(st.booleans()) else data


def rows_of(found):
    """The impressions of columns, as dicts."""
    clicks, candidates = iter(found.history.to_pylist()), iter(found.candidates.to_pylist())
    labels = iter(found.clicked.tolist())
    for row, impression_id in enumerate(found.impression_id.tolist()):
        size = found.candidate_lengths[row]
        yield {
            "impression_id": impression_id,
            "user_id": found.user_id[row].as_py(),
            "time": int(found.time[row]),
            "history": list(itertools.islice(clicks, int(found.history_lengths[row]))),
            "candidates": {
                "news_id": list(itertools.islice(candidates, int(size))),
                "clicked": list(itertools.islice(labels, int(size))),
            },
        }
    assert not any(map(list, (clicks, candidates, labels)))


def differences(data, size):
    """Returns what blocks give that lines do not, by the way in which blocks are read."""

    def in_blocks(read):
        return [row for b in blocks.blocks(io.BytesIO(data), "x.tsv", size) for row in read(b)]

    expected = outcome(lambda: read_behaviors(io.BytesIO(data), name="x.tsv"))
    counted = expected if isinstance(expected, str) else [None] * len(expected)
    found = {
        "impressions": outcome(lambda: in_blocks(lambda block: block.impressions())),
        "columns": outcome(lambda: in_blocks(lambda block: rows_of(block.columns()))),
        "count": outcome(lambda: in_blocks(lambda block: [None] * block.count())),
    }
    wanted = {"impressions": expected, "columns": expected, "count": counted}
    return {name: (found[name], wanted[name]) for name in found if found[name] != wanted[name]}


@pytest.mark.slow
@settings(deadline=None, max_examples=300)
@given(files(), st.sampled_from((1, 60, 1 << 20)))
def test_blocks_give_what_the_file_gives(data, size):
    assert differences(data, size) == {}


@pytest.mark.slow
def test_odd_lines_are_read_as_by_lines():
    for odd in with_one_odd_thing():
        good = line() if "-" in odd.rpartition("\t")[2] else line(candidates="N3 N4")
        for text in (odd, good + odd, good + odd + good, "\ufeff" + odd):
            assert differences(text.encode(), 1 << 20) == {}
    for text in (line() + "\n", line() + "\ufeff" + line(), "\ufeff\n" + line()):
        for end in (b"", b"\xff"):
            assert differences(text.encode() + end, 1) == {}


def test_most_files_are_read_many_lines_at_once(monkeypatch):
    """Whatever is good, but for ids that may be too long with their labels."""
    monkeypatch.setattr(blocks, "read_behaviors", None)
    found = []
    for text in (
        line(),
        line(user="é", history="", candidates="é-0 a-1-1") * 3,
        line(end="\r\n") * 2,
        "\ufeff" + line(history=" N1  N2 ") + line(end="") + "\n\r\n",
        line(candidates="N1 N2"),
        line(history="N1\xa0N2\u3000", candidates="a\x1cb-1 N1--0"),
    ):
        block = blocks.Block("x.tsv", 1, None, text.encode()).columns()
        found.append((len(block.time), block.clicked[:2].tolist()))
    labels = [(1, [1, 0]), (3, [0, 1]), (2, [1, 0]), (2, [1, 0]), (1, [-1, -1]), (1, [1, 0])]
    assert found == labels


def test_a_line_without_end_is_not_read_to_its_end(tmp_path):
    long = b"x" * (LONGEST_LINE + 9)
    for data in (long + b"\n", line().encode() * 2 + long * 2):
        assert differences(data, blocks.BLOCK_BYTES) == {}
        with pytest.raises(MindFileError, match="has more than 16,777,216 bytes"):
            list(read_behaviors(file := io.BytesIO(data), name="x.tsv"))
        assert file.tell() <= LONGEST_LINE + 200
    starts = [
        len(found) for found in blocks.lines_between(io.BytesIO(b"." + long + b"\na\n"), 1, 99)
    ]
    assert not starts
    assert list(blocks.lines_between(io.BytesIO(long + b"\na\n"), 5, len(long) + 2)) == [b"a\n"]
    (tmp_path / "news.tsv").write_bytes(NEWS.encode() * 2 + long)
    message = outcome(lambda: blocks.read_news_columns(tmp_path / "news.tsv", ["news_id"]))
    assert message == outcome(lambda: read_news(tmp_path / "news.tsv"))
    assert "news.tsv, line 3: the line has more than" in message


@settings(deadline=None, max_examples=60)
@given(st.lists(st.binary(max_size=4).map(lambda line: b"." + line), max_size=6), st.data())
def test_ranges_give_each_line_once(lines, data):
    text = b"\n".join(line.replace(b"\n", b"") for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
    ranges = zip([0, *cuts], [*cuts, len(text)])
    found = [line for range_ in ranges for line in blocks.lines_between(io.BytesIO(text), *range_)]
    assert found == list(io.BytesIO(text))


def test_a_range_that_ends_in_an_empty_line_goes_on():
    file = io.BytesIO(b"a\n\n\nb\nc\n")
    assert list(blocks.lines_between(file, 0, 3)) == [b"a\n", b"\n", b"\n", b"b\n"]
    assert list(blocks.lines_between(file, 5, 6)) == []


NEWS = "N1\tc\ts\tA title\t\turl\t[]\t[]\n"
ODD_NEWS = (
    *("N1", "", " ", "N 1", "N1 ", "N\xa01", "N\x0b1", "é", "\ufeffN1", '"N1', "a\x00"),
    *("N1\t", "N1\r", "news_id", "News ID", LONG, LONG + "a"),
)


def articles_of(data, size, tmp_path):
    path = tmp_path / "news.tsv"
    path.write_bytes(data)
    found = list(blocks.read_news_columns(path, NEWS_COLUMNS, size))
    return [row for columns in found for row in zip(*columns)]


@pytest.mark.slow
@settings(
    deadline=None,
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    rows=st.lists(st.tuples(usually(("N1", "N2", "N3")), st.text(max_size=6)), max_size=5),
    odd=st.sampled_from(ODD_NEWS),
    end=st.sampled_from(("\n", "\n", "\r\n", "", "\n\n", "\xff\n")),
    size=st.sampled_from((1, 60, 1 << 20)),
)
def test_articles_in_blocks(rows, odd, end, size, tmp_path, caplog):
    """Repeated ids are left out; any text is a title, but for tabs and line ends."""
    lines = [NEWS.replace("N1", news_id).replace("A title", title) for news_id, title in rows]
    lines.insert(len(lines) // 2, NEWS.replace("N1", odd).replace("\n", end))
    data = "".join(lines).encode("utf-8", "replace").replace("\xff".encode(), b"\xff")
    (tmp_path / "news.tsv").write_bytes(data)
    caplog.clear()
    expected = outcome(
        lambda: [tuple(row.values()) for row in read_news(tmp_path / "news.tsv")],
    )
    warned = caplog.messages
    caplog.clear()
    assert outcome(lambda: articles_of(data, size, tmp_path)) == expected
    assert caplog.messages == warned


def test_most_articles_are_read_many_lines_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "read_articles", None)
    text = "\ufeff" + NEWS + NEWS.replace("N1", "N2").replace("A title", '"\xa0\u2028 é') + NEWS
    found = articles_of(text.replace("\n", "\r\n").encode(), 1 << 20, tmp_path)
    assert [row[3] for row in found] == ["A title", '"\xa0\u2028 é']
