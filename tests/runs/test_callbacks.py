from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from tfrs_npa.runs.callbacks import best_epoch, callbacks
from tfrs_npa.runs.run import Run


@pytest.fixture
def run(tmp_path):
    (tmp_path / "config.yaml").write_text("{}")
    (tmp_path / "training.yaml").write_text("{data: mind/small}")
    return Run(tmp_path)


@pytest.mark.parametrize(
    ("validates", "columns"),
    [(False, "epoch,loss,seconds"), (True, "epoch,loss,seconds,val_loss")],
)
def test_history_has_columns_for_what_was_measured(run, validates, columns):
    data = np.ones([4, 2]), np.ones([4, 1])

    def fit(epochs, initial_epoch=0):
        model = tf.keras.Sequential([tf.keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        model.fit(
            *data,
            epochs=epochs,
            initial_epoch=initial_epoch,
            validation_data=data if validates else None,
            callbacks=callbacks(run, stops=False, verbose=1),
            verbose=0,
        )

    fit(2)
    fit(3, initial_epoch=2)
    assert run.history_file.read_text().splitlines()[0] == columns
    assert [row["epoch"] for row in run.history] == [0, 1, 2]
    for row in run.history:
        assert ",".join(row) == columns
        assert np.all(np.isfinite(list(row.values())))


def test_best_epoch():
    assert best_epoch([]) == 0
    assert best_epoch([{"val_auc": 0.5}, {"val_auc": 0.7}, {"val_auc": 0.7}]) == 2
    assert best_epoch([{"loss": 2.0}, {"loss": 3.0}]) == 2


@pytest.mark.parametrize("logs", [{"loss": math.nan}, {"loss": 1.0, "val_auc": math.nan}])
def test_what_is_not_a_number_ends_the_training(run, logs):
    checkpoints = callbacks(run, stops=True, verbose=1)[-1]
    with pytest.raises(ValueError, match="of epoch 4 is not a number.*learning_rate"):
        checkpoints.on_epoch_end(3, logs)
