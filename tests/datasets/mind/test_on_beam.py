"""Builds of `mind` on Apache Beam, against those without."""

from __future__ import annotations

import functools
import sys

import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

import tfrs_npa
from tfrs_npa.datasets.mind import (
    MindFileError,
    SyntheticWorld,
    blocks,
    synthetic,
    write_behaviors,
    write_news,
)

RUNNER = {"beam_runner": "FnApiRunner"}
SmallWorld = functools.partial(SyntheticWorld, users=60, articles=150, impressions=(90, 50, 40))


@pytest.fixture(scope="module")
def zips(tmp_path_factory):
    """MIND's folders, made up; a `news_id` is there twice, and the test split has no labels."""
    path, world = tmp_path_factory.mktemp("manual"), SmallWorld()
    for split, name in {"train": "train", "validation": "dev", "test": "test"}.items():
        rows, news = list(world.behaviors(split)), list(world.news(split))
        for row in rows if split == "test" else []:
            row["candidates"]["clicked"] = [-1] * len(row["candidates"]["news_id"])
        write_behaviors(path / f"MINDlarge_{name}" / "behaviors.tsv", rows)
        write_news(path / f"MINDlarge_{name}" / "news.tsv", [*news, news[0] | {"title": "again"}])
    return path


@pytest.fixture
def build(zips, tmp_path_factory):
    def build(config, manual_dir=zips, **options):
        builder = tfds.builder(f"mind/{config}", data_dir=tmp_path_factory.mktemp("data"))
        download = tfds.download.DownloadConfig(manual_dir=manual_dir, num_shards=3, **options)
        builder.download_and_prepare(download_config=download)
        return builder

    return build


def records(builder, split):
    files = [str(file) for file in builder.info.splits[split].filepaths]
    assert len(files) == 3
    return list(tf.data.TFRecordDataset(files).as_numpy_iterator())


@pytest.mark.parametrize(
    "config", ["large-behaviors", "large-news", "synthetic-behaviors", "synthetic-news"]
)
def test_the_same_records_in_the_same_order(config, build, monkeypatch):
    monkeypatch.setattr(synthetic, "SyntheticWorld", SmallWorld)
    monkeypatch.setattr(blocks, "_LINES", 16)
    plain, beam = build(config), build(config, **RUNNER)
    assert plain.info.metadata == beam.info.metadata
    assert set(plain.info.splits) == set(beam.info.splits) == {"train", "validation", "test"}
    for split, info in plain.info.splits.items():
        assert records(plain, split) == records(beam, split)
        found = beam.info.splits[split]
        assert (found.num_examples, found.num_bytes) == (info.num_examples, info.num_bytes)


def test_bad_line_is_named(zips, build, tmp_path):
    for name in ("train", "dev"):
        for table in ("behaviors", "news"):
            lines = (zips / f"MINDlarge_{name}" / f"{table}.tsv").read_text().splitlines(True)
            if (name, table) == ("dev", "behaviors"):
                lines[40] = lines[40].replace("-1", "-7")
            file = tmp_path / f"MINDsmall_{name}" / f"{table}.tsv"
            file.parent.mkdir(exist_ok=True)
            file.write_text("".join(lines))
    with pytest.raises(MindFileError, match=r"MINDsmall_dev/behaviors.tsv, line 41: .*labels do$"):
        build("small-behaviors", tmp_path, **RUNNER)


def test_without_beam(build, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    monkeypatch.delitem(sys.modules, "tfrs_npa.datasets.mind.on_beam", raising=False)
    monkeypatch.delattr(tfrs_npa.datasets.mind, "on_beam", raising=False)
    assert build("large-news").is_prepared()
    with pytest.raises(ImportError, match=r"pip install 'tfrs-npa\[beam\]'"):
        build("large-news", **RUNNER)
