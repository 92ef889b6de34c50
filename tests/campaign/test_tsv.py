"""Files in MIND's format from elsewhere: `news.tsv`, `behaviors.tsv` and `prediction.txt`."""

from __future__ import annotations

import io
import os
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_npa.cli import main
from tfrs_npa.data.loading import load_mind
from tfrs_npa.datasets.mind import read_behaviors, read_news
from tfrs_npa.datasets.mind.blocks import blocks, read_columns, read_news_columns
from tfrs_npa.datasets.mind.predictions import read_predictions
from tfrs_npa.datasets.mind.tsv import NEWS_COLUMNS

CAMPAIGN = settings.get_profile("campaign")
NEWS = "".join(
    f"N{row}\tsports\trowing\tA title {row}\t\thttps://x.org/{row}\t[]\t[]\n" for row in range(6)
).encode()
BEHAVIORS = "".join(
    f"{row}\tU{row % 3}\t11/{row + 10}/2019 8:55:22 {'AP'[row % 2]}M\tN0 N1\t"
    f"N{row}-1 N{5 - row}-0\n"
    for row in range(6)
).encode()
PREDICTIONS = "".join(f"{row} [2,1]\n" for row in range(6)).encode()
LINE = BEHAVIORS.splitlines(keepends=True)[0]
HEADER = "\t".join(NEWS_COLUMNS).encode() + b"\n"
HOSTILE_NEWS = {
    "nothing": b"",
    "a header": HEADER + NEWS,
    "zeros": bytes(1_000_000),
    "a line without end": NEWS + b"x" * 17_000_000,
    "millions of columns": NEWS + b"\t" * 10_000_000 + b"\n",
    "a long id": NEWS + NEWS.replace(b"N5", b"N" * 131_073),
    "an id of blanks": NEWS.replace(b"N3", b"  "),
    "UTF-16": NEWS.decode().encode("utf-16"),
    "latin-1": NEWS + NEWS.replace(b"title", b"t\xeetle"),
    "a zip": b"PK\x03\x04" + bytes(60),
    "quotation marks around fields": NEWS.replace(b"A title 3", b'"A\ttitle"'),
    "behaviors": BEHAVIORS,
}
HOSTILE_BEHAVIORS = {
    "nothing": b"",
    "a header": b"impression_id\tuser_id\ttime\thistory\timpressions\n" + BEHAVIORS,
    "zeros": bytes(1_000_000),
    "a line without end": BEHAVIORS + b"x" * 17_000_000,
    "a number of thousands of digits": b"9" * 4301 + LINE[1:],
    "a number that is too large": b"9223372036854775808" + LINE[1:],
    "a long user": BEHAVIORS.replace(b"U1", b"U" * 131_073),
    "a long click": BEHAVIORS.replace(b"N1", b"N" * 1025, 1),
    "a user with a carriage return": BEHAVIORS.replace(b"U1", b"U\r1"),
    "half of the labels": BEHAVIORS.replace(b"-0", b""),
    "labels of another kind": BEHAVIORS.replace(b"-0", b"-2"),
    "labels without ids": BEHAVIORS.replace(b" N2-0", b" -0"),
    "no candidates": BEHAVIORS.replace(b"N0-1 N5-0", b" "),
    "no such day": BEHAVIORS.replace(b"11/10/2019", b"2/30/2019"),
    "commas": BEHAVIORS.replace(b"\t", b","),
    "news": NEWS,
}
HOSTILE_PREDICTIONS = {
    "nothing": b"",
    "zeros": bytes(1_000_000),
    "a line without end": b"1 [" + b"1," * 9_000_000,
    "a rank twice among many": f"1 [{','.join(map(str, [*range(1, 40_000), 1]))}]\n".encode(),
    "a number of thousands of digits": b"9" * 5000 + b" [1]\n",
    "a number that is too large": b"9223372036854775808 [1]\n",
    "a rank of thousands of digits": b"1 [" + b"9" * 5000 + b"]\n",
    "an impression twice": PREDICTIONS * 2,
    "a zip": b"PK\x03\x04" + bytes(60),
    "behaviors": BEHAVIORS,
}


def outcome(read):
    try:
        return list(read())
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize("content", HOSTILE_NEWS.values(), ids=HOSTILE_NEWS)
def test_news(content, tmp_path, attempt):
    path = tmp_path / "news.tsv"
    path.write_bytes(content)
    message = attempt(lambda: list(read_news(path)), path)
    assert message and message == attempt(lambda: list(read_news_columns(path, ["title"])), path)


@pytest.mark.parametrize("content", HOSTILE_BEHAVIORS.values(), ids=HOSTILE_BEHAVIORS)
def test_behaviors(content, tmp_path, attempt):
    path = tmp_path / "behaviors.tsv"
    path.write_bytes(content)
    message = attempt(lambda: list(read_behaviors(path)), path)
    assert message and message == attempt(lambda: list(read_columns(path)), path)


@pytest.mark.parametrize("content", HOSTILE_PREDICTIONS.values(), ids=HOSTILE_PREDICTIONS)
def test_predictions(content, tmp_path, attempt):
    path = tmp_path / "prediction.txt"
    path.write_bytes(content)
    assert attempt(lambda: list(read_predictions(path)), path)


@pytest.mark.parametrize("reader", [read_news, read_behaviors, read_predictions])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink(path, path)])
def test_what_is_no_file(reader, make, tmp_path, attempt):
    path = tmp_path / "x.tsv"
    make(path)
    assert attempt(lambda: list(reader(path)), path)


@pytest.fixture
def folder(tmp_path):
    """A folder in MIND's format."""
    for split in ("train", "valid"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "news.tsv").write_bytes(NEWS)
        (tmp_path / split / "behaviors.tsv").write_bytes(BEHAVIORS)
    return tmp_path


def two_validations(folder):
    shutil.copytree(folder / "valid", folder / "MINDsmall_dev")
    return folder


def many_folders(folder):
    shutil.rmtree(folder / "valid")
    for row in range(2000):
        (folder / f"{row}-{'x' * 200}").mkdir()
    return folder


def a_pipe(folder):
    (folder / "train" / "news.tsv").unlink()
    os.mkfifo(folder / "train" / "news.tsv")
    return folder / "train" / "news.tsv"


def a_link_to_itself(folder):
    (folder / "valid" / "behaviors.tsv").unlink()
    os.symlink("behaviors.tsv", folder / "valid" / "behaviors.tsv")
    return folder / "valid" / "behaviors.tsv"


@pytest.mark.parametrize("change", [two_validations, many_folders, a_pipe, a_link_to_itself])
def test_folders(folder, change, attempt):
    path = change(folder)
    assert attempt(lambda: load_mind(folder), path)


@pytest.mark.parametrize("table", ["news", "behaviors"])
def test_the_command_line(folder, table, capsys):
    path = folder / "valid" / f"{table}.tsv"
    path.write_bytes(path.read_bytes() + b"y" * 1_000_000 + b"\n")
    options = ["train", "--data", str(folder), "--run", str(folder / "run"), "--no-cache"]
    assert main(options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"tfrs-npa: error: {path}, line 7: 1 columns instead of ")
    assert not (folder / "run").exists()


def test_histories_before_1970(folder):
    path = folder / "valid" / "behaviors.tsv"
    path.write_bytes(BEHAVIORS.replace(b"2019", b"1969").replace(b"N0 N1", b"N4"))
    (folder / "train" / "behaviors.tsv").write_bytes(path.read_bytes().replace(b"1969", b"1950"))
    assert load_mind(folder).latest_histories(["U1"]) == {"U1": ["N4"]}


PIECES = st.sampled_from(
    [b"\t", b"\n", b"\r", b" ", b"-", b"-1", b"\x00", b"\xff", b"\xef\xbb\xbf", b'"', b"\xc2\xa0"]
    + [b"\xe3\x80\x80", b"\x1c", b"N1", b"9" * 30, b"12/31/1969 11:59:59 PM", b"[", b","]
)
CHANGES = st.lists(
    st.tuples(st.integers(0), st.integers(0, 3), PIECES | st.binary(max_size=3)), max_size=3
)


def changed(content, changes):
    """Replaces some bytes, at some places, by others."""
    for place, cut, written in changes:
        place %= len(content) + 1
        content = content[:place] + written + content[place + cut :]
    return content


@CAMPAIGN
@given(changes=CHANGES)
def test_near_news(changes, tmp_path_factory, attempt):
    path = tmp_path_factory.getbasetemp() / "news.tsv"
    path.write_bytes(changed(NEWS, changes))
    message = attempt(lambda: list(read_news(path)), path)
    assert attempt(lambda: list(read_news_columns(path, ["title"])), path) == message


@CAMPAIGN
@given(changes=CHANGES, size=st.sampled_from([1, 90, 1 << 20]))
def test_near_behaviors(changes, size, tmp_path_factory, attempt):
    """Both readers read the same, or say the same."""
    content = changed(BEHAVIORS, changes)
    path = tmp_path_factory.getbasetemp() / "behaviors.tsv"
    path.write_bytes(content)
    message = attempt(lambda: list(read_behaviors(path)), path)
    assert attempt(lambda: list(read_columns(path, size)), path) == message
    if message is None:
        found = [
            (int(number), user)
            for block in blocks(io.BytesIO(content), "x", size)
            for columns in [block.columns()]
            for number, user in zip(columns.impression_id, columns.user_id.to_pylist())
        ]
        rows = outcome(lambda: read_behaviors(path))
        assert found == [(row["impression_id"], row["user_id"]) for row in rows]


@CAMPAIGN
@given(changes=CHANGES)
def test_near_predictions(changes, tmp_path_factory, attempt):
    path = tmp_path_factory.getbasetemp() / "prediction.txt"
    path.write_bytes(changed(PREDICTIONS, changes))
    found = []
    message = attempt(lambda: found.extend(read_predictions(path)), path)
    assert message is None or changes
    assert all(sorted(ranks) == list(range(1, len(ranks) + 1)) for _, ranks in found)


@CAMPAIGN
@given(content=st.binary(max_size=200))
@pytest.mark.parametrize("reader", [read_news, read_behaviors, read_predictions])
def test_far_from_the_format(reader, content, tmp_path_factory, attempt):
    path = tmp_path_factory.getbasetemp() / "far.tsv"
    path.write_bytes(content)
    assert attempt(lambda: list(reader(path)), path) or content
