"""Impressions from Arrow tables, pandas data frames and Parquet files."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.data.conversion import convert
from tfrs_npa.data.impressions import Impressions
from tfrs_npa.data.users import UserIndex

CATALOG = NewsCatalog().adapt({"news_id": ["A", "B", "C"], "title": ["a", "b", "c"]})  # 2, 3, 4
USERS = UserIndex().adapt({"user_id": ["U1", "U2"]})
COLUMNS = {
    "impression_id": [7, 3, 7],
    "user_id": ["U2", "U9", "U1"],
    "history": [["A", "C", "A"], [], ["B"]],
    "candidates": [["B", "A"], ["C"], ["A", "B", "C"]],
    "clicked": [[1, 0], [0], [-1, -1, -1]],
    "hour": [1.5, 2.5, 3.5],
    "place": ["home", "top", "home"],
}


def test_all_sources_give_the_same(assert_the_log, tmp_path):
    table, frame = pa.table(COLUMNS), pd.DataFrame(COLUMNS)
    pq.write_table(table, tmp_path / "log.parquet")
    wide = {name: pa.large_list(pa.large_string()) for name in ("history", "candidates")}
    coded = table.set_column(1, "user_id", table["user_id"].dictionary_encode())
    for name, type_ in wide.items():
        place = coded.column_names.index(name)
        coded = coded.set_column(place, name, coded[name].cast(type_))
    unread = table.append_column("unread", pa.array([1, None, 2]))
    for impressions in (
        Impressions.from_arrow(table, CATALOG, USERS),
        Impressions.from_arrow(unread, CATALOG, USERS),
        Impressions.from_arrow(coded, CATALOG, USERS),
        Impressions.from_arrow(table.slice(1), CATALOG, USERS, ["hour"]),
        Impressions.from_pandas(frame, CATALOG, USERS),
        Impressions.from_parquet(tmp_path / "log.parquet", CATALOG, USERS),
    ):
        if len(impressions) == 2:
            assert impressions.candidate_values.tolist() == [4, 2, 3, 4]
            assert impressions.features["hour"].tolist() == [2.5, 3.5]
        else:
            assert_the_log(impressions)
            assert not impressions.features


def test_features():
    found = Impressions.from_pandas(pd.DataFrame(COLUMNS), CATALOG, USERS, ["hour", "place"])
    assert found.features["hour"].tolist() == [1.5, 2.5, 3.5]
    assert found.features["place"].tolist() == ["home", "top", "home"]


def test_features_of_each_candidate(tmp_path):
    pairs = pa.list_(pa.float32(), 2)
    columns = COLUMNS | {
        "age": [[5, 6], [7], [8, 9, 10]],
        "place": pa.array([[1, 2], [3, 4], [5, 6]], pairs),
        "pair": pa.array([[[1, 2], [3, 4]], [[5, 6]], [[7, 8]] * 3], pa.list_(pairs)),
    }
    pq.write_table(pa.table(columns), tmp_path / "log.parquet")
    names, of_candidates = ["age", "place", "pair"], {"age": [5, 6, 7, 8, 9, 10]}
    of_candidates["pair"] = [[1, 2], [3, 4], [5, 6], [7, 8], [7, 8], [7, 8]]
    for found in (
        Impressions.from_arrow(pa.table(columns), CATALOG, USERS, names),
        Impressions.from_parquet(tmp_path / "log.parquet", CATALOG, USERS, names),
    ):
        assert found.features["place"].tolist() == [[1, 2], [3, 4], [5, 6]]
        assert {k: v.tolist() for k, v in found.candidate_features.items()} == of_candidates
    frame = pd.DataFrame(COLUMNS | {"age": [[0.5, None], [1.5], [2.5] * 3]})
    with pytest.raises(ValueError, match=r"row 0 \(the first is 0\) has a missing value in age"):
        Impressions.from_pandas(frame, CATALOG, USERS, ["age"])
    holed = [[[1, 2], [3, 4]], [[5, 6]], [[7, 8], [9, None], [1, 2]]]
    columns["pair"] = pa.array(holed, pa.list_(pairs))
    with pytest.raises(ValueError, match=r"row 2 \(the first is 0\) has a missing value in pair"):
        Impressions.from_arrow(pa.table(columns), CATALOG, USERS, ["pair"])


def test_datetimes_are_seconds():
    moments = pd.to_datetime(["1970-01-01 00:01:00", "1970-01-02 00:00:00", "2019-11-15 08:55:22"])
    expected = [60, 86400, 1573808122]
    stockholm = moments.tz_localize("UTC").tz_convert("Europe/Stockholm")
    for times in (moments, stockholm, moments.astype("datetime64[s]")):
        frame = pd.DataFrame(COLUMNS | {"time": times})
        found = Impressions.from_pandas(frame, CATALOG, USERS, ["time"]).features["time"]
        assert found.dtype == np.int64 and found.tolist() == expected


def test_what_may_be_absent():
    """Ids of impressions, histories, and labels that are booleans; arrays instead of lists."""
    frame = pd.DataFrame(
        {
            "user_id": ["U1", "U2"],
            "history": [None, np.array(["A"])],
            "candidates": [np.array(["B", "A"]), np.array(["C"])],
            "clicked": [np.array([True, False]), np.array([False])],
        }
    )
    found = Impressions.from_pandas(frame, CATALOG, USERS)
    assert found.impression_id.tolist() == [0, 1]
    assert found.history_splits.tolist() == [0, 0, 1]
    assert found.clicked.tolist() == [1, 0, 0]


def test_no_history_at_all():
    for nothing in ([], None):
        columns = COLUMNS | {"history": [nothing] * 3}
        found = Impressions.from_arrow(pa.table(columns), CATALOG, USERS)
        assert found.history_splits.tolist() == [0, 0, 0, 0]


IDS = st.sampled_from(["A", "B", "C", "", "new", "Ünknown"])
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["U1", "U2", "", "other"]),
        st.lists(IDS, max_size=4),
        st.lists(st.tuples(IDS, st.sampled_from([0, 1, -1])), max_size=4),
    ),
    min_size=1,
    max_size=6,
)


@pytest.mark.slow
@settings(deadline=None)
@given(ROWS, st.integers(1, 4))
def test_the_same_as_a_dataset(rows, chunk):
    """An Arrow table of any chunks gives what the same rows give as a data set."""
    plain = [
        {
            "impression_id": number,
            "user_id": user,
            "history": history,
            "candidates": {
                "news_id": [id for id, _ in candidates],
                "clicked": [label for _, label in candidates],
            },
        }
        for number, (user, history, candidates) in enumerate(rows)
    ]
    schema = pa.schema(
        {
            "user_id": pa.string(),
            "history": pa.list_(pa.string()),
            "candidates": pa.list_(pa.string()),
            "clicked": pa.list_(pa.int8()),
        }
    )
    columns = {
        "user_id": [row["user_id"] for row in plain],
        "history": [row["history"] for row in plain],
        "candidates": [row["candidates"]["news_id"] for row in plain],
        "clicked": [row["candidates"]["clicked"] for row in plain],
    }
    table = pa.table(columns, schema)
    table = pa.concat_tables([table.slice(i, chunk) for i in range(0, len(table), chunk)])

    def joined(pieces):
        pieces = list(pieces)
        names = dict.fromkeys(name for piece in pieces for name in piece)
        return {name: np.concatenate([p[name] for p in pieces if name in p]) for name in names}

    strings = tf.TensorSpec([None], tf.string)
    signature = {
        "impression_id": tf.TensorSpec([], tf.int64),
        "user_id": tf.TensorSpec([], tf.string),
        "history": strings,
        "candidates": {"news_id": strings, "clicked": tf.TensorSpec([None], tf.int64)},
    }
    dataset = tf.data.Dataset.from_generator(lambda: plain, output_signature=signature)
    ours, theirs = joined(convert(table, CATALOG)), joined(convert(dataset, CATALOG))
    for name, array in theirs.items():
        assert ours[name].dtype == array.dtype
        np.testing.assert_array_equal(ours[name], array)


WRONG = {
    "no clicked": ({"clicked": None}, "lack clicked; there are impression_id, user_id, history"),
    "numbers": ({"user_id": [1, 2, 3]}, "user_id must hold strings, got int64"),
    "no lists": ({"history": ["A", "B", "C"]}, "history must hold lists of strings, got string"),
    "text": ({"clicked": [["1", "0"], ["0"], ["1"]]}, "clicked must hold lists of integers"),
    "no user": ({"user_id": ["U1", None, "U2"]}, r"row 1 \(the first is 0\) has no user_id"),
    "no list": ({"candidates": [["A", "B"], ["C"], None]}, "row 2 .* has no candidates"),
    "no id": (
        {"history": [["A"], [], ["B", None]]},
        r"row 2 \(the first is 0\) has a missing value in history",
    ),
    "labels": (
        {"clicked": [[1], [0], [1, 1, 1]]},
        r"row 0 \(the first is 0\) has 2 candidates but 1 labels",
    ),
    "ages": ({"age": [[1, 2], [3], [4]]}, "row 2 .* has 3 candidates but 1 values of age"),
    "no ages": ({"age": [[1, 2], None, [4]]}, "row 1 .* has no age"),
    "large id": ({"impression_id": pa.array([2**63] * 3, pa.uint64())}, "does not fit int64"),
    "label": ({"clicked": [[1, 2], [0], [1, 1, 1]]}, r"row 0 \(the first is 0\) has the label 2"),
}


@pytest.mark.parametrize("changes, message", WRONG.values(), ids=WRONG)
def test_wrong_tables(changes, message):
    columns = {name: values for name, values in (COLUMNS | changes).items() if values is not None}
    features = [name for name in columns if name == "age"]
    with pytest.raises(ValueError, match=message):
        Impressions.from_arrow(pa.table(columns), CATALOG, USERS, features)


@pytest.mark.parametrize("names", [["user_id"], ["history"]])
def test_features_of_every_batch(names):
    with pytest.raises(ValueError, match="is part of every batch"):
        Impressions.from_arrow(pa.table(COLUMNS), CATALOG, USERS, names)


def test_features_that_are_lists():
    for tags in ([["a"], [], ["b"]], [[None], [], [None]], [[[1]], [], [[2, 3]]]):
        with pytest.raises(ValueError, match="feature tags needs a number, a string .*; got list"):
            table = pa.table(COLUMNS | {"tags": tags})
            Impressions.from_arrow(table, CATALOG, USERS, ["tags"])


def test_a_column_that_is_there_twice():
    table = pa.table(COLUMNS).append_column("clicked", pa.table(COLUMNS)["clicked"])
    with pytest.raises(ValueError, match="the impressions have clicked twice"):
        Impressions.from_arrow(table, CATALOG, USERS)


def test_what_is_no_table():
    with pytest.raises(TypeError, match="must be a pyarrow.Table, got dict"):
        Impressions.from_arrow(COLUMNS, CATALOG, USERS)


def test_no_rows():
    with pytest.raises(ValueError, match="holds no impressions"):
        Impressions.from_arrow(pa.table(COLUMNS).slice(0, 0), CATALOG, USERS)


def test_a_frame_of_several_types():
    frame = pd.DataFrame(COLUMNS | {"user_id": ["U1", 2, "U3"]})
    with pytest.raises(ValueError, match="the data frame holds values of several types"):
        Impressions.from_pandas(frame, CATALOG, USERS)


def test_a_file_that_is_no_parquet(tmp_path):
    file = tmp_path / "log.parquet"
    file.write_text("impression_id,user_id\n")
    with pytest.raises(ValueError, match="log.parquet is not a Parquet file"):
        Impressions.from_parquet(file, CATALOG, USERS)
    with pytest.raises(OSError, match="absent.parquet"):
        Impressions.from_parquet(tmp_path / "absent.parquet", CATALOG, USERS)
