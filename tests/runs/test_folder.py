from __future__ import annotations

import pytest

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


def test_only_its_like_is_replaced(tmp_path):
    (tmp_path / "empty").mkdir()
    path = Letters.create(tmp_path / "empty", "dear").path
    with pytest.raises(ValueError, match="holds a letter already; use --resume"):
        Letters.create(path, "other")
    assert (path / "letter.txt").read_text() == "dear"
    (path / "answer.txt").touch()
    Letters.create(path, "other", overwrite=True)
    assert sorted(file.name for file in path.iterdir()) == ["letter.txt", "settings.yaml"]
    (path / "letter.txt").unlink()  # what is left is something else's
    with pytest.raises(ValueError, match="is there already and is not the folder of a letter"):
        Letters.create(path, "dear", overwrite=True)
    assert (path / "settings.yaml").exists()


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
