"""The oracles, with a formula instead of a training, in a process that is killed at any write."""

from __future__ import annotations

import contextlib
import dataclasses
import io

import keras_tuner as kt
import pytest
from keras_tuner.engine.base_tuner import BaseTuner

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


class Formula(BaseTuner):
    """Runs trials by a formula; notes how often it ran each to its end."""

    def __init__(self, oracle, fails, **folder):
        super().__init__(oracle, self.declare, **folder)
        self.fails, self.runs = fails, {}

    @staticmethod
    def declare(hp):
        hp.Choice("filters", [8, 16, 32])
        hp.Float("rate", 0.1, 0.2, step=0.1)

    def run_trial(self, trial, verbose):
        values = trial.hyperparameters.values
        if self.fails(values):
            raise kt.errors.FailedTrialError("as it was told")
        score = values["filters"] / 100 + values["rate"] + values.get("tuner/epochs", 0) / 1000
        return {"val_auc": score}

    def on_trial_end(self, trial):
        super().on_trial_end(trial)
        self.runs[trial.trial_id] = self.runs.get(trial.trial_id, 0) + 1


def tuner_in(folder, settings, fails=lambda values: False):
    """A tuner that resumes the search in the folder, if there is one."""
    (folder / "trials").mkdir(parents=True, exist_ok=True)
    if (folder / "trials" / "oracle.json").exists():
        (folder / "trials" / "tuner0.json").write_text("{}")
    with contextlib.redirect_stdout(io.StringIO()):
        oracle = make_oracle(settings)
        return Formula(oracle, fails, directory=str(folder), project_name="trials")


def search(folder, settings, fails=lambda values: False):
    """Searches to the end; returns the tuner."""
    tuner = tuner_in(folder, settings, fails)
    tuner.search(verbose=0)
    return tuner


def outcome(oracle):
    return [
        (i, trial.hyperparameters.values, trial.status, trial.score, trial.metrics.get_config())
        for i in oracle.start_order
        for trial in [oracle.trials[i]]
    ]


# KerasTuner warns of it if a trial starts over with metrics, and ignores its new ones.
@pytest.mark.slow
@pytest.mark.filterwarnings("error:The use case of calling")
@pytest.mark.parametrize("tuner", SETTINGS)
def test_a_search_that_is_killed_at_any_write_ends_as_if_it_were_not(tuner, tmp_path, monkeypatch):
    write, writes = module.atomic_file, []

    def killing(path):
        if len(writes) == last:
            raise Killed
        writes.append(path)
        return write(path)

    monkeypatch.setattr(module, "atomic_file", killing)
    settings, last = SETTINGS[tuner], None
    whole = search(tmp_path / "whole", settings)
    assert set(whole.runs.values()) == {1}
    total = len(writes)
    assert total > 4 * len(whole.runs)
    for limit in range(total):
        writes.clear()
        folder, last = tmp_path / str(limit), limit
        with pytest.raises(Killed):
            search(folder, settings)
        last = None
        resumed = tuner_in(folder, settings)
        done = list(resumed.oracle.end_order)
        resumed.search(verbose=0)
        assert outcome(resumed.oracle) == outcome(whole.oracle), limit
        ended = sorted(resumed.oracle.end_order)
        assert ended == sorted(resumed.oracle.trials) == sorted([*done, *resumed.runs]), limit
        again = search(folder, settings)
        assert outcome(again.oracle) == outcome(whole.oracle) and not again.runs


def test_grid_has_each_combination_once(tmp_path):
    trials = search(tmp_path, SETTINGS["grid"]).oracle.trials.values()
    values = [tuple(trial.hyperparameters.values.values()) for trial in trials]
    assert sorted(values) == [(f, r) for f in (8, 16, 32) for r in (0.1, 0.2)]


@pytest.mark.parametrize("tuner", SETTINGS)
def test_planned_trials(tuner, tmp_path):
    for settings in (SETTINGS[tuner], dataclasses.replace(SETTINGS[tuner], max_trials=4)):
        planned = planned_trials(make_oracle(settings))
        tried = search(tmp_path / str(settings.max_trials), settings).runs
        # The space has six combinations, which is where grid and Hyperband's second part end.
        assert planned == {"grid": settings.max_trials}.get(tuner, len(tried))


def test_hyperband_continues_the_best(tmp_path):
    oracle = search(tmp_path, SETTINGS["hyperband"]).oracle
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
    tuner = tuner_in(tmp_path, SETTINGS["grid"], fails=lambda values: values["filters"] != 8)
    tuner.oracle.on_end = lambda trial: ended.append(trial.status)
    tuner.search(verbose=0)
    assert ended == ["COMPLETED"] * 2 + ["FAILED"] * 3
    assert "3 trials in a row failed" in caplog.text
    # Whoever resumes has fixed something.
    assert len(search(tmp_path, SETTINGS["grid"]).oracle.trials) == 6


def test_two_failures_in_a_row_do_not(tmp_path):
    tuner = search(tmp_path, SETTINGS["grid"], fails=lambda values: values["filters"] != 16)
    assert len(tuner.oracle.trials) == 6


def test_each_seed_draws_its_own_trials(tmp_path):
    drawn = {}
    for name, seed in (("a", 0), ("again", 0), ("b", 1), ("c", 2)):
        tuner = search(tmp_path / name, dataclasses.replace(SETTINGS["random"], seed=seed))
        drawn[name] = [trial.hyperparameters.values for trial in tuner.oracle.trials.values()]
    assert drawn["a"] == drawn["again"]
    assert drawn["a"] != drawn["b"] != drawn["c"] != drawn["a"]
