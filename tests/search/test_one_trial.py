"""A trial does not depend on those before it, with which it shares traced steps."""

from __future__ import annotations

import pathlib
import runpy
import subprocess
import sys

import keras_tuner
import pytest

from tfrs_npa.models import shared_steps

SCRIPT = pathlib.Path(__file__).with_name("one_trial.py")


@pytest.mark.slow
def test_the_third_trial_of_a_search_is_that_of_a_process_of_its_own(tmp_path, monkeypatch):
    one_trial = runpy.run_path(str(SCRIPT))
    traced, digests = [], []
    trace = shared_steps._traced
    monkeypatch.setattr(
        shared_steps,
        "_traced",
        lambda model, name, *rest: traced.append(name) or trace(model, name, *rest),
    )
    hypermodel = one_trial["hypermodel"]()
    fit = hypermodel.fit

    def fit_and_keep(hp, model, *args, **kwargs):
        history = fit(hp, model, *args, **kwargs)
        values = [str(hp.values[name]) for name in ("learning_rate", "dropout")]
        digests.append((values, one_trial["digest"](model, history.history)))
        return history

    hypermodel.fit = fit_and_keep
    objective = keras_tuner.Objective("val_auc", "max")
    tuner = keras_tuner.RandomSearch(
        hypermodel, objective, max_trials=3, seed=1, directory=tmp_path
    )
    tuner.search(epochs=2, verbose=0)
    assert traced == ["train_step", "test_step"]
    assert len(digests) == len({digest for _, digest in digests}) == 3
    values, third = digests[2]
    command = [sys.executable, SCRIPT, *values]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.stdout.split() == [third], process.stderr
