from __future__ import annotations

import numpy as np
import pytest

from tfrs_npa.data.cache import Cache
from tfrs_npa.search.data import read_data
from tfrs_npa.search.settings import SearchSettings


@pytest.mark.parametrize(
    ("holdout", "stopping"), [("auto", "validation"), ("last-day", "last day of train")]
)
def test_what_is_reported_on_is_not_what_is_searched_on(mind_folder, tmp_path, holdout, stopping):
    settings = SearchSettings(str(mind_folder), holdout=holdout)
    catalog, parts = read_data(settings, Cache(tmp_path))
    assert parts.names["stopping"] == stopping and parts.names["report"] == "test"
    assert len(parts.report) == 40
    assert len(parts.train) + len(parts.stopping) == {"auto": 190, "last-day": 150}[holdout]
    # The articles of every split are known.
    for part in (parts.train, parts.stopping, parts.report):
        assert part.candidate_values.min() > 1
    assert any(tmp_path.iterdir())


def test_word_vectors(mind_folder, tmp_path):
    cache = Cache(tmp_path / "cache")
    words = read_data(SearchSettings(str(mind_folder)), cache)[0].vocabulary.words[2:5]
    vectors = np.arange(6, dtype=np.float32).reshape(3, 2)
    lines = [f"{word} {a} {b}" for word, (a, b) in zip(words, vectors)]
    (tmp_path / "vectors.txt").write_text("\n".join(lines))
    np.save(tmp_path / "vectors.npy", vectors)
    (tmp_path / "words.txt").write_text("\n".join(words))
    text = {"word_vectors": str(tmp_path / "vectors.txt")}
    array = {
        "word_vectors": str(tmp_path / "vectors.npy"),
        "word_list": str(tmp_path / "words.txt"),
    }
    for given in (text, array):
        catalog, _ = read_data(SearchSettings(str(mind_folder), **given), cache)
        table = catalog.word_embeddings(2, seed=1)
        rows = [catalog.vocabulary.words.index(word) for word in words]
        np.testing.assert_array_equal(table[rows], vectors)
