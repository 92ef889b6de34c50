from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tfrs_npa.data.article_values import ArticleValues, category_indices
from tfrs_npa.data.catalog import NewsCatalog

CSV = """\
news_id,alternative_voices,activation,representation,story,author
N1,1,-0.5,left| right,vote,A
N9,0,0.1,left,vote,B
7,0.25,,,,C
N2,,0.25,green,"",D
"""
COLUMNS = {
    "news_id": ["N1", "N9", "7", "N2"],
    "alternative_voices": [1.0, 0.0, 0.25, None],
    "activation": [-0.5, 0.1, None, 0.25],
    "representation": [["left", "right"], ["left"], None, ["green"]],
    "story": ["vote", "vote", None, ""],
}


@pytest.fixture
def catalog():
    return NewsCatalog().adapt({"news_id": ["N2", "N1", "7"], "title": ["a", "b", "c"]})


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_columns_of_a_file(kind, catalog, tmp_path):
    """By index; articles that the catalogue does not hold are left out."""
    path = tmp_path / f"values.{kind}"
    if kind == "csv":
        path.write_text(CSV)
    else:
        pq.write_table(pa.table(COLUMNS), path)
    values = ArticleValues.load(path)
    nan = np.nan
    np.testing.assert_equal(
        values.numbers("alternative_voices", catalog), [nan, nan, nan, 1.0, 0.25]
    )
    np.testing.assert_equal(values.numbers("activation", catalog), [nan, nan, 0.25, -0.5, nan])
    voices, splits = values.texts("representation", catalog)
    left, right, green = (voices[i] for i in (1, 2, 0))
    assert len({left, right, green}) == 3 and splits.tolist() == [0, 0, 0, 1, 3, 3]
    story, splits = values.texts("story", catalog)
    assert len(story) == 1 and splits.tolist() == [0, 0, 0, 0, 1, 1]


def test_columns_that_are_missing(catalog):
    table = pa.table({"news_id": ["N1"], "alternative_voices": [True]})
    values = ArticleValues(table)
    assert values.numbers("alternative_voices", catalog)[3] == 1
    assert values.numbers("activation", catalog) is None
    assert values.texts("story", catalog) is None


@pytest.mark.parametrize(
    "columns, message",
    [
        ({"news_id": ["N1"]}, "the columns are news_id; there must be news_id and at least one of"),
        ({"story": ["a"]}, "the columns are story"),
        ({"news_id": ["N1", "N1"], "story": ["a", "b"]}, "the id of each article once"),
        ({"news_id": ["N1", None], "story": ["a", "b"]}, "the id of each article once"),
        ({"news_id": ["N1"], "activation": ["much"]}, "activation must hold numbers, got string"),
        ({"news_id": ["N1"], "story": [3]}, "story must hold strings, got int64"),
        ({"news_id": ["N1"], "representation": [[3]]}, "representation must hold strings"),
        ({"news_id": ["N1"], "alternative_voices": [2]}, "alternative_voices must be from 0 to 1"),
    ],
)
def test_files_that_are_wrong(columns, message, tmp_path):
    pq.write_table(pa.table(columns), tmp_path / "values.parquet")
    with pytest.raises(ValueError, match=f"values.parquet: .*{message}"):
        ArticleValues.load(tmp_path / "values.parquet")


def test_a_file_that_is_no_table(tmp_path):
    (tmp_path / "values.csv").write_text("news_id,story\nN1,a,b\n")
    with pytest.raises(ValueError, match="values.csv: .*Expected 2 columns"):
        ArticleValues.load(tmp_path / "values.csv")


def test_categories_by_index(catalog):
    topics = {"N1": ("sports", "golf"), "N2": ("", ""), "N7": ("news", "world")}
    category, names = category_indices(topics, catalog)
    assert category.tolist() == [0, 0, 0, 1, 0] and names == ["", "sports"]
