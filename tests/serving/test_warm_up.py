from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

import tfrs_npa
from tfrs_npa.serving.warm_up import example_requests, write_warm_up


@pytest.fixture(scope="module")
def model():
    fields = {"word_embedding_dim": 4, "num_filters": 4, "history_length": 2}
    catalog = tfrs_npa.NewsCatalog().adapt({"news_id": ["N1", "é2", "N3"], "title": ["a", "", "é"]})
    users = tfrs_npa.UserIndex().adapt({"user_id": ["U1"]})
    return tfrs_npa.NPA(tfrs_npa.NPAConfig(**fields), catalog, users)


def test_file(tmp_path):
    """Another reading of the file gives back what was written."""
    path = tmp_path / "assets.extra" / "requests"
    requests = {
        "score": {"user_id": ["é", ""], "history": [["N1"], [""]]},
        "recommend": {"user_id": ["U1"], "k": 3},
    }
    write_warm_up(path, requests, "news")
    found = {}
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        assert request.model_spec.name == "news"
        arrays = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        found[request.model_spec.signature_name] = arrays
    assert found.keys() == requests.keys()
    assert found["score"]["user_id"].tolist() == ["é".encode(), b""]
    assert found["score"]["history"].tolist() == [[b"N1"], [b""]]
    assert found["recommend"]["k"].dtype == np.int32 and found["recommend"]["k"] == 3


def test_users_in_buckets_have_no_ids_to_ask_for(model):
    users = tfrs_npa.UserIndex.hashed(9).adapt({"user_id": ["U1"]})
    requests = example_requests(tfrs_npa.NPA(model.config, model.catalog, users))
    assert requests["score"]["user_id"] == [""]


def test_requests_name_what_there_is(model):
    requests = example_requests(model)
    assert requests["score"] == {
        "user_id": ["U1"],
        "history": [["N1", "é2"]],
        "candidates": [["N1", "é2", "N3"]],
    }
    assert requests["score_titles"]["titles"] == [["a", "", "é"]]
    # However few articles may be recommended.
    assert requests["recommend"]["k"] == 1
