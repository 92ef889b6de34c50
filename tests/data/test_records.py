from __future__ import annotations

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tfrs_npa.data import records
from tfrs_npa.data.cache import joined
from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.data.conversion import convert
from tfrs_npa.data.records import PreparedTable
from tfrs_npa.datasets.mind import SyntheticWorld, synthetic


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Returns the split `train` of a table, in three shards."""
    folder = tmp_path_factory.mktemp("data")

    def small():
        return SyntheticWorld(users=30, articles=100, impressions=(50, 10, 10))

    def prepared(table):
        builder = tfds.builder(f"mind/synthetic-{table}", data_dir=folder)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(synthetic, "SyntheticWorld", small)
            shards = tfds.download.DownloadConfig(num_shards=3)
            builder.download_and_prepare(download_config=shards)
        found = PreparedTable(builder, "train")
        assert len(found.files) == 4
        return found

    return prepared


def test_impressions_are_those_of_the_data_set(prepared, monkeypatch):
    monkeypatch.setattr(records, "_BATCH", 7)
    table = prepared("behaviors")
    assert len(table) == 50 == len(list(table))
    first = next(iter(table.dataset))["history"][:1].numpy()
    catalog = NewsCatalog().adapt({"news_id": [first[0].decode(), "N2"], "title": ["a", "b"]})
    found, expected = (joined(convert(log, catalog, ["time"])) for log in (table, table.dataset))
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_articles_are_those_of_the_data_set(prepared, monkeypatch):
    monkeypatch.setattr(records, "_BATCH", 7)
    table = prepared("news")
    found = [row for chunk in table.text_columns(["news_id", "title"]) for row in zip(*chunk)]
    rows = table.dataset.as_numpy_iterator()
    assert found == [(row["news_id"].decode(), row["title"].decode()) for row in rows]
