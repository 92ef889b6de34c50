"""The query tower: encodes a user from their clicks."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfrs_npa.config import NPAConfig
from tfrs_npa.data.catalog import PADDING
from tfrs_npa.layers.packed import packed_rows
from tfrs_npa.layers.personalized_attention import PersonalizedAttention
from tfrs_npa.layers.user_embedding import UserEmbedding
from tfrs_npa.models.news_encoder import NewsEncoder


class Clicks(NamedTuple):
    """Histories, packed one after the other.

    Attributes:
        news_id: `[clicks]` int32 indices of the catalogue.
        lengths: `[batch]` int32 clicks of each history.
        slots: `[clicks]`, how many slots of the history each stands for; None: one.
    """

    news_id: tf.Tensor
    lengths: tf.Tensor
    slots: tf.Tensor | None


class UserEncoder(tf.keras.Model):
    """Personalised user encoder (Wu et al., KDD 2019, section 3.2): the query tower.

    Attention over the vectors of the articles that the user clicked, with the user as the query.
    Where padding is masked, a user without clicks gets a learned default vector.

    Args:
        config: Hyper-parameters.
        user_embedding: The table of users, shared with the candidate tower.
        news_encoder: The candidate tower, which encodes the clicked articles.

    Call arguments:
        inputs: A dict of `user_id` `[batch]` and `history` `[batch, history]`, indices of the
            user index and of the catalogue, 0 where a history is padded.
        training: Whether dropout is on.

    Returns:
        `[batch, num_filters]` user vectors.
    """

    def __init__(
        self,
        config: NPAConfig,
        user_embedding: UserEmbedding,
        news_encoder: NewsEncoder,
        name: str = "query_tower",
    ):
        super().__init__(name=name)
        self.config = config
        self.user_embedding = user_embedding
        self.news_encoder = news_encoder
        self.attention = PersonalizedAttention(
            kind=config.news_attention,
            form=config.attention,
            attention_dim=config.attention_dim,
            dropout=config.pooling_dropout,
            seed=config.seed + 20,
            name="news_attention",
        )
        self.attention.build(((None, None, config.num_filters), (None, config.user_embedding_dim)))
        if config.mask_padding:
            self.default_history = self.add_weight(
                name="default_history", shape=(config.num_filters,), initializer="zeros"
            )
        self.built = True

    def clicks(self, history) -> Clicks:
        """Packs histories.

        Padding is left out where it is masked. Where it takes part, its slots are alike: a history
        has the padded article once, for all of them.

        Args:
            history: `[batch, history]` indices of the catalogue, 0 at padding.
        """
        history = tf.cast(history, tf.int32)
        kept = history != PADDING
        slots = None
        if not self.config.mask_padding:
            padding = tf.cast(~kept, tf.int32)
            first = ~kept & (tf.cumsum(padding, axis=1) == 1)
            slots = tf.where(first, tf.reduce_sum(padding, axis=1, keepdims=True), 1)
            kept |= first
            slots = tf.boolean_mask(slots, kept)
        lengths = tf.math.count_nonzero(kept, 1, dtype=tf.int32)
        return Clicks(tf.boolean_mask(history, kept), lengths, slots)

    def encode(self, clicks: Clicks, features, titles, user_embedding, training=False):
        """Encodes users from their clicks, the one place where a history becomes a user vector.

        Args:
            clicks: The result of `clicks`.
            features: `TitleFeatures` that hold the titles of the clicked articles.
            titles: `[clicks]` the title of each clicked article in `features`.
            user_embedding: `[batch, user_embedding_dim]`.
            training: Whether dropout is on.

        Returns:
            A dict of `output`, `[batch, num_filters]` user vectors; `attention`, a ragged `[batch,
            (clicks)]`, the weights of the clicked articles, that of padding over all its slots;
            and `word_query`, what `attention.query` of the candidate tower makes of the users.
        """
        word_query = self.news_encoder.attention.query(user_embedding)
        rows = packed_rows(clicks.lengths)
        vectors = self.news_encoder.pool(features, titles, rows, word_query)
        values = self.attention.dropped(vectors, training)
        query = self.attention.query(user_embedding)
        if self.attention.kind == "personalized":
            query = tf.repeat(query, clicks.lengths, axis=0)
        keys = self.attention.keys(values)
        pooled = self.attention.pool_packed(values, keys, query, clicks.lengths, clicks.slots)
        if self.config.mask_padding:
            default = tf.cast(self.default_history, vectors.dtype)
            has_clicks = clicks.lengths[:, tf.newaxis] > 0
            pooled["output"] = tf.where(has_clicks, pooled["output"], default)
        return {**pooled, "word_query": word_query}

    def call(self, inputs, training=False):
        """Encodes users; see the class."""
        user_embedding = self.user_embedding(inputs["user_id"], training=training)
        clicks = self.clicks(inputs["history"])
        features, titles = self.news_encoder.distinct_features(clicks.news_id, training)
        return self.encode(clicks, features, titles, user_embedding, training)["output"]
