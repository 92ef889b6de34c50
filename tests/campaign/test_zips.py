"""Zips from elsewhere: damaged, encrypted, of other packers, made to fill memory, or no zips."""

from __future__ import annotations

import os
import struct
import warnings
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_npa.datasets.mind.archives import Archive
from tfrs_npa.datasets.mind.blocks import blocks
from tfrs_npa.datasets.mind.tsv import read_news

CAMPAIGN = settings.get_profile("campaign")
FILES = {
    "news.tsv": b"".join(b"N%d\tc\ts\tA title\t\turl\t[]\t[]\n" % row for row in range(99)),
    "behaviors.tsv": b"7\tU1\t11/15/2019 8:55:22 AM\tN1 N2\tN3-1 N4-0\n" * 99,
}
METHODS = {
    name: getattr(zipfile, f"ZIP_{name}") for name in ("STORED", "DEFLATED", "BZIP2", "LZMA")
}
# Of a header before a member, and of its entry in the directory at the end.
_HEADERS = {b"PK\x03\x04": 4, b"PK\x01\x02": 6}


def make(path, method="DEFLATED", prefix="", files=FILES):
    with zipfile.ZipFile(path, "w", METHODS[method]) as archive:
        for name, content in files.items():
            archive.writestr(prefix + name, content)
    return path


def read(path):
    archive = Archive(path)
    with archive.open("news") as file:
        articles = sum(1 for _ in read_news(file, name=archive.name("news")))
    with archive.open("behaviors") as file:
        rows = sum(block.count() for block in blocks(file, archive.name("behaviors")))
    return articles, rows


def with_field(path, offset, value):
    """Sets two bytes in the headers of all members: 0 the version, 2 flags, 4 the method."""
    content = bytearray(path.read_bytes())
    for magic, first in _HEADERS.items():
        start = -1
        while (start := content.find(magic, start + 1)) >= 0:
            struct.pack_into("<H", content, start + first + offset, value)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("prefix", ["", "./", "/", "../", "MINDsmall_dev/", "./a/"])
@pytest.mark.parametrize("method", METHODS)
def test_good_zips(method, prefix, tmp_path):
    assert read(make(tmp_path / "x.zip", method, prefix)) == (99, 99)


@pytest.mark.parametrize(
    ("offset", "value"),
    [(0, 99), (2, 1), (2, 0x41), (2, 0x20), (4, 9), (4, 93), (4, 97), (4, 98), (4, 65535)],
    ids="version encrypted strongly patched deflate64 zstd wavpack ppmd unknown".split(),
)
def test_zips_of_other_packers(offset, value, tmp_path, attempt):
    path = with_field(make(tmp_path / "x.zip"), offset, value)
    assert "pack its files again" in attempt(lambda: read(path), path)


def link_to_itself(path):
    os.symlink(path, path)


def folder_with_a_pipe(path):
    path.mkdir()
    os.mkfifo(path / "news.tsv")
    (path / "behaviors.tsv").write_bytes(FILES["behaviors.tsv"])


def folder_that_holds_itself(path):
    path.mkdir()
    os.symlink(".", path / "again")
    for name, content in FILES.items():
        (path / name).write_bytes(content)


def members_there_twice(path):
    make(path)
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("news.tsv", FILES["news.tsv"].replace(b"title", b"other"))


def one_member_under_two_names(path):
    make(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("./news.tsv", FILES["news.tsv"])


def folders_of_these_names(path):
    make(path, files={"news.tsv/": b"", "behaviors.tsv/": b""})


def many_members(path):
    make(path, files={f"{row}.txt": b"" for row in range(20_000)})


def a_name_that_is_not_utf8(path):
    content = bytearray(make(path, prefix="é/").read_bytes())
    content[content.find(b"PK\x01\x02") + 46] = 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize(
    "kind",
    [
        os.mkfifo,
        link_to_itself,
        folder_with_a_pipe,
        folder_that_holds_itself,
        members_there_twice,
        one_member_under_two_names,
        folders_of_these_names,
        many_members,
        a_name_that_is_not_utf8,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"no zip"),
    ],
)
def test_what_is_no_split(kind, tmp_path, attempt):
    path = tmp_path / "x.zip"
    kind(path)
    assert attempt(lambda: read(path), path)


@pytest.mark.parametrize("table", FILES)
def test_zeros_that_would_fill_the_memory(table, tmp_path, attempt):
    path = make(tmp_path / "x.zip", files={n: c for n, c in FILES.items() if n != table})
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open(table, "w", force_zip64=True) as file:
            for _ in range(30):
                file.write(bytes(10_000_000))
    assert f"{table} would unpack to 300,000,000 bytes" in attempt(lambda: read(path), path)


def test_a_size_that_is_a_lie(tmp_path, attempt):
    """No more is read than the directory says, and its checksum then differs."""
    path = make(tmp_path / "x.zip")
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.find(b"PK\x01\x02") + 24, 100)
    path.write_bytes(content)
    assert "truncated or damaged" in attempt(lambda: read(path), path)


@CAMPAIGN
@given(
    method=st.sampled_from(list(METHODS)),
    changes=st.lists(st.tuples(st.integers(0), st.binary(min_size=1, max_size=4)), max_size=4),
    length=st.none() | st.integers(0),
)
def test_damage(method, changes, length, tmp_path_factory, attempt):
    folder = tmp_path_factory.getbasetemp()
    good = folder / f"good-{method}.zip"
    if not good.exists():
        make(good, method)
    content = bytearray(good.read_bytes())
    for place, written in changes:
        place %= len(content)
        content[place : place + len(written)] = written
    path = folder / "damaged.zip"
    path.write_bytes(content if length is None else content[: length % len(content)])
    message = attempt(lambda: read(path), path)
    assert bool(message) == (length is not None) or changes
