import pytest
import tensorflow as tf

from tfrs_npa.data.users import UserIndex

ROWS = [{"user_id": "U8"}, {"user_id": "U3"}, {"user_id": "U8"}]


def dataset(ids):
    return tf.data.Dataset.from_tensor_slices({"user_id": ids, "time": tf.range(len(ids))})


@pytest.mark.parametrize(
    "behaviors",
    [
        ROWS,
        {"user_id": ["U8", "U3", "U8"]},
        dataset(["U8", "U3", "U8"]),
        dataset(["U8", "U3", "U8"]).batch(2),
    ],
)
def test_adapt(behaviors):
    users = UserIndex().adapt(behaviors)
    assert users.ids == ["[UNK]", "U8", "U3"]
    assert len(users) == 3
    assert users.index(["U3", "U99", "U8", ""]).tolist() == [2, 0, 1, 0]


def test_extend_adds_and_adapt_starts_afresh():
    users = UserIndex().adapt(ROWS)
    assert users.extend([{"user_id": "U1"}, {"user_id": "U3"}]) is users
    assert users.ids == ["[UNK]", "U8", "U3", "U1"]
    assert users.adapt([{"user_id": "U1"}]).ids == ["[UNK]", "U1"]


def test_anonymous_visitors_are_the_unknown_user():
    users = UserIndex().adapt({"user_id": ["", "U1", "[UNK]"]})
    assert users.ids == ["[UNK]", "U1"]


def test_saves_and_loads(tmp_path):
    users = UserIndex().adapt(ROWS)
    users.save(tmp_path / "users.txt")
    loaded = UserIndex.load(tmp_path / "users.txt")
    assert loaded == users
    assert loaded.index(["U3"]).tolist() == [2]


def test_more_users_than_one_chunk():
    ids = [f"U{i}" for i in range(10_000)]
    assert UserIndex().adapt(dataset(ids)).ids[1:] == ids


def test_bad_input():
    with pytest.raises(ValueError, match="behaviors lacks the feature user_id; it has user"):
        UserIndex().adapt([{"user": "U1"}])
    with pytest.raises(ValueError, match="'user_id' of behaviors must be a string, got 13"):
        UserIndex().adapt([{"user_id": 13}])
    with pytest.raises(ValueError, match="'user_id' of behaviors must be a string"):
        UserIndex().adapt(tf.data.Dataset.from_tensor_slices({"user_id": [1, 2]}))
    with pytest.raises(ValueError, match="dicts, got 'U'"):
        UserIndex().adapt("U1")
