"""Vectors of articles, computed elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from tfrs_npa.data.article_vectors import ArticleVectors
from tfrs_npa.data.catalog import NewsCatalog

NEWS = {"news_id": ["A", "B"], "title": ["a", "b"]}


def vectors():
    return ArticleVectors(["B", "C"], [[1, 2], [3, 4]])


def test_a_catalogue_has_the_vectors_of_its_articles():
    catalog = NewsCatalog(article_vectors=vectors()).adapt(NEWS)
    assert catalog.vectors().tolist() == [[0, 0], [0, 0], [0, 0], [1, 2]]
    catalog.article_vectors.extend(["D"], [[5, 6]])
    catalog.extend({"news_id": ["C", "D"], "title": ["c", "d"]})
    assert catalog.vectors()[2:].tolist() == [[0, 0], [1, 2], [3, 4], [5, 6]]
    assert len(catalog.article_vectors) == 3 and catalog.vectors().dtype == np.float32
    assert NewsCatalog().adapt(NEWS).vectors() is None


def test_an_article_keeps_what_it_had_when_it_was_added():
    catalog = NewsCatalog(article_vectors=vectors()).adapt(NEWS)
    catalog.article_vectors.extend(["A", "B", "D"], [[5, 6], [7, 8], [9, 0]])
    catalog.extend({"news_id": ["D", "B"], "title": ["d", "b"]})
    assert catalog.vectors()[2:].tolist() == [[0, 0], [1, 2], [9, 0]]
    catalog.set_article_vectors(catalog.article_vectors)
    assert catalog.vectors()[2:].tolist() == [[5, 6], [7, 8], [9, 0]]
    catalog.set_article_vectors(None)
    assert catalog == NewsCatalog(vocabulary=catalog.vocabulary).extend(NEWS).extend(
        {"news_id": ["D"], "title": ["d"]}
    )


def test_a_larger_catalogue_has_vectors_of_its_own():
    catalog = NewsCatalog(article_vectors=vectors()).adapt(NEWS)
    catalog.article_vectors.extend(["A"], [[9, 9]])  # too late
    news = {"news_id": ["C", "D", "E"], "title": ["c", "d", "e"]}
    larger = catalog.with_news(news)
    assert larger.vectors()[2:].tolist() == [[0, 0], [1, 2], [3, 4], [0, 0], [0, 0]]
    larger = catalog.with_news(news, ArticleVectors(["D", "B"], [[5, 6], [7, 8]]))
    assert larger.vectors()[2:].tolist() == [[0, 0], [7, 8], [3, 4], [5, 6], [0, 0]]
    assert catalog.extend(news).vectors()[3:6].tolist() == [[1, 2], [3, 4], [0, 0]]
    with pytest.raises(ValueError, match="the vectors have 2 numbers, the new ones 3"):
        catalog.with_news(news, ArticleVectors(["D"], np.zeros((1, 3))))
    plain = NewsCatalog().adapt(NEWS)
    assert plain.with_news(news, vectors()).vectors()[2:4].tolist() == [[0, 0], [1, 2]]


def test_catalogues_differ_by_their_vectors():
    news = {"news_id": ["B"], "title": ["b"]}
    catalogs = [
        NewsCatalog(article_vectors=given).adapt(news)
        for given in (None, vectors(), vectors(), vectors().extend(["B"], [[1, 3]]))
    ]
    assert catalogs[1] == catalogs[2]
    assert catalogs[1] != catalogs[0] != catalogs[2] != catalogs[3]


def test_extending_replaces_rows():
    given = np.array([[1, 2], [3, 4]], np.float32)
    found = ArticleVectors(["B", "C"], given).extend(["D", "C"], [[5, 6], [7, 8]])
    ids, rows = found.items()
    assert ids == ["B", "C", "D"] and rows.tolist() == [[1, 2], [7, 8], [5, 6]]
    assert given.tolist() == [[1, 2], [3, 4]]


def test_they_are_saved_with_the_catalogue(tmp_path):
    NewsCatalog(article_vectors=vectors()).adapt(NEWS).save(tmp_path)
    found = NewsCatalog.load(tmp_path)
    assert found.vectors().tolist() == [[0, 0], [0, 0], [0, 0], [1, 2]]
    NewsCatalog().adapt(NEWS).save(tmp_path)
    assert NewsCatalog.load(tmp_path).vectors() is None


def test_files(tmp_path):
    np.save(tmp_path / "v.npy", [[1.0, 2.0], [3.0, 4.0]])
    (tmp_path / "ids.txt").write_text("B\nC\n")
    found = ArticleVectors.load(tmp_path / "v.npy", tmp_path / "ids.txt")
    assert found.matrix(["C", "A", "B"]).tolist() == [[3, 4], [0, 0], [1, 2]]
    (tmp_path / "ids.txt").write_text("B\nC\nD\n")
    with pytest.raises(ValueError, match=r"ids.txt has 3 ids, so .*v.npy should be an array"):
        ArticleVectors.load(tmp_path / "v.npy", tmp_path / "ids.txt")
    (tmp_path / "ids.txt").write_text("B\nB\n")
    with pytest.raises(ValueError, match="ids.txt:2: 'B' is on line 1 already"):
        ArticleVectors.load(tmp_path / "v.npy", tmp_path / "ids.txt")
    np.save(tmp_path / "v.npy", [[1.0, 2.0], [np.nan, 4.0]])
    (tmp_path / "ids.txt").write_text("B\nC\n")
    with pytest.raises(ValueError, match=r"v.npy: row 1 .* holds a number that is not finite"):
        ArticleVectors.load(tmp_path / "v.npy", tmp_path / "ids.txt")


def test_wrong_vectors():
    with pytest.raises(ValueError, match=r"2 distinct ids need an array \[2, dim\]"):
        ArticleVectors(["A", "B"], np.zeros((3, 2)))
    with pytest.raises(ValueError, match="the vectors have 2 numbers, the new ones 3"):
        vectors().extend(["A"], np.zeros((1, 3)))
