from __future__ import annotations

import subprocess
import sys

import keras_tuner
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_recommenders as tfrs

import tfrs_npa
from tfrs_npa.runs.callbacks import SameDraws


def behaviors(split):
    """A behaviors data set of five users and ten articles."""
    generator = np.random.default_rng(len(split))
    ids = [f"N{i}" for i in range(10)]
    rows = [(f"U{i % 5}", *generator.choice(ids, (2, 3), replace=False)) for i in range(12)]
    return tf.data.Dataset.from_tensor_slices(
        {
            "impression_id": np.arange(12),
            "user_id": [row[0] for row in rows],
            "history": [list(row[1]) for row in rows],
            "candidates": {
                "news_id": [list(row[2]) for row in rows],
                "clicked": [[0, 1, 0]] * 12,
            },
        }
    )


LISTS = ("candidates", "clicked")
NEWS = {"news_id": [f"N{i}" for i in range(10)], "title": [f"a word{i % 4}" for i in range(10)]}


class Seen(tfrs_npa.NPAHyperModel):
    """Keeps the batches that its models see; nothing is traced, which takes far longer."""

    def build(self, hp):
        model = super().build(hp)
        model.run_eagerly, model.encoding_memory = True, 0
        model.seen = {"train": [], "test": []}
        for name, batches in model.seen.items():
            step = getattr(model, f"{name}_step")

            def keep(batch, step=step, batches=batches):
                batches.append({key: value.numpy() for key, value in batch.items()})
                return step(batch)

            setattr(model, f"{name}_step", keep)
        return model


def hyperparameters(hypermodel, **values):
    """Hyper-parameters with these values, and the others at their defaults."""
    hp = keras_tuner.HyperParameters()
    hp.values.update(values)
    hypermodel.space.config(hp)
    return hp


def assert_same_weights(model, other):
    assert len(model.weights) == len(other.weights)
    for ours, theirs in zip(model.weights, other.weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6, err_msg=ours.name)


# What it is made of


def test_data_sets_are_read_once():
    valid = behaviors("validation")
    hypermodel = tfrs_npa.NPAHyperModel(NEWS, behaviors("train"), valid)
    catalog = tfrs_npa.NewsCatalog().adapt(NEWS)
    users = tfrs_npa.UserIndex().adapt(behaviors("train"))
    assert (hypermodel.catalog, hypermodel.users) == (catalog, users)
    expected = tfrs_npa.Impressions.from_dataset(valid, catalog, users)
    np.testing.assert_array_equal(hypermodel.validation.candidate_values, expected.candidate_values)
    assert hypermodel.space == tfrs_npa.SearchSpace()


def test_what_is_converted_already_is_taken_as_it_is(loaded, tmp_path):
    catalog, splits = loaded
    train, valid, users = splits.train, splits.validation, splits.users
    (tmp_path / "space.yaml").write_text("preset: small\nspace: {dropout: [0.0, 0.1]}")
    hypermodel = tfrs_npa.NPAHyperModel(catalog, train, valid, tmp_path / "space.yaml", users=users)
    assert hypermodel.catalog is catalog and hypermodel.users is users
    assert hypermodel.train is train and hypermodel.validation is valid
    assert hypermodel.space == tfrs_npa.SearchSpace.from_yaml(tmp_path / "space.yaml")


def test_impressions_need_what_they_were_converted_with(loaded):
    catalog, splits = loaded
    train, valid, users = splits.train, splits.validation, splits.users
    with pytest.raises(TypeError, match="the UserIndex as users"):
        tfrs_npa.NPAHyperModel(catalog, train, valid)
    with pytest.raises(TypeError, match="the NewsCatalog they were converted with as news"):
        tfrs_npa.NPAHyperModel(NEWS, behaviors("train"), valid, users=users)
    with pytest.raises(ValueError, match="converted with another catalogue"):
        few = tfrs_npa.NewsCatalog().adapt(NEWS)
        tfrs_npa.NPAHyperModel(few, train, valid, users=users)


def test_data_that_would_fail_every_trial_is_refused(loaded):
    catalog, splits = loaded
    train, valid, users = splits.train, splits.validation, splits.users
    clicked = valid.clicked == 1
    for labels in (np.full_like(valid.clicked, -1), clicked * 0, clicked * 0 + 1):
        other = tfrs_npa.Impressions(**{**vars(valid), "clicked": labels.astype(np.int8)})
        with pytest.raises(ValueError, match="validation has nothing to measure by"):
            tfrs_npa.NPAHyperModel(catalog, train, other, users=users)
        with pytest.raises(ValueError, match="no training rows"):
            tfrs_npa.NPAHyperModel(catalog, other, valid, users=users)


def test_keras_tuner_is_imported_when_it_is_needed():
    program = "import sys, tfrs_npa; tfrs_npa.SearchSpace(); print('keras_tuner' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert process.stdout == "False\n", process.stderr
    assert issubclass(tfrs_npa.NPAHyperModel, keras_tuner.HyperModel)


def test_there_is_no_other_lazy_name():
    with pytest.raises(AttributeError, match="'tfrs_npa' has no attribute 'NPAHypermodel'"):
        tfrs_npa.NPAHypermodel  # noqa: B018


# A model


def test_build_makes_a_compiled_model_with_a_built_optimizer(make, base):
    hypermodel = make(Seen, {"num_filters": [4, 8]})
    model = hypermodel.build(hyperparameters(hypermodel, num_filters=8))
    assert model.config == base.replace(num_filters=8)
    assert isinstance(model.optimizer, tfrs_npa.LazyAdam)
    slots = [variable.shape for variable in model.optimizer.variables[1:]]
    assert sorted(map(str, slots)) == sorted(
        2 * [str(variable.shape) for variable in model.trainable_variables]
    )


def test_a_model_depends_on_its_hyperparameters_alone(make):
    hypermodel = make(Seen)
    models = []
    for seed in (1, 2):
        tf.keras.utils.set_random_seed(seed)
        models.append(hypermodel.build(keras_tuner.HyperParameters()))
    assert_same_weights(*models)


@pytest.mark.slow
def test_word_vectors_are_made_once_for_each_dimension(make, monkeypatch):
    calls = []
    original = tfrs_npa.data.catalog.title_word_vectors
    monkeypatch.setattr(
        "tfrs_npa.data.catalog.title_word_vectors",
        lambda *args: calls.append(args[-1]) or original(*args),
    )
    hypermodel = make(Seen, {"word_embedding_dim": [9, 11], "num_filters": [2, 3]})
    models = [
        hypermodel.build(hyperparameters(hypermodel, word_embedding_dim=dim, num_filters=filters))
        for dim, filters in ((9, 2), (11, 2), (9, 3))
    ]
    assert calls == [9, 11]
    tables = [model.candidate_tower.word_table.numpy() for model in models]
    np.testing.assert_array_equal(tables[0], tables[2])


# A training


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {"title_length": 3, "history_length": 2, "negatives_per_positive": 1, "batch_size": 16},
        {"title_length": 7, "history_length": 5, "negatives_per_positive": 6, "batch_size": 50},
    ],
)
def test_what_changes_the_data_really_changes_it(make, loaded, fields):
    searched = {name: [value, 99] for name, value in fields.items()}
    hypermodel = make(Seen, searched)
    hp = hyperparameters(hypermodel, **fields)
    model = hypermodel.build(hp)
    hypermodel.fit(hp, model, verbose=0)
    train, test = model.seen["train"], model.seen["test"]
    clicks = sum(len(batch["user_id"]) for batch in train)
    rows, history = fields["batch_size"], fields["history_length"]
    assert [len(b["user_id"]) for b in train] == [rows] * (clicks // rows) + [clicks % rows]
    assert {b["candidates"].shape[1] for b in train} == {1 + fields["negatives_per_positive"]}
    assert max(b["history"].shape[1] for b in train) == history
    assert [len(b["user_id"]) for b in test][:-1] == [rows] * (len(loaded[1].validation) // rows)
    assert max(b["history"].shape[1] for b in test) == history
    # Not the time, which these impressions have too.
    assert {*train[0]} == {"impression_id", "user_id", "history", *LISTS}
    assert {*test[0]} == {*train[0], "logits"}
    assert model.candidate_tower.tokens.numpy().shape[1] == fields["title_length"]


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["constant", "linear"])
def test_a_trial_is_a_plain_training(make, loaded, base, schedule):
    config = base.replace(schedule=schedule)
    hypermodel = make(Seen, schedule=schedule)
    hp = keras_tuner.HyperParameters()
    trial = hypermodel.build(hp)
    # Whatever the process did before.
    tf.random.set_seed(99)
    history = hypermodel.fit(hp, trial, epochs=2, verbose=0).history

    catalog, splits = loaded
    train, valid, users = splits.train, splits.validation, splits.users
    model = tfrs_npa.NPA(config, catalog, users)
    batches = tfrs_npa.training_batches(train, catalog, users, config)
    optimizer = tfrs_npa.default_optimizer(config, 2 * len(batches))
    model.compile(optimizer=optimizer, run_eagerly=True)
    model.encoding_memory = 0
    measured = model.fit(
        batches,
        epochs=2,
        validation_data=tfrs_npa.impression_batches(valid, catalog, users, config),
        callbacks=[SameDraws(config)],
        verbose=0,
    ).history
    assert_same_weights(trial, model)
    assert history.keys() == measured.keys() and len(history["val_auc"]) == 2
    for name, values in measured.items():
        np.testing.assert_allclose(history[name], values, rtol=1e-6, err_msg=name)
    assert int(trial.optimizer.iterations) == 2 * len(batches)
    assert trial.run_eagerly


@pytest.mark.slow
def test_the_rate_ends_at_zero_with_the_trial(make, base):
    hypermodel = make(Seen, schedule="linear", warmup_steps=0)
    hp = keras_tuner.HyperParameters()
    model = hypermodel.build(hp)
    rates = []
    callback = tf.keras.callbacks.LambdaCallback(
        on_batch_end=lambda batch, logs: rates.append(float(model.optimizer.learning_rate))
    )
    # Epoch 1 of 3 was trained before, to a best checkpoint after one of its steps.
    model.optimizer.iterations.assign(1)
    hypermodel.fit(hp, model, epochs=3, initial_epoch=1, callbacks=[callback], verbose=0)
    total = 1 + len(rates)
    assert total == 1 + len(model.seen["train"]) > 3
    expected = [base.learning_rate * (1 - step / total) for step in range(1, total)]
    np.testing.assert_allclose(rates, expected, rtol=1e-5)


@pytest.mark.slow
def test_initial_epoch_is_the_epoch_of_the_sampler(make):
    seen = []
    for epochs in ((0, 2), (1, 2)):
        hypermodel = make(Seen)
        hp = keras_tuner.HyperParameters()
        model = hypermodel.build(hp)
        hypermodel.fit(hp, model, initial_epoch=epochs[0], epochs=epochs[1], verbose=0)
        seen.append(model.seen["train"])
    all_, rest = seen
    assert len(all_) == 2 * len(rest)
    for ours, theirs in zip(all_[len(rest) :], rest, strict=True):
        np.testing.assert_array_equal(ours["candidates"], theirs["candidates"])
    assert not np.array_equal(all_[0]["candidates"], rest[0]["candidates"])


@pytest.mark.slow
def test_continuing_from_an_earlier_best_epoch_leaves_no_epoch_out(make):
    hypermodel = make(Seen, schedule="constant")
    hp = keras_tuner.HyperParameters()
    models = [hypermodel.build(hp) for _ in range(2)]
    hypermodel.fit(hp, models[0], epochs=2, verbose=0)
    # The second was trained for two epochs, the first of which was the better one and is restored.
    hypermodel.fit(hp, models[1], epochs=1, verbose=0)
    hypermodel.fit(hp, models[1], initial_epoch=2, epochs=3, verbose=0)
    assert_same_weights(*models)


@pytest.mark.slow
def test_a_model_with_another_optimizer_keeps_it(make):
    hypermodel = make(Seen, schedule="linear")
    hp = keras_tuner.HyperParameters()
    for optimizer in (tf.keras.optimizers.SGD(0.1), tfrs_npa.LazyAdam(0.02)):
        model = hypermodel.build(hp)
        model.compile(optimizer=optimizer, run_eagerly=True)
        hypermodel.fit(hp, model, verbose=0)
        assert model.optimizer is optimizer


@pytest.mark.parametrize(
    ("args", "kwargs", "named"),
    [
        (([1],), {}, "positional arguments"),
        ((), {"x": [1]}, "x;"),
        ((), {"validation_data": [1], "batch_size": 3}, "batch_size, validation_data;"),
        ((), {"steps_per_epoch": 3}, "steps_per_epoch;"),
    ],
)
def test_data_for_a_training_is_refused(make, args, kwargs, named):
    hypermodel = make(Seen)
    hp = keras_tuner.HyperParameters()
    # Of a kind that ends the search: all trials would fail alike.
    with pytest.raises(keras_tuner.errors.FatalTypeError, match=rf"search\(\) got {named}"):
        hypermodel.fit(hp, None, *args, **kwargs)


@pytest.mark.parametrize(("weight", "loss"), [(np.nan, "nan"), (100, r"[\d.]+(e\+\d+)?")])
def test_a_training_that_diverges_fails(make, weight, loss):
    hypermodel = make(Seen)
    hp = keras_tuner.HyperParameters()
    model = hypermodel.build(hp)
    for variable in model.trainable_variables:
        variable.assign(weight * variable)
    with pytest.raises(
        keras_tuner.errors.FailedTrialError, match=f"loss of epoch 1 is {loss}, where equal"
    ):
        hypermodel.fit(hp, model, verbose=0)


def test_a_loss_that_a_larger_model_adds_may_be_of_any_size(make):
    class Larger(tfrs.Model):
        def __init__(self, npa):
            super().__init__()
            self.npa = npa

        def compute_loss(self, features, training=False):
            return self.npa.compute_loss(features, training) + 1e6

    hypermodel = make(tfrs_npa.NPAHyperModel)
    hp = keras_tuner.HyperParameters()
    model = Larger(hypermodel.build(hp))
    model.compile(optimizer="sgd", run_eagerly=True)
    assert hypermodel.fit(hp, model, verbose=0).history["loss"][0] > 1e6
