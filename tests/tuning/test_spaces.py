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
    oracle = make_oracle(SearchSettings("mind/small", tuner="random", seed=1))
    hp = kt.HyperParameters()
    space.config(hp)
    oracle.update_space(hp)
    drawn = set()
    for _ in range(50):
        values = kt.HyperParameters()
        values.values = oracle._random_values()
        drawn.add(repr(space.config(values)))
    assert len(drawn) > 40


def test_the_demo_starts_from_the_preset_that_it_is_compared_with():
    space = SearchSpace.from_yaml(SPACES / "demo.yaml")
    small = tfrs_npa.NPAConfig.preset("small")
    assert {name: getattr(space.base, name) for name in space.fields} == {
        name: getattr(small, name) for name in space.fields
    }


def test_make_tune_demo_halves_once():
    """Its trials are those of Hyperband's first bracket, the one with the most configurations."""
    makefile = (SPACES.parents[1] / "Makefile").read_text()
    demo = re.search(r"^tune-demo:.*?--epochs (\d+).*?--max-trials (\d+)", makefile, re.M | re.S)
    epochs, trials = map(int, demo.groups())
    oracle = make_oracle(SearchSettings("mind/synthetic", epochs=epochs))
    bracket = oracle._get_num_brackets() - 1
    assert bracket > 0
    assert trials == sum(oracle._get_size(bracket, round_) for round_ in range(bracket + 1))
