from __future__ import annotations

import pytest

from tfrs_npa.search.folder import SearchFolder
from tfrs_npa.search.space import SearchSpace
from tfrs_npa.settings import SearchSettings

SETTINGS = SearchSettings("mind/small", tuner="random", max_trials=3, seed=7)


@pytest.fixture
def space(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("others: pinned  # and nothing else\nspace: {num_filters: [8, 16]}\n")
    return path


def test_a_folder_gives_back_what_it_was_made_with(space, tmp_path):
    folder = SearchFolder.create(tmp_path / "runs" / "search", SETTINGS, space)
    again = SearchFolder(folder.path)
    assert again.settings == SETTINGS
    assert again.space_file.read_text() == space.read_text()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["search"]


def test_without_a_file_the_default_space(tmp_path):
    folder = SearchFolder.create(tmp_path / "search", SETTINGS)
    assert SearchSpace.from_yaml(folder.space_file) == SearchSpace()


def test_a_bad_space_makes_no_folder(space, tmp_path):
    space.write_text("space: {num_filtres: 8}")
    with pytest.raises(ValueError, match="mine.yaml: .*did you mean 'num_filters'"):
        SearchFolder.create(tmp_path / "search", SETTINGS, space)
    assert not (tmp_path / "search").exists()


def test_what_is_there_is_not_lost(space, tmp_path):
    path = tmp_path / "search"
    path.mkdir()
    SearchFolder.create(path, SETTINGS, space)
    (path / "trials").mkdir()
    with pytest.raises(ValueError, match="holds a search already; use --resume, --overwrite"):
        SearchFolder.create(path, SETTINGS, space)
    SearchFolder.create(path, SETTINGS, space, overwrite=True)
    assert not (path / "trials").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").touch()
    for overwrite in (False, True):
        with pytest.raises(ValueError, match="is not the folder of a search; give another"):
            SearchFolder.create(tmp_path / "other", SETTINGS, space, overwrite)
    assert (tmp_path / "other" / "thesis.txt").exists()


@pytest.mark.parametrize("name", ["missing", "other"])
def test_not_a_search(tmp_path, name):
    (tmp_path / "other").mkdir()
    with pytest.raises(ValueError, match="`tfrs-npa tune --run .*` makes one"):
        SearchFolder(tmp_path / name)
