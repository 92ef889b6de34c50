import concurrent.futures
import threading

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from tfrs_npa.data.string_index import StringIndex
from tfrs_npa.data.users import UserIndex


@pytest.fixture
def index():
    index = StringIndex()
    for string in ("b", "a", "b", "ü"):
        index.add(string)
    return index


def test_numbers_follow_the_order_of_arrival(index):
    assert index.strings == ["[UNK]", "b", "a", "ü"]
    assert len(index) == 4
    assert index.add("a") == 2
    assert "ü" in index and "c" not in index


@pytest.mark.parametrize(
    "strings", [["ü", "c", "b"], np.array(["ü", "c", "b"]), tf.constant(["ü", "c", "b"])]
)
def test_lookup_of_lists_arrays_and_tensors(index, strings):
    found = index.index(strings)
    assert found.dtype == np.int32
    assert found.tolist() == [3, 0, 1]


def test_lookup_keeps_the_shape(index):
    assert index.index([["a"], ["b"]]).tolist() == [[2], [1]]
    assert index.index([]).shape == (0,)


def test_lookup_sees_strings_added_after_a_lookup(index):
    assert index.index(["new"]).tolist() == [0]
    index.add("new")
    assert index.index(["new"]).tolist() == [4]


def test_table_in_a_graph_agrees_with_index(index):
    lookup = tf.function(lambda strings: index.table.lookup(strings))
    np.testing.assert_array_equal(lookup(tf.constant(["a", "?"])), index.index(["a", "?"]))


def test_reserved_strings_are_refused(index):
    with pytest.raises(ValueError, match="reserved"):
        index.add("[UNK]")
    assert len(index) == 4


def test_saved_file_is_one_string_a_line_and_loads_equal(index, tmp_path):
    index.save(tmp_path / "strings.txt")
    assert (tmp_path / "strings.txt").read_text(encoding="utf-8") == "b\na\nü\n"
    assert StringIndex.load(tmp_path / "strings.txt") == index


def test_empty_index_saves_and_loads(tmp_path):
    StringIndex().save(tmp_path / "empty")
    assert StringIndex.load(tmp_path / "empty") == StringIndex()


def test_a_file_edited_on_another_system_loads(index, tmp_path):
    (tmp_path / "strings.txt").write_bytes("\ufeffb\r\na\r\nü".encode())
    assert StringIndex.load(tmp_path / "strings.txt") == index


def test_equality_is_by_value_and_kind(index):
    other = StringIndex()
    for string in ("b", "a"):
        other.add(string)
    assert index != other
    other.add("ü")
    assert index == other
    users = UserIndex().adapt({"user_id": ["b", "a", "ü"]})
    assert users.strings == index.strings and users != index


@pytest.mark.parametrize(
    ("content", "message"),
    [("a\n\nb\n", "2: the line is empty"), ("a\nb\na\n", "3: 'a' is rep"), ("[UNK]\n", "1: '.UNK")],
)
def test_bad_lines_are_named(tmp_path, content, message):
    (tmp_path / "bad.txt").write_text(content)
    with pytest.raises(ValueError, match=f"bad.txt:{message}"):
        StringIndex.load(tmp_path / "bad.txt")


def test_line_breaks_cannot_be_saved(tmp_path):
    index = StringIndex()
    index.add("a\nb")
    with pytest.raises(ValueError, match="line break"):
        index.save(tmp_path / "strings.txt")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("users", [UserIndex(), UserIndex.hashed(100)])
def test_an_arrow_array_is_looked_up_as_a_list(users):
    users.adapt({"user_id": ["U1", "é"]})
    for ids in (["é", "nobody", "", "U1", "[UNK]"], []):
        for array in (pa.array(ids, pa.string()), pa.array(ids), pa.array(ids).dictionary_encode()):
            found = users.index(array)
            assert found.tolist() == (users.index(ids).tolist() if ids else [])
            assert found.dtype == np.int32
    users.extend({"user_id": ["nobody"]})
    assert users.index(pa.array(["nobody"])).tolist() == users.index(["nobody"]).tolist() != [0]


def test_threads_look_up_while_another_adds():
    """What was there is found; in the end, everything is."""
    index, stop = StringIndex(), threading.Event()
    index.add("first")

    def look_up():
        while not stop.is_set():
            assert index.index(["first", "never"]).tolist() == [1, 0]
        return True

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        threads = [pool.submit(look_up) for _ in range(4)]
        for number in range(3000):
            index.add(f"string {number}")
        stop.set()
    assert all(thread.result() for thread in threads)
    assert index.index(["string 2999", "string 0"]).tolist() == [3001, 2]
