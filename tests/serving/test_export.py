"""Folders of versions, and what is in a version."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

import tfrs_npa
import tfrs_npa.serving.module
from tfrs_npa.serving.module import ServingModule

SIZES = {"word_embedding_dim": 4, "num_filters": 64, "attention_dim": 32, "user_embedding_dim": 4}


@pytest.fixture(scope="module")
def model():
    titles = [f"word{i} of title {i}" for i in range(200)]
    news = {"news_id": [f"N{i}" for i in range(200)], "title": titles}
    users = tfrs_npa.UserIndex().adapt({"user_id": ["U1"]})
    return tfrs_npa.NPA(tfrs_npa.NPAConfig(**SIZES), tfrs_npa.NewsCatalog().adapt(news), users)


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    return tfrs_npa.export(model, tmp_path_factory.mktemp("exports") / "deep" / "npa")


@pytest.fixture
def quick(monkeypatch):
    """Has an export take no time: what is saved is tested elsewhere."""

    def save(module, path, signatures):
        path.mkdir(exist_ok=True)
        (path / "saved_model.pb").touch()

    monkeypatch.setattr(tf.saved_model, "save", save)
    monkeypatch.setattr(ServingModule, "signatures", lambda self: {})
    monkeypatch.setattr("tfrs_npa.serving.export.put_articles", lambda version, articles: None)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_a_version_holds(exported):
    assert exported.name == "1" and names_in(exported.parent) == ["1"]
    assert {*names_in(exported)} >= {"assets.extra", "saved_model.pb", "variables"}


@pytest.mark.slow
def test_warm_up(exported):
    """What a server finds in the file has a good answer, one of each signature."""
    signatures = tf.saved_model.load(str(exported)).signatures
    asked = []
    file = str(exported / "assets.extra" / "tf_serving_warmup_requests")
    for record in tf.data.TFRecordDataset(file).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        assert request.model_spec.name == "npa"
        asked.append(request.model_spec.signature_name)
        inputs = {name: tf.constant(tf.make_ndarray(v)) for name, v in request.inputs.items()}
        for value in signatures[asked[-1]](**inputs).values():
            assert tf.size(value) > 0
            assert value.dtype == tf.string or np.isfinite(value).all()
    assert sorted([*asked, "serving_default"]) == sorted(signatures)


def test_nothing_of_keras_is_saved(exported):
    saved = saved_model_pb2.SavedModel.FromString((exported / "saved_model.pb").read_bytes())
    (graph,) = saved.meta_graphs
    nodes = graph.object_graph_def.nodes
    kinds = {node.user_object.identifier for node in nodes if node.HasField("user_object")}
    assert kinds and not [kind for kind in kinds if "keras" in kind]


def test_signatures(exported):
    signatures = tf.saved_model.load(str(exported)).signatures
    inputs = {
        name: {k: v.dtype for k, v in function.structured_input_signature[1].items()}
        for name, function in signatures.items()
    }
    query = {"user_id": tf.string, "history": tf.string}
    candidates = {"candidates": tf.string}
    assert inputs == {
        "serving_default": query | candidates,
        "score": query | candidates,
        "score_with_titles": query
        | candidates
        | dict.fromkeys(["history_titles", "candidate_titles"], tf.string),
        "score_titles": query | {"titles": tf.string},
        "recommend": query | candidates | {"k": tf.int32, "exclusions": tf.string},
        "recommend_with_titles": query
        | candidates
        | {"k": tf.int32, "exclusions": tf.string, "history_titles": tf.string},
        "encode": query,
        "encode_articles": {"user_id": tf.string} | candidates,
        "explain": query | candidates,
    }
    assert {name: sorted(function.structured_outputs) for name, function in signatures.items()} == {
        "serving_default": ["scores"],
        "score": ["scores"],
        "score_with_titles": ["scores"],
        "score_titles": ["scores"],
        "recommend": ["news_id", "scores"],
        "recommend_with_titles": ["news_id", "scores"],
        "encode": ["user_vectors"],
        "encode_articles": ["article_vectors"],
        "explain": [
            "base_scores",
            "candidate_titles",
            "candidate_word_weights",
            "candidate_words",
            "contributions",
            "history_titles",
            "history_weights",
            "history_word_weights",
            "history_words",
            "known_users",
            "scores",
        ],
    }


def test_the_model_may_change_afterwards(model, exported):
    """An export is of its time."""
    score = tf.saved_model.load(str(exported)).signatures["score"]
    lists = {"history": tf.constant([["N1"]]), "candidates": tf.constant([["N2", "N3"]])}
    before = score(user_id=tf.constant(["U1"]), **lists)["scores"].numpy()
    weights = model.get_weights()
    try:
        model.set_weights([weight + 1 for weight in weights])
        again = score(user_id=tf.constant(["U1"]), **lists)["scores"]
        np.testing.assert_array_equal(again, before)
    finally:
        model.set_weights(weights)


@pytest.mark.slow
def test_versions(model, tmp_path, quick):
    folder = tmp_path / "npa"
    for name in ("notes", ".7.1.tmp", "v9"):
        (folder / name).mkdir(parents=True)
    assert tfrs_npa.export(model, folder) == folder / "1"
    assert tfrs_npa.export(model, str(folder), version=20) == folder / "20"
    assert tfrs_npa.export(model, folder) == folder / "21"
    assert tfrs_npa.export(model, folder, version=3) == folder / "3"
    assert names_in(folder) == [".7.1.tmp", "1", "20", "21", "3", "notes", "v9"]


def test_a_version_that_exists(model, tmp_path, quick):
    tfrs_npa.export(model, tmp_path)
    before = (tmp_path / "1" / "saved_model.pb").stat().st_ino
    with pytest.raises(ValueError, match="1 exists already"):
        tfrs_npa.export(model, tmp_path, version=1)
    assert (tmp_path / "1" / "saved_model.pb").stat().st_ino == before


@pytest.mark.parametrize("version", [0, -1])
def test_a_version_that_is_none(version, model, tmp_path):
    with pytest.raises(ValueError, match=f"the version is {version}"):
        tfrs_npa.export(model, tmp_path / "new", version=version)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "recommendable, message",
    [
        (["N1", "X", "Y"], "2 of the 3 articles to recommend are not in the catalogue, .*'X'"),
        ([], "none to recommend"),
    ],
)
def test_wrong_recommendable(recommendable, message, model, tmp_path):
    with pytest.raises(ValueError, match=message):
        tfrs_npa.export(model, tmp_path / "new", recommendable=recommendable)
    assert not (tmp_path / "new").exists()


def test_no_articles(tmp_path):
    catalog = tfrs_npa.NewsCatalog(vocabulary=tfrs_npa.Vocabulary.from_words(["rain"]))
    model = tfrs_npa.NPA(tfrs_npa.NPAConfig.preset("small"), catalog, tfrs_npa.UserIndex())
    with pytest.raises(ValueError, match="no articles"):
        tfrs_npa.export(model, tmp_path / "new")


def test_unknown_type(model, tmp_path):
    with pytest.raises(ValueError, match="float16"):
        tfrs_npa.export(model, tmp_path / "new", dtype="float16")
    assert not (tmp_path / "new").exists()


def test_nothing_is_left_of_an_export_that_fails(model, tmp_path, quick, monkeypatch):
    def fail(module, path, signatures):
        save(module, path, signatures)
        raise OSError("no space left")

    save = tf.saved_model.save
    monkeypatch.setattr(tf.saved_model, "save", fail)
    with pytest.raises(OSError, match="no space left"):
        tfrs_npa.export(model, tmp_path)
    assert names_in(tmp_path) == []


def test_without_the_api_of_serving(model, tmp_path, quick, monkeypatch, caplog):
    for name in [name for name in sys.modules if name.startswith("tensorflow_serving")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorflow_serving", None)
    path = tfrs_npa.export(model, tmp_path)
    assert names_in(path / "assets.extra") == ["npa"]
    assert "pip install tensorflow-serving-api" in caplog.text
