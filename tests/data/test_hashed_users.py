"""Users in buckets: their hash, what an index keeps of them, and impressions of them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import tfrs_npa.data.users
from tfrs_npa.data.cache import Cache
from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.data.impressions import Impressions, read_impressions, with_users
from tfrs_npa.data.users import HashedUserIndex, UserIndex, expected_sharing, hashed_indices

IDS = [f"U{i}" for i in range(300)]
CATALOG = NewsCatalog().adapt({"news_id": ["A", "B"], "title": ["a", "b"]})

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
any_ids = st.lists(st.one_of(texts, st.binary(max_size=20)), min_size=1, max_size=8)


@pytest.fixture
def users():
    return UserIndex.hashed(1000).adapt({"user_id": IDS})


@settings(deadline=None, max_examples=40)
@given(ids=any_ids, buckets=st.integers(1, 2**31 - 2))
def test_a_hash_is_that_of_the_bytes_of_an_id(ids, buckets):
    encoded = [id_.encode() if isinstance(id_, str) else id_ for id_ in ids]
    indices = hashed_indices(encoded, buckets)
    np.testing.assert_array_equal(hashed_indices(ids, buckets), indices)
    nobody = [id_ in (b"", b"[UNK]") for id_ in encoded]
    np.testing.assert_array_equal(indices == 0, nobody)
    assert indices.dtype == np.int32 and indices.max() <= buckets


GRAPH_USERS = UserIndex.hashed(50)
in_graph = tf.function(
    lambda ids: GRAPH_USERS.table.lookup(ids), [tf.TensorSpec([None], tf.string)]
)


@settings(deadline=None, max_examples=40)
@given(seen=any_ids, asked=any_ids)
def test_python_and_graph_agree(seen, asked):
    """The graph is traced once, and follows the index."""
    GRAPH_USERS.clear()
    GRAPH_USERS.mark(hashed_indices(seen, 50))
    np.testing.assert_array_equal(in_graph(tf.constant(asked)), GRAPH_USERS.index(asked))


def test_the_hash_never_changes():
    """As TensorFlow's documentation of the operation has it, for three of these buckets."""
    assert hashed_indices(["Hello", "TensorFlow", "2.x"], 3).tolist() == [1, 3, 3]
    assert hashed_indices([["U8"], ["Zoë"]], 10**8).tolist() == [[52863831], [88974768]]


def test_seen_users_have_their_bucket_and_others_are_unknown(users):
    indices = users.index(IDS)
    np.testing.assert_array_equal(indices, hashed_indices(IDS, 1000))
    assert indices.min() > 0 and set(np.flatnonzero(users.known)) == set(indices)
    others = [f"V{i}" for i in range(300)]
    found, expected = users.index(others), hashed_indices(others, 1000)
    is_used = users.known[expected]
    assert 0 < is_used.sum() < 300
    np.testing.assert_array_equal(found, np.where(is_used, expected, 0))


def test_nobody_is_in_a_bucket():
    users = UserIndex.hashed(1).adapt({"user_id": ["", "[UNK]"]})
    assert not users.known.any() and "U1" not in users
    assert users.extend([{"user_id": "U1"}]) is users
    assert users.index(["", "[UNK]", "U1", "U2"]).tolist() == [0, 0, 1, 1]
    assert users.add("U3") == 1 and len(users) == 2
    with pytest.raises(ValueError, match="reserved"):
        users.add("[UNK]")


def test_adapt_starts_afresh_and_extend_does_not(users):
    assert users.extend({"user_id": ["V1"]}).index(IDS).all() and "V1" in users
    assert not users.adapt({"user_id": ["V1"]}).index(IDS[:9]).any()


def test_it_keeps_no_ids(users):
    with pytest.raises(ValueError, match="hashed to 1,000 buckets, and their ids are not kept"):
        print(users.ids)
    assert users.seen.nbytes == 126 and "V1" not in repr(users) and "1,000" in repr(users)


def test_as_many_buckets_as_an_int32_has_numbers():
    assert len(UserIndex.hashed(2**31 - 2)) == 2**31 - 1


@pytest.mark.parametrize("buckets", [0, -1, 2**31 - 1])
def test_a_wrong_number_of_buckets(buckets):
    with pytest.raises(ValueError, match="has to be from 1 to 2,147,483,646"):
        UserIndex.hashed(buckets)


@settings(deadline=None, max_examples=25)
@given(ids=st.lists(texts, max_size=30), buckets=st.integers(1, 70))
def test_save_and_load(tmp_path_factory, ids, buckets):
    users = UserIndex.hashed(buckets).adapt({"user_id": ids})
    path = tmp_path_factory.mktemp("users") / users.file_name
    users.save(path)
    loaded = UserIndex.load(path)
    assert loaded == users and isinstance(loaded, HashedUserIndex)
    asked = [*ids, "nobody", ""]
    np.testing.assert_array_equal(loaded.index(asked), users.index(asked))


def test_another_kind_or_number_is_not_equal(users):
    assert users != UserIndex.hashed(1001).adapt({"user_id": IDS})
    assert users.empty() != UserIndex.hashed(1001) != users.empty()
    assert users != UserIndex().adapt({"user_id": IDS})
    assert users == users.empty().extend_from(users) and users != users.empty()


def test_many_are_marked_some_at_a_time(users, monkeypatch):
    monkeypatch.setattr(tfrs_npa.data.users, "_CHUNK", 4)
    assert UserIndex.hashed(users.buckets).adapt({"user_id": IDS}) == users


def test_each_class_loads_either_kind(users, tmp_path):
    strings = UserIndex().adapt({"user_id": ["U1"]})
    for number, index in enumerate((users, strings)):
        index.save(tmp_path / str(number))
        for kind in (type(users), type(strings)):
            assert kind.load(tmp_path / str(number)) == index


def test_damaged_files(users, tmp_path):
    users.save(tmp_path / "users.npz")
    content = (tmp_path / "users.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[:-30])
    np.savez(tmp_path / "other.npz", buckets=5000, seen=users.seen)
    np.savez(tmp_path / "wide.npz", buckets=users.buckets, seen=users.seen.astype(np.int16))
    for name in ("cut.npz", "other.npz", "wide.npz"):
        with pytest.raises(ValueError, match=f"{name} is damaged, or holds no users"):
            UserIndex.load(tmp_path / name)


def test_some_users_of_another_index(users):
    some = users.empty().extend_from(users, users.index(IDS[:9]))
    assert set(np.flatnonzero(some.known)) == set(users.index(IDS[:9]))
    exact = UserIndex().adapt({"user_id": IDS})
    assert users.empty().extend_from(exact) == users
    with pytest.raises(ValueError, match="ids are not kept"):
        UserIndex().extend_from(users)
    with pytest.raises(ValueError, match="1,000 buckets cannot be found in 9 others"):
        users.extend_from(UserIndex.hashed(9))


def test_indices_in_another_index(users):
    some = users.empty().extend_from(users, users.index(IDS[:9]))
    rows = users.indices_in(some)
    np.testing.assert_array_equal(rows, np.where(some.known, np.arange(1001), 0))
    np.testing.assert_array_equal(some.indices_in(users), rows)
    exact = UserIndex().adapt({"user_id": IDS})
    np.testing.assert_array_equal(exact.indices_in(users)[1:], users.index(IDS))
    with pytest.raises(ValueError, match="no ids to find elsewhere"):
        users.indices_in(exact)


def test_sharing_is_as_expected():
    users = UserIndex.hashed(5000)
    assert users.sharing(["a", "a", ""]) == 0
    assert users.sharing([f"U{i}" for i in range(5000)]) == pytest.approx(
        expected_sharing(4999, 5000), abs=0.02
    )
    assert expected_sharing(2, 4) == pytest.approx(1 - (3 / 4) ** 2)
    assert [expected_sharing(n, 1) for n in (0, 1)] == [0, 1]


def log(ids):
    rows = {"user_id": ids, "history": [["A"]] * len(ids), "candidates": [["A", "B"]] * len(ids)}
    return pa.table(rows | {"clicked": [[1, 0]] * len(ids)})


def test_impressions_have_the_index_of_each_user(users):
    asked = ["U3", "", "V1", "U3", "V2", "V3"]
    impressions = Impressions.from_arrow(log(asked), CATALOG, users)
    np.testing.assert_array_equal(impressions.user_id, users.index(asked))
    assert impressions.user_id.dtype == np.int32


def test_other_users_of_impressions(users):
    impressions, own = read_impressions(log(IDS), CATALOG, user_buckets=1000)
    assert own == users
    some = users.empty().extend({"user_id": IDS[:9]})
    np.testing.assert_array_equal(with_users(impressions, own, some).user_id, some.index(IDS))
    with pytest.raises(ValueError, match="no ids"):
        with_users(impressions, own, UserIndex().adapt({"user_id": IDS}))


def test_a_cache_keeps_both_kinds_apart(users, tmp_path):
    rows = {"impression_id": [1, 2], "user_id": ["U3", "V1"], "history": [["A"], ["B"]]}
    lists = {"news_id": [["A"], ["B"]], "clicked": [[1], [0]]}
    dataset = tf.data.Dataset.from_tensor_slices(rows | {"candidates": lists})
    exact, file = UserIndex().adapt({"user_id": ["U3", "V1"]}), tmp_path / "log"
    file.touch()
    for index in (exact, users, exact, users):
        impressions = Impressions.from_dataset(
            dataset, CATALOG, index, cache=Cache(tmp_path / "cache"), files=[file]
        )
        assert impressions.user_id.tolist() == index.index(["U3", "V1"]).tolist()
