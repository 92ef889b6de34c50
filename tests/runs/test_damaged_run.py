"""Damaged files of a run folder: a clear message, never a stack trace or other values."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from tests.runs.test_run import BASELINES, POPULARITY, SETTINGS, make_model
from tfrs_npa.cli.messages import error_message
from tfrs_npa.runs.last_seen import LastSeen
from tfrs_npa.runs.run import Run

pytestmark = [
    pytest.mark.usefixtures("eager_functions"),
    pytest.mark.filterwarnings("ignore:Even though the .tf.config"),
]

ONE_LINE = (
    "null",
    "3",
    "[]",
    "[[1, 2], [3]]",
    "{}",
    '{"a": 1}',
    "a: b",
    "{1: 2}",
    "!!python/object/apply:os.system [ls]",
    "epochs: 1e400",
    "epochs: !!float nan",
    "user_buckets: x",
    "a: &a [1]\nb: *a",
    "x" * 100_000,
    "[" * 5000,
)
TABLES = (
    "epoch,val_auc\n1,x\n",
    "a,b\n1,2\n",
    "epoch,val_auc\n1,2,3\n",
    "epoch,val_auc\nnan,1\n",
    "news_id,clicked,shown\nN1,x,3\n",
    "news_id,clicked,shown\nN1\n",
    "news_id,clicked,shown\nN1," + "9" * 5000 + ",1\n",
)
READERS = {
    "training.yaml": lambda run: run.settings,
    "config.yaml": lambda run: run.config,
    "data.json": lambda run: run.data_fingerprint,
    "users.txt": lambda run: run.users,
    "popularity.csv": lambda run: run.baselines,
    "word_vectors.npy": lambda run: run.baselines,
    "last_seen.npz": lambda run: run.last_seen(make_model()),
    "history.csv": lambda run: run.history,
    "metrics.json": lambda run: run.metrics,
    "warm_start.json": lambda run: run.warm_start,
    "forgotten.json": lambda run: run.forgotten,
    "checksums.json": lambda run: run.config,
    "catalog/words.txt": lambda run: run.catalog,
    "catalog/tokenizer.txt": lambda run: run.catalog,
    "catalog/articles.jsonl": lambda run: run.catalog,
    "checkpoints/last.weights.h5": lambda run: run.load_checkpoint(make_model(), "last"),
}
# They change after the run is created, so they have no checksum: what can be read is read.
CHANGING = ("training.yaml", "history.csv", "metrics.json", "forgotten.json", "checksums.json")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "run"
    part = {"count": 3, "titles": "0123"}
    run = Run.create(
        path,
        make_model(),
        SETTINGS,
        BASELINES,
        data_fingerprint={"train impressions": part},
        last_seen=LastSeen(*(np.ones(n, np.int32) for n in (6, 4, 3))),
        warm_start={"from": "x", "first_step": 3, "added": {}, "dropped": {}},
    )
    run.history = [{"epoch": 0, "val_auc": 0.5}, {"epoch": 1, "loss": 1.5, "val_auc": 0.25}]
    run.metrics = {"metrics": {"npa": {"auc": 0.5}}}
    run.forgotten = 2
    for read in READERS.values():
        read(run)
    return path


def damages(name, content):
    half = len(content) // 2
    yield "nothing", b""
    yield "half of it", content[:half]
    yield "other bytes", bytes(range(256)) * 8
    yield "zeros", bytes(len(content))
    yield "another encoding", content[:1000].decode("utf-8", "replace").encode("utf-16")
    yield "a flipped bit", content[:half] + bytes([content[half] ^ 0x15]) + content[half + 1 :]
    for text in ONE_LINE + TABLES:
        yield text[:40], text.encode()
    yield "no file", None
    yield "a folder", ...


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file(whole, tmp_path, name):
    path = shutil.copytree(whole, tmp_path / "run")
    file, read = path / name, READERS[name]
    content = file.read_bytes()
    for what, damage in damages(name, content):
        file.unlink()
        if damage is ...:
            file.mkdir()
        elif damage is not None:
            file.write_bytes(damage)
        try:
            read(Run(path))
        except (ValueError, OSError) as error:
            message = error_message(error)
            named = path if name in ("training.yaml", "config.yaml") else file
            assert str(named) in message, (what, message)
            assert len(message) <= 500 + len(str(path)) and "\n" not in message, (what, message)
        else:
            assert name in CHANGING, what
        if file.is_dir():
            file.rmdir()
        file.write_bytes(content)
    read(Run(path))


def test_a_folder_of_a_later_version(whole, tmp_path):
    path = shutil.copytree(whole, tmp_path / "run")
    file = path / "checksums.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 3}))
    with pytest.raises(ValueError, match="of format 3, of a later version.*reads formats up to 2"):
        _ = Run(path).config


def test_popularity_is_what_it_was(whole):
    assert Run(whole).baselines.popularity == POPULARITY
