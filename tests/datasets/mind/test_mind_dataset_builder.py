"""The TFDS dataset `mind`."""

import functools
import pathlib
import shutil
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tfrs_npa.datasets.mind import mind_dataset_builder, synthetic, tsv
from tfrs_npa.datasets.mind.errors import MindFileError

FOLDER = pathlib.Path(mind_dataset_builder.__file__).parent
DUMMY_DATA = FOLDER / "dummy_data"


class Case:
    DATASET_CLASS = mind_dataset_builder.Builder
    # tf.test.TestCase has a method of this name, which pytest would take for a test.
    test_session = property(lambda self: self.session)


class SmallBehaviorsTest(Case, tfds.testing.DatasetBuilderTestCase):
    BUILDER_CONFIG_NAMES_TO_TEST = ["small-behaviors"]
    SPLITS = {"train": 3, "validation": 2}


class SmallNewsTest(Case, tfds.testing.DatasetBuilderTestCase):
    BUILDER_CONFIG_NAMES_TO_TEST = ["small-news"]
    SPLITS = {"train": 4, "validation": 3}
    OVERLAPPING_SPLITS = ["validation"]


class LargeBehaviorsTest(Case, tfds.testing.DatasetBuilderTestCase):
    BUILDER_CONFIG_NAMES_TO_TEST = ["large-behaviors"]
    SPLITS = {"train": 3, "validation": 2, "test": 2}


class LargeNewsTest(Case, tfds.testing.DatasetBuilderTestCase):
    BUILDER_CONFIG_NAMES_TO_TEST = ["large-news"]
    SPLITS = {"train": 4, "validation": 3, "test": 3}
    OVERLAPPING_SPLITS = ["validation", "test"]


SmallWorld = functools.partial(
    synthetic.SyntheticWorld, users=300, articles=400, impressions=(200, 40, 30)
)


class SyntheticBehaviorsTest(Case, tfds.testing.DatasetBuilderTestCase):
    BUILDER_CONFIG_NAMES_TO_TEST = ["synthetic-behaviors"]
    SPLITS = {"train": 200, "validation": 40, "test": 30}

    def setUp(self):
        super().setUp()
        self.enter_context(mock.patch.object(synthetic, "SyntheticWorld", SmallWorld))


@pytest.fixture
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


def build(config, data_dir, manual_dir=DUMMY_DATA, **options):
    builder = tfds.builder(f"mind/{config}", data_dir=data_dir)
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=manual_dir, **options)
    )
    return builder


def plain(example):
    """Returns an example of a dataset as the readers give them."""
    if isinstance(example, dict):
        return {name: plain(value) for name, value in example.items()}
    if isinstance(example, np.ndarray):
        return [plain(value) for value in example.tolist()]
    return example.decode() if isinstance(example, bytes) else int(example)


def examples(builder, split):
    return [plain(example) for example in tfds.as_numpy(builder.as_dataset(split=split))]


def test_configurations():
    names = [config.name for config in mind_dataset_builder.Builder.BUILDER_CONFIGS]
    assert names[0] == "small-behaviors" == tfds.builder("mind").builder_config.name
    sizes = ("small", "demo", "large", "synthetic")
    assert names == [f"{size}-{table}" for size in sizes for table in ("behaviors", "news")]


def test_only_the_synthetic_site_is_at_version_2():
    for config in mind_dataset_builder.Builder.BUILDER_CONFIGS:
        builder = tfds.builder(f"mind/{config.name}")
        version = "2.0.0" if config.size == "synthetic" else "1.0.0"
        assert builder.version == version
        assert version == next(iter(builder.release_notes))


def test_description():
    info = tfds.builder("mind/small-news").info
    assert "Microsoft News" in info.description
    assert "wu2020mind" in info.citation
    assert info.homepage == "https://msnews.github.io/"
    documented = {doc.name: doc.description for doc in info.features.catalog_documentation()}
    assert documented["title"] == "Headline."


@pytest.mark.parametrize("inner_folder", [False, True], ids=["top", "folder"])
@pytest.mark.parametrize(
    ("size", "splits"), [("demo", ("train", "dev")), ("large", ("train", "dev", "test"))]
)
def test_zips_in_manual_dir(size, splits, inner_folder, tmp_path, data_dir):
    for split in splits:
        name = f"MIND{size}_{split}"
        source = DUMMY_DATA / f"MINDlarge_{split}"
        if inner_folder:
            shutil.copytree(source, tmp_path / "x" / name / name)
            source = tmp_path / "x" / name
        shutil.make_archive(tmp_path / name, "zip", source)
    for table, read in (("behaviors", tsv.read_behaviors), ("news", tsv.read_news)):
        builder = build(f"{size}-{table}", data_dir, manual_dir=tmp_path)
        assert len(builder.info.splits) == len(splits)
        for split in splits:
            expected = list(read(DUMMY_DATA / f"MINDlarge_{split}" / f"{table}.tsv"))
            assert examples(builder, "validation" if split == "dev" else split) == expected


def test_labels_of_the_large_test_split_are_unknown(data_dir):
    impressions = examples(build("large-behaviors", data_dir), "test")
    assert [row["candidates"]["clicked"] for row in impressions] == [[-1, -1], [-1, -1, -1]]


def test_order_of_the_file_is_kept_on_disk_and_over_shards(tmp_path, data_dir, monkeypatch):
    # Everything through TFDS's buckets on disk, few records in each.
    monkeypatch.setattr(mind_dataset_builder, "_BUFFER_BYTES", 0)
    monkeypatch.setattr(mind_dataset_builder, "_KEY_SHIFT", 128 - 12)
    (row,) = list(tsv.read_behaviors(DUMMY_DATA / "MINDsmall_dev/behaviors.tsv"))[:1]
    shutil.copytree(DUMMY_DATA, tmp_path, dirs_exist_ok=True)
    ids = np.random.default_rng(0).permutation(1000).tolist()
    tsv.write_behaviors(
        tmp_path / "MINDsmall_train/behaviors.tsv", ({**row, "impression_id": i} for i in ids)
    )
    builder = build("small-behaviors", data_dir, manual_dir=tmp_path, num_shards=2)
    assert builder.info.splits["train"].num_shards == 2
    assert [row["impression_id"] for row in examples(builder, "train")] == ids
    assert (
        len(list(builder.data_path.glob("*"))) == 2 + 2 + 3
    )  # shards and descriptions: no bucket is left


def test_tfds_has_its_own_buffer_back(data_dir):
    before = mind_dataset_builder.shuffle.MAX_MEM_BUFFER_SIZE
    build("small-news", data_dir)
    assert mind_dataset_builder.shuffle.MAX_MEM_BUFFER_SIZE == before > 2**20


def test_bad_line_is_named_and_nothing_is_left(tmp_path, data_dir):
    shutil.copytree(DUMMY_DATA, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "MINDsmall_dev/behaviors.tsv"
    path.write_text(path.read_text().replace("N5-1", "N5-7"))
    with pytest.raises(MindFileError, match=r"MINDsmall_dev/behaviors.tsv, line 2: .*'N5-7'"):
        build("small-behaviors", data_dir, manual_dir=tmp_path)
    assert not tfds.builder("mind/small-behaviors", data_dir=data_dir).is_prepared()
    assert not list(data_dir.glob("mind/*/*.tfrecord*"))


def test_synthetic_world_and_its_references_are_kept(data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "SyntheticWorld", SmallWorld)
    build("synthetic-behaviors", data_dir)
    build("synthetic-news", data_dir)
    # From a copy, without the code that made it.
    copy = shutil.copytree(data_dir, tmp_path / "copy")
    monkeypatch.setattr(synthetic, "SyntheticWorld", None)
    news, info = tfds.load("mind/synthetic-news", data_dir=copy, download=False, with_info=True)
    world = SmallWorld()
    assert set(news) == set(info.splits) == {"train", "validation", "test"}
    builder = tfds.builder("mind/synthetic-behaviors", data_dir=copy)
    read_only = tfds.builder_from_directory(copy / "mind/synthetic-behaviors/2.0.0")
    assert builder.info.metadata == read_only.info.metadata
    assert builder.info.metadata["reference_auc"] == world.reference_auc()
    for split in news:
        assert [plain(row) for row in tfds.as_numpy(news[split])] == list(world.news(split))
        expected = list(world.behaviors(split))
        for row in expected:
            row["candidates"]["clicked"] = row["candidates"]["clicked"].tolist()
        assert examples(builder, split) == examples(read_only, split) == expected


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--beam_pipeline_options=runner=FnApiRunner",)])
def test_tfds_build_on_the_folder(options, data_dir):
    # What `tfds build` runs. The `tfds` command itself would import Apache Beam and mlcroissant for
    # its other subcommands.
    code = (
        "import simple_parsing\n"
        "from tensorflow_datasets.scripts.cli import build\n"
        "simple_parsing.parse(build.Args).execute()\n"
    )
    command = [sys.executable, "-c", code, str(FOLDER), "--config", "small-behaviors"]
    command += ["--manual_dir", str(DUMMY_DATA), "--data_dir", str(data_dir), *options]
    subprocess.run(command, check=True, cwd=data_dir, capture_output=True, text=True)
    builder = tfds.builder("mind/small-behaviors", data_dir=data_dir)
    assert builder.is_prepared()
    expected = list(tsv.read_behaviors(DUMMY_DATA / "MINDsmall_train/behaviors.tsv"))
    assert examples(builder, "train") == expected
