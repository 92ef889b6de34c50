from __future__ import annotations

import dataclasses
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrs_npa import NPAConfig
from tfrs_npa.config import PRESETS

# In the layout of Microsoft Recommenders' npa.yaml, with its values.
RECOMMENDERS = """
    data:
      title_size: 10
      his_size: 50
      npratio: 4
      data_format: news
    info:
      metrics: [group_auc, mean_mrr, ndcg@5;10]
    model:
      model_type: npa
      word_emb_dim: 300
      user_emb_dim: 100
      filter_num: 400
      window_size: 3
      cnn_activation: relu
      attention_hidden_dim: 200
      dropout: 0.2
    train:
      learning_rate: 0.0001
      optimizer: adam
      loss: cross_entropy_loss
      batch_size: 32
      epochs: 10
      show_step: 100000
"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "model.yaml"
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    return write


# Presets


# What the published forms have not.
OFF = {
    "history_rows": 0,
    "center_words": False,
    "residual": False,
    "unit_vectors": False,
    "user_interest": "mean",
    "mean_weight": 0.0,
    "temperature": 1.0,
    "item_bias": False,
    "uniform_attention": False,
    "unknown_articles": "untitled",
    "user_learning_rate": None,
    "warmup_steps": 0,
}


def test_preset_recommenders():
    assert NPAConfig.preset("recommenders") == NPAConfig(
        attention="recommenders",
        word_attention="personalized",
        news_attention="personalized",
        title_length=10,
        history_length=50,
        history_sampling="last",
        word_embedding_dim=300,
        user_embedding_dim=100,
        user_initializer="zeros",
        num_filters=400,
        window_size=3,
        attention_dim=200,
        dropout=0.2,
        pooling_dropout=0.2,
        user_dropout=0.0,
        filter_bias=0.0,
        mask_padding=False,
        negatives_per_positive=4,
        learning_rate=1e-4,
        table_learning_rate=None,
        word_initializer="normal",
        schedule="constant",
        batch_size=32,
        **OFF,
    )


def test_preset_paper():
    assert NPAConfig.preset("paper") == NPAConfig(
        attention="paper",
        word_attention="personalized",
        news_attention="personalized",
        title_length=30,
        history_length=50,
        history_sampling="last",
        word_embedding_dim=300,
        user_embedding_dim=50,
        user_initializer="uniform",
        num_filters=400,
        window_size=3,
        attention_dim=200,
        dropout=0.2,
        pooling_dropout=0.0,
        user_dropout=0.0,
        filter_bias=0.0,
        mask_padding=False,
        negatives_per_positive=4,
        learning_rate=1e-3,
        table_learning_rate=None,
        word_initializer="normal",
        schedule="constant",
        batch_size=100,
        **OFF,
    )


def test_our_recipe_has_full_dimensions():
    config = NPAConfig()
    sizes = (config.title_length, config.history_length, config.word_embedding_dim)
    assert (*sizes, config.num_filters) == (30, 50, 300, 400)
    assert config.mask_padding
    assert config.user_dropout > 0


def test_preset_small_is_our_recipe_with_smaller_dimensions():
    small, full = NPAConfig.preset("small"), NPAConfig()
    assert small.mask_padding
    assert small.attention == full.attention
    for name in ("word_embedding_dim", "user_embedding_dim", "num_filters", "attention_dim"):
        assert getattr(small, name) < getattr(full, name)


def test_density_needs_unit_vectors():
    with pytest.raises(ValueError, match="user_interest=density needs unit_vectors=true"):
        NPAConfig(unit_vectors=False)
    assert not NPAConfig(unit_vectors=False, user_interest="mean").unit_vectors


def test_fields_that_an_earlier_version_lacked_are_off():
    saved = NPAConfig.preset("small").to_dict()
    assert NPAConfig.from_saved(saved) == NPAConfig.preset("small")
    for name in OFF:
        del saved[name]
    found = NPAConfig.from_saved(saved).to_dict()
    assert found == NPAConfig.preset("small").to_dict() | OFF


def test_unknown_preset():
    with pytest.raises(ValueError, match="no preset 'tiny'; there are recommenders, paper, small"):
        NPAConfig.preset("tiny")


# Values


@pytest.mark.parametrize(
    "name, value",
    [
        ("attention", "additive"),
        ("attention", None),
        ("word_attention", "none"),
        ("news_attention", 1),
        ("history_sampling", "first"),
        ("schedule", "step"),
        ("user_initializer", 0),
        ("title_length", 0),
        ("history_length", -1),
        ("num_filters", 4.0),
        ("num_filters", "4"),
        ("batch_size", True),
        ("seed", -1),
        ("seed", None),
        ("dropout", 1.0),
        ("dropout", -0.1),
        ("dropout", True),
        ("dropout", [0.2]),
        ("pooling_dropout", float("nan")),
        ("user_dropout", 1.5),
        ("mask_padding", 1),
        ("mask_padding", "false"),
        ("learning_rate", 0.0),
        ("learning_rate", "fast"),
        ("learning_rate", float("inf")),
        ("learning_rate", None),
        ("table_learning_rate", -1e-3),
        ("user_learning_rate", 0.0),
        ("temperature", 0.0),
        ("mean_weight", -0.5),
        ("mean_weight", float("inf")),
        ("filter_bias", float("nan")),
        ("learning_rate", 10**400),
        ("word_embedding_dim", 10**12),
        ("title_length", 10**9),
        ("title_length", 1001),
        ("history_length", 10**5),
        pytest.param("batch_size", 10**5000, id="digits"),
        ("seed", 2**32),
        pytest.param("attention", "x" * 10**6, id="text"),
        pytest.param("attention", ["x"] * 10**6, id="list"),
    ],
)
def test_wrong_value_names_the_field(name, value):
    with pytest.raises(ValueError, match=f"^{name} is "):
        NPAConfig(**{name: value})
    with pytest.raises(ValueError, match=f"^{name} is ") as caught:
        NPAConfig().replace(**{name: value})
    assert len(str(caught.value)) < 200


def test_a_convolution_of_absurd_size():
    with pytest.raises(ValueError, match="a convolution of 10,000,000,000 weights; at most"):
        NPAConfig(window_size=100, word_embedding_dim=10_000, num_filters=10_000)


def test_numbers_get_the_type_of_the_field():
    config = NPAConfig(dropout=0, learning_rate="1e-4", table_learning_rate=1)
    assert (config.dropout, config.learning_rate, config.table_learning_rate) == (0.0, 1e-4, 1.0)
    assert {type(config.dropout), type(config.learning_rate)} == {float}


def test_is_immutable_and_compared_by_value():
    config = NPAConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.dropout = 0.5
    assert config == NPAConfig() and hash(config) == hash(NPAConfig())
    changed = config.replace(dropout=0.5)
    assert changed != config and config.dropout != 0.5
    assert changed.replace(dropout=config.dropout) == config


def test_unknown_key_with_a_suggestion():
    with pytest.raises(ValueError, match="'num_filter' is not .* did you mean 'num_filters'"):
        NPAConfig.from_dict({"num_filter": 3})
    with pytest.raises(ValueError, match="'xyz' is not .*; docs/hyper_parameters.md lists them"):
        NPAConfig().replace(xyz=1)
    with pytest.raises(ValueError, match="1 is not"):
        NPAConfig.from_dict({1: 2})


def test_from_dict_keeps_what_is_not_named():
    base = NPAConfig.preset("paper")
    assert NPAConfig.from_dict({"seed": 3}, base) == base.replace(seed=3)
    assert NPAConfig.from_dict({}) == NPAConfig()


# YAML

RATES = st.floats(0, 1, exclude_max=True)
LEARNING_RATES = st.floats(1e-12, 1e3)


@given(
    st.sampled_from([NPAConfig(), *map(NPAConfig.preset, PRESETS)]),
    RATES,
    LEARNING_RATES,
    st.none() | LEARNING_RATES,
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_dict_round_trip(config, dropout, learning_rate, table_learning_rate, mask_padding, seed):
    config = config.replace(
        dropout=dropout,
        learning_rate=learning_rate,
        table_learning_rate=table_learning_rate,
        mask_padding=mask_padding,
        seed=seed,
    )
    assert NPAConfig.from_dict(config.to_dict(), NPAConfig.preset("paper")) == config


@pytest.mark.parametrize("preset", PRESETS)
def test_yaml_round_trip(write, preset):
    config = NPAConfig.preset(preset).replace(learning_rate=1e-5, table_learning_rate=1e-20)
    assert NPAConfig.from_yaml(write(config.to_yaml())) == config
    fields = [field.name for field in dataclasses.fields(NPAConfig)]
    assert [line.split(":")[0] for line in config.to_yaml().splitlines()] == fields


def test_yaml_keeps_what_is_not_in_it(write):
    path = write("num_filters: 8\nlearning_rate: 1e-4  # text for YAML\n")
    changes = {"num_filters": 8, "learning_rate": 1e-4}
    assert NPAConfig.from_yaml(path) == NPAConfig(**changes)
    base = NPAConfig.preset("paper")
    assert NPAConfig.from_yaml(path, base) == base.replace(**changes)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "has to hold"),
        ("- 1\n- 2\n", "has to hold"),
        ("a: b: c", "is not YAML"),
        ("num_filter: 8", "did you mean 'num_filters'"),
        ("dropout: 2", "dropout is 2.0"),
        ("data:\n  title_length: 8", "data.title_length is not a key of Recommenders"),
        ("data: 8", "data has to hold"),
        ("data:\n  title_size: 8\nextra:\n  a: 1", "'extra' is not a section"),
        ("data:\n  title_size: 0", "title_length is 0"),
    ],
)
def test_errors_name_the_file(write, text, message):
    path = write(text)
    with pytest.raises(ValueError, match=message) as error:
        NPAConfig.from_yaml(path)
    assert str(error.value).startswith(str(path))


def test_file_that_is_not_text(tmp_path):
    path = tmp_path / "model.yaml"
    path.write_bytes(b"name: \xff\xfe")
    with pytest.raises(ValueError, match="model.yaml is not YAML"):
        NPAConfig.from_yaml(path)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.yaml"):
        NPAConfig.from_yaml(tmp_path / "nowhere.yaml")


# Recommenders' names


def test_recommenders_file_is_the_preset(write):
    assert NPAConfig.from_yaml(write(RECOMMENDERS)) == NPAConfig.preset("recommenders")


def test_every_name_of_recommenders(write):
    text = """
        data: {title_size: 1, his_size: 2, npratio: 3}
        model: {word_emb_dim: 4, user_emb_dim: 5, filter_num: 6, window_size: 7,
                attention_hidden_dim: 8, dropout: 0.9}
        train: {learning_rate: 1e-3, batch_size: 10}
        info: {seed: 11}
    """
    assert NPAConfig.from_yaml(write(text)) == NPAConfig.preset("recommenders").replace(
        title_length=1,
        history_length=2,
        negatives_per_positive=3,
        word_embedding_dim=4,
        user_embedding_dim=5,
        num_filters=6,
        window_size=7,
        attention_dim=8,
        dropout=0.9,
        learning_rate=1e-3,
        batch_size=10,
        seed=11,
    )


def test_recommenders_keys_may_stand_in_any_section(write):
    text = "train:\n  title_size: 8\ndata:\n  filter_num: 9\ninfo:\n"
    config = NPAConfig.from_yaml(write(text))
    assert config == NPAConfig.preset("recommenders").replace(title_length=8, num_filters=9)


def test_recommenders_dropout_may_be_a_list_of_one(write):
    config = NPAConfig.from_yaml(write("model:\n  dropout: [0.3]\n"))
    assert config == NPAConfig.preset("recommenders").replace(dropout=0.3)
    with pytest.raises(ValueError, match="dropout is"):
        NPAConfig.from_yaml(write("model:\n  dropout: [0.3, 0.1]\n"))


def test_recommenders_keys_of_a_run_are_ignored(write):
    text = """
        data: {word_size: 30000, user_num: 50000, wordEmb_file: a.npy}
        train: {epochs: 5, show_step: 10, save_model: true}
        info: {metrics: [auc]}
    """
    assert NPAConfig.from_yaml(write(text)) == NPAConfig.preset("recommenders")


@pytest.mark.parametrize(
    "key, value",
    [
        ("model_type", "nrms"),
        ("cnn_activation", "tanh"),
        ("loss", "log_loss"),
        ("optimizer", "sgd"),
        ("data_format", "naml"),
    ],
)
def test_recommenders_values_that_make_another_model(write, key, value):
    with pytest.raises(ValueError, match=f"{key} is '{value}'; NPA has"):
        NPAConfig.from_yaml(write(f"train:\n  {key}: {value}\n"))


def test_recommenders_file_over_a_base(write):
    base = NPAConfig.preset("small")
    config = NPAConfig.from_yaml(write("data:\n  title_size: 8\n"), base)
    assert config == base.replace(title_length=8)
