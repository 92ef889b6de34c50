import numpy as np
import pytest
import tensorflow as tf

import tfrs_npa
from tfrs_npa.data.splits import load_splits
from tfrs_npa.runs.repeated import (
    mean_and_deviation,
    means,
    means_table,
    metric_titles,
    read_rows,
    train,
    train_and_evaluate,
    train_each,
    values,
)
from tfrs_npa.settings import DataSettings

CONFIG = tfrs_npa.NPAConfig.preset("small").replace(
    title_length=8, history_length=8, word_embedding_dim=4, num_filters=4, batch_size=64
)


@pytest.fixture(scope="module")
def data(mind_folder):
    """The catalogue and the splits of a small folder."""
    return load_splits(DataSettings(str(mind_folder), holdout="none"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Even though the .tf.config")
def test_a_training_is_that_of_fit(data, capsys, eager_functions):
    """In the same way as a user trains, evaluates and counts."""
    catalog, splits = data
    result = train_and_evaluate(CONFIG, catalog, splits, epochs=2)
    messages = capsys.readouterr().err.splitlines()

    tf.keras.backend.clear_session()
    tf.keras.utils.set_random_seed(CONFIG.seed)
    model = tfrs_npa.NPA(CONFIG, catalog, splits.users)
    batches = tfrs_npa.training_batches(splits.train, catalog, splits.users, CONFIG)
    model.compile(optimizer=tfrs_npa.default_optimizer(CONFIG, 2 * len(batches)))
    losses = model.fit(batches, epochs=2, verbose=0).history["loss"]
    test = tfrs_npa.impression_batches(splits.test, catalog, splits.users, CONFIG)
    metrics = model.evaluate(test, verbose=0, return_dict=True)
    assert {name: result[name] for name in metrics} == pytest.approx(metrics)
    assert messages == [
        f"  epoch {epoch} of 2: loss {loss:.4f}" for epoch, loss in enumerate(losses, start=1)
    ]
    rows = sum(len(batch["user_id"]) for batch in batches.as_numpy_iterator())
    assert (result["steps"], result["rows_seen"]) == (2 * len(batches), 2 * rows)
    assert result["epochs"] == 2 and result["seconds"] > 0


@pytest.mark.filterwarnings("ignore:Even though the .tf.config")
def test_a_training_ends_in_time(data, monkeypatch, capsys, eager_functions):
    class Other(tfrs_npa.NPA):
        pass

    planned, default_optimizer = [], tfrs_npa.default_optimizer

    def make_optimizer(config, total_steps):
        planned.append(total_steps)
        return default_optimizer(config, total_steps)

    monkeypatch.setattr("tfrs_npa.optimizers.default_optimizer", make_optimizer)
    training = train(CONFIG, *data, seconds=0, total_steps=10, model_type=Other)
    assert isinstance(training.model, Other)
    assert (training.steps, training.seconds) == (1, 0)
    assert training.rows_seen == 64 and 0 < training.epochs < 1
    assert planned == [10]
    assert capsys.readouterr().err == ""


class Trainings:
    """Two seeds of one configuration, and how often they were trained."""

    def __init__(self, fail=False):
        self.trained = []
        self.fail = fail

    def each(self, path, epochs=1):
        trainings = [
            (f"seed {seed}", {"seed": seed, "epochs": epochs}, self._of(seed)) for seed in (1, 2)
        ]
        return train_each(trainings, path, "own")

    def _of(self, seed):
        def train():
            if self.fail and seed == 2:
                raise KeyboardInterrupt
            self.trained.append(seed)
            return {"auc": 0.6 + 0.01 * seed, "own": seed}

        return train


def test_rows_hold_settings_and_metrics(tmp_path, capsys):
    rows = Trainings().each(tmp_path / "rows.csv")
    assert rows == [
        {"seed": "1", "epochs": "1", "auc": "0.61", "own": "1"},
        {"seed": "2", "epochs": "1", "auc": "0.62", "own": "2"},
    ]
    assert read_rows(tmp_path / "rows.csv", "own") == rows
    assert capsys.readouterr().err == "1 of 2: seed 1\n  AUC 0.6100\n2 of 2: seed 2\n  AUC 0.6200\n"


def test_what_is_there_is_not_trained_again(tmp_path, capsys):
    path = tmp_path / "rows.csv"
    interrupted = Trainings(fail=True)
    with pytest.raises(KeyboardInterrupt):
        interrupted.each(path)
    resumed = Trainings()
    rows = resumed.each(path)
    assert (interrupted.trained, resumed.trained) == ([1], [2])
    assert [row["own"] for row in rows] == ["1", "2"]
    assert "1 of 2: seed 1 (done before)" in capsys.readouterr().err
    others = Trainings()
    others.each(path, epochs=9)
    assert others.trained == [1, 2] and len(read_rows(path, "own")) == 4


def test_without_a_file():
    again = Trainings()
    assert again.each(None) == again.each(None)
    assert again.trained == [1, 2, 1, 2]


def test_values_and_their_mean():
    rows = [{"path": "a", "auc": "0.5"}, {"path": "b", "auc": "9"}, {"path": "a", "auc": "0.7"}]
    np.testing.assert_array_equal(values(rows, "auc", path="a"), [0.5, 0.7])
    assert mean_and_deviation(values(rows, "auc", path="a")) == "0.6000 ± 0.1414"
    assert mean_and_deviation(values(rows, "auc", path="b"), digits=1) == "9.0"


def test_tables_of_means():
    rows = [
        {"path": path, "auc": auc, "rows_seen": seen}
        for path, auc, seen in [("a", "0.5", "9"), ("b", "0.25", "1"), ("a", "0.75", "7")]
    ]
    assert means(rows, "path", ["a", "b"], {"rows_seen": 1, "auc": 2}) == [
        ["8.0 ± 1.4", "0.62 ± 0.18"],
        ["1.0", "0.25"],
    ]
    columns = {"b": "second", "a": "first"}
    table = means_table(rows, "path", columns, ["auc", "rows_seen"], {"rows_seen": "rows"})
    headers, _, *lines = (line.split(maxsplit=2) for line in table.splitlines())
    assert headers == ["second", "first"]
    assert lines == [["AUC", "0.2500", "0.6250 ± 0.1768"], ["rows", "1.0000", "8.0000 ± 1.4142"]]
    assert metric_titles(["auc_new_users", "rows_seen"]) == ["AUC new users", "rows seen"]
