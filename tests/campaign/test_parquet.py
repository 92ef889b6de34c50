"""Logs and articles in Parquet from elsewhere."""

from __future__ import annotations

import io
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_npa.data.loading import articles_in, load_mind

CAMPAIGN = settings.get_profile("campaign")
COLUMNS = {
    "user_id": pa.array(["U1", "U2", "U3"] * 20),
    "history": pa.array([["N1", "N2"], [], ["N3"]] * 20),
    "candidates": pa.array([["N1", "N2"], ["N3"], ["N2", "N1"]] * 20),
    "clicked": pa.array([[1, 0], [1], [0, 1]] * 20),
    "time": pa.array([100_000, 200_000, 300_000] * 20),
}
NEWS = {"news_id": pa.array(["N1", "N2", "N3"]), "title": pa.array(["a", "b", "c"])}
COMPRESSIONS = ["NONE", "SNAPPY", "GZIP", "ZSTD"]
CHANGES = st.lists(st.tuples(st.integers(0), st.binary(min_size=1, max_size=4)), max_size=3)


def saved(columns, **options):
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, **options)
    return file.getvalue()


GOOD = {name: saved(COLUMNS, compression=name) for name in COMPRESSIONS}
ARTICLES = saved(NEWS)


def changed(content, changes, length):
    content = bytearray(content)
    for place, written in changes:
        place %= len(content)
        content[place : place + len(written)] = written
    return bytes(content if length is None else content[: length % len(content)])


def read(log, news):
    data = load_mind(log, news=news)
    return data.splits, data.titles(data.splits[0]), [*data.tables["behaviors"][data.splits[0]]]


@pytest.fixture
def files(tmp_path):
    log, news = tmp_path / "log.parquet", tmp_path / "news.parquet"
    log.write_bytes(GOOD["SNAPPY"])
    news.write_bytes(ARTICLES)
    return log, news


def test_the_good_files(files, attempt):
    assert attempt(lambda: read(*files), files[0]) is None


@pytest.mark.parametrize("which", [0, 1], ids=["log", "news"])
@pytest.mark.parametrize(
    "content",
    [b"", b"PAR1", b"PAR1PAR1", b"hello", GOOD["SNAPPY"][:-9], ARTICLES + b"x"],
    ids=["nothing", "a mark", "two marks", "text", "truncated", "more"],
)
def test_what_is_no_parquet(which, content, files, attempt):
    files[which].write_bytes(content)
    assert attempt(lambda: read(*files), files[which])


@pytest.mark.parametrize("which", [0, 1], ids=["log", "news"])
def test_a_pipe(which, files, attempt):
    files[which].unlink()
    os.mkfifo(files[which])
    assert attempt(lambda: read(*files), files[which])
    assert attempt(lambda: list(articles_in(files[which])), files[which])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("user_id", pa.array([1, 2, 3] * 20)),
        ("user_id", pa.array(["x" * 9000, None, ""] * 20)),
        ("user_id", pa.array([b"\xff", b"b", b"c"] * 20)),
        ("history", pa.array(["N1", "N2", "N3"] * 20)),
        ("history", pa.array([[["N1"]], [[]], [[]]] * 20)),
        ("clicked", pa.array([[1.5, 0], [1], [0, 1]] * 20)),
        ("clicked", pa.array([[2**62, 0], [1], [0, 1]] * 20)),
        ("clicked", pa.array([[1], [1], [0, 1]] * 20)),
        ("time", pa.array(["noon"] * 60)),
        ("time", pa.array([float("nan")] * 60)),
        ("time", pa.array([10**18] * 60)),
        ("candidates", pa.array([[None], ["N3"], ["N2", "N1"]] * 20)),
        ("x" * 100_000, pa.array([1] * 60)),
    ],
)
def test_columns_of_another_kind(name, values, files, attempt):
    files[0].write_bytes(saved({**COLUMNS, name: values}))
    message = attempt(lambda: read(*files), files[0])
    assert message or len(name) > 99
    # The names of many columns, or long ones, are not all listed.
    columns = {f"{name}{row}": values for row in range(1000)}
    files[0].write_bytes(saved(columns))
    assert attempt(lambda: read(*files), files[0])


@CAMPAIGN
@given(
    compression=st.sampled_from(COMPRESSIONS), changes=CHANGES, length=st.none() | st.integers(0)
)
def test_damaged_logs(compression, changes, length, tmp_path_factory, attempt):
    folder = tmp_path_factory.getbasetemp()
    log, news = folder / "log.parquet", folder / "news.parquet"
    log.write_bytes(changed(GOOD[compression], changes, length))
    news.write_bytes(ARTICLES)
    message = attempt(lambda: read(log, news), log)
    assert bool(message) == (length is not None) or changes


@CAMPAIGN
@given(changes=CHANGES, length=st.none() | st.integers(0))
def test_damaged_articles(changes, length, tmp_path_factory, attempt):
    folder = tmp_path_factory.getbasetemp()
    log, news = folder / "log.parquet", folder / "news.parquet"
    log.write_bytes(GOOD["SNAPPY"])
    news.write_bytes(changed(ARTICLES, changes, length))
    message = attempt(lambda: read(log, news), news)
    assert bool(message) == (length is not None) or changes
