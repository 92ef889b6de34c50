from __future__ import annotations

import pytest
import yaml

from tfrs_npa.config import NPAConfig
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


def test_the_base_is_that_of_the_time_when_it_was_made(space, tmp_path):
    """Also if a preset, or a default, has another value since."""
    folder = SearchFolder.create(tmp_path / "search", SETTINGS, space)
    assert folder.space == SearchSpace.from_yaml(space)
    base = folder.path / "base.yaml"
    saved = yaml.safe_load(base.read_text())
    base.write_text(yaml.safe_dump(saved | {"dropout": 0.45}))
    assert folder.space.base == NPAConfig().replace(dropout=0.45)
    assert folder.space.fields == {"num_filters": [8, 16]}


@pytest.mark.parametrize("preset", ["", "preset: small\n"])
def test_what_an_earlier_version_did_not_have_is_off(space, tmp_path, preset):
    space.write_text(preset + space.read_text())
    folder = SearchFolder.create(tmp_path / "search", SETTINGS, space)
    (folder.path / "base.yaml").unlink()
    found, now = folder.space.base, SearchSpace.from_yaml(space).base
    off = {"center_words", "residual", "unit_vectors", "user_interest", "item_bias"}
    off |= {"warmup_steps", "uniform_attention", "history_rows", "mean_weight", "temperature"}
    off |= {"user_learning_rate", "unknown_articles"}
    before, after = NPAConfig.from_saved({}).to_dict(), NPAConfig().to_dict()
    assert off == {name for name in before if before[name] != after[name]}
    assert found == now.replace(**{name: before[name] for name in off})


def test_baselines_are_kept(space, tmp_path):
    folder = SearchFolder.create(tmp_path / "search", SETTINGS, space)
    assert folder.baselines is None
    folder.baselines = {"best": "cosine"}
    assert folder.baselines == {"best": "cosine"}
    (folder.path / "baselines.json").write_text("{")
    with pytest.raises(ValueError, match="baselines.json is damaged"):
        _ = folder.baselines


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
