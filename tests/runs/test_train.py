from __future__ import annotations

import csv
import logging

import numpy as np
import pytest
import tensorflow as tf
import yaml

from tfrs_npa.config import NPAConfig
from tfrs_npa.datasets.mind import SyntheticWorld, write_behaviors, write_news
from tfrs_npa.runs.run import Run, load_run
from tfrs_npa.runs.train import resume, train
from tfrs_npa.settings import TrainingSettings

pytestmark = [
    pytest.mark.usefixtures("eager_functions"),
    pytest.mark.filterwarnings("ignore:Even though the .tf.config"),
]

CONFIG = NPAConfig(
    word_embedding_dim=4,
    user_embedding_dim=3,
    num_filters=5,
    attention_dim=3,
    history_length=5,
    seed=1,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("mind-format")
    world = SyntheticWorld(users=30, articles=100, impressions=(60, 20, 20))
    for split, name in (("train", "train"), ("validation", "dev"), ("test", "test")):
        write_news(path / name / "news.tsv", world.news(split))
        write_behaviors(path / name / "behaviors.tsv", world.behaviors(split))
    return path


def rewrite_history(run, change):
    with run.history_file.open(newline="") as file:
        rows = list(csv.DictReader(file))
    change(rows)
    with run.history_file.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def test_early_stopping_remembers_what_was_before(folder, tmp_path):
    settings = TrainingSettings(str(folder), epochs=1, patience=2)
    train(tmp_path / "run", settings, CONFIG)
    run = Run(tmp_path / "run")
    best = [variable.numpy() for variable in load_run(run.path).variables]
    # An epoch that cannot be beaten, and more of them allowed.
    rewrite_history(run, lambda rows: rows[0].update(val_auc="1.0"))
    (run.path / "metrics.json").unlink()
    values = yaml.safe_load((run.path / "training.yaml").read_text()) | {"epochs": 9}
    (run.path / "training.yaml").write_text(yaml.safe_dump(values))
    # An epoch that was cut off between its line and its checkpoint is trained again.
    rewrite_history(run, lambda rows: rows.append(rows[0] | {"epoch": "1"}))

    resume(run.path)
    assert [row["epoch"] for row in run.history] == [0, 1, 2]
    assert (run.metrics["epochs"], run.metrics["best_epoch"]) == (3, 1)
    for found, expected in zip(load_run(run.path).variables, best, strict=True):
        np.testing.assert_array_equal(found, expected)

    # Done is done.
    last = (run.path / "checkpoints" / "last.weights.h5").read_bytes()
    resume(run.path)
    assert run.metrics["epochs"] == 3
    assert (run.path / "checkpoints" / "last.weights.h5").read_bytes() == last


def test_without_stopping_the_last_model_counts(folder, tmp_path, caplog):
    vectors = tmp_path / "vectors.txt"
    titles = [
        title.split("\t")[3] for title in (folder / "train/news.tsv").read_text().splitlines()
    ]
    word = titles[0].split()[0].lower()
    vectors.write_text(f"{word} 9 8 7 6\nunheard -1 -2 -3 -4\n")
    settings = TrainingSettings(
        str(folder), word_vectors=str(vectors), holdout="none", epochs=2, patience=1
    )
    with caplog.at_level(logging.INFO):
        config = CONFIG.replace(learning_rate=1e-9, table_learning_rate=None)
        train(tmp_path / "run", settings, config)
    assert "word vectors cover" in caplog.text and "epoch 2 of 2: loss" in caplog.text
    run = Run(tmp_path / "run")
    assert (run.metrics["epochs"], run.metrics["best_epoch"]) == (2, 2)
    assert run.metrics["parts"] == {"train": "train", "stopping": None, "report": "test"}
    best, last = run.load_model("best"), run.load_model("last")
    for one, other in zip(best.variables, last.variables, strict=True):
        np.testing.assert_array_equal(one, other)
    number = best.catalog.vocabulary.index([word, "unheard"])
    np.testing.assert_allclose(
        tf.gather(best.candidate_tower.word_table, number),
        [[9, 8, 7, 6], [-1, -2, -3, -4]],
        atol=1e-5,
    )

    file = folder / "dev" / "news.tsv"
    before = file.read_text()
    try:
        file.write_text(before + "Nnew\ta\tb\tA title\t\t\t[]\t[]\n")
        with pytest.raises(ValueError, match="has changed since"):
            resume(run.path)
    finally:
        file.write_text(before)
