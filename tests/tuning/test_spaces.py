from __future__ import annotations

import pathlib
import re

import keras_tuner as kt
import pytest

import tfrs_npa
from tfrs_npa.search.oracle import make_oracle
from tfrs_npa.search.space import SearchSpace
from tfrs_npa.settings import SearchSettings

SPACES = pathlib.Path(__file__).parents[2] / "tuning" / "spaces"


@pytest.mark.parametrize("path", sorted(SPACES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_draw_of_a_space_is_a_configuration(path):
    space = SearchSpace.from_yaml(path)
    hp = kt.HyperParameters()
    space.config(hp)
    drawn = set()
    for seed in range(50):
        for number, entry in enumerate(hp.space):
            hp.values[entry.name] = entry.random_sample(100 * seed + number)
        drawn.add(repr(space.config(hp)))
    assert len(drawn) > 40


def test_the_demo_starts_from_the_preset_that_it_is_compared_with():
    space = SearchSpace.from_yaml(SPACES / "demo.yaml")
    small = tfrs_npa.NPAConfig.preset("small")
    assert {name: getattr(space.base, name) for name in space.fields} == {
        name: getattr(small, name) for name in space.fields
    }


def test_make_tune_demo_halves_once(tmp_path):
    """Its trials are those of Hyperband's first bracket, the one with the most configurations."""
    makefile = (SPACES.parents[1] / "Makefile").read_text()
    demo = re.search(r"^tune-demo:.*?--epochs (\d+).*?--max-trials (\d+)", makefile, re.M | re.S)
    epochs, trials = map(int, demo.groups())
    oracle = make_oracle(SearchSettings("mind/synthetic", epochs=epochs))
    # Gives the oracle a folder, and the space.
    kt.engine.base_tuner.BaseTuner(oracle, lambda hp: hp.Float("x", 0, 1), directory=tmp_path)
    places = []
    for number in range(trials + 1):
        trial = oracle.create_trial("tuner")
        values = trial.hyperparameters.values
        places.append((values["tuner/bracket"], values["tuner/round"]))
        oracle.update_trial(trial.trial_id, {"val_auc": number / 100})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    first = places[0][0]
    assert first > 0
    assert [bracket for bracket, _ in places] == [first] * trials + [first - 1]
    assert [round_ for _, round_ in places] == sorted(round_ for _, round_ in places[:-1]) + [0]
    assert len({round_ for _, round_ in places}) == 2
