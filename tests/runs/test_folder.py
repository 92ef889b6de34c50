from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil

import pytest

from tfrs_npa._files import atomic_file
from tfrs_npa.runs.folder import ResultFolder
from tfrs_npa.settings import DataSettings

SETTINGS = DataSettings("mind/small", holdout="none")


class Letters(ResultFolder):
    kind = "letter"
    command = "write"
    settings_name = "settings.yaml"
    settings_type = DataSettings
    other_name = "letter.txt"
    file_patterns = ("answer-*.txt",)

    @classmethod
    def create(cls, path, text, overwrite=False):
        with cls._created(path, SETTINGS, overwrite) as temporary:
            if text is None:
                raise RuntimeError("no paper")
            (temporary / "letter.txt").write_text(text)
        return cls(path)


def test_it_gives_back_its_settings(tmp_path):
    made = Letters.create(tmp_path / "new" / "folder", "dear")
    assert Letters(made.path).settings == SETTINGS
    assert [path.name for path in made.path.parent.iterdir()] == ["folder"]


def test_settings_of_an_earlier_version_name_no_tokenizer(tmp_path):
    made = Letters.create(tmp_path / "folder", "dear")
    text = (made.path / "settings.yaml").read_text()
    (made.path / "settings.yaml").write_text(text.replace("tokenizer: unicode\n", ""))
    assert made.settings == dataclasses.replace(SETTINGS, tokenizer="mind")


def test_settings_of_an_earlier_version_have_no_buckets_of_users(tmp_path):
    made = Letters.create(tmp_path / "folder", "dear")
    text = (made.path / "settings.yaml").read_text()
    (made.path / "settings.yaml").write_text(text.replace("user_buckets: null\n", ""))
    assert "user_buckets: null" in text and made.settings == SETTINGS


def test_only_a_folder_of_its_kind_is_replaced(tmp_path):
    (tmp_path / "empty").mkdir()
    path = Letters.create(tmp_path / "empty", "dear").path
    with pytest.raises(ValueError, match="holds a letter already; use --resume"):
        Letters.create(path, "other")
    assert (path / "letter.txt").read_text() == "dear"
    (path / "answer-1.txt").touch()
    Letters.create(path, "other", overwrite=True)
    assert sorted(file.name for file in path.iterdir()) == ["letter.txt", "settings.yaml"]
    (path / "letter.txt").unlink()  # what is left is something else's
    with pytest.raises(ValueError, match="exists and is not the folder of a letter"):
        Letters.create(path, "dear", overwrite=True)
    assert (path / "settings.yaml").exists()


@pytest.mark.parametrize("name", ["thesis.txt", "answers/answer-1.txt", "answer-1.md", "link"])
def test_a_folder_with_a_file_of_someone_elses_is_not_overwritten(tmp_path, name):
    path = Letters.create(tmp_path / "folder", "dear").path
    (path / name).parent.mkdir(exist_ok=True)
    if name == "link":
        (path / name).symlink_to(tmp_path)
    else:
        (path / name).write_text("mine")
    with pytest.raises(ValueError, match=f"{name} is not a file of a letter; move it"):
        Letters.create(path, "other", overwrite=True)
    assert (path / "letter.txt").read_text() == "dear" and (path / name).exists()


def test_leftovers_of_an_interrupted_write_are_no_ones(tmp_path):
    path = Letters.create(tmp_path / "folder", "dear").path
    with contextlib.suppress(KeyboardInterrupt), atomic_file(path / "letter.txt") as temporary:
        temporary.write_text("half")
        shutil.copy(temporary, tmp_path / "left")
        name = temporary.name
        raise KeyboardInterrupt
    shutil.copy(tmp_path / "left", path / name)
    Letters.create(path, "other", overwrite=True)
    assert (path / "letter.txt").read_text() == "other"


def test_data_that_changed(tmp_path):
    folder = Letters.create(tmp_path / "folder", "dear")
    before = {
        "articles": {"count": 3, "ids": "a", "titles": "b"},
        "users": {"count": 1, "ids": "c"},
    }
    folder.require_same_data("mind/small", before)  # nothing to compare with
    folder.save_data_fingerprint(before)
    folder.require_same_data("mind/small", json.loads(json.dumps(before)))
    now = {"articles": {"count": 3, "ids": "a", "titles": "x"}, "users": {"count": 9, "ids": "d"}}
    with pytest.raises(
        ValueError,
        match="mind/small has changed since .*folder was started: 9 users, not 1; other titles in "
        "the articles",
    ):
        folder.require_same_data("mind/small", now)


def test_nothing_is_lost_where_making_it_fails(tmp_path):
    path = Letters.create(tmp_path / "folder", "dear").path
    with pytest.raises(RuntimeError, match="no paper"):
        Letters.create(path, None, overwrite=True)
    assert (path / "letter.txt").read_text() == "dear"
    assert [folder.name for folder in tmp_path.iterdir()] == ["folder"]
    with pytest.raises(RuntimeError, match="no paper"):
        Letters.create(tmp_path / "other", None)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("none", "does not exist"),
        ("folder", "is not the folder of a letter"),
        ("file", "is not the"),
    ],
)
def test_what_is_not_one(tmp_path, name, expected):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=f"{name} {expected}.*`tfrs-npa write --run .* makes one"):
        Letters(tmp_path / name)
