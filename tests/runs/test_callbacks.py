from __future__ import annotations

import logging
import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from tfrs_npa.runs.callbacks import (
    best_epoch,
    callbacks,
    has_stopped,
    last_epoch,
    record_untrained,
)
from tfrs_npa.runs.run import Run


@pytest.fixture
def run(tmp_path):
    (tmp_path / "config.yaml").write_text("{}")
    (tmp_path / "training.yaml").write_text("{data: mind/small, patience: 2}")
    return Run(tmp_path)


def make_model():
    model = tf.keras.Sequential([tf.keras.layers.Dense(1)])
    model.build([None, 2])
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize(
    ("validates", "columns"),
    [(False, "epoch,loss,seconds"), (True, "epoch,loss,seconds,val_loss")],
)
def test_history_has_columns_for_what_was_measured(run, validates, columns):
    data = np.ones([4, 2]), np.ones([4, 1])

    def fit(epochs, initial_epoch=0):
        make_model().fit(
            *data,
            epochs=epochs,
            initial_epoch=initial_epoch,
            validation_data=data if validates else None,
            callbacks=callbacks(run, verbose=1),
            verbose=0,
        )

    fit(2)
    fit(3, initial_epoch=2)
    assert (run.path / "history.csv").read_text().splitlines()[0] == columns
    assert [row["epoch"] for row in run.history] == [1, 2, 3]
    for row in run.history:
        assert ",".join(row) == columns
        assert np.all(np.isfinite(list(row.values())))


def rows_of(*aucs, first=0):
    return [{"epoch": epoch, "val_auc": auc} for epoch, auc in enumerate(aucs, start=first)]


def test_best_epoch():
    assert best_epoch([]) == 0
    assert best_epoch(rows_of(0.6, 0.5, 0.55)) == 0
    assert best_epoch(rows_of(0.5, 0.7, 0.7)) == 1
    assert best_epoch(rows_of(0.5, 0.7, 0.7, first=1)) == 2
    assert best_epoch([{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 3.0}]) == 2


AUCS = st.lists(st.integers(0, 5), max_size=8)


@given(AUCS, st.integers(1, 4))
def test_stopping_counts_epochs_since_the_best(aucs, patience):
    """As Keras's callback would, if the untrained model were an epoch of its own."""
    stopping = tf.keras.callbacks.EarlyStopping("val_auc", mode="max", patience=patience)
    stopping.set_model(tf.keras.Sequential())
    stopping.model.stop_training = False
    stopping.on_train_begin()
    for epoch, row in enumerate(rows_of(*aucs)):
        stopping.on_epoch_end(epoch, row)
        assert has_stopped(rows_of(*aucs[: epoch + 1]), patience) == stopping.model.stop_training
        if stopping.model.stop_training:
            break
    assert not has_stopped([{"epoch": 9, "loss": 1.0}], patience)
    assert last_epoch(rows_of(*aucs)) == max(0, len(aucs) - 1)


def record(run, model, auc, epoch):
    """Records an epoch whose model has the weight `epoch`."""
    model.layers[0].kernel.assign(tf.fill([2, 1], float(epoch)))
    if epoch == 0:
        record_untrained(run, model, {"auc": auc, "loss": 2.0}, seconds=0.5)
        return
    *_, records, lines = callbacks(run, verbose=0)
    records.set_model(model)
    for callback in (records, lines):
        callback.on_epoch_end(epoch - 1, {"loss": 1.0, "val_auc": auc, "seconds": 3.0})


def weight_of(run, name):
    model = make_model()
    run.load_checkpoint(model, name)
    return float(model.layers[0].kernel[0, 0])


def test_the_untrained_model_is_the_best_until_it_is_beaten(run, caplog):
    model = make_model()
    with caplog.at_level(logging.INFO, "tfrs_npa"):
        record(run, model, 0.6, 0)
        assert weight_of(run, "best") == weight_of(run, "last") == 0
        record(run, model, 0.5, 1)
        assert (weight_of(run, "best"), weight_of(run, "last")) == (0, 1)
        assert not model.stop_training
        record(run, model, 0.7, 2)
        assert (weight_of(run, "best"), weight_of(run, "last")) == (2, 2)
        record(run, model, 0.7, 3)
        assert not model.stop_training
        record(run, model, 0.65, 4)
    assert model.stop_training
    assert (weight_of(run, "best"), weight_of(run, "last")) == (2, 4)
    history = run.history
    assert history[0] == {"epoch": 0, "val_auc": 0.6, "val_loss": 2.0, "seconds": 0.5}
    assert [row["val_auc"] for row in history] == [0.6, 0.5, 0.7, 0.7, 0.65]
    # Threads of other libraries log too.
    messages = [r.getMessage() for r in caplog.records if r.name.startswith("tfrs_npa")]
    assert messages[:2] == [
        "epoch 0 of 2 (untrained): val_loss 2.0000, val_auc 0.6000, 0 s",
        "epoch 1 of 2: loss 1.0000, val_auc 0.5000, 3 s",
    ]


def test_tensorboard_counts_from_the_untrained_model(run):
    data = tf.ones([4, 2]), tf.ones([4, 1])
    model = make_model()
    model.compile("sgd", "mse", metrics=["mae"])
    metrics = model.evaluate(*data, verbose=0, return_dict=True)
    record_untrained(run, model, metrics, seconds=0.5)
    chosen = callbacks(run, verbose=1)
    model.fit(*data, epochs=2, validation_data=data, callbacks=chosen, verbose=0)
    found = {}
    for file in sorted((run.path / "tensorboard" / "validation").iterdir()):
        for event in EventFileLoader(str(file)).Load():
            for value in event.summary.value:
                number = float(tf.make_ndarray(value.tensor))
                found.setdefault(value.tag, {})[event.step] = number
    for name in ("loss", "mae"):
        assert found[f"epoch_{name}"] == pytest.approx(
            {int(row["epoch"]): row[f"val_{name}"] for row in run.history}
        )


def test_an_interrupted_record_is_repeated(run, monkeypatch):
    """An epoch counts when the last checkpoint is its own."""
    model = make_model()
    record(run, model, 0.6, 0)
    with monkeypatch.context() as patch:
        save = Run.save_checkpoint
        patch.setattr(
            Run, "save_checkpoint", lambda *args: save(*args) if "best" in args else 1 / 0
        )
        with pytest.raises(ZeroDivisionError):
            record(run, model, 0.7, 1)
    assert (weight_of(run, "best"), weight_of(run, "last")) == (1, 0)
    assert [row["epoch"] for row in run.history] == [0, 1]


@pytest.mark.parametrize("logs", [{"loss": math.nan}, {"loss": 1.0, "val_auc": math.nan}])
def test_what_is_not_a_number_ends_the_training(run, logs):
    records = callbacks(run, verbose=1)[-1]
    with pytest.raises(ValueError, match="of epoch 4 is not a number.*learning_rate"):
        records.on_epoch_end(3, logs)
    with pytest.raises(ValueError, match="val_auc of epoch 0 is not a number.*--holdout none"):
        record_untrained(run, make_model(), {"auc": math.nan}, 0.0)
    assert run.history == [] and not run.has_checkpoint("best")
