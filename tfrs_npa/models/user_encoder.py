"""The query tower: encodes a user from their clicks."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfrs_npa._shards import WholeWeights
from tfrs_npa.config import NPAConfig
from tfrs_npa.data.catalog import PADDING, UNKNOWN_ARTICLE
from tfrs_npa.layers.packed import packed_rows, packed_to_dense, selected
from tfrs_npa.layers.personalized_attention import MASKED_LOGIT, PersonalizedAttention
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


def num_interests(config: NPAConfig) -> int:
    """Returns the most vectors that a user can have."""
    return 1 + config.history_length if config.user_interest == "density" else 1


class UserEncoder(WholeWeights, tf.keras.Model):
    """Personalised user encoder (Wu et al., KDD 2019, section 3.2): the query tower.

    Attention over the vectors r_j of the articles that the user clicked, with the user as the
    query, gives weights a_j. There are two ways to go on from there (`config.user_interest`):

    - `"mean"`, as published: the user vector is `sum_j a_j r_j`. Where padding is masked, a user
      without clicks gets a learned default vector. Where r_j has unit length, the vector is
      multiplied by the learned factor b.
    - `"density"`: a reader's interest is a density over titles, with a kernel at each click, and
      the score of an article n is how much denser its place is for the reader than for everyone:

          log((h sum_j a_j exp(b r_n . r_j) / p(n) + m) / (h + m)) + c b r_n . sum_j a_j r_j

      with h clicks and everyone's density p(n), see `NewsEncoder`. The learned m > 0 is how many
      clicks of everyone each reader is given (a Dirichlet prior, as in language models for
      retrieval: Zhai & Lafferty, SIGIR 2001, section 3), so that few clicks say little and
      none say nothing. The learned c (`config.mean_weight`) tilts the density towards the mean: a
      kernel knows only the titles near one click, the mean what all of them share. It has a user
      vector for each click, and one for m.

    Args:
        config: Hyper-parameters.
        user_embedding: The table of users, shared with the candidate tower.
        news_encoder: The candidate tower, which encodes the clicked articles.

    Call arguments:
        inputs: A dict of `user_id` `[batch]` and `history` `[batch, history]`, indices of the
            user index and of the catalogue, 0 where a history is padded. `further_titles`
            `[titles, title_length]`, if it is there, are the words of titles that are in no
            catalogue; indices beyond it stand for them.
        training: Whether dropout is on.

    Returns:
        User vectors, to be multiplied with those of the candidate tower: `[batch, num_filters +
        num_terms]`, or with `"density"` `[batch, 1 + history, num_filters + num_terms]`, whose
        products `logsumexp` adds up; see `scores`.
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
            uniform_start=config.uniform_attention,
            seed=config.seed + 20,
            name="news_attention",
        )
        self.attention.build(((None, None, config.num_filters), (None, config.user_embedding_dim)))
        if config.user_interest == "density":
            self.log_prior_clicks = self.add_weight(
                name="log_prior_clicks", shape=(), initializer="zeros"
            )
            if config.mean_weight:
                self.mean_weight = self.add_weight(
                    name="mean_weight",
                    shape=(),
                    initializer=tf.keras.initializers.Constant(config.mean_weight),
                )
        elif config.mask_padding:
            self.default_history = self.add_weight(
                name="default_history", shape=(config.num_filters,), initializer="zeros"
            )
        self.built = True

    def read(self, clicks):
        """Returns which clicks are read: the latest `history_length`.

        Articles that the catalogue does not hold are no clicks where they are left out
        (`config.unknown_articles`).

        Args:
            clicks: `[batch, clicks]` int32 indices of the catalogue, oldest first, 0 at padding,
                which is on either side.

        Returns:
            Booleans `[batch, clicks]`.
        """
        is_click = self.known(clicks) != PADDING
        later = tf.cumsum(tf.cast(is_click, tf.int32), axis=1, reverse=True)
        return is_click & (later <= self.config.history_length)

    def histories(self, clicks):
        """Returns the histories that a call takes, of all clicks of users.

        Args:
            clicks: As in `read`.

        Returns:
            `[batch, history]` int32, padded with 0 on the right; always as wide as `history_length`
            where padding takes part.
        """
        width = None if self.config.mask_padding else self.config.history_length
        history = tf.ragged.boolean_mask(clicks, self.read(clicks))
        return history.to_tensor(PADDING, shape=[None, width])

    def known(self, clicks):
        """Returns clicks with padding in place of unknown articles, where they are left out."""
        if self.config.unknown_articles == "left_out":
            return tf.where(clicks == UNKNOWN_ARTICLE, PADDING, clicks)
        return clicks

    @tf.autograph.experimental.do_not_convert
    def clicks(self, history) -> Clicks:
        """Packs histories.

        Padding is left out where it is masked. Where it takes part, its slots are alike: a history
        has the padded article once, for all of them.

        Args:
            history: `[batch, history]` indices of the catalogue, 0 at padding.
        """
        history = self.known(tf.cast(history, tf.int32))
        kept = history != PADDING
        slots = None
        if not self.config.mask_padding:
            padding = tf.cast(~kept, tf.int32)
            first = ~kept & (tf.cumsum(padding, axis=1) == 1)
            slots = tf.where(first, tf.reduce_sum(padding, axis=1, keepdims=True), 1)
            kept |= first
            slots = selected(slots, kept)
        lengths = tf.math.count_nonzero(kept, 1, dtype=tf.int32)
        return Clicks(selected(history, kept), lengths, slots)

    @tf.autograph.experimental.do_not_convert
    def encode(
        self, clicks: Clicks, features, titles, user_embedding, training=False, word_query=None
    ):
        """Encodes users from their clicks, the one place where a history becomes a user vector.

        Args:
            clicks: The result of `clicks`.
            features: `TitleFeatures` that hold the titles of the clicked articles.
            titles: `[clicks]` the title of each clicked article in `features`.
            user_embedding: `[batch, user_embedding_dim]`.
            training: Whether dropout is on.
            word_query: What the keys of `features` are compared with, if that is not what
                `attention.query` of the candidate tower makes of the users.

        Returns:
            A dict of `output`, the user vectors, as `call` returns them; `vectors`, `[clicks,
            num_filters]`, those of the clicked articles; `attention`, a ragged `[batch, (clicks)]`,
            their weights, that of padding over all its slots; and `word_query`.
        """
        if word_query is None:
            word_query = self.news_encoder.attention.query(user_embedding)
        rows = packed_rows(clicks.lengths)
        vectors = self.news_encoder.pool(features, titles, rows, word_query)
        values = self.attention.dropped(vectors, training)
        query = self.attention.query(user_embedding)
        if self.attention.kind == "personalized":
            query = tf.repeat(query, clicks.lengths, axis=0)
        keys = self.attention.keys(values)
        pooled = self.attention.pool_packed(values, keys, query, clicks.lengths, clicks.slots)
        weights = pooled["attention"].flat_values
        pooled["output"] = self.user_vectors(pooled["output"], clicks, vectors, weights)
        return pooled | {"vectors": vectors, "word_query": word_query}

    @tf.autograph.experimental.do_not_convert
    def user_vectors(self, means, clicks: Clicks, vectors=None, weights=None):
        """Returns what `call` does, from the attention over the history.

        Args:
            means: `[batch, num_filters]` weighted sums of the vectors of clicked articles.
            clicks: The result of `clicks`.
            vectors: `[clicks, num_filters]` of the clicked articles, for a density.
            weights: `[clicks]` their weights, for a density.
        """
        scale = (
            tf.cast(self.news_encoder.logit_scale, means.dtype) if self.config.unit_vectors else 1
        )
        if self.config.user_interest == "density":
            output = self._densities(vectors, weights, clicks)
            if self.config.mean_weight:
                # In every vector, so that it comes out of `logsumexp` as it went in.
                tilt = tf.cast(self.mean_weight, means.dtype) * scale * means
                tilt = tf.pad(tilt, [[0, 0], [0, self.news_encoder.num_terms]])
                output += tilt[:, tf.newaxis]
            return output
        if self.config.mask_padding:
            default = tf.cast(self.default_history, means.dtype)
            means = tf.where(clicks.lengths[:, tf.newaxis] > 0, means, default)
        means *= scale
        if self.news_encoder.num_terms:
            means = tf.pad(means, [[0, 0], [0, 1]], constant_values=1)
        return means

    def _densities(self, vectors, weights, clicks):
        """Returns a user vector for each click, and one for the prior before them; see the class.

        Args:
            vectors: `[clicks, num_filters]` of the clicked articles.
            weights: `[clicks]`, their weights.
            clicks: `Clicks`.

        Returns:
            `[batch, 1 + history, num_filters + num_terms]`.
        """
        dtype, encoder = vectors.dtype, self.news_encoder
        log_clicks, log_prior = self._log_shares(clicks)
        logits = tf.math.log(tf.maximum(tf.cast(weights, tf.float32), 1e-30))
        logits += tf.repeat(log_clicks, clicks.lengths)
        kernel = [vectors * tf.cast(encoder.logit_scale, dtype), tf.cast(logits, dtype)[:, None]]
        ones = tf.ones([tf.size(logits), encoder.num_terms - 1], dtype)
        # Padding has no kernel.
        rows = packed_to_dense(tf.concat([*kernel, ones], axis=1), clicks.lengths)
        width = encoder.config.num_filters
        real = tf.sequence_mask(clicks.lengths, tf.shape(rows)[1])
        nothing = tf.one_hot(width, width + encoder.num_terms, MASKED_LOGIT, dtype=dtype)
        rows = tf.where(real[:, :, tf.newaxis], rows, nothing)
        # The prior's density is everyone's: it cancels.
        prior = tf.one_hot(width, width + encoder.num_terms, dtype=dtype)
        prior *= tf.cast(log_prior, dtype)[:, tf.newaxis]
        if self.config.item_bias:
            prior += tf.one_hot(width + 2, width + encoder.num_terms, dtype=dtype)
        return tf.concat([prior[:, tf.newaxis], rows], axis=1)

    def _log_shares(self, clicks):
        """Returns the logarithms of h / (h + m) and of m / (h + m), each `[batch]` float32."""
        counts = clicks.lengths
        if clicks.slots is not None:
            counts = tf.math.unsorted_segment_sum(
                clicks.slots, packed_rows(clicks.lengths), tf.size(clicks.lengths)
            )
        ratio = tf.math.log(tf.maximum(tf.cast(counts, tf.float32), 1e-9))
        ratio -= tf.cast(self.log_prior_clicks, tf.float32)
        return -tf.nn.softplus(-ratio), -tf.nn.softplus(ratio)

    def scores(self, users, articles):
        """Returns the scores of articles, from what the two towers return.

        Args:
            users: The result of a call.
            articles: `[batch, candidates, num_filters + num_terms]` of the candidate tower, each
                encoded for its user.

        Returns:
            `[batch, candidates]`.
        """
        if users.shape.rank == 2:
            return tf.linalg.matvec(articles, users)
        return tf.reduce_logsumexp(tf.matmul(articles, users, transpose_b=True), axis=2)

    @tf.autograph.experimental.do_not_convert
    def contributions(self, encoded, clicks: Clicks, articles):
        """Returns what each clicked article adds to the scores of articles.

        With one user vector, article j adds `a_j r_n . r_j`, times b where r_j has unit length.
        With a density, it adds its part of the tilt, `c b a_j r_n . r_j`, and its share in the
        logarithm of a sum. This is its Aumann-Shapley value (Aumann & Shapley, 1974, "Values of
        non-atomic games"; in machine learning, integrated gradients: Sundararajan et al., ICML
        2017, section 3), the one that starts from clicks that say nothing, and so from a density
        which is everyone's:

            pi_j (rho_j - 1) log(1 + D) / D,    D = sum_j pi_j (rho_j - 1)

        where rho_j = exp(b r_n . r_j) / p(n) is how much denser the kernel at j is than everyone's
        density, and pi_j = h a_j / (h + m). It is above 0 where rho_j is above 1.

        Args:
            encoded: The result of `encode`.
            clicks: As `encode` was given them.
            articles: `[batch, candidates, num_filters + num_terms]` of the candidate tower, each
                encoded for its user.

        Returns:
            `[clicks, candidates]` float32, packed as `clicks`. What their sum lacks to a score is
            no click's.
        """
        width = self.config.num_filters
        articles = tf.cast(articles, tf.float32)
        vectors = packed_to_dense(tf.cast(encoded["vectors"], tf.float32), clicks.lengths)
        weights = tf.cast(encoded["attention"].flat_values, tf.float32)
        weights = packed_to_dense(weights, clicks.lengths)[:, :, tf.newaxis]
        products = tf.matmul(vectors, articles[:, :, :width], transpose_b=True)
        if self.config.unit_vectors:
            products *= tf.cast(self.news_encoder.logit_scale, tf.float32)
        shares = weights * products
        if self.config.user_interest == "density":
            shares *= tf.cast(self.mean_weight, tf.float32) if self.config.mean_weight else 0.0
            log_clicks, _ = self._log_shares(clicks)
            weights *= tf.exp(log_clicks)[:, tf.newaxis, tf.newaxis]
            log_everyone = articles[:, tf.newaxis, :, width + 1]  # - log p(n)
            excess = weights * tf.math.expm1(products + log_everyone)
            total = tf.reduce_sum(excess, axis=1, keepdims=True)
            is_small = tf.abs(total) < 1e-4  # log(1 + D) / D is 1 - D / 2 there
            safe = tf.where(is_small, 1.0, total)
            shares += excess * tf.where(is_small, 1 - total / 2, tf.math.log1p(safe) / safe)
        return selected(shares, tf.sequence_mask(clicks.lengths))

    def flat(self, output):
        """Returns user vectors as rows of equal length, whatever the length of the history.

        Args:
            output: The result of a call.

        Returns:
            `[batch, num_interests(config) * (num_filters + num_terms)]`.
        """
        if output.shape.rank == 2:
            return output
        width = output.shape[-1]
        missing = num_interests(self.config) - tf.shape(output)[1]
        nothing = tf.one_hot(self.config.num_filters, width, MASKED_LOGIT, dtype=output.dtype)
        nothing = tf.tile(nothing[tf.newaxis, tf.newaxis], [tf.shape(output)[0], missing, 1])
        size = num_interests(self.config) * width
        return tf.reshape(tf.concat([output, nothing], axis=1), [-1, size])

    def average(self, output):
        """Returns one vector for each user, with products that are about their scores.

        Args:
            output: The result of a call.

        Returns:
            `[batch, num_filters + num_terms]`: by Jensen's inequality, products with the mean of
            the vectors of the clicks are less than `logsumexp` of the products with each.
        """
        if output.shape.rank == 2:
            return output
        width = self.config.num_filters
        weights = tf.nn.softmax(output[:, :, width])
        return tf.reduce_sum(output * weights[:, :, tf.newaxis], axis=1)

    @tf.autograph.experimental.do_not_convert
    def call(self, inputs, training=False):
        """Encodes users; see the class."""
        user_embedding = self.user_embedding(inputs["user_id"], training=training)
        clicks = self.clicks(inputs["history"])
        features, titles = self.news_encoder.distinct_features(
            clicks.news_id, training, inputs.get("further_titles")
        )
        return self.encode(clicks, features, titles, user_embedding, training)["output"]
