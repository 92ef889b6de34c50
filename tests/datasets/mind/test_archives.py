"""Reading a split from a zip or a folder."""

import zipfile

import pytest

from tfrs_npa.datasets.mind.archives import Archive
from tfrs_npa.datasets.mind.errors import MindFileError

FILES = {"news.tsv": b"some news\n" * 5_000, "behaviors.tsv": b"some clicks\n" * 5_000}


def make_zip(path, folder="", files=FILES, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        if folder:
            archive.writestr(folder, b"")
        for name, content in files.items():
            archive.writestr(folder + name, content)
    return path


def make_folder(path, folder=""):
    (path / folder).mkdir(parents=True)
    for name, content in FILES.items():
        (path / folder / name).write_bytes(content)
    return path


def read(archive, table):
    with archive.open(table) as file:
        return b"".join(file)


@pytest.mark.parametrize("folder", ["", "MINDsmall_dev/"], ids=["top", "folder"])
@pytest.mark.parametrize("make", [make_zip, make_folder])
def test_both_layouts(make, folder, tmp_path):
    path = make(tmp_path / "MINDsmall_dev", folder)
    archive = Archive(path)
    for table in ("news", "behaviors"):
        assert archive.name(table) == f"{path}/{folder}{table}.tsv"
        assert archive.size(table) == len(FILES[f"{table}.tsv"])
        assert read(archive, table) == FILES[f"{table}.tsv"]


def test_resource_forks_of_mac_os_are_no_members(tmp_path):
    junk = {"__MACOSX/news.tsv": b"junk", "__MACOSX/._news.tsv": b"junk", "._behaviors.tsv": b"-"}
    archive = Archive(make_zip(tmp_path / "x.zip", files={**junk, **FILES}))
    assert read(archive, "news") == FILES["news.tsv"]


def test_missing_member_lists_the_others(tmp_path):
    path = make_zip(tmp_path / "x.zip", files={"a/news.tsv": b"", "readme.txt": b""})
    with pytest.raises(MindFileError, match=r"x\.zip: .* one behaviors.tsv.*a/news.tsv, readme"):
        Archive(path)


def test_two_members_of_one_name(tmp_path):
    path = make_zip(tmp_path / "x.zip", files={**FILES, "old/news.tsv": b""})
    with pytest.raises(MindFileError, match="one news.tsv.*found 2 among"):
        Archive(path)


def test_empty_folder(tmp_path):
    with pytest.raises(MindFileError, match="found 0 among no files"):
        Archive(tmp_path)


def test_truncated_zip(tmp_path):
    path = make_zip(tmp_path / "x.zip")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(
        MindFileError, match=r"x\.zip: the zip is truncated.*delete it and download it again"
    ):
        Archive(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damage_that_shows_while_reading(method, tmp_path):
    path = make_zip(tmp_path / "x.zip", method=method)
    content = bytearray(path.read_bytes())
    content[60:70] = b"0123456789"
    path.write_bytes(content)
    archive = Archive(path)
    with pytest.raises(MindFileError, match=r"x\.zip: the zip is truncated or damaged \("):
        read(archive, "news")
