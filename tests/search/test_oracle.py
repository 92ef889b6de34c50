"""The oracles, with a formula in place of a training, and a process that ends at any write."""

from __future__ import annotations

import dataclasses

import keras_tuner as kt
import pytest
from keras_tuner.engine import trial as kt_trial

from tfrs_npa.search import oracle as module
from tfrs_npa.search.oracle import make_oracle, planned_trials
from tfrs_npa.settings import SearchSettings

SETTINGS = {
    "hyperband": SearchSettings("mind/small", tuner="hyperband", epochs=3, seed=5),
    "random": SearchSettings("mind/small", tuner="random", max_trials=5, seed=5),
    "bayesian": SearchSettings("mind/small", tuner="bayesian", max_trials=5, seed=5),
    "grid": SearchSettings("mind/small", tuner="grid", seed=5),
}


class Killed(BaseException):
    """What SIGKILL is to a process."""


def oracle_in(folder, settings):
    """An oracle with a space, that goes on with what is in the folder."""
    oracle = make_oracle(settings)
    oracle.verbose = 0
    oracle._set_project_dir(str(folder), "trials")
    hp = kt.HyperParameters()
    hp.Choice("filters", [8, 16, 32])
    hp.Float("rate", 0.1, 0.2, step=0.1)
    oracle.update_space(hp)
    if (folder / "trials" / "oracle.json").exists():
        oracle.reload()
    return oracle


def run(oracle, fails=lambda values: False):
    """What KerasTuner's tuner does; returns how often it ran each trial to its end."""
    runs = {}
    while (trial := oracle.create_trial("tuner0")).status != kt_trial.TrialStatus.STOPPED:
        values = trial.hyperparameters.values
        if fails(values):
            trial.status = kt_trial.TrialStatus.FAILED
        else:
            score = values["filters"] / 100 + values["rate"] + values.get("tuner/epochs", 0) / 1000
            oracle.update_trial(trial.trial_id, {"val_auc": score})
            trial.status = kt_trial.TrialStatus.COMPLETED
        oracle.end_trial(trial)
        runs[trial.trial_id] = runs.get(trial.trial_id, 0) + 1
    return runs


def outcome(oracle):
    return [
        (i, trial.hyperparameters.values, trial.status, trial.score, trial.metrics.get_config())
        for i in oracle.start_order
        for trial in [oracle.trials[i]]
    ]


@pytest.mark.parametrize("tuner", SETTINGS)
def test_a_search_that_is_killed_at_any_write_ends_as_if_it_were_not(tuner, tmp_path, monkeypatch):
    write, writes = module._write_whole, []

    def killing(path, stateful):
        if len(writes) == last:
            raise Killed
        writes.append(path)
        write(path, stateful)

    monkeypatch.setattr(module, "_write_whole", killing)
    last = None
    whole = oracle_in(tmp_path / "whole", SETTINGS[tuner])
    assert set(run(whole).values()) == {1}
    total = len(writes)
    assert total > 4 * len(whole.trials)
    for last in range(total):
        writes.clear()
        folder = tmp_path / str(last)
        with pytest.raises(Killed):
            run(oracle_in(folder, SETTINGS[tuner]))
        limit, last = last, None
        resumed = oracle_in(folder, SETTINGS[tuner])
        done = list(resumed.end_order)
        runs = run(resumed)
        assert outcome(resumed) == outcome(whole), limit
        assert sorted(resumed.end_order) == sorted(resumed.trials) == sorted([*done, *runs]), limit
        reloaded = oracle_in(folder, SETTINGS[tuner])
        assert outcome(reloaded) == outcome(whole) and not run(reloaded)


def test_grid_has_each_combination_once(tmp_path):
    oracle = oracle_in(tmp_path, SETTINGS["grid"])
    run(oracle)
    values = [tuple(trial.hyperparameters.values.values()) for trial in oracle.trials.values()]
    assert sorted(values) == [(f, r) for f in (8, 16, 32) for r in (0.1, 0.2)]


@pytest.mark.parametrize("tuner", SETTINGS)
def test_planned_trials(tuner, tmp_path):
    for settings in (SETTINGS[tuner], dataclasses.replace(SETTINGS[tuner], max_trials=4)):
        oracle = oracle_in(tmp_path / str(settings.max_trials), settings)
        planned = planned_trials(oracle)
        run(oracle)
        # The space has six combinations, which is where grid and Hyperband's second part end.
        assert planned == {"grid": settings.max_trials}.get(tuner, len(oracle.trials))


def test_hyperband_goes_on_with_the_best(tmp_path):
    oracle = oracle_in(tmp_path, SETTINGS["hyperband"])
    run(oracle)
    (third,) = (
        trial.hyperparameters.values
        for trial in oracle.trials.values()
        if "tuner/trial_id" in trial.hyperparameters.values
    )
    first = [oracle.trials[i] for i in oracle.start_order[:3]]
    assert third["tuner/trial_id"] == max(first, key=lambda trial: trial.score).trial_id
    assert (third["tuner/initial_epoch"], third["tuner/epochs"]) == (1, 3)


def test_three_failures_in_a_row_end_the_search(tmp_path, caplog):
    ended = []
    oracle = oracle_in(tmp_path, SETTINGS["grid"])
    oracle.on_end = lambda trial: ended.append(trial.status)
    run(oracle, fails=lambda values: values["filters"] != 8)
    assert ended == ["COMPLETED"] * 2 + ["FAILED"] * 3
    assert "3 trials in a row failed" in caplog.text
    # Whoever resumes has mended something.
    resumed = oracle_in(tmp_path, SETTINGS["grid"])
    run(resumed)
    assert [trial for *_, trial in outcome(resumed)] and len(resumed.trials) == 6


def test_two_failures_in_a_row_do_not(tmp_path):
    oracle = oracle_in(tmp_path, SETTINGS["grid"])
    run(oracle, fails=lambda values: values["filters"] != 16)
    assert len(oracle.trials) == 6


def test_each_seed_draws_its_own_trials(tmp_path):
    drawn = {}
    for name, seed in (("a", 0), ("again", 0), ("b", 1), ("c", 2)):
        oracle = oracle_in(tmp_path / name, dataclasses.replace(SETTINGS["random"], seed=seed))
        run(oracle)
        drawn[name] = [trial.hyperparameters.values for trial in oracle.trials.values()]
    assert drawn["a"] == drawn["again"]
    assert drawn["a"] != drawn["b"] != drawn["c"] != drawn["a"]
