"""A log and its articles in Parquet files."""

from __future__ import annotations

import logging

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tfrs_npa.data import parquet
from tfrs_npa.data.cache import Cache
from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.data.loading import load_mind
from tfrs_npa.data.splits import load_splits
from tfrs_npa.settings import DataSettings

DAY = 86_400
# In no order; the last day is the 18th.
LOG = {
    "user_id": ["U1", "U2", "U1", "U3"],
    "time": [18 * DAY + 5, 17 * DAY, 18 * DAY, 18 * DAY - 1],
    "history": [["A"], None, ["B", "A"], []],
    "candidates": [["B", "A"], ["C"], ["A", "B", "C"], ["C", "A"]],
    "clicked": [[1, 0], [0], [0, 0, 1], [0, 1]],
}
NEWS = {"news_id": ["A", "B", "C"], "title": ["a", "b", "c"], "category": ["x", None, "y"]}


@pytest.fixture
def write(tmp_path):
    """Writes `news.parquet` and a log of given columns; returns their paths."""

    def write(changes=(), name="log.parquet", **news):
        columns = {k: v for k, v in (LOG | dict(changes)).items() if v is not None}
        pq.write_table(pa.table(columns), tmp_path / name, row_group_size=2)
        articles = {k: v for k, v in (NEWS | news).items() if v is not None}
        pq.write_table(pa.table(articles), tmp_path / "news.parquet")
        return tmp_path / name, tmp_path / "news.parquet"

    return write


def load(write, *changes, cache=None, **news):
    log, articles = write(*changes, **news)
    return load_mind(log, cache=cache, news=articles)


def test_the_last_day_is_the_validation_split(write, caplog, monkeypatch):
    monkeypatch.setattr(parquet, "_CHUNK", 3)
    with caplog.at_level(logging.INFO, logger="tfrs_npa"):
        data = load(write)
    assert "the 2 impressions of its last day, 1970-01-19 (UTC), are held out" in caplog.text
    assert data.splits == ["train", "validation"] and data.report_split == "validation"
    catalog = NewsCatalog().adapt(data.titles("train"))
    train, users = data.impressions_and_users("train", catalog, ["time"])
    assert train.impression_id.tolist() == [1, 3] and users.ids == ["[UNK]", "U2", "U3"]
    assert train.features["time"].tolist() == [17 * DAY, 18 * DAY - 1]
    assert train.history_values.tolist() == []
    last = data.impressions("validation", catalog, users)
    assert last.impression_id.tolist() == [0, 2] and last.user_id.tolist() == [0, 0]
    assert last.candidate_values.tolist() == [3, 2, 2, 3, 4]


def test_datetimes_and_seconds_are_the_same(write):
    seconds = np.array(LOG["time"])
    for times in (seconds + 0.5, seconds.astype("datetime64[s]")):
        data = load(write, {"time": times})
        assert [len(table) for table in data.tables["behaviors"].values()] == [2, 2]


def test_what_the_other_methods_read(write):
    data = load(write)
    assert data.latest_histories(["U1", "nobody"]) == {"U1": ["A"]}
    assert data.topics() == {"A": ("x", ""), "B": ("", ""), "C": ("y", "")}
    assert load(write, subcategory=["v", "w", None]).topics()["B"] == ("", "w")
    assert data.is_labelled("train")
    rows = list(data.behaviors["train"].as_numpy_iterator())
    assert [row["time"] for row in rows] == [17 * DAY, 18 * DAY - 1]
    assert rows[1]["candidates"]["news_id"].tolist() == [b"C", b"A"]
    assert [row["title"] for row in data.news["train"].as_numpy_iterator()] == [b"a", b"b", b"c"]


def test_features_of_the_log(write, tmp_path):
    """Of the impression and of its candidates, by split and with a cache."""
    ages = {"age": [[1, 2], [3], [4, 5, 6], [7, 8]], "page": [1.5, 2.5, 3.5, 4.5]}
    for cache in (None, Cache(tmp_path / "cache"), Cache(tmp_path / "cache")):
        data = load(write, ages, cache=cache)
        catalog = NewsCatalog().adapt(data.titles("train"))
        train, users = data.impressions_and_users("train", catalog, ["age", "page"])
        assert train.candidate_features["age"].tolist() == [3, 7, 8]
        assert train.features["page"].tolist() == [2.5, 4.5]
        with pytest.raises(ValueError, match="log.parquet: the impressions lack weather"):
            data.impressions("validation", catalog, users, ["weather"])


def test_errors_name_the_row_of_the_file(write, monkeypatch):
    """Whatever the day of the rows before it, in one piece or several."""
    log = {"time": [DAY, 3 * DAY, 2 * DAY, 2 * DAY], "age": [[1, 2], [3], [4, 5, 6], None]}
    data = load(write, log)
    catalog = NewsCatalog().adapt(data.titles("train"))
    for at_once in (parquet._CHUNK, 2):
        monkeypatch.setattr(parquet, "_CHUNK", at_once)
        with pytest.raises(ValueError, match=r"log.parquet: row 3 \(the first is 0\) has no age"):
            data.impressions_and_users("train", catalog, ["age"])


def test_clicks_that_are_not_known(write):
    """Judged by the first impression that has candidates."""
    nothing, unknown = [[], []], [["A"], [-1]]
    lists = zip(unknown, nothing, unknown, unknown, strict=True)
    data = load(write, dict(zip(("candidates", "clicked"), map(list, lists), strict=True)))
    assert not data.is_labelled("train")


def test_a_log_without_times_or_of_one_day_is_validation(write):
    for changes in ({"time": None}, {"time": [1, 2, 3, 4]}):
        data = load(write, changes)
        assert data.splits == ["validation"] and len(data.tables["behaviors"]["validation"]) == 4
        assert data.latest_histories(["U1"]) == {"U1": ["B", "A"]}
        with pytest.raises(ValueError, match="has no split train; it has validation"):
            data.titles("train")


def test_a_folder_of_logs(write, tmp_path):
    for name in ("train", "validation"):
        _, news = write(name=f"{name}.parquet")
    data = load_mind(tmp_path, news=news)
    assert [len(table) for table in data.tables["behaviors"].values()] == [4, 4]
    (tmp_path / "validation.parquet").rename(tmp_path / "test.parquet")
    _, splits = load_splits(DataSettings(str(tmp_path), news=str(news)))
    assert splits.names == {"train": "train", "stopping": "validation", "report": "test"}
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [2, 2, 4]


def test_a_cache_changes_nothing_until_the_log_does(write, tmp_path):
    def found(cache):
        catalog, splits = load_splits(settings, cache)
        return splits.fingerprint(catalog)

    log, news = write({"time": [DAY, 2 * DAY, 3 * DAY, 3 * DAY]})
    settings, cache = DataSettings(str(log), news=str(news)), Cache(tmp_path / "cache")
    expected = found(None)
    assert found(cache) == found(cache) == expected
    write({"time": [DAY, 2 * DAY, 3 * DAY, 3 * DAY], "clicked": [[0, 1], [0], [0, 0, 1], [0, 1]]})
    assert found(cache) == found(None) != expected


WRONG = {
    "no clicked": ({"clicked": None}, "log.parquet: the impressions lack clicked; there are"),
    "text": ({"user_id": [1, 2, 3, 4]}, "log.parquet: user_id must hold strings, got int64"),
    "no user": ({"user_id": ["U1", "U2", None, "U3"]}, r"log.parquet: row 2 \(.*\) has no user_id"),
    "labels": ({"clicked": [[1, 0], [0], [0, 0], [1, 0]]}, "row 2 .* 3 candidates but 2 labels"),
    "label": ({"clicked": [[1, 0], [0], [0, 0, 1], [1, 7]]}, "row 3 .* the label 7"),
    "long id": (
        {"user_id": ["U1", "U2", "x" * 1025, "x" * 1026]},
        r"row 2 \(the first is 0\) has an id of 1,025 bytes in user_id; at most 1,024",
    ),
    "time": ({"time": ["noon"] * 4}, "log.parquet: time must hold seconds or datetimes"),
    "milliseconds": (
        {"time": [1, 2, 3, 1573808122000]},
        r"log.parquet: row 3 \(the first is 0\) has the time 1573808122000; .* divide them by 1000",
    ),
    "no time": ({"time": [1.0, 2.0, 3.0, float("nan")]}, "row 3 .* has the time nan"),
}


@pytest.mark.parametrize("changes, message", WRONG.values(), ids=WRONG)
def test_wrong_logs(write, monkeypatch, changes, message):
    monkeypatch.setattr(parquet, "_CHUNK", 3)
    with pytest.raises(ValueError, match=message):
        load(write, changes)


@pytest.mark.parametrize(
    "news, message",
    [
        ({"title": None}, "news.parquet lacks title; it has news_id, category"),
        ({"title": [1, 2, 3]}, "news.parquet: title must hold strings, got int64"),
        ({"title": ["a", "b", None]}, r"news.parquet: row 2 \(the first is 0\) has no title"),
    ],
)
def test_wrong_news(write, news, message):
    with pytest.raises(ValueError, match=message):
        load(write, **news)


def test_news_goes_with_a_log(write, tmp_path):
    log, news = write()
    with pytest.raises(ValueError, match="news is missing: .*log.parquet is read as a log"):
        load_mind(log)
    with pytest.raises(ValueError, match="mind/synthetic has articles of its own"):
        load_mind("mind/synthetic", news=news)
    with pytest.raises(ValueError, match="there is no file absent.parquet of news"):
        load_mind(log, news="absent.parquet")
    (tmp_path / "log.csv").write_text("user_id,history\n")
    with pytest.raises(ValueError, match="log.csv is not a Parquet file"):
        load_mind(tmp_path / "log.csv", news=news)


def test_rows_without_a_time_are_on_no_day(write):
    log, _ = write({"time": [1, 2, 3, None]})
    for bounds, users in (({"since": 2}, ["U2", "U1"]), ({"before": 2}, ["U1"])):
        chunks = parquet.ParquetLog(log, **bounds).chunks(())
        assert [user for chunk in chunks for user in chunk.user_id.tolist()] == users
