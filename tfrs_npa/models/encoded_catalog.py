"""The titles of a catalogue, encoded once for a whole evaluation."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from tfrs_npa.layers.untracked import Untracked
from tfrs_npa.models.news_encoder import NewsEncoder, TitleFeatures
from tfrs_npa.models.replicas import has_parameter_servers
from tfrs_npa.models.traced import Traced

# Titles that are encoded at a time.
_CHUNK = 8192

logger = logging.getLogger(__name__)


class EncodedCatalog:
    """All articles encoded without a user, for the duration of a `with` block.

    Args:
        encoder: The candidate tower.

    Attributes:
        is_usable: False under parameter servers, of which each step would have to fetch all of it:
            `encoded` does nothing there, and each batch encodes its own titles.
    """

    def __init__(self, encoder: NewsEncoder):
        self._encoder = encoder
        self.is_usable = not has_parameter_servers()
        filters, attention = encoder.config.num_filters, encoder.attention
        self._has_keys = attention.kind == "personalized"
        key_dim = encoder.config.attention_dim if attention.form == "recommenders" else filters
        # A key of the paper's form is the value itself.
        self._own_keys = self._has_keys and attention.form == "recommenders"
        dtype = encoder.compute_dtype

        def variable(shape, dtype):
            return tf.Variable(tf.zeros([0, *shape[1:]], dtype), trainable=False, shape=shape)

        # Shapes are open: another catalogue needs no new trace. A worker of a parameter server
        # aborts where a step captures such a variable.
        self._untracked = Untracked(
            values=variable([None, filters], dtype),
            keys=variable([None, key_dim if self._own_keys else 0], dtype),
            starts=variable([None], tf.int32),
            lengths=variable([None], tf.int32),
            terms=variable([None, encoder.num_terms], dtype),
            ready=tf.Variable(False, trainable=False),
        )
        # Chunks differ in size; none of them needs a trace of its own.
        articles = tf.TensorSpec([None], tf.int32)
        self._title_features = Traced(
            self._encode, [articles], encoder.user_embedding, autograph=False
        )

    @property
    def ready(self) -> tf.Variable:
        """Whether the catalogue is encoded, a boolean variable."""
        return self._untracked.ready

    def features(self) -> TitleFeatures:
        """Returns the features of the catalogue; title `i` is article `i`."""
        own = self._untracked
        values = own.values.read_value()
        keys = own.keys.read_value() if self._own_keys else values if self._has_keys else None
        return TitleFeatures(
            values,
            keys,
            own.starts.read_value(),
            own.lengths.read_value(),
            own.terms.read_value() if self._encoder.num_terms else None,
        )

    def size(self) -> int:
        """Returns the bytes that the encoded catalogue takes."""
        return self._size(self._encoder.title_lengths())

    def _size(self, lengths):
        own = self._untracked
        width = own.values.shape[1] + own.keys.shape[1]
        numbers = int(lengths.sum(dtype=np.int64)) * width + len(lengths) * own.terms.shape[1]
        return numbers * own.values.dtype.size

    @contextlib.contextmanager
    def encoded(self, memory: int) -> Iterator[None]:
        """Encodes the catalogue for the time of a `with` block, if `memory` bytes are enough."""
        if not self.is_usable:
            yield
            return
        own = self._untracked
        try:
            lengths = self._encoder.title_lengths()
            size = self._size(lengths)
            if size <= memory:
                self._encode_all(lengths)
            elif memory > 0:  # 0 asks for it
                logger.warning(
                    "%s encoded articles would take %.2f GiB, more than encoding_memory, %.2f GiB; "
                    "each batch encodes its own, which takes longer and scores the same. Allow "
                    "more (`model.encoding_memory`, `tfrs-npa evaluate --encoding-memory`), or set "
                    "it to 0 if this is what you want",
                    f"{len(lengths):,}",
                    size / 2**30,
                    memory / 2**30,
                )
            yield
        finally:
            own.ready.assign(False)
            for part in (own.values, own.keys, own.starts, own.lengths, own.terms):
                part.assign(tf.zeros([0, *part.shape[1:]], part.dtype))

    def _encode_all(self, lengths):
        own = self._untracked
        articles, splits = len(lengths), np.append(0, np.cumsum(lengths))
        targets = {"values": own.values}
        if self._own_keys:
            targets["keys"] = own.keys
        wholes = {
            name: tf.raw_ops.Empty(shape=[splits[-1], target.shape[1]], dtype=target.dtype)
            for name, target in targets.items()
        }
        terms = []
        for first in range(0, articles, _CHUNK):
            last = min(first + _CHUNK, articles)
            parts = self._title_features(tf.range(first, last))
            if self._encoder.num_terms:
                terms.append(parts["terms"])
            rows = tf.range(splits[first], splits[last], dtype=tf.int32)
            # Chunks that are kept and put together in the end would be there twice, and a variable
            # that is written in slices is copied whenever it is read.
            for name, whole in wholes.items():
                wholes[name] = tf.raw_ops.InplaceUpdate(x=whole, i=rows, v=parts[name])
        for name, target in targets.items():
            target.assign(wholes.pop(name))
        if terms:
            own.terms.assign(tf.concat(terms, axis=0))
        own.lengths.assign(lengths)
        own.starts.assign(splits[:-1].astype(np.int32))
        own.ready.assign(True)

    def _encode(self, articles):
        features = self._encoder.title_features(articles)
        features = self._encoder.with_terms(features)._asdict()
        return {name: part for name, part in features.items() if part is not None}
