"""Warm-up requests, which TensorFlow Serving answers before it serves a version."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfrs_npa.data.catalog import FIRST_ARTICLE
from tfrs_npa.data.users import UserIndex
from tfrs_npa.models.npa import NPA

# Where TensorFlow Serving looks, below the folder of a version.
WARM_UP_FILE = pathlib.Path("assets.extra", "tf_serving_warmup_requests")

_CANDIDATES = 10


def example_requests(model: NPA) -> dict[str, dict[str, Any]]:
    """Returns a request of each signature of `tfrs_npa.serving.ServingModule`.

    Args:
        model: The model whose user, articles and titles it asks for.

    Returns:
        The inputs by signature and name, as nested lists.
    """
    articles = slice(FIRST_ARTICLE, FIRST_ARTICLE + _CANDIDATES)
    news_ids, titles = model.catalog.ids[articles], model.catalog.titles[articles]
    known = [] if model.users.buckets else model.users.ids[len(UserIndex.specials) :]
    user = {"user_id": known[:1] or [""]}
    history = news_ids[: model.config.history_length]
    query = {**user, "history": [history]}
    candidates = {"candidates": [news_ids]}
    history_titles = {"history_titles": [[""] * len(history)]}
    candidate_titles = {"candidate_titles": [[""] * len(news_ids)]}
    best = {"k": 1, "exclusions": [[""]], "candidates": [[""]]}
    return {
        "score": query | candidates,
        "score_with_titles": query | history_titles | candidates | candidate_titles,
        "score_titles": query | {"titles": [titles]},
        "recommend": query | best,
        "recommend_with_titles": query | history_titles | best,
        "encode": query,
        "encode_articles": user | candidates,
        "explain": query | candidates,
    }


def write_warm_up(
    path: str | os.PathLike[str], requests: Mapping[str, Mapping[str, Any]], model_name: str
) -> None:
    """Writes requests as a TFRecord file of `PredictionLog`s.

    Args:
        path: The file; missing parent folders are made.
        requests: Inputs by signature and name.
        model_name: The name that the model is served under.

    Raises:
        ImportError: if `tensorflow-serving-api` is not installed.
    """
    from tensorflow_serving.apis import prediction_log_pb2

    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(os.fspath(path)) as writer:
        for signature, inputs in requests.items():
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.name = model_name
            request.model_spec.signature_name = signature
            for name, value in inputs.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
            writer.write(log.SerializeToString())
