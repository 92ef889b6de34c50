"""NPAHyperModel in KerasTuner's own tuners."""

from __future__ import annotations

import keras_tuner
import numpy as np
import pytest
import tensorflow as tf

import tfrs_npa
from tfrs_npa.runs.callbacks import SameDraws

OBJECTIVE = keras_tuner.Objective("val_auc", "max")
FIELDS = {
    "attention": ["recommenders", "paper"],
    "mask_padding": [True, False],
    "num_filters": {"min": 2, "max": 8, "step": 2, "sampling": "log"},
    "title_length": {"min": 3, "max": 6},
    "dropout": {"min": 0.0, "max": 0.4, "step": 0.2},
    "learning_rate": {"min": 1e-3, "max": 1e-2, "sampling": "log"},
    "batch_size": [128, 256],
}


class Recorded(tfrs_npa.NPAHyperModel):
    """Keeps what each trial began and ended with; nothing is traced, which takes far longer."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.trials = []

    def build(self, hp):
        model = super().build(hp)
        model.run_eagerly, model.encoding_memory = True, 0
        return model

    def fit(self, hp, model, *args, **kwargs):
        begin = state_of(model)
        history = super().fit(hp, model, *args, **kwargs)
        config = self.space.config(hp)
        assert model.config == config
        self.trials.append(
            {"config": config, "begin": begin, "end": state_of(model), "hp": dict(hp.values)}
        )
        return history


def state_of(model):
    """Copies of weights, iterations and moments."""
    variables = [*model.trainable_variables, *model.optimizer.variables]
    return [variable.numpy() for variable in variables]


def assert_same(state, other, tolerance):
    for ours, theirs in zip(state, other, strict=True):
        np.testing.assert_allclose(ours, theirs, tolerance, tolerance)


def completed(tuner):
    trials = tuner.oracle.trials.values()
    assert {trial.status for trial in trials} == {"COMPLETED"}, [t.message for t in trials]
    return list(trials)


def check_results(tuner, capsys):
    """What a user asks a tuner for after a search."""
    best = max(completed(tuner), key=lambda trial: trial.score)
    (values,) = tuner.get_best_hyperparameters()
    assert values.values == best.hyperparameters.values
    (model,) = tuner.get_best_models()
    assert model.config == tuner.hypermodel.space.config(values)
    hypermodel = tuner.hypermodel
    batches = tfrs_npa.impression_batches(
        hypermodel.validation, hypermodel.catalog, hypermodel.users, model.config
    )
    # What was trained, and not what was only built.
    assert model.evaluate(batches, verbose=0, return_dict=True)["auc"] == pytest.approx(best.score)
    assert int(model.optimizer.iterations) > 0
    tuner.results_summary()
    assert f"Score: {best.score}" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (keras_tuner.RandomSearch, {}),
        # The second trial is chosen by what was learned of the first.
        (keras_tuner.BayesianOptimization, {"num_initial_points": 1}),
        (keras_tuner.GridSearch, {}),
    ],
)
def test_stock_tuners(make, tmp_path, capsys, kind, options):
    hypermodel = make(Recorded, FIELDS)
    tuner = kind(hypermodel, OBJECTIVE, max_trials=2, directory=tmp_path, seed=3, **options)
    board = tf.keras.callbacks.TensorBoard(tmp_path / "board")
    tuner.search(epochs=1, callbacks=[board], verbose=0)
    assert len({trial["config"] for trial in hypermodel.trials}) == len(hypermodel.trials) == 2
    assert len(completed(tuner)) == 2
    for trial in completed(tuner):
        assert list((tmp_path / "board" / trial.trial_id).rglob("events.out.tfevents.*"))
    check_results(tuner, capsys)


@pytest.mark.slow
def test_hyperband_continues_a_trial(make, loaded, tmp_path, capsys, caplog):
    hypermodel = make(Recorded, {"num_filters": [3, 4]}, schedule="linear")
    tuner = keras_tuner.Hyperband(
        hypermodel, OBJECTIVE, max_epochs=2, factor=2, directory=tmp_path, seed=1
    )
    # The first bracket alone: two trials of one epoch, the better of which is continued.
    tuner.oracle.max_trials = 3
    tuner.search(verbose=0)
    check_results(tuner, capsys)
    first, second, continued = hypermodel.trials
    hp = continued["hp"]
    assert (hp["tuner/initial_epoch"], hp["tuner/epochs"]) == (1, 2)
    earlier = (first, second)[int(hp["tuner/trial_id"])]
    assert continued["config"] == earlier["config"]
    catalog, splits = loaded
    config = continued["config"]
    batches = tfrs_npa.training_batches(splits.train, catalog, splits.users, config)
    assert len(batches) > 1

    # It begins where the earlier one ended: weights, iterations and moments.
    assert_same(continued["begin"], earlier["end"], 0)
    assert "could not be found" not in caplog.text

    # And it ends as a training of two epochs does: negatives and dropout are those of the second.
    # Its rate falls to zero within the first epoch, and then from half to zero.
    model = tfrs_npa.NPA(config, catalog, splits.users)
    state = {}
    for epoch in (0, 1):
        optimizer = tfrs_npa.default_optimizer(config, (epoch + 1) * len(batches))
        optimizer.build(model.trainable_variables)
        if epoch:
            model.optimizer.save_own_variables(state)
            optimizer.load_own_variables(state)
        model.compile(optimizer=optimizer, run_eagerly=True)
        draws = [SameDraws(config)]
        model.fit(batches, initial_epoch=epoch, epochs=epoch + 1, callbacks=draws, verbose=0)
    assert_same(continued["end"], state_of(model), 1e-6)


class Interrupted(Recorded):
    """Stops the program in the middle of its second trial."""

    def fit(self, hp, model, *args, **kwargs):
        if len(self.trials) == 1:
            raise KeyboardInterrupt
        return super().fit(hp, model, *args, **kwargs)


@pytest.mark.slow
def test_an_interrupted_search_is_resumed(make, tmp_path):
    def search(kind, max_trials):
        hypermodel = make(kind, {"num_filters": [2, 3, 4, 5]})
        tuner = keras_tuner.RandomSearch(
            hypermodel, OBJECTIVE, max_trials=max_trials, directory=tmp_path, seed=1
        )
        return hypermodel, tuner

    hypermodel, tuner = search(Interrupted, 3)
    with pytest.raises(KeyboardInterrupt):
        tuner.search(verbose=0)
    before = hypermodel.trials
    assert len(before) == 1

    hypermodel, tuner = search(Recorded, 3)
    tuner.search(verbose=0)
    after = hypermodel.trials
    # Three trials with one training each: the first is not repeated, the second starts over.
    assert len(completed(tuner)) == 3 and len(after) == 2
    assert len({trial["config"] for trial in before + after}) == 3

    hypermodel, tuner = search(Recorded, 3)
    tuner.search(verbose=0)
    assert not hypermodel.trials
    assert len(completed(tuner)) == 3


@pytest.mark.slow
def test_a_trial_that_fails_says_why_and_the_others_run(make, tmp_path):
    class Failing(Recorded):
        def build(self, hp):
            model = super().build(hp)
            if hp.values["num_filters"] == 3 and self.searching:
                raise MemoryError("three filters are too many")
            return model

    hypermodel = make(Failing, {"num_filters": [2, 3]})
    hypermodel.searching = False
    tuner = keras_tuner.GridSearch(hypermodel, OBJECTIVE, directory=tmp_path)
    hypermodel.searching = True
    tuner.search(verbose=0)
    statuses = {t.hyperparameters["num_filters"]: t for t in tuner.oracle.trials.values()}
    assert statuses[2].status == "COMPLETED"
    assert statuses[3].status == "FAILED"
    assert "MemoryError: three filters are too many" in statuses[3].message


def test_data_given_to_search_ends_it(make, tmp_path):
    tuner = keras_tuner.RandomSearch(
        make(Recorded, {"num_filters": [2, 3]}), OBJECTIVE, max_trials=2, directory=tmp_path
    )
    with pytest.raises(keras_tuner.errors.FatalTypeError, match="has its data already"):
        tuner.search(validation_data=[1], verbose=0)


class Wrapped(keras_tuner.HyperModel):
    """A user's own: another optimizer, with a hyper-parameter of its own."""

    def __init__(self, hypermodel):
        super().__init__()
        self.hypermodel = hypermodel

    def build(self, hp):
        model = self.hypermodel.build(hp)
        momentum = hp.Choice("momentum", [0.0, 0.9])
        optimizer = tf.keras.optimizers.SGD(0.05, momentum=momentum)
        model.compile(optimizer=optimizer, run_eagerly=True)
        return model

    def fit(self, hp, model, *args, **kwargs):
        return self.hypermodel.fit(hp, model, *args, **kwargs)


@pytest.mark.slow
def test_a_hypermodel_that_wraps_it(make, tmp_path):
    inner = make(Recorded, {"num_filters": [2, 3]}, schedule="linear")
    tuner = keras_tuner.GridSearch(Wrapped(inner), OBJECTIVE, max_trials=3, directory=tmp_path)
    tuner.search(verbose=0)
    tried = {
        (trial.hyperparameters["num_filters"], trial.hyperparameters["momentum"])
        for trial in completed(tuner)
    }
    assert tried == {(2, 0.0), (2, 0.9), (3, 0.0)}
    for model in tuner.get_best_models(2):
        assert isinstance(model.optimizer, tf.keras.optimizers.SGD)
        assert float(model.optimizer.learning_rate) == pytest.approx(0.05)
