"""What TFDS has prepared, and the cache, after damage."""

from __future__ import annotations

import json
import os
import pathlib
import resource
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_npa.data.cache import Cache
from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.data.loading import load_mind
from tfrs_npa.data.users import UserIndex
from tfrs_npa.datasets.mind import SyntheticWorld, synthetic

CAMPAIGN = settings.get_profile("campaign")
NUMBERS = {
    "counts": np.arange(60, dtype=np.int32).reshape(20, 3),
    "shares": np.arange(60, dtype=np.float32).reshape(3, 20),
    "none": np.zeros((0, 4), np.int64),
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder of TFDS with a small site."""
    folder = tmp_path_factory.mktemp("tfds")
    with pytest.MonkeyPatch.context() as patch:
        small = SyntheticWorld(users=30, articles=100, impressions=(50, 10, 10))
        patch.setattr(synthetic, "SyntheticWorld", lambda: small)
        load_mind("mind/synthetic", data_dir=folder)
    return folder


def read(folder):
    data = load_mind("mind/synthetic", data_dir=folder)
    catalog = data.add_articles(NewsCatalog().adapt(data.titles("train")))
    rows = [len(data.impressions(split, catalog, UserIndex())) for split in data.splits]
    return data.report_split, data.topics(), rows


def empty(path):
    path.write_bytes(b"")


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes() or b"\0")
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def replace_by_text(path):
    path.write_text("hello\n")


def replace_by_a_pipe(path):
    path.unlink()
    os.mkfifo(path)


def replace_by_a_folder(path):
    path.unlink()
    path.mkdir()


def drop_the_last_record(path):
    """At the border of a record, so that no checksum is wrong."""
    content, ends = path.read_bytes(), [0]
    while ends[-1] < len(content):
        ends.append(ends[-1] + int.from_bytes(content[ends[-1] : ends[-1] + 8], "little") + 16)
    path.write_bytes(content[: ends[-2]])


DAMAGE = [empty, cut, replace_by_text, replace_by_a_folder, pathlib.Path.unlink]


@pytest.mark.parametrize("table", ["news", "behaviors"])
@pytest.mark.parametrize("damage", [*DAMAGE, flip, replace_by_a_pipe, drop_the_last_record])
def test_records(prepared, table, damage, tmp_path, attempt):
    folder = pathlib.Path(shutil.copytree(prepared, tmp_path / "tfds"))
    damage(next(folder.glob(f"mind/synthetic-{table}/*/*validation*")))
    assert "remove the folder" in attempt(
        lambda: read(folder), folder / "mind" / f"synthetic-{table}"
    )


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_descriptions(prepared, name, damage, tmp_path, attempt):
    """The builder knows its features: nobody reads what TFDS wrote of them."""
    folder = pathlib.Path(shutil.copytree(prepared, tmp_path / "tfds"))
    damage(next(folder.glob(f"mind/synthetic-behaviors/*/{name}")))
    message = attempt(lambda: read(folder), folder / "mind" / "synthetic-behaviors")
    assert bool(message) == (name == "dataset_info.json")


def entry_of(folder):
    Cache(folder).arrays("key", lambda: [NUMBERS])
    (entry,) = folder.iterdir()
    return entry


def assert_right(folder):
    """Damage is found, and the arrays are made again."""
    found = Cache(folder).arrays("key", lambda: [NUMBERS])
    for name, array in NUMBERS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("name", ["index.json", "0.bin", "1.bin", "2.bin"])
@pytest.mark.parametrize("damage", [*DAMAGE, flip, replace_by_a_pipe])
def test_files_of_a_cache(name, damage, tmp_path, attempt):
    entry = entry_of(tmp_path / "cache")
    damage(entry / name)
    assert attempt(lambda: assert_right(tmp_path / "cache"), entry) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda index: index.update(counts=index["shares"], shares=index["counts"]),
        lambda index: index["shares"].update(dtype="<i4"),
        lambda index: index["counts"].update(shape=[3, 20]),
        lambda index: index["none"].update(shape=[0, 10**18]),
        lambda index: index.pop("none"),
        lambda index: index["counts"].update(file="1.bin", crc=index["shares"]["crc"]),
    ],
)
def test_an_index_of_a_cache_that_says_something_else(change, tmp_path, attempt):
    """Its checksum tells; those of the arrays are right."""
    entry = entry_of(tmp_path / "cache")
    crc, _, text = (entry / "index.json").read_text().partition(" ")
    index = json.loads(text)
    change(index)
    (entry / "index.json").write_text(f"{crc} {json.dumps(index)}")
    assert attempt(lambda: assert_right(tmp_path / "cache"), entry) is None


@pytest.mark.parametrize("most", [0, 1, 100, 200])
def test_no_room_for_a_cache_is_a_warning(most, tmp_path, caplog):
    """As on a full disk: files cannot grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        assert_right(tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "preprocessed data cannot be cached" in caplog.text
    assert list((tmp_path / "cache").iterdir()) == []
    assert_right(tmp_path / "cache")


@CAMPAIGN
@given(
    name=st.sampled_from(["index.json", "0.bin", "1.bin"]),
    changes=st.lists(st.tuples(st.integers(0), st.binary(min_size=1, max_size=4)), max_size=3),
    length=st.none() | st.integers(0),
)
def test_damage_of_a_cache(name, changes, length, tmp_path_factory, attempt):
    folder = tmp_path_factory.mktemp("random") / "cache"
    entry = entry_of(folder)
    content = bytearray((entry / name).read_bytes())
    for place, written in changes:
        place %= len(content)
        content[place : place + len(written)] = written
    (entry / name).write_bytes(content if length is None else content[: length % len(content)])
    assert attempt(lambda: assert_right(folder), entry) is None
