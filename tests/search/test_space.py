from __future__ import annotations

import textwrap

import keras_tuner
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_npa import NPAConfig, SearchSpace
from tfrs_npa.config import PRESETS
from tfrs_npa.search.space import DEFAULT_SPACE


@pytest.fixture
def read(tmp_path):
    def read(text):
        path = tmp_path / "space.yaml"
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return SearchSpace.from_yaml(path)

    return read


def declared(space):
    """The hyper-parameters of a space by name, at their defaults."""
    hp = keras_tuner.HyperParameters()
    space.config(hp)
    return {entry.name: entry for entry in hp.space}


def configs(space, number=50):
    """Random configurations of a space."""
    hp = keras_tuner.HyperParameters()
    space.config(hp)
    drawn = []
    for seed in range(number):
        for entry in hp.space:
            hp.values[entry.name] = entry.random_sample(1000 * seed + len(drawn))
        drawn.append(space.config(hp))
    return drawn


# The default space


def test_default_space_searches_architecture_regularisation_and_optimisation():
    space = SearchSpace()
    assert set(space.fields) == set(DEFAULT_SPACE) == set(declared(space))
    drawn = configs(space)
    for name in DEFAULT_SPACE:
        assert len({getattr(config, name) for config in drawn}) > 1, name
    fixed = set(NPAConfig().to_dict()) - set(DEFAULT_SPACE)
    for name in fixed:
        assert {getattr(config, name) for config in drawn} == {getattr(NPAConfig(), name)}


@pytest.mark.parametrize("base", [NPAConfig(), *map(NPAConfig.preset, PRESETS)])
def test_a_search_starts_from_the_base_where_the_space_has_it(base):
    start = SearchSpace(base=base).config(keras_tuner.HyperParameters()).to_dict()
    differ = {name for name, value in base.to_dict().items() if start[name] != value}
    # The presets of others have a rate below the range, and none of its own for the tables.
    assert differ <= {"learning_rate", "table_learning_rate"}
    assert not differ or base.table_learning_rate is None


def test_order_is_that_of_the_configuration():
    names = ["attention", "num_filters", "dropout", "batch_size"]
    fields = {name: DEFAULT_SPACE[name] for name in names}
    for given_ in (fields, dict(reversed(fields.items()))):
        assert list(declared(SearchSpace(given_, others="pinned"))) == names


# Fields


def test_a_value_pins():
    space = SearchSpace({"num_filters": 7, "table_learning_rate": None, "title_length": [9]})
    assert not {"num_filters", "table_learning_rate", "title_length"} & set(declared(space))
    for config in configs(space, 5):
        assert (config.num_filters, config.table_learning_rate, config.title_length) == (7, None, 9)


def test_others_pinned_keeps_the_base():
    base = NPAConfig.preset("paper")
    space = SearchSpace({"dropout": [0.1, 0.3]}, base, others="pinned")
    assert {*configs(space)} == {base.replace(dropout=0.1), base.replace(dropout=0.3)}


def test_a_list_is_a_choice():
    fields = {
        "num_filters": [16, 8],
        "dropout": [0.1, 0],
        "schedule": ["cosine", "linear"],
        "mask_padding": [True, False],
    }
    space = SearchSpace(fields, others="pinned")
    for name, values in fields.items():
        drawn = {getattr(config, name) for config in configs(space)}
        assert drawn == set(values)
        assert {type(value) for value in drawn} == {type(getattr(NPAConfig(), name))}
    # The first, where the base is not among them.
    defaults = {name: entry.default for name, entry in declared(space).items()}
    assert defaults == {
        "num_filters": 16,
        "dropout": 0.1,
        "schedule": "linear",
        "mask_padding": True,
    }


@pytest.mark.parametrize(
    ("name", "what", "values"),
    [
        ("num_filters", {"min": 3, "max": 5}, {3, 4, 5}),
        ("num_filters", {"min": 10, "max": 35, "step": 10}, {10, 20, 30}),
        ("num_filters", {"min": 8, "max": 32, "step": 2, "sampling": "log"}, {8, 16, 32}),
        ("dropout", {"min": 0, "max": 0.5, "step": 0.25}, {0.0, 0.25, 0.5}),
    ],
)
def test_a_mapping_is_a_range(name, what, values):
    space = SearchSpace({name: what}, others="pinned")
    drawn = {getattr(config, name) for config in configs(space)}
    assert drawn == values
    assert {type(value) for value in drawn} == {type(getattr(NPAConfig(), name))}


def test_a_logarithmic_range_draws_as_often_from_each_power():
    what = {"min": 1e-4, "max": 1e-2, "sampling": "log"}
    rates = [c.learning_rate for c in configs(SearchSpace({"learning_rate": what}), 200)]
    assert 1e-4 <= min(rates) and max(rates) <= 1e-2
    assert 70 < sum(rate < 1e-3 for rate in rates) < 130


def test_a_grid_gives_whole_numbers():
    what = {"min": 8, "max": 32, "step": 2, "sampling": "log"}
    space = SearchSpace({"num_filters": what}, others="pinned")
    hp = keras_tuner.HyperParameters()
    # KerasTuner's grid search takes the values from here: 8.0, 16.0 and 32.0.
    for value in declared(space)["num_filters"].values:
        hp.values["num_filters"] = value
        filters = space.config(hp).num_filters
        assert type(filters) is int and filters == value


def test_values_are_plain_numbers():
    space = SearchSpace({"dropout": {"min": 0, "max": 0.4}}, others="pinned")
    hp = keras_tuner.HyperParameters()
    # KerasTuner's Bayesian optimisation gives NumPy's.
    hp.values["dropout"] = np.float64(0.25)
    assert NPAConfig.from_dict(yaml.safe_load(space.config(hp).to_yaml())) == space.config(hp)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_filter": 8}, "'num_filter' is not a hyper-parameter; did you mean 'num_filters'"),
        ({"num_filters": {"min": 9, "max": 4}}, "num_filters: min is 9 and max is 4; min has to"),
        ({"dropout": {"min": 0.1, "max": 0.1}}, "a single value is written `dropout: 0.1`"),
        ({"dropout": {"min": 0.1}}, "dropout: a range needs min and max"),
        ({"dropout": {"min": 0.0, "max": 1.0}}, r"dropout is 1.0; it has to be in \[0, 1\)"),
        ({"num_filters": {"min": 0, "max": 8}}, "num_filters is 0; it has to be at least 1"),
        ({"num_filters": [8, 0]}, "num_filters is 0; it has to be at least 1"),
        ({"num_filters": [8, 8.5]}, "num_filters is 8.5; it has to be of type int"),
        ({"num_filters": []}, "num_filters is an empty list; give it values"),
        ({"dropout": [0.1, "0.1"]}, "dropout has the same value twice"),
        ({"schedule": "step"}, "schedule is 'step'; it has to be one of constant"),
        ({"schedule": {"min": 1, "max": 2}}, "schedule is not a number: give a list"),
        ({"mask_padding": {"min": 0, "max": 1}}, "mask_padding is not a number: give a list"),
        ({"table_learning_rate": [None, 0.1]}, "cannot choose between null and numbers"),
        ({"table_learning_rate": {"min": None, "max": 0.1}}, "min is None and max is 0.1"),
        ({"dropout": {"min": 0, "max": 0.5, "stepp": 1}}, "not 'stepp'; did you mean 'step'"),
        ({"dropout": {"mn": 0, "max": 0.5}}, "not 'mn'; did you mean 'min'"),
        ({"dropout": {"min": 0, "mx": 0.5}}, "not 'mx'; did you mean 'max'"),
        ({"num_filters": {"min": 1, "max": 9, "step": 0}}, "step is 0; .* above 0 and at most 8"),
        ({"num_filters": {"min": 1, "max": 9, "step": 1.5}}, "step is 1.5; .* of type int"),
        ({"num_filters": {"min": 1, "max": 9, "step": 10}}, "step is 10; .* at most 8"),
        ({"num_filters": {"min": 1, "max": 9, "step": "many"}}, "step is 'many'; "),
        (
            {"num_filters": {"min": 1, "max": 9, "step": 1, "sampling": "log"}},
            "step is 1; from 1 to 9 with sampling log, .* above 1 and at most 9",
        ),
        (
            {"dropout": {"min": 0, "max": 0.5, "sampling": "log"}},
            "dropout: min is 0.0; sampling log needs a min above 0",
        ),
        (
            {"dropout": {"min": 0.1, "max": 0.5, "sampling": "square"}},
            "sampling is 'square'; it has to be one of linear, log",
        ),
    ],
)
def test_what_is_wrong_with_a_field(fields, message):
    with pytest.raises(ValueError, match=message):
        SearchSpace(fields)


def test_others_is_one_of_two():
    with pytest.raises(ValueError, match="others is 'free'; it has to be one of searched, pinned"):
        SearchSpace(others="free")


# Files


def test_from_yaml(read):
    space = read("""
        preset: small
        others: pinned
        space:
          dropout: 0.1
          num_filters: [64, 128]
          learning_rate: {min: 1e-4, max: 1e-2, sampling: log}
    """)
    small = NPAConfig.preset("small")
    fields = {
        "num_filters": [64, 128],
        "learning_rate": {"min": 1e-4, "max": 1e-2, "sampling": "log"},
    }
    assert space == SearchSpace(fields | {"dropout": 0.1}, small, others="pinned")
    assert space.fields == fields
    assert space.base == small.replace(dropout=0.1)


@pytest.mark.parametrize("text", ["", "space:", "others: searched"])
def test_a_file_may_leave_everything_out(read, text):
    assert read(text) == SearchSpace()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "is not YAML"),
        ("- 1", "the file holds preset, others, space; not"),
        ("preset: tiny", "there is no preset 'tiny'; there are"),
        ("others: free", "others is 'free'"),
        ("spaces: {}", "'spaces' is not known: .*did you mean 'space'"),
        ("dropout: 0.1", "dropout belongs below `space:`"),
        ("space: [dropout]", "space has to hold `field: values` lines"),
        ("space: {droput: 0.1}", "'droput' is not a hyper-parameter; did you mean 'dropout'"),
        ("space: {1: 0.1}", "1 is not a hyper-parameter"),
        ("space: {dropout: {min: 0.5, max: 0.1}}", "dropout: min is 0.5 and max is 0.1"),
    ],
)
def test_what_is_wrong_with_a_file(read, text, message):
    with pytest.raises(ValueError, match=rf"(?i)space\.yaml(: | ){message}"):
        read(text)


def test_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.yaml"):
        SearchSpace.from_yaml(tmp_path / "none.yaml")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """What `from_yaml` reads of what `to_yaml` writes."""
    path = tmp_path_factory.mktemp("spaces") / "space.yaml"

    def written(space):
        path.write_text(space.to_yaml(), encoding="utf-8")
        return SearchSpace.from_yaml(path)

    return written


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from(sorted(DEFAULT_SPACE)), st.booleans()),
    st.sampled_from([None, *PRESETS]),
    st.sampled_from(["searched", "pinned"]),
)
def test_to_yaml_round_trips(written, chosen, preset, others):
    base = NPAConfig.preset(preset) if preset else NPAConfig()
    fields = {
        name: DEFAULT_SPACE[name] if searched else getattr(base, name)
        for name, searched in chosen.items()
    }
    space = SearchSpace(fields, base, others=others)
    assert written(space) == space


def test_to_yaml_of_another_base_has_the_same_configurations(written):
    base = NPAConfig(num_filters=77, dropout=0.15, batch_size=33)
    space = SearchSpace({"num_filters": [10, 77]}, base, others="pinned")
    assert set(configs(written(space))) == set(configs(space))
