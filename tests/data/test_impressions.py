import dataclasses
import os
import warnings

import numpy as np
import pytest
import tensorflow as tf

from tfrs_npa.data.cache import Cache
from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.data.impressions import Impressions
from tfrs_npa.data.users import UserIndex

CATALOG = NewsCatalog().adapt({"news_id": ["A", "B", "C"], "title": ["a", "b", "c"]})  # 2, 3, 4
USERS = UserIndex().adapt({"user_id": ["U1", "U2"]})

# impression, user, time, history, candidates with labels
ROWS = [
    (7, "U2", 100, ["A", "C", "A"], [("B", 1), ("A", 0)]),
    (3, "U9", 200, [], [("C", 0)]),
    (7, "U1", 300, ["B"], [("A", -1), ("B", -1), ("C", -1)]),
]


ARRAYS = [field.name for field in dataclasses.fields(Impressions) if "features" not in field.name]


def dataset(rows, spec=None, **extra):
    """The data set as the TFDS builder gives it, with other features if wanted."""

    def elements():
        for i, (impression, user, time, history, candidates) in enumerate(rows):
            yield {
                "impression_id": impression,
                "user_id": user,
                "time": time,
                "history": history,
                "candidates": {
                    "news_id": [news_id for news_id, _ in candidates],
                    "clicked": [label for _, label in candidates],
                },
                **{name: values[i] for name, (values, _) in extra.items()},
            }

    scalar, strings = tf.TensorSpec([], tf.int64), tf.TensorSpec([None], tf.string)
    signature = {
        "impression_id": scalar,
        "user_id": tf.TensorSpec([], tf.string),
        "time": scalar,
        "history": strings,
        "candidates": {"news_id": strings, "clicked": tf.TensorSpec([None], tf.int64)},
        **{name: feature_spec for name, (_, feature_spec) in extra.items()},
    }
    return tf.data.Dataset.from_generator(elements, output_signature=signature)


def test_strings_become_indices(assert_the_log):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        impressions = Impressions.from_dataset(dataset(ROWS), CATALOG, USERS)
    assert len(impressions) == 3
    assert not impressions.features
    assert_the_log(impressions)


def test_slices_of_ragged_tensors_are_as_good(assert_the_log):
    columns = {
        "impression_id": [7, 3, 7],
        "user_id": ["U2", "U9", "U1"],
        "history": tf.ragged.constant([row[3] for row in ROWS], tf.string),
        "candidates": {
            "news_id": tf.ragged.constant([[c[0] for c in row[4]] for row in ROWS]),
            "clicked": tf.ragged.constant([[c[1] for c in row[4]] for row in ROWS], tf.int32),
        },
    }
    behaviors = tf.data.Dataset.from_tensor_slices(columns)
    assert_the_log(Impressions.from_dataset(behaviors, CATALOG, USERS))


def test_lists_of_fixed_length_padded_with_the_empty_id(assert_the_log):
    columns = {
        "impression_id": [7, 3, 7],
        "user_id": ["U2", "U9", "U1"],
        "history": [["A", "C", "A"], ["", "", ""], ["", "", "B"]],
        "candidates": {
            "news_id": [["B", "A", ""], ["", "C", ""], ["A", "B", "C"]],
            "clicked": [[1, 0, 0], [0, 0, 0], [-1, -1, -1]],
        },
    }
    behaviors = tf.data.Dataset.from_tensor_slices(columns)
    assert_the_log(Impressions.from_dataset(behaviors, CATALOG, USERS))


def test_more_impressions_than_one_chunk():
    rows = [(i, f"U{i % 3}", i, ["A"] * (i % 4), [("B", i % 2)]) for i in range(2500)]
    impressions = Impressions.from_dataset(dataset(rows), CATALOG, USERS, ["time"])
    assert impressions.impression_id.tolist() == list(range(2500))
    assert impressions.user_id.tolist() == [i % 3 for i in range(2500)]
    assert np.diff(impressions.history_splits).tolist() == [i % 4 for i in range(2500)]
    assert impressions.clicked.tolist() == [i % 2 for i in range(2500)]
    assert impressions.features["time"].tolist() == list(range(2500))


def test_unknown_articles_stay_and_are_counted_once():
    rows = [
        (1, "U1", 0, ["X", "A", "Y"], [("Z", 1), ("B", 0)]),
        (2, "U1", 0, ["X"], [("C", 0)]),
    ]
    with pytest.warns(UserWarning) as caught:
        impressions = Impressions.from_dataset(dataset(rows), CATALOG, USERS)
    assert len(caught) == 1
    assert "3 of 4 history ids and 1 of 3 candidate ids" in str(caught[0].message)
    assert impressions.history_values.tolist() == [1, 2, 1, 1]
    assert impressions.candidate_values.tolist() == [1, 3, 4]


def test_without_unknown_clicks():
    columns = {
        "impression_id": np.arange(3),
        "user_id": np.zeros(3, np.int32),
        "history_values": np.array([1, 2, 1, 3, 4, 1, 1], np.int32),
        "history_lengths": np.array([4, 2, 1]),
        "candidate_values": np.array([1, 2, 3], np.int32),
        "candidate_lengths": np.ones(3, np.int64),
        "clicked": np.zeros(3, np.int8),
    }
    impressions = Impressions.from_columns(columns)
    known = impressions.without_unknown_clicks()
    assert known.history_values.tolist() == [2, 3, 4]
    assert known.history_splits.tolist() == [0, 2, 3, 3]
    assert known.candidate_values.tolist() == [1, 2, 3]
    assert known.without_unknown_clicks() is known
    # Of a view, and of a copy of it.
    chosen = impressions.view([2, 1, 0]).without_unknown_clicks().take([0, 1, 2])
    assert chosen.history_values.tolist() == [4, 2, 3]
    assert chosen.history_splits.tolist() == [0, 0, 1, 3]
    assert chosen.impression_id.tolist() == [2, 1, 0]


def test_features_of_each_candidate_pass_through():
    extra = {
        "age": ([[5, 6], [7], [8, 9, 10]], tf.TensorSpec([None], tf.int32)),
        "pair": ([[[1, 2]] * 2, [[3, 4]], [[5, 6]] * 3], tf.TensorSpec([None, 2], tf.float32)),
    }
    behaviors = dataset(ROWS, **extra)
    found = Impressions.from_dataset(behaviors, CATALOG, USERS, ["age", "pair"])
    assert not found.features
    age, pair = found.candidate_features["age"], found.candidate_features["pair"]
    assert age.dtype == np.int32 and age.tolist() == [5, 6, 7, 8, 9, 10]
    assert pair.dtype == np.float32 and pair.shape == (6, 2)
    for chosen in (found.take([2, 0]), found.view([2, 0]).take([0, 1])):
        assert chosen.candidate_features["age"].tolist() == [8, 9, 10, 5, 6]
        assert chosen.candidate_features["pair"][:, 0].tolist() == [5, 5, 5, 1, 1]
    few = dataset(ROWS, age=([[5, 6], [], [8, 9, 10]], tf.TensorSpec([None], tf.int32)))
    with pytest.raises(ValueError, match="impression 3 has 1 candidates but 0 values of age"):
        Impressions.from_dataset(few, CATALOG, USERS, ["age"])


def test_padding_takes_its_features_along():
    age = ([[5, 6, 7]], tf.TensorSpec([None], tf.int32))
    rows = [(1, "U1", 0, [], [("A", 1), ("", 0), ("B", 0)])]
    found = Impressions.from_dataset(dataset(rows, age=age), CATALOG, USERS, ["age"])
    assert found.candidate_features["age"].tolist() == [5, 7]


def test_features_pass_through():
    extra = {
        "hour": ([[1.5, 2.5], [3.5, 4.5], [5.5, 6.5]], tf.TensorSpec([2], tf.float32)),
        "country": (["se", "no", "fi"], tf.TensorSpec([], tf.string)),
        "tags": ([["a"], [], ["b", "c"]], tf.TensorSpec([None], tf.string)),
    }
    behaviors = dataset(ROWS, **extra)
    features = Impressions.from_dataset(behaviors, CATALOG, USERS, ["hour", "country"]).features
    assert sorted(features) == ["country", "hour"]
    assert features["hour"].dtype == np.float32
    assert features["hour"].tolist() == extra["hour"][0]
    assert features["country"].tolist() == [b"se", b"no", b"fi"]
    with pytest.raises(ValueError, match="feature tags needs a fixed shape"):
        Impressions.from_dataset(behaviors, CATALOG, USERS, ["tags"])
    with pytest.raises(ValueError, match="behaviors lacks weather; it has .*country"):
        Impressions.from_dataset(behaviors, CATALOG, USERS, ["hour", "weather"])
    with pytest.raises(ValueError, match="'user_id' is part of every batch"):
        Impressions.from_dataset(behaviors, CATALOG, USERS, ["user_id"])


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        ("age", "the feature age is part of candidates; put it beside them"),
        ("candidates/age", "the feature age is part of candidates; put it beside them"),
        ("candidates/clicked", "'candidates/clicked' is part of every batch"),
        ("news_id", "'news_id' is part of every batch"),
    ],
)
def test_features_inside_of_candidates(feature, message):
    behaviors = dataset(ROWS).map(
        lambda row: row | {"candidates": row["candidates"] | {"age": row["candidates"]["clicked"]}}
    )
    with pytest.raises(ValueError, match=message):
        Impressions.from_dataset(behaviors, CATALOG, USERS, [feature])


def without(name):
    def drop(row):
        if name in row:
            return {key: value for key, value in row.items() if key != name}
        candidates = {key: value for key, value in row["candidates"].items() if key != name}
        return row | {"candidates": candidates}

    return dataset(ROWS).map(drop)


@pytest.mark.parametrize(
    ("behaviors", "message"),
    [
        (without("user_id"), "lacks user_id; it has .*impression_id"),
        (without("clicked"), "lacks candidates/clicked; it has .*candidates/news_id"),
        (without("candidates"), "lacks candidates/news_id, candidates/clicked"),
        (dataset(ROWS).map(lambda row: row["time"]), "data set of dicts"),
        (dataset(ROWS).map(lambda row: row | {"candidates": row["history"]}), "news_id and click"),
        (dataset(ROWS).map(lambda row: row | {"user_id": row["time"]}), "user_id must be strings"),
        (dataset(ROWS).ragged_batch(2), "impression_id must be integers of rank 0.*unbatch"),
        (dataset([]), "no impressions"),
        (dataset([(5, "U1", 0, [], [("A", 0), ("B", 2)])]), "impression 5 has the label 2"),
        (
            dataset([(n, "U1", 0, ["A"], [("A", 0), ("B" * 1800 * n, 1)]) for n in (5, 6)]),
            "impression 5 has an id of 9,000 bytes in candidates; at most 1,024",
        ),
    ],
)
def test_bad_behaviors(behaviors, message):
    with pytest.raises(ValueError, match=message):
        Impressions.from_dataset(behaviors, CATALOG, USERS)


def test_labels_that_do_not_match_the_candidates():
    def cut(row):
        candidates = {
            "news_id": row["candidates"]["news_id"],
            "clicked": row["candidates"]["clicked"][:1],
        }
        return row | {"candidates": candidates}

    with pytest.raises(ValueError, match="impression 7 has 2 candidates but 1 labels"):
        Impressions.from_dataset(dataset(ROWS).map(cut), CATALOG, USERS)


def test_not_a_dataset():
    with pytest.raises(TypeError, match="must be a tf.data.Dataset or Impressions"):
        Impressions.from_dataset(ROWS, CATALOG, USERS)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([2, 0], [2, 0]),
        (np.array([True, False, True]), [0, 2]),
        (slice(1, None), [1, 2]),
        ([], []),
        ([1, 1], [1, 1]),
    ],
)
def test_take(rows, expected):
    impressions = Impressions.from_dataset(dataset(ROWS), CATALOG, USERS, ["time"])
    chosen = [ROWS[row] for row in expected]
    taken = impressions.take(rows)
    assert len(taken) == len(expected)
    assert taken.impression_id.tolist() == [row[0] for row in chosen]
    assert taken.features["time"].tolist() == [row[2] for row in chosen]
    numbers = {"A": 2, "B": 3, "C": 4}
    for i, (_, _, _, history, candidates) in enumerate(chosen):
        part = slice(*taken.history_splits[i : i + 2])
        assert taken.history_values[part].tolist() == [numbers[news_id] for news_id in history]
        part = slice(*taken.candidate_splits[i : i + 2])
        assert taken.candidate_values[part].tolist() == [numbers[n] for n, _ in candidates]
        assert taken.clicked[part].tolist() == [label for _, label in candidates]


def test_memory_maps_are_as_good_as_arrays(assert_the_log, tmp_path):
    impressions = Impressions.from_dataset(dataset(ROWS), CATALOG, USERS)
    mapped = {}
    for name in ARRAYS:
        np.save(tmp_path / name, getattr(impressions, name))
        mapped[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
    assert_the_log(Impressions(**mapped))
    assert_the_log(Impressions(**mapped).take([0, 1, 2]))


def test_arrays_that_do_not_fit_together():
    impressions = Impressions.from_dataset(dataset(ROWS), CATALOG, USERS)
    with pytest.raises(ValueError, match="clicked has 5 entries, expected 6"):
        dataclasses.replace(impressions, clicked=impressions.clicked[:-1])
    with pytest.raises(ValueError, match="time has 2 entries, expected 3"):
        dataclasses.replace(impressions, features={"time": np.zeros(2)})


@pytest.fixture
def kept(tmp_path):
    """Converts `ROWS` with a cache, and tells whether the data set was read to do so."""
    file = tmp_path / "behaviors.tsv"
    file.write_text("made up")
    cache = Cache(tmp_path / "cache")

    def convert(catalog=CATALOG, users=USERS, features=(), behaviors=None, part="", files=(file,)):
        read = []
        source = (behaviors or dataset(ROWS)).map(
            lambda row: (tf.py_function(lambda: read.append(1), [], []), row)[1]
        )
        impressions = Impressions.from_dataset(
            source, catalog, users, features, cache=cache, files=files, part=part
        )
        return impressions, bool(read)

    convert.file = file
    return convert


def test_read_once_with_a_cache(assert_the_log, kept):
    for expected in (True, False, False):
        impressions, read = kept()
        assert_the_log(impressions)
        assert read is expected and not impressions.features
    impressions, read = kept(features=["time"])
    assert_the_log(impressions)
    assert read and impressions.features["time"].tolist() == [100, 200, 300]
    impressions, read = kept(features=["time"])
    assert not read and impressions.features["time"].tolist() == [100, 200, 300]
    assert impressions.take([2]).history_values.tolist() == [3]


def test_other_articles_are_read_again_and_other_users_are_not(kept):
    kept()
    ids = {"news_id": ["B", "A", "C"], "title": ["b", "a", "c"]}
    other = NewsCatalog().adapt(ids)
    impressions, read = kept(catalog=other)
    assert read and impressions.history_values.tolist() == [3, 4, 3, 2]
    more = NewsCatalog().adapt({"news_id": ["A", "B", "C"], "title": ["a", "b", "c"]})
    assert not kept(catalog=more)[1]
    assert kept(catalog=more.extend({"news_id": ["D"], "title": ["d"]}))[1]
    # Users are looked up afterwards.
    impressions, read = kept(users=UserIndex().adapt({"user_id": ["U2", "U1"]}))
    assert not read and impressions.user_id.tolist() == [1, 0, 2]
    assert not kept()[1]


def test_other_sources_are_read_again(kept, tmp_path):
    kept()
    found = kept.file.stat()
    kept.file.write_text("MADE UP")
    os.utime(kept.file, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert kept()[1] and not kept()[1]
    assert kept(part="even rows")[1] and not kept()[1]
    second = tmp_path / "second.tsv"
    second.write_text("too")
    assert kept(files=[kept.file, second])[1]
    rows = dataset(ROWS).apply(tf.data.experimental.assert_cardinality(3))
    assert kept(behaviors=rows)[1] and kept(behaviors=rows.take(2))[1]
    assert not kept(behaviors=rows)[1]
    kept.file.unlink()
    with pytest.raises(FileNotFoundError, match="behaviors.tsv"):
        kept()


def test_a_hit_does_not_excuse_bad_arguments(kept):
    kept()
    with pytest.raises(TypeError, match="must be a tf.data.Dataset"):
        Impressions.from_dataset(ROWS, CATALOG, USERS, cache=Cache("unused"), files=[kept.file])
    with pytest.raises(ValueError, match="behaviors lacks title"):
        kept(features=["title"])


def test_a_cache_needs_files(kept):
    with pytest.raises(ValueError, match="files is empty"):
        kept(files=[])


def test_unknown_articles_are_counted_each_time(kept):
    catalog = NewsCatalog().adapt({"news_id": ["A"], "title": ["a"]})
    for _ in range(2):
        with pytest.warns(UserWarning) as caught:
            kept(catalog=catalog)
        (message,) = {str(warning.message) for warning in caught}
        assert "2 of 4 history ids and 4 of 6 candidate ids" in message


def test_more_than_one_piece_with_a_cache(kept):
    rows = [(i, f"U{i % 3}", i, ["A"] * (i % 4), [("B", i % 2)] * (i % 3)) for i in range(2500)]
    found, _ = kept(features=["time"], behaviors=dataset(rows))
    expected = Impressions.from_dataset(dataset(rows), CATALOG, USERS, ["time"])
    for name in ARRAYS:
        array = getattr(expected, name)
        assert getattr(found, name).dtype == array.dtype
        np.testing.assert_array_equal(getattr(found, name), array)
    np.testing.assert_array_equal(found.features["time"], expected.features["time"])


@pytest.mark.parametrize("chosen", [[], [1], [2, 0], [0, 1, 2, 0, 2], [False, True, True]])
def test_a_view_copies_nothing_and_is_as_good(chosen):
    impressions = Impressions.from_dataset(dataset(ROWS), CATALOG, USERS, ["time"])
    rows = np.array(chosen, bool if chosen and isinstance(chosen[0], bool) else int)
    view, expected = impressions.view(rows), impressions.take(rows)
    assert view.candidate_values is impressions.candidate_values
    assert view.history_values is impressions.history_values
    for found in (view.take(slice(None)), view.view(slice(None)).take(slice(None))):
        for name in ARRAYS:
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        np.testing.assert_array_equal(found.features["time"], expected.features["time"])


def test_text_features_are_not_kept(kept):
    words = dataset(ROWS, word=(["a", "b", "c"], tf.TensorSpec([], tf.string)))
    with pytest.raises(TypeError, match="features/word is of object; a cache holds numbers only"):
        kept(features=["word"], behaviors=words)
