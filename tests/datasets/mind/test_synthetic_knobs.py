import dataclasses

import numpy as np
import pytest

from tfrs_npa.datasets.mind import WorldKnobs


def test_every_knob_is_documented():
    for field in dataclasses.fields(WorldKnobs):
        assert f"\n        {field.name}: " in WorldKnobs.__doc__, field.name


def test_knobs_are_compared_by_value():
    assert WorldKnobs() == WorldKnobs(title_max=30) != WorldKnobs(title_max=29)


@pytest.mark.parametrize("value", [2, np.int64(2), 0.5, np.float32(0.5)])
def test_any_kind_of_number_will_do(value):
    assert WorldKnobs(strength=value).strength == value


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"drift": -0.1}, "drift is -0.1; expected at least 0"),
        ({"empty_history": 1.5}, "empty_history is 1.5; expected 0 to 1"),
        ({"vocabulary": 10}, "vocabulary is 10; expected at least 1000"),
        ({"subjects": 2.5}, "subjects is 2.5; expected an integer"),
        ({"strength": "high"}, "strength is 'high'; expected a number"),
        ({"strength": True}, "strength is True; expected a number"),
        ({"strength": float("nan")}, "strength is nan; expected at least 0"),
        ({"title_sigma": float("inf")}, "title_sigma is inf; expected at least 0"),
        ({"title_min": 31}, "title_min is 31; title_max only 30"),
        (
            {"function_share": 0.7, "random_share": 0.4},
            r"function_share \+ random_share is 1.1; expected at most 1",
        ),
        ({"habitual": 0.5, "arbitrary": 0.5}, r"habitual \+ arbitrary is 1; expected at most 0.99"),
    ],
)
def test_knobs_out_of_range(knobs, message):
    with pytest.raises(ValueError, match=message):
        WorldKnobs(**knobs)
