"""Encoded titles, laid out so that all of them can be scored fast."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfrs_npa.layers.untracked import Untracked
from tfrs_npa.models.news_encoder import NewsEncoder
from tfrs_npa.models.title_layout import ROWS, TitleLayout

# Titles that are encoded, or moved, at a time.
_CHUNK = 4096


class TitleBlocks(tf.Module):
    """Titles encoded without a user, in blocks of equal length.

    The score of a title for a user vector u and a query q is `softmax_i(k_i . q) . (c_i . u)`: two
    products of packed words with all users, then a softmax within each title. The titles of a block
    have equally many words, and a block has the first words of all its titles, then all second
    words and so on. So its products are an array `[length, titles, users]`, and softmax and sum run
    along its first axis: nothing is padded, and nothing has to be gathered.

    Args:
        encoder: The candidate tower.
        dtype: `"float32"` or `"bfloat16"`, how words are kept. Products are float32.

    Attributes:
        query_dim: Size Q of a query; 0 where the weights of words depend on no user.
    """

    def __init__(self, encoder: NewsEncoder, dtype: str = "float32"):
        super().__init__(name="title_blocks")
        config, attention = encoder.config, encoder.attention
        filters = config.num_filters
        self._personalized = attention.kind == "personalized"
        # A key of the paper's form is the value itself.
        own_keys = self._personalized and attention.form == "recommenders"
        self.query_dim = 0
        if self._personalized:
            self.query_dim = config.attention_dim if own_keys else filters

        def variable(shape, dtype):
            return tf.Variable(tf.zeros([0, *shape[1:]], dtype), trainable=False, shape=shape)

        # In groups of rows, so that a block begins where memory is aligned: TensorFlow copies
        # slices that do not. Shapes are open: other titles need no new trace.
        self._values = variable([None, ROWS, filters], dtype)
        self._keys = variable([None, ROWS, config.attention_dim], dtype) if own_keys else None
        self._blocks = variable([None, 3], tf.int32)
        self._order = variable([None], tf.int32)
        self._untracked = Untracked(
            encoder=encoder,
            encode=tf.function(self._encode, input_signature=[tf.TensorSpec([None], tf.int32)]),
            articles=np.zeros(0, np.int32),
            layout=TitleLayout(np.zeros(0, np.int32)),
        )

    @property
    def size(self) -> int:
        """Bytes that the words take."""
        return self._untracked.layout.rows * sum(
            part.shape[-1] * part.dtype.size for part in self._parts().values()
        )

    def _parts(self):
        parts = {"values": self._values}
        if self._keys is not None:
            parts["keys"] = self._keys
        return parts

    def update(self, articles: np.ndarray, from_scratch: bool = False) -> None:
        """Encodes and keeps these articles, and no others.

        Articles that are held already are moved, not encoded again; meanwhile the titles take twice
        their memory.

        Args:
            articles: `[titles]` articles of the encoder, ascending.
            from_scratch: Whether to encode all of them again.
        """
        if from_scratch:
            self._assign(np.zeros(0, np.int32), TitleLayout(np.zeros(0, np.int32)))
        own = self._untracked
        layout = TitleLayout(own.encoder.title_lengths()[articles])
        kept, target, source = np.intersect1d(articles, own.articles, True, return_indices=True)
        added = np.setdiff1d(np.arange(len(articles)), target)
        wholes = {
            name: tf.zeros([layout.rows, part.shape[-1]], part.dtype)
            for name, part in self._parts().items()
        }

        def write(rows, parts):
            for name, whole in wholes.items():
                value = tf.cast(parts[name], whole.dtype)
                wholes[name] = tf.raw_ops.InplaceUpdate(x=whole, i=rows, v=value)

        held = {
            name: tf.reshape(part.read_value(), [-1, part.shape[-1]])
            for name, part in self._parts().items()
        }
        for first in range(0, len(kept), _CHUNK):
            moved = slice(first, first + _CHUNK)
            rows = own.layout.words(source[moved])
            write(layout.words(target[moved]), {n: tf.gather(p, rows) for n, p in held.items()})
        del held
        for first in range(0, len(added), _CHUNK):
            chunk = added[first : first + _CHUNK]
            write(layout.words(chunk), own.encode(tf.constant(articles[chunk], tf.int32)))
        self._assign(articles, layout, wholes)

    def _assign(self, articles, layout, wholes=None):
        for name, part in self._parts().items():
            shape = [-1, *part.shape[1:]]
            whole = tf.zeros([0], part.dtype) if wholes is None else wholes.pop(name)
            part.assign(tf.reshape(whole, shape))
        self._blocks.assign(layout.blocks)
        self._order.assign(layout.order)
        self._untracked.articles, self._untracked.layout = articles, layout

    def _encode(self, articles):
        features = self._untracked.encoder.title_features(articles)
        return {name: getattr(features, name) for name in self._parts()}

    def scores(self, users):
        """Scores all titles for all users.

        Args:
            users: `[batch, num_filters + query_dim]` float32, user vectors and queries side by
                side.

        Returns:
            `[batch, titles]` float32.
        """
        filters = self._values.shape[-1]
        vectors, queries = tf.transpose(users[:, :filters]), tf.transpose(users[:, filters:])
        values, blocks = self._values.read_value(), self._blocks.read_value()
        keys = values if self._keys is None else self._keys.read_value()

        def products(part, groups, words, right):
            rows = tf.reshape(part[groups[0] : groups[1]], [-1, part.shape[-1]])
            return tf.matmul(tf.cast(rows, tf.float32), right)[:words]

        def score(block, results):
            group, length, titles = tf.unstack(blocks[block], num=3)
            words = length * titles
            groups = group, group + (words + ROWS - 1) // ROWS
            shape = tf.stack([length, titles, tf.shape(users)[0]])
            result = tf.reshape(products(values, groups, words, vectors), shape)
            if self._personalized:
                logits = tf.reshape(products(keys, groups, words, queries), shape)
                weights = tf.exp(logits - tf.reduce_max(logits, axis=0))
                # A title without words has no weights.
                result = tf.math.divide_no_nan(
                    tf.reduce_sum(weights * result, axis=0), tf.reduce_sum(weights, axis=0)
                )
            else:
                result = result[0]
            return block + 1, results.write(block, result)

        number = tf.shape(blocks)[0]
        results = tf.TensorArray(tf.float32, number, infer_shape=False, element_shape=[None, None])
        _, results = tf.while_loop(lambda block, _: block < number, score, (0, results))
        return tf.transpose(tf.gather(results.concat(), self._order))
