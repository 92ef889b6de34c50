"""NPA as its definition reads: what the fast model has to agree with."""

from __future__ import annotations

import tensorflow as tf

import tfrs_npa
from tfrs_npa.data.catalog import PADDING
from tfrs_npa.data.users import UNKNOWN_USER
from tfrs_npa.layers.personalized_attention import MASKED_LOGIT


class PlainNPA(tfrs_npa.NPA):
    """NPA that encodes every article of every impression separately, padding included.

    The weights, and the way to train, to evaluate and to save them, are those of `NPA`; so are the
    scores. Nothing is shared between equal titles or words, not even a dropout mask, and nothing is
    encoded ahead of an evaluation.

    Args:
        config: As for `NPA`.
        catalog: As for `NPA`.
        users: As for `NPA`.

    Attributes:
        word_dropout: Dropout of word embeddings.
        filter_dropout: Dropout of the output of the convolution.
        title_dropout: Dropout of what the attention over words pools.
        history_dropout: Dropout of what the attention over clicks pools.

    Call arguments:
        features: As for `NPA`.
        training: Whether dropout is on.

    Returns:
        `[batch, candidates]` float32 logits; -1e9 at padding.
    """

    def __init__(self, config, catalog, users, name="plain_npa"):
        super().__init__(config, catalog, users, name=name)
        self.encoding_memory = 0

        def dropout(rate, seed):
            return tf.keras.layers.Dropout(rate, seed=config.seed + seed)

        self.word_dropout = dropout(config.dropout, 2)
        self.filter_dropout = dropout(config.dropout, 3)
        self.title_dropout = dropout(config.pooling_dropout, 10)
        self.history_dropout = dropout(config.pooling_dropout, 20)

    def call(self, features, training=False):
        """Scores candidates; see the class."""
        embedding = self.user_embedding(features["user_id"], training=training)
        candidates = tf.convert_to_tensor(features["candidates"])
        history = self.query_tower.known(tf.convert_to_tensor(features["history"]))
        articles = self._articles(candidates, embedding, training)
        if self.config.user_interest == "density":
            logits = self._density_ratio(history, articles, candidates, embedding, training)
        else:
            user = self._users(history, embedding, training)
            logits = tf.linalg.matvec(articles, user)
            if self.config.unit_vectors:
                logits *= self.candidate_tower.logit_scale
        if self.config.item_bias:
            shown = self._for_everyone(candidates, training)
            logits += tf.linalg.matvec(shown, self.candidate_tower.item_bias)
        logits = tf.where(candidates != PADDING, logits, MASKED_LOGIT)
        return self.with_unknown_articles(logits, candidates)

    def _articles(self, news_id, embedding, training):
        """Encodes articles `[batch, slots]` for `[batch, user_embedding_dim]` users.

        Returns:
            `[batch, slots, num_filters]`.
        """
        tower, attention = self.candidate_tower, self.candidate_tower.attention
        tokens = tf.gather(tower.tokens, news_id)
        words = self.word_dropout(tf.gather(tower.word_table, tokens), training=training)
        mask = None
        if self.config.mask_padding:
            mask = tokens != PADDING
            words *= tf.cast(mask, words.dtype)[..., tf.newaxis]
        values = tf.nn.conv1d(words, tower.convolution_kernel, stride=1, padding="SAME")
        values = tf.nn.relu(values + tower.convolution_bias)
        if self.config.residual:
            filters = self.config.num_filters
            own = tf.pad(words, [[0, 0], [0, 0], [0, 0], [0, filters]])[..., :filters]
            values = own + tower.convolution_scale * values
        values = self.filter_dropout(values, training=training)
        values = self.title_dropout(values, training=training)
        query = attention.query(embedding)
        if query is not None:
            query = query[:, tf.newaxis]  # one user, all slots
        vectors = attention.pool(values, attention.keys(values), query, mask)["output"]
        return tf.math.l2_normalize(vectors, axis=-1) if self.config.unit_vectors else vectors

    def _for_everyone(self, news_id, training):
        """Encodes articles `[batch, slots]` for the unknown user; `[batch, slots, num_filters]`."""
        unknown = tf.fill([tf.shape(news_id)[0]], UNKNOWN_USER)
        return self._articles(news_id, self.user_embedding(unknown), training)

    def _density_ratio(self, history, articles, candidates, embedding, training):
        """Compares the density of a user's clicks with that of everyone's; see `UserEncoder`.

        Returns:
            `[batch, candidates]`.
        """
        tower, attention = self.candidate_tower, self.query_tower.attention

        def kernels(vectors, places):
            return tf.exp(tower.logit_scale * tf.matmul(vectors, places, transpose_b=True))

        clicked = self._articles(history, embedding, training)
        values = self.history_dropout(clicked, training=training)
        mask = history != PADDING if self.config.mask_padding else None
        query = attention.query(embedding)
        pooled = attention.pool(values, attention.keys(values), query, mask)
        weights, mean = pooled["attention"], pooled["output"]
        own = tf.linalg.matvec(kernels(articles, clicked), weights)
        shown = self._for_everyone(candidates, training)
        everyone = tf.nn.softmax(tower.background_logits)
        everyones = tf.linalg.matvec(kernels(shown, tower.background), everyone)
        counts = tf.ones_like(history) if mask is None else tf.cast(mask, history.dtype)
        counts = tf.cast(tf.reduce_sum(counts, axis=1, keepdims=True), own.dtype)
        prior = tf.exp(self.query_tower.log_prior_clicks)
        logits = tf.math.log((counts * own / everyones + prior) / (counts + prior))
        if self.config.mean_weight:
            scale = self.query_tower.mean_weight * tower.logit_scale
            logits += scale * tf.linalg.matvec(articles, mean)
        return logits

    def _users(self, history, embedding, training):
        """Encodes `[batch, user_embedding_dim]` users by their clicks `[batch, history]`.

        Returns:
            `[batch, num_filters]`.
        """
        attention = self.query_tower.attention
        values = self._articles(history, embedding, training)
        values = self.history_dropout(values, training=training)
        mask = history != PADDING if self.config.mask_padding else None
        query = attention.query(embedding)
        users = attention.pool(values, attention.keys(values), query, mask)["output"]
        if mask is None:
            return users
        has_clicks = tf.reduce_any(mask, axis=1, keepdims=True)
        return tf.where(has_clicks, users, self.query_tower.default_history)
