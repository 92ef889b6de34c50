"""Builds of `mind` on Apache Beam, against those without."""

from __future__ import annotations

import functools
import sys

import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from apache_beam.options.pipeline_options import PipelineOptions
from simple_parsing import ArgumentParser
from tensorflow_datasets.scripts.cli import build as tfds_build

import tfrs_npa
from tfrs_npa.datasets.mind import (
    MindFileError,
    SyntheticWorld,
    published,
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


def examples(builder, split):
    return [tf.train.Example.FromString(record) for record in records(builder, split)]


def records(builder, split):
    files = [str(file) for file in builder.info.splits[split].filepaths]
    assert len(files) == 3
    return list(tf.data.TFRecordDataset(files).as_numpy_iterator())


@pytest.mark.parametrize(
    "config", ["large-behaviors", "large-news", "synthetic-behaviors", "synthetic-news"]
)
def test_the_same_records_in_the_same_order(config, build, monkeypatch):
    monkeypatch.setattr(synthetic, "SyntheticWorld", SmallWorld)
    monkeypatch.setattr(published, "_BLOCK_BYTES", 5_000)
    plain, beam = build(config), build(config, **RUNNER)
    assert plain.info.metadata == beam.info.metadata
    assert set(plain.info.splits) == set(beam.info.splits) == {"train", "validation", "test"}
    for split, info in plain.info.splits.items():
        assert records(plain, split) == records(beam, split)
        found = beam.info.splits[split]
        assert (found.num_examples, found.num_bytes) == (info.num_examples, info.num_bytes)


@pytest.mark.slow
def test_the_command_of_tfds_with_several_processes(zips, build, monkeypatch, tmp_path):
    """`tfds build`, but for its `main`, which needs mlcroissant for another command."""
    monkeypatch.setattr(published, "_BLOCK_BYTES", 5_000)
    parser = ArgumentParser()
    parser.add_arguments(tfds_build.Args, "build")
    runner = "runner=FnApiRunner,direct_running_mode=multi_processing,direct_num_workers=2"
    given = {"imports": "tfrs_npa", "manual_dir": zips, "data_dir": tmp_path, "num_shards": 3}
    options = [f"--{name}={value}" for name, value in given.items()]
    options = ["mind/large-behaviors", *options, f"--beam_pipeline_options={runner}"]
    parser.parse_args(options).build.execute()

    plain = build("large-behaviors")
    found = tfds.builder("mind/large-behaviors", data_dir=tmp_path)
    for split, info in plain.info.splits.items():
        assert found.info.splits[split].num_examples == info.num_examples
        # Of a map of features, each process writes the keys in an order of its own.
        assert examples(found, split) == examples(plain, split)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("runner=Foo", "Unexpected pipeline runner: Foo"),
        ("direct_num_worker=2", "Apache Beam has no option direct_num_worker; "),
        ("direct_num_workers=two", "argument --direct_num_workers: invalid int value: 'two'$"),
    ],
)
def test_wrong_options(option, message, build):
    with pytest.raises(ValueError, match=message):
        build("large-news", beam_options=PipelineOptions([f"--{option}"]))


def test_options_of_other_runners_are_theirs():
    from tfrs_npa.datasets.mind.on_beam import require_known

    options = PipelineOptions(["--state_backend=filesystem"])
    require_known(options, "FlinkRunner")
    for runner in ("FnApiRunner", "direct", None):
        with pytest.raises(ValueError, match="no option state_backend"):
            require_known(options, runner)


def test_errors_of_workers():
    """Those that are named, from this process and out of the text of a traceback; no others."""
    from tfrs_npa.datasets.mind.on_beam import errors_of_workers

    text = "Traceback:\n  File x\n{}MindFileError: a.tsv, line 3: bad [while running 'Parse']\n\n"
    for error in (
        MindFileError("a.tsv, line 3: bad [while running 'Parse']"),
        RuntimeError(text.format("tfrs_npa.datasets.mind.errors.")),
        RuntimeError(text.format("")),
    ):
        with pytest.raises(MindFileError, match="^a.tsv, line 3: bad$"):
            with errors_of_workers(MindFileError):
                raise error
    for error in (ValueError("a bug"), RuntimeError("Traceback:\nValueError: a bug")):
        with pytest.raises(type(error)) as raised, errors_of_workers(MindFileError):
            raise error
        assert raised.value is error


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
