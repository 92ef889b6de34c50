"""What TensorBoard is given of a training, and reads."""

from __future__ import annotations

import types

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.projector import ProjectorConfig

from tfrs_npa.config import NPAConfig
from tfrs_npa.data.batches import impression_batches, training_batches
from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.data.impressions import Impressions
from tfrs_npa.data.users import UserIndex
from tfrs_npa.models.npa import NPA
from tfrs_npa.optimizers import default_optimizer
from tfrs_npa.runs.tensorboard import Attention, HeatMap, TensorBoard, write_projector

CONFIG = NPAConfig(
    word_embedding_dim=4,
    user_embedding_dim=3,
    num_filters=5,
    attention_dim=3,
    title_length=4,
    batch_size=4,
    dropout=0.5,
    learning_rate=0.02,
    table_learning_rate=0.04,
    user_learning_rate=0.01,
    schedule="constant",
    warmup_steps=0,
)
IDS = [f"N{number}" for number in range(1, 7)]
TITLES = ["a b", "b c d e f", "", "$5 or $6", "新聞 a", "c\ta"]
BEHAVIORS = {
    "user_id": ["U1", "nobody", "U1", "U2"],
    "history": [["N1", "N2", "N4"], ["N1", "N2", "N4"], ["N4", "N5", "N6"], ["N1"]],
    "candidates": [["N3", "N4", "N5"], ["N5", "N6"], ["N1", "N2"], ["N3", "N1"]],
    "clicked": [[0, 1, 0], [1, 0], [1, 0], [0, 1]],
}


@pytest.fixture(scope="module")
def catalog():
    return NewsCatalog().adapt({"news_id": IDS, "title": TITLES})


@pytest.fixture
def model(catalog):
    tf.keras.utils.set_random_seed(3)
    model = NPA(CONFIG, catalog, UserIndex().adapt({"user_id": ["U1", "U2"]}))
    model.compile(optimizer=default_optimizer(CONFIG), run_eagerly=True)
    return model


@pytest.fixture
def impressions(model):
    lengths = {name: [*map(len, BEHAVIORS[name])] for name in ("history", "candidates")}
    values = {
        name: model.catalog.index([id_ for ids in BEHAVIORS[name] for id_ in ids])
        for name in lengths
    }
    return Impressions(
        impression_id=np.arange(4),
        user_id=np.array([model.users.index(user) for user in BEHAVIORS["user_id"]], np.int32),
        history_values=np.array(values["history"], np.int32),
        history_splits=np.cumsum([0, *lengths["history"]]),
        candidate_values=np.array(values["candidates"], np.int32),
        candidate_splits=np.cumsum([0, *lengths["candidates"]]),
        clicked=np.concatenate(BEHAVIORS["clicked"]).astype(np.int8),
    )


def fit(model, impressions, callbacks, epochs=2):
    data = impressions, model.catalog, model.users, CONFIG
    model.fit(
        training_batches(*data),
        validation_data=impression_batches(*data),
        epochs=epochs,
        callbacks=callbacks,
        verbose=0,
    )


def events(folder):
    """By name and step, the values in the files of a folder."""
    found = {}
    for file in sorted(folder.iterdir()):
        for event in EventFileLoader(str(file)).Load():
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = tf.make_ndarray(value.tensor)
    return found


def test_rates_and_throughput_and_users(model, impressions, tmp_path):
    fit(model, impressions, [TensorBoard(tmp_path, rows=4)])
    training, validation = events(tmp_path / "train"), events(tmp_path / "validation")
    for name, rate in {"": 0.02, "_of_word_table": 0.04, "_of_user_table": 0.01}.items():
        assert training[f"epoch_learning_rate{name}"] == pytest.approx({1: rate, 2: rate})
    speeds = training["epoch_rows_per_second"]
    assert speeds.keys() == {1, 2} and min(speeds.values()) > 0
    assert "epoch_auc_known_users" in validation and "epoch_auc_new_users" in validation


def test_throughput_is_of_the_training_alone(model, tmp_path, monkeypatch):
    callback = TensorBoard(tmp_path, rows=60)
    callback.set_model(model)
    times = iter([100.0, 103.0])
    clock = types.SimpleNamespace(monotonic=lambda: next(times))
    monkeypatch.setattr("tfrs_npa.runs.tensorboard.time", clock)
    callback.on_epoch_begin(0)
    callback.on_test_begin()
    callback.on_test_end({})
    callback.on_epoch_end(0, {"loss": 1.0})
    callback.on_train_end()
    assert events(tmp_path / "train")["epoch_rows_per_second"] == {1: 20}


@pytest.mark.slow
def test_attention_of_the_same_impressions_in_each_epoch(model, impressions, tmp_path):
    """Of the first of each known user who clicked three articles before: one."""
    fit(model, impressions, [Attention(tmp_path, impressions)])
    found = events(tmp_path / "attention")
    assert found.keys() == {"impression_1"} and found["impression_1"].keys() == {0, 1, 2}
    images = [tf.io.decode_png(image[2]).numpy() for image in found["impression_1"].values()]
    assert images[0].shape == images[2].shape and not np.array_equal(images[0], images[2])


@pytest.mark.slow
def test_training_is_the_same_without_images(model, impressions, tmp_path):
    start = model.get_weights()
    tf.random.set_seed(1)
    fit(model, impressions, [])
    expected = model.get_weights()
    model.set_weights(start)
    for variable in model.optimizer.variables:
        if "learning_rate" not in variable.name:
            variable.assign(tf.zeros_like(variable))
    tf.random.set_seed(1)
    fit(model, impressions, [TensorBoard(tmp_path, rows=4), Attention(tmp_path, impressions)])
    for value, other in zip(model.get_weights(), expected):
        np.testing.assert_array_equal(value, other)


def test_no_impression_suits(model, impressions, tmp_path):
    fit(model, impressions, [Attention(tmp_path / "logs", impressions.take([1, 3]))], epochs=1)
    assert not (tmp_path / "logs").exists()


def test_a_heat_map_shades_the_cell_of_a_weight():
    heat_map = HeatMap([["a", "b"]], [["c"], []], clicks=1)
    assert heat_map.columns == 3
    blank = heat_map.image(np.zeros([3, 3])).astype(int)
    centres = []
    for row, column in np.ndindex(3, 3):
        weights = np.zeros([3, 3])
        weights[row, column] = 9
        differs = (heat_map.image(weights) != blank).any(axis=-1)
        centres.append(np.argwhere(differs).mean(axis=0))
    centres = np.array(centres).reshape(3, 3, 2)
    # Rows are below each other, 26 pixels high, and columns beside each other, 75 wide.
    np.testing.assert_allclose(np.diff(centres[..., 0], axis=0), 26, atol=1)
    np.testing.assert_allclose(np.diff(centres[..., 1], axis=1), 75, atol=1)
    half = heat_map.image(np.full([3, 3], 1.5)).astype(int)
    assert (blank.min(), half.max()) == (0, 255)
    assert (blank >= half).all() and (half < blank).any()


def test_projector(model, tmp_path):
    """The articles that were shown most first, with cells that hold no tab."""
    views = {"N2": 5, "N6": 9, "N3": 1, "unknown": 7}
    topics = {"N6": ("sports", "tennis"), "N2": ("", "")}
    write_projector(tmp_path, model, views, topics)
    config = text_format.Parse((tmp_path / "projector_config.pbtxt").read_text(), ProjectorConfig())
    (embedding,) = config.embeddings
    lines = (tmp_path / embedding.metadata_path).read_text().splitlines()
    assert [line.split("\t") for line in lines] == [
        ["title", "category", "subcategory", "shown"],
        ["c a", "sports", "tennis", "9"],
        ["b c d e f", "", "", "5"],
        ["N3", "", "", "1"],
    ]
    vectors = np.loadtxt(tmp_path / embedding.tensor_path, delimiter="\t")
    articles = {"news_id": model.catalog.index(["N6", "N2", "N3"]), "user_id": np.zeros(3, int)}
    expected = model.candidate_tower(articles)[:, : CONFIG.num_filters]
    np.testing.assert_allclose(vectors, expected, rtol=1e-3)


def test_nothing_to_project(model, tmp_path):
    write_projector(tmp_path, model, {"unknown": 7}, {})
    assert not [*tmp_path.iterdir()]
