"""Trainings that are interrupted within an epoch, or diverge there."""

from __future__ import annotations

import contextlib
import re

import numpy as np
import pytest

from tfrs_npa.config import NPAConfig
from tfrs_npa.runs import callbacks
from tfrs_npa.runs.run import Run
from tfrs_npa.runs.train import resume, train
from tfrs_npa.settings import TrainingSettings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("same_picture"),
    pytest.mark.filterwarnings("ignore:Even though the .tf.config"),
]

CONFIG = NPAConfig(
    word_embedding_dim=4,
    user_embedding_dim=3,
    num_filters=5,
    attention_dim=3,
    history_length=5,
    history_sampling="random",
    dropout=0.2,
    batch_size=16,
    seed=1,
)


@pytest.fixture(scope="module")
def settings(folder):
    return TrainingSettings(str(folder), epochs=2, patience=2)


@pytest.fixture(scope="module", autouse=True)
def few_steps():
    """Draws are seeded, and checkpoints possible, after every third step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callbacks, "ROWS_OF_DRAWS", 3 * CONFIG.batch_size)
        yield


@pytest.fixture(scope="module")
def whole(settings, tmp_path_factory):
    """A run that was not interrupted, and saved no checkpoint within its epochs."""
    path = tmp_path_factory.mktemp("whole") / "run"
    train(path, settings, CONFIG)
    return Run(path)


class Killed(BaseException):
    """Nothing in the program catches it."""


@contextlib.contextmanager
def killed_after(steps):
    """Ends the trainings of the block after some steps."""
    end = callbacks.WithinEpoch.on_train_batch_end
    taken = []

    def on_train_batch_end(self, batch, logs=None):
        end(self, batch, logs)
        taken.append(batch)
        if len(taken) == steps:
            raise Killed

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(callbacks.WithinEpoch, "on_train_batch_end", on_train_batch_end)
        yield


def assert_equal_runs(run, whole):
    """Bit for bit, but for the seconds."""

    def measured(run):
        timeless = [{k: v for k, v in row.items() if k != "seconds"} for row in run.history]
        return timeless, {k: v for k, v in run.metrics.items() if k != "seconds"}

    assert measured(run) == measured(whole)
    for name in ("best", "last"):
        one, other = (each.load_model(name, with_optimizer=True) for each in (run, whole))
        variables = [*one.trainable_variables, *one.optimizer.variables]
        others = [*other.trainable_variables, *other.optimizer.variables]
        for found, expected in zip(variables, others, strict=True):
            np.testing.assert_array_equal(found, expected)


def test_resumed_within_epochs_equals_uninterrupted(settings, whole, tmp_path, caplog):
    """The loss of the epoch, of which a part was trained before, too."""
    path = tmp_path / "run"
    with killed_after(5):
        train(path, settings, CONFIG, checkpoint_every=0)
    assert Run(path).checkpoint_state("last")["step"] == 3
    with killed_after(11):
        resume(path, checkpoint_every=0)
    assert Run(path).checkpoint_state("last")["epoch"] == 1
    with caplog.at_level("INFO", "tfrs_npa"):
        resume(path)
    assert re.search(r"resuming after epoch 1 of 2 and \d steps", caplog.text)
    assert_equal_runs(Run(path), whole)


def test_damaged_files(settings, whole, tmp_path, caplog):
    """The checkpoint before the last is taken, and knows the history too."""
    path = tmp_path / "run"
    with killed_after(7):
        train(path, settings, CONFIG, checkpoint_every=0)
    last, history = path / "checkpoints" / "last.weights.h5", path / "history.csv"
    last.write_bytes(last.read_bytes()[:-1000])
    history.write_bytes(history.read_bytes()[:20])
    assert Run(path).checkpoint_state("previous")["step"] == 3
    resume(path)
    assert "last.weights.h5" in caplog.text and "The checkpoint before it is taken" in caplog.text
    assert_equal_runs(Run(path), whole)


def test_a_whole_checkpoint_outlives_a_damaged_one(settings, tmp_path):
    path = tmp_path / "run"
    with killed_after(7):
        train(path, settings, CONFIG, checkpoint_every=0)
    run = Run(path)
    last = path / "checkpoints" / "last.weights.h5"
    last.write_bytes(last.read_bytes()[:-1000])
    model, before = run.load_model("best"), run.checkpoint_state("previous")
    run.load_last(model)
    for epoch in (1, 2):
        run.save_checkpoint(model, "last", {"epoch": epoch})
        assert run.checkpoint_state("last") == {"epoch": epoch}
        assert run.checkpoint_state("previous") == (before if epoch == 1 else {"epoch": 1})


def test_two_damaged_checkpoints(settings, tmp_path, caplog):
    path = tmp_path / "run"
    with killed_after(7):
        train(path, settings, CONFIG, checkpoint_every=0)
    for name in ("last", "previous"):
        file = path / "checkpoints" / f"{name}.weights.h5"
        file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="last.weights.h5"):
        resume(path)
    assert "previous.weights.h5" in caplog.text


def test_killed_after_the_last_step_of_an_epoch(settings, whole, tmp_path):
    """While it is validated: there is no checkpoint with nothing left to train."""
    path = tmp_path / "run"
    model = whole.load_model("last", with_optimizer=True)
    steps = int(model.optimizer.iterations) // settings.epochs
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callbacks, "ROWS_OF_DRAWS", CONFIG.batch_size)
        with killed_after(steps):
            train(path, settings, CONFIG, checkpoint_every=0)
        assert Run(path).checkpoint_state("last")["step"] == steps - 1
        resume(path)
    assert Run(path).history[-1]["epoch"] == settings.epochs
