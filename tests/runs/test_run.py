from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import yaml

from tfrs_npa.config import NPAConfig
from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.data.users import UserIndex
from tfrs_npa.models.npa import NPA
from tfrs_npa.optimizers import default_optimizer
from tfrs_npa.runs.baselines import Baselines
from tfrs_npa.runs.run import Run, load_run
from tfrs_npa.settings import TrainingSettings

pytestmark = [
    pytest.mark.usefixtures("eager_functions"),
    pytest.mark.filterwarnings("ignore:Even though the .tf.config"),
]

CONFIG = NPAConfig(
    word_embedding_dim=4, user_embedding_dim=3, num_filters=5, attention_dim=3, title_length=4
)
SETTINGS = TrainingSettings("mind/small", epochs=4, holdout="none")
POPULARITY = {"N1": (1, 3), 'N"2,': (0, 2)}
BASELINES = Baselines(POPULARITY, np.linspace(0, 1, 10, dtype=np.float16).reshape(5, 2))
BATCH = {
    "user_id": np.array([1, 0], np.int32),
    "history": np.array([[2, 3], [3, 0]], np.int32),
    "candidates": np.array([[2, 3, 1], [3, 2, 0]], np.int32),
    "clicked": np.array([[1, 0, 0], [0, 1, 0]], np.int32),
}


def make_model():
    catalog = NewsCatalog().adapt({"news_id": ["N1", 'N"2,'], "title": ["Café au lait", "b c"]})
    model = NPA(CONFIG, catalog, UserIndex().adapt({"user_id": ["U1", "U2"]}))
    model.compile(optimizer=default_optimizer(CONFIG))
    model.optimizer.build(model.trainable_variables)
    return model


def take_a_step(model):
    model.fit(tf.data.Dataset.from_tensors(BATCH), verbose=0)


@pytest.fixture
def model():
    return make_model()


@pytest.fixture
def run(model, tmp_path):
    return Run.create(tmp_path / "run", model, SETTINGS, BASELINES)


def test_what_is_written_is_read(run, model):
    assert run.config == CONFIG
    assert run.settings == SETTINGS
    assert run.baselines.popularity == POPULARITY
    np.testing.assert_array_equal(run.baselines.word_vectors, BASELINES.word_vectors)
    assert run.baselines.word_vectors.dtype == np.float16
    assert run.history == [] and run.metrics is None
    run.metrics = {"auc": 0.5}
    assert Run(run.path).metrics == {"auc": 0.5}
    loaded = load_run(run.path)
    assert loaded.catalog == model.catalog and loaded.users == model.users
    np.testing.assert_array_equal(loaded(BATCH), model(BATCH))


def test_the_history_of_epochs(run):
    rows = [
        {"epoch": 0, "val_auc": 0.1, "seconds": 1.0},
        {"epoch": 1, "loss": np.float32(0.1), "val_auc": 1 / 3, "seconds": 2.5},
    ]
    run.history = rows
    assert (run.path / "history.csv").read_text().splitlines() == [
        "epoch,loss,seconds,val_auc",
        "0,,1.0,0.1",
        "1,0.10000000149011612,2.5,0.3333333333333333",
    ]
    assert run.history == rows


def test_the_history_of_an_earlier_version(run):
    """It counted trained epochs from 0, and knew nothing of the untrained model."""
    (run.path / "history.csv").write_text("epoch,loss,val_auc\n0,1.5,0.5\n1,1.25,0.75\n")
    rows = [
        {"epoch": 1, "loss": 1.5, "val_auc": 0.5},
        {"epoch": 2, "loss": 1.25, "val_auc": 0.75},
    ]
    assert run.history == rows
    run.history = run.history
    assert run.history == rows


def test_a_run_without_word_vectors(model, tmp_path):
    run = Run.create(tmp_path / "run", model, SETTINGS, Baselines(POPULARITY))
    assert run.baselines.word_vectors is None
    assert run.baselines.popularity == POPULARITY


def test_damaged_word_vectors(run):
    file = run.path / "word_vectors.npy"
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(ValueError, match="word_vectors.npy is damaged: .*--overwrite"):
        _ = run.baselines


def test_the_configuration_of_an_earlier_version(run):
    """What it did not have is off, so that its weights fit and mean what they meant."""
    saved = CONFIG.to_dict()
    new = ("center_words", "residual", "unit_vectors", "logit_scale", "user_interest")
    for name in (*new, "background_titles", "item_bias"):
        del saved[name]
    (run.path / "config.yaml").write_text(yaml.safe_dump(saved))
    (run.path / "checksums.json").unlink()
    assert run.config == NPAConfig.from_saved(saved)
    assert not run.config.residual and run.config.user_interest == "mean"
    assert run.config != CONFIG


def test_the_best_checkpoint_is_loaded(run, model):
    first = model(BATCH).numpy()
    take_a_step(model)
    best = model(BATCH).numpy()
    run.save_checkpoint(model, "best", {})
    take_a_step(model)
    run.save_checkpoint(model, "last", {})
    assert not np.allclose(first, best)
    np.testing.assert_array_equal(load_run(run.path)(BATCH), best)
    np.testing.assert_array_equal(run.load_model("last")(BATCH), model(BATCH))
    assert sorted(path.name for path in (run.path / "checkpoints").iterdir()) == [
        "best.weights.h5",
        "last.weights.h5",
        "previous.weights.h5",
    ]


def test_a_checkpoint_has_the_state_of_the_optimizer(run, model):
    for _ in range(3):
        take_a_step(model)
    run.save_checkpoint(model, "last", {})
    again = make_model()
    run.load_checkpoint(again, "last")
    for found, expected in zip(again.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert int(again.optimizer.iterations) == 3


def test_a_loaded_run_can_be_evaluated_and_trained_on(run):
    model = load_run(run.path)
    batches = tf.data.Dataset.from_tensors(BATCH)
    assert np.isfinite(model.evaluate(batches, verbose=0, return_dict=True)["loss"])
    take_a_step(model)
    assert int(model.optimizer.iterations) == 1


def test_a_failed_save_keeps_the_checkpoint(run, model, monkeypatch):
    before = model(BATCH).numpy()

    def fail(path):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(model, "save_weights", fail)
    with pytest.raises(OSError, match="disk full"):
        run.save_checkpoint(model, "last", {})
    assert [path.name for path in (run.path / "checkpoints").iterdir()] == ["last.weights.h5"]
    np.testing.assert_array_equal(load_run(run.path)(BATCH), before)


def test_a_failed_creation_leaves_nothing(model, tmp_path, monkeypatch):
    monkeypatch.setattr(model.users, "save", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Run.create(tmp_path / "run", model, SETTINGS, BASELINES)
    assert list(tmp_path.iterdir()) == []


def test_another_vocabulary_does_not_fit(run):
    words = run.path / "catalog" / "words.txt"
    words.write_text(words.read_text() + "more\n")
    with pytest.raises(ValueError, match="words.txt is damaged: its content is not what was"):
        load_run(run.path)
    (run.path / "checksums.json").unlink()
    with pytest.raises(ValueError, match="last.weights.h5 does not fit"):
        load_run(run.path)


def test_a_damaged_checkpoint(run):
    file = run.path / "checkpoints" / "last.weights.h5"
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(ValueError, match="last.weights.h5 .* or is damaged"):
        load_run(run.path)


def test_what_may_be_overwritten(run, model, tmp_path):
    Run.check_free(tmp_path / "none", overwrite=False)
    (tmp_path / "empty").mkdir()
    Run.check_free(tmp_path / "empty", overwrite=False)
    with pytest.raises(ValueError, match="holds a run already.*--overwrite"):
        Run.check_free(run.path, overwrite=False)
    (run.path / "history.csv").touch()
    Run.create(run.path, model, SETTINGS, BASELINES, overwrite=True)
    assert not (run.path / "history.csv").exists()
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").touch()
    with pytest.raises(ValueError, match="not the folder of a run"):
        Run.check_free(tmp_path / "letters", overwrite=True)


def test_what_is_not_a_run(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        load_run(tmp_path / "none")
    with pytest.raises(ValueError, match="is not the folder of a run"):
        load_run(tmp_path)


def test_files_are_for_people_too(run):
    assert yaml.safe_load((run.path / "training.yaml").read_text())["epochs"] == 4
    assert (run.path / "popularity.csv").read_text().splitlines()[1] == "N1,1,3"
