from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tfrs_npa.data.article_vectors import ArticleVectors
from tfrs_npa.data.cache import Cache
from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.data.loading import MindData
from tfrs_npa.data.splits import Inherited, hold_out_last_day, load_splits, split_impressions
from tfrs_npa.data.users import UserIndex
from tfrs_npa.runs.folder import differences
from tfrs_npa.settings import DataSettings

DAY = 86_400
NAMES = ("train impressions", "validation impressions", "test impressions")
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
# Midnight separates the days; the impressions are in no order.
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
    tables = {"train": behaviors(train), "validation": behaviors([("U1", 0), ("U2", 0)])}
    if test is not None:
        tables["test"] = behaviors([("U2", 0)], test)
    return MindData("made-up", {"behaviors": tables})


@pytest.fixture
def catalog():
    return NewsCatalog().adapt({"news_id": ["N1", "N2"], "title": ["One", "Two"]})


def test_last_day_is_held_out_and_its_users_are_new(catalog):
    splits = split_impressions(mind_data(test=None), catalog, "auto")
    assert splits.train.impression_id.tolist() == [0, 2]
    assert splits.validation.impression_id.tolist() == [1, 3]
    assert splits.users.ids == ["[UNK]", "U3", "U2"]
    assert splits.train.user_id.tolist() == [1, 2]
    assert splits.validation.user_id.tolist() == [0, 1]
    # U1 was seen on the day that was not trained on.
    assert splits.test.user_id.tolist() == [0, 2]
    assert splits.names["report"] == "validation"


def test_a_labelled_test_split_leaves_validation_for_early_stopping(catalog):
    splits = split_impressions(mind_data(), catalog, "auto")
    assert len(splits.train) == 4 and splits.users.ids == ["[UNK]", "U3", "U1", "U2"]
    assert len(splits.validation) == 2 and len(splits.test) == 1
    assert splits.names == {"train": "train", "stopping": "validation", "report": "test"}


def test_an_unlabelled_test_split_is_none(catalog):
    splits = split_impressions(mind_data(test=(-1, -1)), catalog, "auto")
    assert splits.names["report"] == "validation" and len(splits.train) == 2


def test_last_day_on_request(catalog):
    splits = split_impressions(mind_data(), catalog, "last-day")
    assert len(splits.train) == 2 and len(splits.validation) == 2
    assert splits.names["report"] == "test"


def test_no_holdout(catalog):
    splits = split_impressions(mind_data(test=None), catalog, "none")
    assert splits.validation is None and len(splits.train) == 4
    assert splits.names["report"] == "validation"


def test_one_day_cannot_be_held_out(catalog):
    data = mind_data(test=None, train=[("U1", 5), ("U2", DAY - 1)])
    with pytest.raises(ValueError, match="of one day.*--holdout none"):
        split_impressions(data, catalog, "auto")


def test_the_test_split_needs_labels(catalog):
    data = mind_data(test=None)
    data.tables["behaviors"]["validation"] = behaviors([("U1", 0)], (-1, -1))
    with pytest.raises(ValueError, match="validation of made-up has no labels"):
        split_impressions(data, catalog, "auto")


def test_nobody_known_is_left(catalog):
    """Anonymous visitors have no index to keep."""
    data = mind_data(test=None, train=[("", 5), ("U2", 3 * DAY)])
    earlier, later, kept = hold_out_last_day(
        *data.impressions_and_users("train", catalog, ["time"])
    )
    assert len(kept) == 1
    np.testing.assert_array_equal(earlier.user_id, [0])
    np.testing.assert_array_equal(later.user_id, [0])


def rows_of(impressions):
    """Each impression: id, user, history, candidates and clicks."""
    packed = impressions.take(slice(None))
    bounds = zip(packed.candidate_splits, packed.candidate_splits[1:])
    return [
        (
            int(packed.impression_id[row]),
            int(packed.user_id[row]),
            packed.candidate_values[start:end].tolist(),
            packed.clicked[start:end].tolist(),
        )
        for row, (start, end) in enumerate(bounds)
    ]


def test_a_cache_changes_nothing_and_a_held_out_day_is_no_second_copy(catalog, tmp_path):
    data = mind_data(test=None)
    files = {split: [tmp_path / f"{split}.tsv"] for split in data.splits}
    for (file,) in files.values():
        file.write_text("made up")
    cached = dataclasses.replace(data, cache=Cache(tmp_path / "cache"), files={"behaviors": files})
    expected = split_impressions(data, catalog, "auto")
    for _ in range(2):
        splits = split_impressions(cached, catalog, "auto")
        assert splits.users == expected.users
        for name in ("train", "validation", "test"):
            assert rows_of(getattr(splits, name)) == rows_of(getattr(expected, name))
        assert splits.fingerprint(catalog) == expected.fingerprint(catalog)
        # The same memory map: nothing was written for the last day.
        assert isinstance(splits.train.candidate_values.base, np.memmap)
        assert splits.train.candidate_values is splits.validation.candidate_values
        assert len(list(cached.cache.folder.iterdir())) == 2


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"train": [*TRAIN, ("U3", 5)]}, ["3 train impressions, not 2"]),
        ({"train": [("U9", 18 * DAY - 1), *TRAIN[1:]]}, ["other ids in the users"]),
        ({"clicks": (0, 1)}, [f"other clicks in the {n}" for n in NAMES]),
        ({"title": "Three"}, ["other titles in the articles"]),
    ],
)
def test_a_fingerprint_tells_other_data(catalog, change, expected):
    before = split_impressions(mind_data(test=None), catalog, "auto").fingerprint(catalog)
    if "title" in change:
        other = NewsCatalog().adapt({"news_id": ["N1", "N2"], "title": ["One", change["title"]]})
        data = mind_data(test=None)
    else:
        other = catalog
        data = mind_data(test=None, train=change.get("train", TRAIN))
        for split in data.splits if "clicks" in change else ():
            rows = TRAIN if split == "train" else [("U1", 0), ("U2", 0)]
            data.tables["behaviors"][split] = behaviors(rows, change["clicks"])
    now = split_impressions(data, other, "auto").fingerprint(other)
    assert differences(before, before) == []
    assert set(differences(before, now)) >= set(expected)


@pytest.mark.parametrize(
    ("holdout", "validation"), [("auto", "validation"), ("last-day", "last day of train")]
)
def test_test_impressions_are_not_validation_impressions(
    mind_folder, tmp_path, holdout, validation
):
    settings = DataSettings(str(mind_folder), holdout=holdout)
    catalog, splits = load_splits(settings, Cache(tmp_path))
    assert splits.names["stopping"] == validation and splits.names["report"] == "test"
    assert len(splits.test) == 40
    assert len(splits.train) + len(splits.validation) == {"auto": 190, "last-day": 150}[holdout]
    # The articles of every split are known.
    for impressions in (splits.train, splits.validation, splits.test):
        assert impressions.candidate_values.min() > 1
    assert any(tmp_path.iterdir())


def test_load_splits_with_word_vectors(mind_folder, tmp_path):
    cache = Cache(tmp_path / "cache")
    words = load_splits(DataSettings(str(mind_folder)), cache)[0].vocabulary.words[2:5]
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
        catalog, _ = load_splits(DataSettings(str(mind_folder), **given), cache)
        table = catalog.word_embeddings(2, seed=1)
        rows = [catalog.vocabulary.words.index(word) for word in words]
        np.testing.assert_array_equal(table[rows], vectors)


def test_vectors_of_articles_on_top_of_those_of_a_run(mind_folder, tmp_path):
    cache = Cache(tmp_path / "cache")
    plain = load_splits(DataSettings(str(mind_folder)), cache)[0]
    first, second, third = plain.ids[2:5]
    np.save(tmp_path / "v.npy", [[1.0, 2.0], [3.0, 4.0]])
    (tmp_path / "ids.txt").write_text(f"{second}\n{third}\n")
    files = {"article_vectors": str(tmp_path / "v.npy"), "article_ids": str(tmp_path / "ids.txt")}
    settings = DataSettings(str(mind_folder), **files)

    def catalog_of(vectors):
        catalog = NewsCatalog(vocabulary=plain.vocabulary, article_vectors=vectors)
        catalog.extend({"news_id": [first, second], "title": plain.titles[2:4]})
        return catalog, load_splits(settings, cache, Inherited(catalog, UserIndex()))[0]

    inherited, found = catalog_of(ArticleVectors([first, second], [[5, 6], [7, 8]]))
    assert found.vectors()[found.index([first, second, third])].tolist() == [[5, 6], [1, 2], [3, 4]]
    assert inherited.vectors()[2:].tolist() == [[5, 6], [7, 8]]
    with pytest.raises(ValueError, match="2 numbers, but the run .* was trained without vectors"):
        catalog_of(None)
    with pytest.raises(ValueError, match="trained with vectors of 3 numbers: train from scratch"):
        catalog_of(ArticleVectors([first], [[5, 6, 7]]))


def test_word_vectors_without_a_word_of_the_titles(mind_folder, tmp_path):
    path = tmp_path / "v.txt"
    path.write_text("Ünbekannt 1 2\n")
    with pytest.raises(ValueError, match="v.txt has a vector for none of the words of the titles"):
        load_splits(DataSettings(str(mind_folder), word_vectors=str(path)))
