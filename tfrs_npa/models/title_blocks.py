"""Encoded titles, laid out so that all of them can be scored fast."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfrs_npa.layers.packed import packed_starts, padded_rows
from tfrs_npa.layers.untracked import Untracked
from tfrs_npa.models.news_encoder import NewsEncoder, unit
from tfrs_npa.models.title_layout import ROWS, TitleLayout
from tfrs_npa.models.traced import Traced
from tfrs_npa.models.user_encoder import num_interests

# Titles that are encoded, or moved, at a time.
_CHUNK = 4096


class TitleBlocks(tf.Module):
    """Titles encoded without a user, in blocks of equal length.

    The score of a title for a user vector u and a query q is `softmax_i(k_i . q) . (c_i . u)`: two
    products of packed words with all users, then a softmax within each title. The titles of a block
    have equally many words, and a block has the first words of all its titles, then all second
    words and so on. So its products are an array `[length, titles, users]`, and softmax and sum run
    along its first axis: nothing is padded, and nothing has to be gathered. Where vectors of titles
    have unit length or a user has several vectors, a block is pooled for each user first.

    Args:
        encoder: The candidate tower.
        dtype: `"float32"` or `"bfloat16"`, how words are kept. Products are float32.

    Attributes:
        order: `[titles]`, the place of each scored title in `block_scores`, a variable.
        query_dim: Size Q of a query; 0 where the weights of words depend on no user.
        width: Numbers that stand for a user, see `UserEncoder.flat`, and Q more.
    """

    def __init__(self, encoder: NewsEncoder, dtype: str = "float32"):
        super().__init__(name="title_blocks")
        config, attention = encoder.config, encoder.attention
        filters = config.num_filters
        self._interests = num_interests(config)
        self._pools = config.unit_vectors
        self._personalized = attention.kind == "personalized"
        # A key of the paper's form is the value itself.
        own_keys = self._personalized and attention.form == "recommenders"
        self.query_dim = 0
        if self._personalized:
            self.query_dim = config.attention_dim if own_keys else filters
        self.width = self._interests * (filters + encoder.num_terms) + self.query_dim

        def variable(shape, dtype):
            return tf.Variable(tf.zeros([0, *shape[1:]], dtype), trainable=False, shape=shape)

        # In groups of rows, so that a block begins where memory is aligned: TensorFlow copies
        # slices that do not. Shapes are open: other titles need no new trace.
        self._values = variable([None, ROWS, filters], dtype)
        self._keys = variable([None, ROWS, config.attention_dim], dtype) if own_keys else None
        # In the order of the blocks.
        self._terms = variable([None, encoder.num_terms], tf.float32)
        self._blocks = variable([None, 3], tf.int32)
        self.order = variable([None], tf.int32)
        self._untracked = Untracked(
            encoder=encoder,
            encode=Traced(
                self._encode,
                [tf.TensorSpec([None], tf.int32)],
                encoder.user_embedding,
                autograph=False,
            ),
            articles=np.zeros(0, np.int32),
            layout=TitleLayout(np.zeros(0, np.int32)),
        )

    @property
    def size(self) -> int:
        """Bytes that the titles take."""
        words = self._untracked.layout.rows * sum(
            part.shape[-1] * part.dtype.size for part in self._parts().values()
        )
        return words + len(self._untracked.articles) * self._terms.shape[1] * 4

    def _parts(self):
        parts = {"values": self._values}
        if self._keys is not None:
            parts["keys"] = self._keys
        return parts

    def update(
        self, articles: np.ndarray, from_scratch: bool = False, scored: int | None = None
    ) -> None:
        """Encodes and keeps these articles, and no others.

        Articles that are held already are moved, not encoded again; meanwhile the titles take twice
        their memory.

        Args:
            articles: `[titles]` distinct articles of the encoder.
            from_scratch: Whether to encode all of them again.
            scored: How many of the first ones `scores` is about; None: all.
        """
        if from_scratch:
            self._assign(np.zeros(0, np.int32), TitleLayout(np.zeros(0, np.int32)))
        own = self._untracked
        layout = TitleLayout(own.encoder.title_lengths()[articles], scored)
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
        terms = np.zeros([len(articles), self._terms.shape[1]], np.float32)
        terms[layout.order[target]] = self._terms.numpy()[own.layout.order[source]]
        for first in range(0, len(added), _CHUNK):
            chunk = added[first : first + _CHUNK]
            parts = own.encode(tf.constant(articles[chunk], tf.int32))
            write(layout.words(chunk), parts)
            if self._terms.shape[1]:
                terms[layout.order[chunk]] = parts["terms"]
        self._assign(articles, layout, wholes, terms, scored)

    def _assign(self, articles, layout, wholes=None, terms=None, scored=None):
        for name, part in self._parts().items():
            shape = [-1, *part.shape[1:]]
            whole = tf.zeros([0], part.dtype) if wholes is None else wholes.pop(name)
            part.assign(tf.reshape(whole, shape))
        self._terms.assign(np.zeros([0, self._terms.shape[1]]) if terms is None else terms)
        self._blocks.assign(layout.blocks)
        self.order.assign(layout.order[:scored])
        self._untracked.articles, self._untracked.layout = articles, layout

    def _encode(self, articles):
        encoder = self._untracked.encoder
        features = encoder.with_terms(encoder.title_features(articles))
        parts = {name: getattr(features, name) for name in self._parts()}
        if encoder.num_terms:
            parts["terms"] = tf.cast(features.terms, tf.float32)
        return parts

    def scores(self, users):
        """Scores titles for all users, in the order in which `update` was given them.

        Args:
            users: `[batch, width]` float32, what `UserEncoder.flat` gives and queries side by side.

        Returns:
            `[batch, titles]` float32.
        """
        return tf.transpose(tf.gather(self.block_scores(users), self.order))

    def block_scores(self, users):
        """Scores titles for all users, in the order in which they lie.

        Args:
            users: As in `scores`.

        Returns:
            `[titles, batch]` float32.
        """
        filters, number = self._values.shape[-1], tf.shape(users)[0]
        own = users[:, : self.width - self.query_dim]
        own = tf.reshape(own, [number, self._interests, filters + self._terms.shape[1]])
        vectors, factors = own[:, :, :filters], own[:, :, filters:]
        queries = tf.transpose(users[:, self.width - self.query_dim :])
        columns = tf.transpose(tf.reshape(vectors, [-1, filters]))
        values, blocks = self._values.read_value(), self._blocks.read_value()
        keys = values if self._keys is None else self._keys.read_value()
        terms = self._terms.read_value()
        starts = packed_starts(blocks[:, 2])

        def rows(part, groups):
            whole = tf.reshape(part[groups[0] : groups[1]], [-1, part.shape[-1]])
            return tf.cast(whole, tf.float32)

        def score(block, results):
            group, length, titles = tf.unstack(blocks[block], num=3)
            words = length * titles
            groups = group, group + (words + ROWS - 1) // ROWS
            shape = tf.stack([length, titles, number])
            if self._personalized:
                logits = tf.matmul(rows(keys, groups), queries)[:words]
                logits = tf.reshape(logits, shape)
                weights = tf.exp(logits - tf.reduce_max(logits, axis=0))
                # A title without words has no weights.
                weights = tf.math.divide_no_nan(weights, tf.reduce_sum(weights, axis=0))
            if self._personalized and self._pools:
                c = tf.reshape(rows(values, groups)[:words], [length, titles, filters])
                pooled = tf.einsum("lnu,lnf->nuf", weights, c)
                pooled = padded_rows(unit(pooled), ROWS)
                result = tf.einsum("nuf,uif->nui", pooled, vectors)
            elif self._personalized:
                result = tf.matmul(rows(values, groups), columns)[:words]
                result = tf.reduce_sum(weights * tf.reshape(result, shape), axis=0)
                result = padded_rows(result[:, :, tf.newaxis], ROWS)
            else:
                result = tf.matmul(rows(values, groups), columns)
                result = tf.reshape(result, [-1, number, self._interests])
            if self._terms.shape[1]:
                first = starts[block]
                part = padded_rows(terms[first : first + titles], ROWS)[:, tf.newaxis, tf.newaxis]
                for k in range(self._terms.shape[1]):
                    result += part[..., k] * factors[:, :, k]
            if self._interests == 1:
                result = result[:, :, 0]
            else:
                result = tf.reduce_logsumexp(result, axis=2)
            return block + 1, results.write(block, result[:titles])

        count = tf.shape(blocks)[0]
        results = tf.TensorArray(tf.float32, count, infer_shape=False, element_shape=[None, None])
        _, results = tf.while_loop(lambda block, _: block < count, score, (0, results))
        return results.concat()
