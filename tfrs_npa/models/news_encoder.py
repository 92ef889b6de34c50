"""The candidate tower: an article as one user sees it."""

from __future__ import annotations

import types

import tensorflow as tf

from tfrs_npa.config import NPAConfig
from tfrs_npa.layers.personalized_attention import PersonalizedAttention
from tfrs_npa.layers.user_embedding import UserEmbedding

# Index of a padded word and of a padded article.
PADDING = 0


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
        # A plain namespace, so that Keras neither saves the tokens nor counts them as weights.
        self._table = types.SimpleNamespace(
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
        self._dropout = tf.keras.layers.Dropout(config.dropout, seed=config.seed + 2)
        self.built = True

    @property
    def tokens(self) -> tf.Variable:
        """`[articles, title_length]` word indices of the articles that can be encoded."""
        return self._table.tokens

    def title_features(self, news_id, training=False):
        """Encodes titles as far as no user is needed.

        Args:
            news_id: `[articles]` indices of the catalogue.
            training: Whether dropout is on.

        Returns:
            A dict of packed features: `values` `[words, num_filters]`, the contextual words c_i of
            one title after the other; `keys` `[words, attention_dim]` (`num_filters` in the
            `paper` form; None for mean pooling), what a user's query is compared with; `lengths`
            `[articles]`, the words of each title.
        """
        tokens = tf.gather(self.tokens, news_id)
        if self.config.mask_padding:
            real = tokens != PADDING
            lengths = tf.math.count_nonzero(real, axis=1, dtype=tf.int32)
            words = tf.boolean_mask(tokens, real)
        else:
            lengths = tf.repeat(tf.shape(tokens)[1], tf.shape(tokens)[0])
            words = tf.reshape(tokens, [-1])
        distinct, words = tf.unique(words)
        x = tf.cast(tf.gather(self.word_table, distinct), self.compute_dtype)
        x = self._dropout(x, training=training)
        values = self._dropout(self._convolve(x, words, lengths), training=training)
        values = self.attention.dropped(values, training)
        return {"values": values, "keys": self.attention.keys(values), "lengths": lengths}

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
        projected = tf.split(tf.matmul(x, kernel), window, axis=1)
        ends = tf.repeat(lengths, lengths)
        place = tf.range(tf.size(words)) - tf.repeat(tf.cumsum(lengths, exclusive=True), lengths)
        nothing = tf.zeros([1, filters], x.dtype)
        output = tf.cast(self.convolution_bias, x.dtype)
        for step, by_word in zip(range(-((window - 1) // 2), window // 2 + 1), projected):
            if step:
                inside = (place + step >= 0) & (place + step < ends)
                by_word = tf.concat([by_word, nothing], axis=0)
                neighbours = tf.where(inside, tf.roll(words, -step, axis=0), tf.shape(x)[0])
            else:
                neighbours = words
            output = output + tf.gather(by_word, neighbours)
        return tf.nn.relu(output)

    def encode(self, news_id, rows, user_embedding, training=False):
        """Encodes articles for users, each distinct title once.

        Args:
            news_id: `[pairs]` indices of the catalogue.
            rows: `[pairs]` rows of `user_embedding`: who each article is encoded for.
            user_embedding: `[batch, user_embedding_dim]`.
            training: Whether dropout is on.

        Returns:
            A dict of `output` `[pairs, num_filters]`, the vectors r_u, and `attention`, a ragged
            `[pairs, (words)]`, the weights of the words of each title.
        """
        distinct, title = tf.unique(news_id)
        features = self.title_features(distinct, training)
        values, keys, lengths = features["values"], features["keys"], features["lengths"]
        query = self.attention.query(user_embedding)
        if self.attention.kind != "personalized":
            pooled = self.attention.pool_packed(values, keys, query, lengths)
            return {name: tf.gather(value, title) for name, value in pooled.items()}
        starts = tf.gather(tf.cumsum(lengths, exclusive=True), title)
        lengths = tf.gather(lengths, title)
        words = tf.ragged.range(starts, starts + lengths).flat_values
        return self.attention.pool_packed(
            tf.gather(values, words), tf.gather(keys, words), tf.gather(query, rows), lengths
        )

    def call(self, inputs, training=False):
        """Encodes articles for users; see the class."""
        user_embedding = self.user_embedding(inputs["user_id"], training=training)
        rows = tf.range(tf.shape(user_embedding)[0])
        return self.encode(inputs["news_id"], rows, user_embedding, training)["output"]
