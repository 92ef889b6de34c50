from __future__ import annotations

import random

import pytest

from tfrs_npa.datasets.mind.alone import alone, really_random

BUILD = """
import pathlib, random, sys
import tensorflow_datasets as tfds
import tfrs_npa
from tfrs_npa.datasets.mind import SyntheticWorld, synthetic
small = lambda: SyntheticWorld(users=30, articles=100, impressions=(1000, 10, 10))
synthetic.SyntheticWorld = small
random.seed(42)
folder = pathlib.Path(sys.argv[1])
builder = tfds.builder("mind/synthetic-behaviors", data_dir=folder / "data")
(folder / f"ready-{sys.argv[2]}").touch()
while len(list(folder.glob("ready-*"))) < 2:
    pass
builder.download_and_prepare()
print("prepared", sum(1 for _ in builder.as_dataset(split="train")))
"""


@pytest.mark.slow
def test_two_processes_with_the_same_seed_prepare_a_data_set_at_once(tmp_path, fork):
    """TFDS draws the name of its temporary folder from a generator that both have seeded."""
    script, logs = tmp_path / "build.py", [tmp_path / f"log-{name}" for name in "ab"]
    script.write_text(BUILD)
    processes = [fork([script, tmp_path, log.name], {}, log) for log in logs]
    codes = [process.wait(240) for process in processes]
    texts = [log.read_text() for log in logs]
    assert codes == [0, 0], texts
    assert all("prepared 1000" in text for text in texts)
    assert len(list((tmp_path / "data" / "mind" / "synthetic-behaviors").iterdir())) == 1


def test_the_generator_of_python_stays_as_it_was(tmp_path):
    random.seed(1)
    expected = random.Random(1).random()
    names = []
    for _ in range(2):
        with really_random(), alone(tmp_path / "folder"):
            names.append(random.random())
    assert names[0] != names[1] and random.random() == expected
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_folder_that_cannot_be_locked_is_no_error(tmp_path):
    (tmp_path / "file").touch()
    with alone(tmp_path / "file" / "folder"), alone("gs://bucket/folder"):
        assert list(tmp_path.iterdir()) == [tmp_path / "file"]
