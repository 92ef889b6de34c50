from __future__ import annotations

import pytest

from tfrs_npa.data.mind import load_mind
from tfrs_npa.datasets.mind import (
    MindFileError,
    SyntheticWorld,
    read_behaviors,
    read_news,
    write_behaviors,
    write_news,
)

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


def test_figures_are_reported_on_a_labelled_test_split(folder):
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
