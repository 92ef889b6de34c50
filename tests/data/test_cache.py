from __future__ import annotations

import concurrent.futures
import json
import logging
import os
import pathlib
import threading

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from tfrs_npa.data.cache import Cache, default_cache_dir, joined, state_of

NUMBERS = {"squares": np.arange(5) ** 2, "halves": np.arange(6, dtype=np.float32).reshape(3, 2) / 2}


class Maker:
    """Gives pieces, and counts how often it was asked for them."""

    def __init__(self, *pieces):
        self.pieces = pieces
        self.calls = 0

    def __call__(self):
        self.calls += 1
        yield from self.pieces


def assert_same(found, expected=NUMBERS):
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def entries(folder):
    return sorted(folder.iterdir())


def test_made_once(tmp_path):
    make = Maker(NUMBERS)
    for _ in range(3):
        assert_same(Cache(tmp_path / "new").arrays("key", make))
    assert make.calls == 1
    assert len(entries(tmp_path / "new")) == 1


def test_arrays_are_read_only_maps_of_files(tmp_path):
    found = Cache(tmp_path).arrays("key", Maker(NUMBERS))["squares"]
    assert not found.flags.writeable
    assert isinstance(found.base, np.memmap) and type(found) is np.ndarray


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "a": arrays_of.arrays(np.int32, st.tuples(st.integers(0, 5), st.just(2))),
                "b/c": arrays_of.arrays(np.float64, st.integers(0, 5)),
                "truth": arrays_of.arrays(bool, st.integers(0, 3)),
            }
        ),
        min_size=1,
        max_size=4,
    )
)
def test_pieces_are_joined(tmp_path_factory, pieces):
    cache = Cache(tmp_path_factory.mktemp("cache"))
    for _ in range(2):
        assert_same(cache.arrays("key", lambda: pieces), joined(pieces))


def test_pieces_of_other_shapes_are_not_joined():
    with pytest.raises(ValueError, match="must match exactly"):
        joined({"a": np.zeros([2, columns])} for columns in (3, 1))


def test_each_key_has_its_own(tmp_path):
    cache = Cache(tmp_path)
    keys = ["a", ["a"], ["a", 1], ["a", "1"], {"a": 1}, None]
    for number, key in enumerate(keys):
        assert cache.json(key, lambda number=number: number) == number
    for number, key in enumerate(keys):
        assert cache.json(key, lambda: -1) == number


def test_json(tmp_path):
    value = {"ids": ["U1", "Ü\n2", ""], "rows": 3, "none": None}
    assert Cache(tmp_path).json("key", lambda: value) == value
    assert Cache(tmp_path).json("key", lambda: None) == value


def cut(file):
    file.write_bytes(file.read_bytes()[:-1])


def lengthen(file):
    file.write_bytes(file.read_bytes() + b"\0")


def flip(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("damage", [cut, lengthen, flip, pathlib.Path.unlink])
@pytest.mark.parametrize("name", ["0.bin", "1.bin"])
def test_a_damaged_entry_is_made_again(tmp_path, damage, name):
    make = Maker(NUMBERS)
    Cache(tmp_path).arrays("key", make)
    (entry,) = entries(tmp_path)
    damage(entry / name)
    assert_same(Cache(tmp_path).arrays("key", make))
    assert make.calls == 2
    assert_same(Cache(tmp_path).arrays("key", make))
    assert make.calls == 2 and entries(tmp_path) == [entry]


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "null", '{"squares": 1}', '{"squares": {"file": "0.bin"}}', "\udcff"]
)
def test_a_damaged_index(tmp_path, text):
    make = Maker(NUMBERS)
    Cache(tmp_path).arrays("key", make)
    (entry,) = entries(tmp_path)
    (entry / "index.json").write_text(text, encoding="utf-8", errors="surrogateescape")
    assert_same(Cache(tmp_path).arrays("key", make))
    assert_same(Cache(tmp_path).arrays("key", make))
    assert make.calls == 2


def test_an_entry_that_became_a_file(tmp_path):
    Cache(tmp_path).arrays("key", Maker(NUMBERS))
    (entry,) = entries(tmp_path)
    for file in entry.iterdir():
        file.unlink()
    entry.rmdir()
    entry.write_text("not a folder")
    assert_same(Cache(tmp_path).arrays("key", Maker(NUMBERS)))


def test_nothing_is_left_of_what_could_not_be_made(tmp_path):
    def broken():
        yield NUMBERS
        raise ValueError("line 2 is bad")

    with pytest.raises(ValueError, match="line 2 is bad"):
        Cache(tmp_path).arrays("key", broken)
    assert entries(tmp_path) == []
    assert_same(Cache(tmp_path).arrays("key", Maker(NUMBERS)))


def test_an_unreadable_source_is_its_own_error(tmp_path, caplog):
    def missing():
        yield from [NUMBERS, {"squares": np.fromfile(tmp_path / "none")}]

    with pytest.raises(FileNotFoundError, match="none"):
        Cache(tmp_path / "cache").arrays("key", missing)
    assert not caplog.records


@pytest.mark.parametrize("array", [np.array([b"text", None], object), np.array([b"text"])])
def test_only_numbers(tmp_path, array):
    with pytest.raises(TypeError, match="words is of .*numbers only"):
        Cache(tmp_path).arrays("key", Maker({"words": array}))


def test_a_folder_that_cannot_be_written_to(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    cache, make = Cache(tmp_path / "file" / "cache"), Maker(NUMBERS, NUMBERS)
    with caplog.at_level(logging.WARNING):
        assert_same(cache.arrays("key", make), joined([NUMBERS, NUMBERS]))
    assert "cannot be cached" in caplog.text and str(tmp_path / "file") in caplog.text
    assert cache.json("other", lambda: 7) == 7


def test_a_disk_that_is_full(tmp_path, caplog, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "write_text", full)
    assert_same(Cache(tmp_path).arrays("key", Maker(NUMBERS)))
    assert "No space left" in caplog.text
    assert entries(tmp_path) == []


def test_a_folder_that_can_only_be_read(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError(13, "Read-only file system")

    make = Maker(NUMBERS)
    Cache(tmp_path).arrays("key", make)
    for name in ("utime", "mkdir", "rename"):
        monkeypatch.setattr(os, name, refuse)
    assert_same(Cache(tmp_path).arrays("key", make))
    assert make.calls == 1


def test_least_recently_used_goes_first(tmp_path):
    cache = Cache(tmp_path, max_bytes=2500)
    (tmp_path / "precious").write_bytes(bytes(10_000))
    other = tmp_path / "about-tfrs-npa-runs"
    other.mkdir()
    (other / "notes").write_bytes(bytes(10_000))
    os.utime(other, (0, 0))

    def get(key):
        make = Maker({"a": np.zeros(1000, np.uint8)})
        cache.arrays(key, make)
        return make.calls

    assert get("a") == get("b") == 1
    for number, entry in enumerate(entries(tmp_path)[1:]):
        os.utime(entry, (number, number))
    assert get("a") == 0
    assert get("c") == 1  # more than fits: of the two others, b was not used since
    assert get("a") == 0 and get("c") == 0
    assert get("b") == 1
    assert (tmp_path / "precious").exists() and (other / "notes").exists()


def test_what_a_killed_process_left_goes_too(tmp_path):
    Cache(tmp_path).arrays("key", Maker(NUMBERS))
    (entry,) = entries(tmp_path)
    left = entry.with_name(entry.name + "-abc")
    left.mkdir()
    (left / "0.bin").write_bytes(bytes(5000))
    os.utime(left, (0, 0))
    Cache(tmp_path, max_bytes=4000).arrays("other", Maker(NUMBERS))
    assert not left.exists() and len(entries(tmp_path)) == 2


def test_larger_than_the_limit_is_kept_alone(tmp_path):
    cache = Cache(tmp_path, max_bytes=10)
    assert_same(cache.arrays("a", Maker(NUMBERS)))
    assert_same(cache.arrays("b", Maker(NUMBERS)))
    assert len(entries(tmp_path)) == 1


def test_several_that_write_at_once(tmp_path):
    barrier = threading.Barrier(4)

    def race(_):
        def make():
            yield NUMBERS
            barrier.wait(60)  # all are writing before the first moves its entry into place

        return Cache(tmp_path).arrays("key", make)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for found in pool.map(race, range(4)):
            assert_same(found)
    make = Maker(NUMBERS)
    assert_same(Cache(tmp_path).arrays("key", make))
    assert make.calls == 0 and len(entries(tmp_path)) == 1


def test_maps_outlive_the_entry(tmp_path):
    cache = Cache(tmp_path, max_bytes=10)
    found = cache.arrays("a", Maker(NUMBERS))
    cache.arrays("b", Maker(NUMBERS))
    assert_same(found)


def test_state_notices_every_change(tmp_path):
    file = tmp_path / "behaviors.tsv"
    file.write_text("one")
    before = state_of([file])
    assert state_of([file]) == before == json.loads(json.dumps(before))
    found = file.stat()
    file.write_text("two")
    os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert file.stat().st_size == found.st_size and file.stat().st_mtime_ns == found.st_mtime_ns
    assert state_of([file]) != before
    with pytest.raises(FileNotFoundError):
        state_of([tmp_path / "none"])


def test_state_of_a_file_elsewhere():
    with tf.io.gfile.GFile("ram://cache/file", "w") as file:
        file.write("one")
    before = state_of(["ram://cache/file"])
    assert state_of(["ram://cache/file"]) == before and before[0][1] == 3
    with tf.io.gfile.GFile("ram://cache/file", "w") as file:
        file.write("three")
    assert state_of(["ram://cache/file"]) != before


def test_default_folder(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert default_cache_dir() == pathlib.Path("/caches/tfrs-npa")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert default_cache_dir() == pathlib.Path("/home/someone/.cache/tfrs-npa")
