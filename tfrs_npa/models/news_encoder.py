"""The candidate tower: an article as one user sees it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfrs_npa.config import NPAConfig
from tfrs_npa.data.catalog import PADDING
from tfrs_npa.layers.byte_dropout import ByteDropout
from tfrs_npa.layers.packed import (
    packed_positions,
    packed_rows,
    packed_softmax,
    packed_starts,
)
from tfrs_npa.layers.personalized_attention import PersonalizedAttention
from tfrs_npa.layers.sparse_products import inner_products, weighted_sums
from tfrs_npa.layers.untracked import Untracked
from tfrs_npa.layers.user_embedding import UserEmbedding


class TitleFeatures(NamedTuple):
    """Titles encoded up to the point where a user is needed, their words packed.

    Attributes:
        values: `[words, num_filters]`, the contextual words c_i.
        keys: `[words, attention_dim]` (`num_filters` in the `paper` form), what a user's query is
            compared with; None where the weights of the words depend on no user. The title is then
            pooled already, and is a single word here.
        starts: `[titles]`, the first word of each title.
        lengths: `[titles]`, the words of each title.
    """

    values: tf.Tensor
    keys: tf.Tensor | None
    starts: tf.Tensor
    lengths: tf.Tensor


class NewsEncoder(tf.keras.Model):
    """Personalised news encoder (Wu et al., KDD 2019, section 3.1): the candidate tower.

    Word embeddings, a convolution over them, and an attention over its outputs whose query is
    the user. All but the last step is the same for every user, so it is done once for each
    distinct article of a call. Words are packed one title after the other: nothing is computed
    for padding, unless the configuration says that padding takes part.

    Args:
        config: Hyper-parameters.
        tokens: `[articles, title_length]` word indices of every article's title, 0 at padding.
            Not a weight: it is neither trained nor saved with the weights.
        num_words: Rows V of the word table.
        user_embedding: The table of users, shared with the query tower.
        word_embeddings: `[num_words, word_embedding_dim]` initial values of the word table; None:
            random.

    Call arguments:
        inputs: A dict of `user_id` `[batch]` and `news_id` `[batch]`, indices of the user index
            and of the catalogue.
        training: Whether dropout is on.

    Returns:
        `[batch, num_filters]`: the vector r_u of each article for its user.
    """

    def __init__(
        self,
        config: NPAConfig,
        tokens,
        num_words: int,
        user_embedding: UserEmbedding,
        word_embeddings=None,
        name: str = "candidate_tower",
    ):
        super().__init__(name=name)
        self.config = config
        self.user_embedding = user_embedding
        self._untracked = Untracked(
            tokens=tf.Variable(
                tokens, trainable=False, dtype=tf.int32, shape=[None, None], name="tokens"
            )
        )
        self.word_table = self.add_weight(
            name="word_table",
            shape=(num_words, config.word_embedding_dim),
            initializer=(
                tf.keras.initializers.RandomNormal(stddev=0.4, seed=config.seed)
                if word_embeddings is None
                else tf.keras.initializers.Constant(word_embeddings)
            ),
        )
        self.convolution_kernel = self.add_weight(
            name="convolution_kernel",
            shape=(config.window_size, config.word_embedding_dim, config.num_filters),
            initializer=tf.keras.initializers.GlorotUniform(config.seed + 1),
        )
        self.convolution_bias = self.add_weight(
            name="convolution_bias",
            shape=(config.num_filters,),
            initializer=tf.keras.initializers.Constant(config.filter_bias),
        )
        self.attention = PersonalizedAttention(
            kind=config.word_attention,
            form=config.attention,
            attention_dim=config.attention_dim,
            dropout=config.pooling_dropout,
            seed=config.seed + 10,
            name="word_attention",
        )
        self.attention.build(((None, None, config.num_filters), (None, config.user_embedding_dim)))
        # One layer for both would draw the same bytes in both places of a graph.
        self._word_dropout = ByteDropout(config.dropout, config.seed + 2)
        self._dropout = ByteDropout(config.dropout, config.seed + 3)
        self.built = True

    @property
    def tokens(self) -> tf.Variable:
        """`[articles, title_length]` word indices of the articles that can be encoded."""
        return self._untracked.tokens

    def title_lengths(self) -> np.ndarray:
        """Returns the words of each article's title, as `TitleFeatures` counts them.

        Returns:
            `[articles]` int32.
        """
        tokens = self.tokens.numpy()
        if self.attention.kind != "personalized":
            return np.ones(len(tokens), np.int32)
        if self.config.mask_padding:
            return np.count_nonzero(tokens != PADDING, axis=1).astype(np.int32)
        return np.full(len(tokens), tokens.shape[1], np.int32)

    def title_features(self, news_id, training=False):
        """Encodes titles up to the point where a user is needed.

        Args:
            news_id: `[articles]` indices of the catalogue.
            training: Whether dropout is on.

        Returns:
            `TitleFeatures` of the articles.
        """
        return self.encode_titles(tf.gather(self.tokens, news_id), training)

    def distinct_features(self, news_id, training=False):
        """Encodes each distinct article once.

        Args:
            news_id: `[articles]` indices of the catalogue.
            training: Whether dropout is on.

        Returns:
            The pair of `TitleFeatures` and `[articles]`, the title of each article in them.
        """
        distinct, titles = tf.unique(tf.cast(news_id, tf.int32))
        return self.title_features(distinct, training), titles

    def encode_titles(self, tokens, training=False):
        """Encodes arbitrary titles, as `title_features` does for articles.

        Args:
            tokens: As in `contextual_words`.
            training: Whether dropout is on.

        Returns:
            `TitleFeatures` of the titles.
        """
        values, lengths = self.contextual_words(tokens, training)
        values = self.attention.dropped(values, training)
        keys = self.attention.keys(values)
        if self.attention.kind != "personalized":
            pooled = self.attention.pool_packed(values, keys, self.attention.query(None), lengths)
            values, keys, lengths = pooled["output"], None, tf.ones_like(lengths)
        return TitleFeatures(values, keys, packed_starts(lengths), lengths)

    def contextual_words(self, tokens, training=False):
        """Encodes the words of titles (Wu et al., KDD 2019, equation 1).

        Args:
            tokens: `[titles, title_length]` word indices, 0 at padding, which is on the right.
            training: Whether dropout is on.

        Returns:
            The pair of `[words, num_filters]`, the contextual words c_i of one title after the
            other, and `[titles]`, how many each title has: where padding is masked, its real words.
        """
        if self.config.mask_padding:
            real = tokens != PADDING
            lengths = tf.math.count_nonzero(real, axis=1, dtype=tf.int32)
            words = tf.boolean_mask(tokens, real)
        else:
            lengths = tf.repeat(tf.shape(tokens)[1], tf.shape(tokens)[0])
            words = tf.reshape(tokens, [-1])
        distinct, words = tf.unique(words)
        x = tf.cast(tf.gather(self.word_table, distinct), self.compute_dtype)
        x = self._word_dropout(x, training=training)
        return self._dropout(self._convolve(x, words, lengths), training=training), lengths

    def _convolve(self, x, words, lengths):
        """Convolves packed titles, `same` padding: `relu(sum_o K_o x[i + o] + b)`.

        The products `K_o x` are made once for each distinct word and then added up.

        Args:
            x: `[distinct words, word_embedding_dim]`.
            words: `[words]` rows of `x`, one title after the other.
            lengths: `[articles]` words of each title.

        Returns:
            `[words, num_filters]`.
        """
        window, _, filters = self.convolution_kernel.shape
        kernel = tf.cast(tf.concat(tf.unstack(self.convolution_kernel), axis=1), x.dtype)
        projected = tf.reshape(tf.matmul(x, kernel), [-1, filters])
        # What each word and its neighbours add up: rows of `projected`, `window` for each word.
        offsets = [step - (window - 1) // 2 for step in range(window)]
        number = tf.size(words)
        first = tf.repeat(packed_starts(lengths), lengths)
        before = tf.range(number) - first
        after = tf.repeat(lengths, lengths) - before
        # Vectors, because TensorFlow takes ten times longer over a comparison that broadcasts.
        inside = tf.stack([(before >= -o) & (after > o) for o in offsets], axis=1)
        at = tf.where(inside, tf.range(number)[:, tf.newaxis] + offsets, 0)
        terms = tf.gather(words, at) * window + tf.range(window)
        rows = tf.cast(tf.where(inside)[:, 0], tf.int32)
        sums = weighted_sums(None, projected, rows, tf.boolean_mask(terms, inside), number)
        return tf.nn.relu(sums + tf.cast(self.convolution_bias, x.dtype))

    def pool(self, features, titles, rows, query):
        """Returns the vectors r_u of titles for users.

        Args:
            features: `TitleFeatures`.
            titles: `[pairs]` titles of `features`.
            rows: `[pairs]` rows of `query`, ascending: who each title is encoded for.
            query: What `attention.query` makes of the users, `[batch, ...]`.

        Returns:
            `[pairs, num_filters]`.
        """
        if features.keys is None:
            return tf.gather(features.values, titles)
        weights, words, lengths = self.word_weights(features, titles, rows, query)
        return weighted_sums(
            weights, features.values, packed_rows(lengths), words, tf.size(lengths)
        )

    def word_weights(self, features, titles, rows, query):
        """Returns the personalised weights of the words of titles (equation 4 of the paper).

        Args:
            features: `TitleFeatures` with keys.
            titles: As in `pool`.
            rows: As in `pool`.
            query: As in `pool`.

        Returns:
            `[words]` weights, one title after the other; `[words]`, the words of `features` that
            they are of; and `[pairs]`, the words of each title.
        """
        lengths = tf.gather(features.lengths, titles)
        words = packed_positions(tf.gather(features.starts, titles), lengths)
        owners = tf.repeat(rows, lengths)
        weights = packed_softmax(inner_products(query, features.keys, owners, words), lengths)
        return weights, words, lengths

    def score(self, features, titles, rows, query, user):
        """Returns the inner products of the vectors r_u of titles and user vectors.

        Args:
            features: As in `pool`.
            titles: As in `pool`.
            rows: As in `pool`.
            query: As in `pool`.
            user: `[batch, num_filters]` user vectors.

        Returns:
            `[pairs]`.
        """
        if features.keys is None:
            return inner_products(user, features.values, rows, titles)
        vectors = self.pool(features, titles, rows, query)
        return inner_products(user, vectors, rows, tf.range(tf.size(rows)))

    def call(self, inputs, training=False):
        """Encodes articles for users; see the class."""
        user_embedding = self.user_embedding(inputs["user_id"], training=training)
        features, titles = self.distinct_features(inputs["news_id"], training)
        rows = tf.range(tf.shape(user_embedding)[0])
        query = self.attention.query(user_embedding)
        return self.pool(features, titles, rows, query)
