"""The column-wise Sequence against the stock one."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
import tree
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_datasets.core import example_parser, example_serializer

from tfrs_npa.datasets.mind.sequence import Sequence


def features(sequence):
    return tfds.features.FeaturesDict(
        {
            "history": sequence(tfds.features.Text()),
            "candidates": sequence({"news_id": tfds.features.Text(), "clicked": np.int64}),
        }
    )


def serialize(sequence, example):
    connector = features(sequence)
    serializer = example_serializer.ExampleSerializer(connector.get_serialized_info())
    return serializer.serialize_example(connector.encode_example(example))


def deserialize(sequence, record):
    connector = features(sequence)
    parser = example_parser.ExampleParser(connector.get_serialized_info())
    return connector.decode_example(parser.parse_example(record))


@settings(deadline=None)
@given(
    history=st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=5),
    candidates=st.lists(st.tuples(st.text("Né", max_size=3), st.integers(-1, 1)), max_size=5),
)
def test_same_records_and_same_tensors_as_the_stock_class(history, candidates):
    news_ids, clicked = [list(column) for column in zip(*candidates)] or ([], [])
    example = {"history": history, "candidates": {"news_id": news_ids, "clicked": clicked}}
    record = serialize(Sequence, example)
    parse = tf.train.Example.FromString
    assert parse(record) == parse(serialize(tfds.features.Sequence, example))
    for written_as in (Sequence, tfds.features.Sequence):
        tree.map_structure(
            np.testing.assert_array_equal,
            tree.map_structure(lambda tensor: tensor.numpy(), deserialize(written_as, record)),
            {
                "history": np.array([text.encode() for text in history], object),
                "candidates": {
                    "news_id": np.array([text.encode() for text in news_ids], object),
                    "clicked": np.array(clicked, np.int64),
                },
            },
        )


def test_described_on_disk_as_the_stock_class(tmp_path):
    features(Sequence).save_config(tmp_path)
    restored = tfds.features.FeaturesDict.from_config(tmp_path)
    assert type(restored["history"]) is tfds.features.Sequence
    assert repr(restored) == repr(features(Sequence))


def test_lists_of_different_lengths():
    with pytest.raises(ValueError, match="differ in length"):
        serialize(Sequence, {"history": [], "candidates": {"news_id": ["N1"], "clicked": []}})
