from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tfrs_npa.data.cache import Cache
from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.data.loading import MindData
from tfrs_npa.data.splits import hold_out_last_day, read_data, read_parts
from tfrs_npa.settings import DataSettings

DAY = 86_400
SIGNATURE = {
    "impression_id": tf.TensorSpec([], tf.int64),
    "user_id": tf.TensorSpec([], tf.string),
    "time": tf.TensorSpec([], tf.int64),
    "history": tf.TensorSpec([None], tf.string),
    "candidates": {
        "news_id": tf.TensorSpec([None], tf.string),
        "clicked": tf.TensorSpec([None], tf.int64),
    },
}
# Midnight parts the days; the impressions are in no order.
TRAIN = [("U3", 18 * DAY - 1), ("U1", 18 * DAY), ("U2", 17 * DAY), ("U3", 18 * DAY + 5)]


def behaviors(rows, labels=(1, 0)):
    def generate():
        for number, (user_id, time) in enumerate(rows):
            candidates = {"news_id": ["N1", "N2"], "clicked": list(labels)}
            yield {
                "impression_id": number,
                "user_id": user_id,
                "time": time,
                "history": [],
                "candidates": candidates,
            }

    return tf.data.Dataset.from_generator(generate, output_signature=SIGNATURE)


def mind_data(test=(1, 0), train=TRAIN):
    splits = {"train": behaviors(train), "validation": behaviors([("U1", 0), ("U2", 0)])}
    if test is not None:
        splits["test"] = behaviors([("U2", 0)], test)
    return MindData("made-up", {}, splits)


@pytest.fixture
def catalog():
    return NewsCatalog().adapt({"news_id": ["N1", "N2"], "title": ["One", "Two"]})


def test_last_day_is_held_out_and_its_users_are_new(catalog):
    parts = read_parts(mind_data(test=None), catalog, "auto")
    assert parts.train.impression_id.tolist() == [0, 2]
    assert parts.stopping.impression_id.tolist() == [1, 3]
    assert parts.users.ids == ["[UNK]", "U3", "U2"]
    assert parts.train.user_id.tolist() == [1, 2]
    assert parts.stopping.user_id.tolist() == [0, 1]
    # U1 was seen on the day that was not trained on.
    assert parts.report.user_id.tolist() == [0, 2]
    assert parts.names["report"] == "validation"


def test_a_labelled_test_split_leaves_validation_to_stop_on(catalog):
    parts = read_parts(mind_data(), catalog, "auto")
    assert len(parts.train) == 4 and parts.users.ids == ["[UNK]", "U3", "U1", "U2"]
    assert len(parts.stopping) == 2 and len(parts.report) == 1
    assert parts.names == {"train": "train", "stopping": "validation", "report": "test"}


def test_an_unlabelled_test_split_is_none(catalog):
    parts = read_parts(mind_data(test=(-1, -1)), catalog, "auto")
    assert parts.names["report"] == "validation" and len(parts.train) == 2


def test_last_day_on_request(catalog):
    parts = read_parts(mind_data(), catalog, "last-day")
    assert len(parts.train) == 2 and len(parts.stopping) == 2
    assert parts.names["report"] == "test"


def test_no_stopping(catalog):
    parts = read_parts(mind_data(test=None), catalog, "none")
    assert parts.stopping is None and len(parts.train) == 4
    assert parts.names["report"] == "validation"


def test_one_day_cannot_be_held_out(catalog):
    data = mind_data(test=None, train=[("U1", 5), ("U2", DAY - 1)])
    with pytest.raises(ValueError, match="of one day.*--holdout none"):
        read_parts(data, catalog, "auto")


def test_report_needs_labels(catalog):
    data = mind_data(test=None)
    data.behaviors["validation"] = behaviors([("U1", 0)], (-1, -1))
    with pytest.raises(ValueError, match="validation of made-up has no labels"):
        read_parts(data, catalog, "auto")


def test_nobody_known_is_left(catalog):
    """Anonymous visitors have no number to keep."""
    data = mind_data(test=None, train=[("", 5), ("U2", 3 * DAY)])
    impressions = read_parts(data, catalog, "none").train
    users = read_parts(data, catalog, "none").users
    earlier, later, kept = hold_out_last_day(impressions, users)
    assert len(kept) == 1
    np.testing.assert_array_equal(earlier.user_id, [0])
    np.testing.assert_array_equal(later.user_id, [0])


def test_all_parts_are_kept(catalog, tmp_path):
    data = mind_data(test=None)
    files = {split: [tmp_path / f"{split}.tsv"] for split in data.behaviors}
    for (file,) in files.values():
        file.write_text("made up")
    cache = Cache(tmp_path / "cache")
    kept = dataclasses.replace(data, cache=cache, files={"behaviors": files})
    expected = read_parts(data, catalog, "auto")
    for _ in range(2):
        parts = read_parts(kept, catalog, "auto")
        assert parts.users == expected.users
        for name in ("train", "stopping", "report"):
            found = getattr(parts, name)
            assert isinstance(found.user_id.base, np.memmap)
            for field in dataclasses.fields(found)[:-1]:
                expected_array = getattr(getattr(expected, name), field.name)
                np.testing.assert_array_equal(getattr(found, field.name), expected_array)


@pytest.mark.parametrize(
    ("holdout", "stopping"), [("auto", "validation"), ("last-day", "last day of train")]
)
def test_what_is_reported_on_is_not_what_is_stopped_on(mind_folder, tmp_path, holdout, stopping):
    settings = DataSettings(str(mind_folder), holdout=holdout)
    catalog, parts = read_data(settings, Cache(tmp_path))
    assert parts.names["stopping"] == stopping and parts.names["report"] == "test"
    assert len(parts.report) == 40
    assert len(parts.train) + len(parts.stopping) == {"auto": 190, "last-day": 150}[holdout]
    # The articles of every split are known.
    for part in (parts.train, parts.stopping, parts.report):
        assert part.candidate_values.min() > 1
    assert any(tmp_path.iterdir())


def test_read_data_with_word_vectors(mind_folder, tmp_path):
    cache = Cache(tmp_path / "cache")
    words = read_data(DataSettings(str(mind_folder)), cache)[0].vocabulary.words[2:5]
    vectors = np.arange(6, dtype=np.float32).reshape(3, 2)
    lines = [f"{word} {a} {b}" for word, (a, b) in zip(words, vectors)]
    (tmp_path / "vectors.txt").write_text("\n".join(lines))
    np.save(tmp_path / "vectors.npy", vectors)
    (tmp_path / "words.txt").write_text("\n".join(words))
    text = {"word_vectors": str(tmp_path / "vectors.txt")}
    array = {
        "word_vectors": str(tmp_path / "vectors.npy"),
        "word_list": str(tmp_path / "words.txt"),
    }
    for given in (text, array):
        catalog, _ = read_data(DataSettings(str(mind_folder), **given), cache)
        table = catalog.word_embeddings(2, seed=1)
        rows = [catalog.vocabulary.words.index(word) for word in words]
        np.testing.assert_array_equal(table[rows], vectors)
