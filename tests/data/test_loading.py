from __future__ import annotations

import os
import re
import shutil

import pytest

from tfrs_npa.data import tsv_tables
from tfrs_npa.data.cache import Cache
from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.data.loading import load_mind
from tfrs_npa.datasets.mind import (
    Builder,
    MindFileError,
    SyntheticWorld,
    read_behaviors,
    read_news,
    synthetic,
    write_behaviors,
    write_news,
)
from tfrs_npa.settings import DATA_SETS

FOLDERS = {"train": "train", "validation": "valid", "test": "test"}


@pytest.fixture
def folder(tmp_path):
    world = SyntheticWorld(users=30, articles=100, impressions=(20, 10, 10))
    for split, name in FOLDERS.items():
        write_news(tmp_path / name / "news.tsv", world.news(split))
        write_behaviors(tmp_path / name / "behaviors.tsv", world.behaviors(split))
    return tmp_path


def test_a_folder_gives_what_its_files_hold(folder):
    data = load_mind(folder)
    assert data.name == str(folder) and data.reference_auc == {}
    for split, name in FOLDERS.items():
        articles = list(read_news(folder / name / "news.tsv"))
        assert int(data.news[split].cardinality()) == len(articles)
        for found, expected in zip(data.news[split].as_numpy_iterator(), articles, strict=True):
            assert {key: value.decode() for key, value in found.items()} == expected
        impressions = list(read_behaviors(folder / name / "behaviors.tsv"))
        assert int(data.behaviors[split].cardinality()) == len(impressions)
        rows = zip(data.behaviors[split].as_numpy_iterator(), impressions, strict=True)
        for found, expected in rows:
            assert found["impression_id"] == expected["impression_id"]
            assert found["time"] == expected["time"]
            assert found["user_id"].decode() == expected["user_id"]
            assert [item.decode() for item in found["history"]] == list(expected["history"])
            found, expected = found["candidates"], expected["candidates"]
            assert [item.decode() for item in found["news_id"]] == expected["news_id"]
            assert found["clicked"].tolist() == list(expected["clicked"])


def test_metrics_are_reported_on_a_labelled_test_split(folder):
    assert load_mind(folder).report_split == "test"
    (folder / "test" / "behaviors.tsv").write_text("1\tU1\t11/15/2019 8:55:22 AM\t\tN1 N2\n")
    data = load_mind(folder)
    assert not data.is_labelled("test") and data.is_labelled("validation")
    assert data.report_split == "validation"


def test_a_bad_line_is_found_before_anything_else(folder):
    file = folder / "valid" / "behaviors.tsv"
    file.write_text(file.read_text() + "1\tU1\tyesterday\t\tN1-1\n")
    with pytest.raises(MindFileError, match="yesterday") as error:
        load_mind(folder)
    assert (error.value.file, error.value.line) == (str(file), 11)


@pytest.mark.parametrize("name", ["mind/tiny", "mind/small-news", "no-such-folder"])
def test_unknown_names(name):
    with pytest.raises(ValueError, match=f"there is no .* {name}; .* mind/synthetic"):
        load_mind(name)


def test_a_manual_folder_has_to_exist(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        load_mind("mind/small", data_dir=tmp_path, manual_dir=tmp_path / "none")


def test_the_latest_history_of_a_user(folder):
    data = load_mind(folder)
    rows = [
        row for name in FOLDERS.values() for row in read_behaviors(folder / name / "behaviors.tsv")
    ]
    user = rows[-1]["user_id"]
    latest = max(row["time"] for row in rows if row["user_id"] == user)
    *_, last = [row for row in rows if row["user_id"] == user and row["time"] == latest]
    assert data.latest_histories([user, "nobody"]) == {user: list(last["history"])}


def test_a_latest_history_before_1970(folder, tmp_path):
    path = shutil.copytree(folder, tmp_path / "data")
    for file in path.glob("*/behaviors.tsv"):
        text = re.sub(r"\d+/\d+/\d{4}", "12/31/1969", file.read_text())
        file.write_text(text)
    *_, row = [row for row in read_behaviors(file) if row["history"]]
    assert row["time"] < 0
    found = load_mind(path).latest_histories([row["user_id"]])
    assert found[row["user_id"]]


def test_topics_of_articles(folder, tmp_path):
    """Of all splits, also from a cache in which an earlier version kept titles alone."""
    rows = [row for name in FOLDERS.values() for row in read_news(folder / name / "news.tsv")]
    expected = {row["news_id"]: (row["category"], row["subcategory"]) for row in rows}
    assert load_mind(folder).topics() == expected
    data = load_mind(folder, cache=Cache(tmp_path / "cache"))
    titles = data.titles("train")
    for _ in range(2):
        assert data.topics() == expected and data.titles("train") == titles


def test_the_names_are_those_of_the_builder():
    assert set(DATA_SETS) == {f"mind/{config.size}" for config in Builder.BUILDER_CONFIGS}


def everything(data):
    """What a training reads of all splits."""
    catalog = NewsCatalog().adapt(data.titles("train")).extend(data.titles("validation"))
    _, users = data.impressions_and_users("train", catalog)
    found = [catalog.ids, catalog.titles, users.ids]
    for split, dataset in data.behaviors.items():
        features = ["time"] if split == "train" else []
        impressions = data.impressions(split, catalog, users, features)
        columns = vars(impressions) | impressions.features
        del columns["features"], columns["candidate_features"]
        found.append(int(dataset.cardinality()))
        found.append({name: array.tolist() for name, array in columns.items()})
    return found


@pytest.fixture
def files_read(monkeypatch):
    """The files that are read, each as often as that happens."""
    files = []

    def noting(read):
        def noted(path, *arguments):
            files.append(path)
            return read(path, *arguments)

        return noted

    for name in ("count_impressions", "read_columns", "read_news_columns"):
        monkeypatch.setattr(tsv_tables, name, noting(getattr(tsv_tables, name)))
    return files


@pytest.mark.filterwarnings("ignore:.*not in the catalogue")
def test_a_folder_is_read_once(folder, tmp_path_factory, files_read):
    folder.joinpath("train", "behaviors.tsv").touch()
    cache = Cache(tmp_path_factory.mktemp("cache"))
    uncached = everything(load_mind(folder))
    assert files_read
    assert everything(load_mind(folder, cache=cache)) == uncached
    files_read.clear()
    assert everything(load_mind(folder, cache=cache)) == uncached
    assert not files_read


@pytest.mark.filterwarnings(
    "ignore:.*not in the catalogue", "ignore:.*came again with another title"
)
def test_a_file_that_changed_is_read_again(folder, tmp_path_factory):
    cache = Cache(tmp_path_factory.mktemp("cache"))
    everything(load_mind(folder, cache=cache))
    for file, old, new in (
        ("train/behaviors.tsv", "\tU", "\tV"),
        ("valid/behaviors.tsv", "-1", "-0"),
        ("train/news.tsv", "e", "o"),
    ):
        found = (folder / file).stat()
        (folder / file).write_text((folder / file).read_text().replace(old, new))
        # As long as before, and as old by its own account.
        os.utime(folder / file, ns=(found.st_atime_ns, found.st_mtime_ns))
        assert (folder / file).stat().st_size == found.st_size
        expected = everything(load_mind(folder))
        assert everything(load_mind(folder, cache=cache)) == expected


def test_a_bad_line_is_not_forgiven_by_a_cache(folder, tmp_path_factory):
    cache = Cache(tmp_path_factory.mktemp("cache"))
    load_mind(folder, cache=cache)
    file = folder / "valid" / "behaviors.tsv"
    file.write_text(file.read_text() + "1\tU1\tyesterday\t\tN1-1\n")
    for _ in range(2):
        with pytest.raises(MindFileError, match="yesterday"):
            load_mind(folder, cache=cache)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*not in the catalogue")
def test_prepared_data_is_read_once(tmp_path, monkeypatch):
    def prepare(impressions):
        def world():
            return SyntheticWorld(users=30, articles=100, impressions=impressions)

        monkeypatch.setattr(synthetic, "SyntheticWorld", world)
        return load_mind("mind/synthetic", data_dir=tmp_path / "data", cache=cache)

    cache = Cache(tmp_path / "cache")
    first = everything(prepare((20, 10, 10)))
    assert first == everything(load_mind("mind/synthetic", data_dir=tmp_path / "data"))
    entries = sorted(path.name for path in cache.folder.iterdir())
    assert everything(prepare((20, 10, 10))) == first
    assert sorted(path.name for path in cache.folder.iterdir()) == entries

    for table in ("news", "behaviors"):
        builder = Builder(config=f"synthetic-{table}", data_dir=tmp_path / "data")
        builder.data_path.rmtree()
    again = everything(prepare((25, 10, 10)))
    assert again == everything(load_mind("mind/synthetic", data_dir=tmp_path / "data")) != first
