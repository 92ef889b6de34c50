"""The candidate tower: an article as one user sees it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfrs_npa._shards import WholeWeights, lookup
from tfrs_npa.config import NPAConfig
from tfrs_npa.data.catalog import PADDING
from tfrs_npa.data.users import UNKNOWN_USER
from tfrs_npa.layers.byte_dropout import ByteDropout
from tfrs_npa.layers.packed import (
    packed_positions,
    packed_rows,
    packed_softmax,
    packed_starts,
    padded_rows,
    selected,
)
from tfrs_npa.layers.packed_convolution import packed_convolution, word_products
from tfrs_npa.layers.personalized_attention import PersonalizedAttention
from tfrs_npa.layers.sparse_products import inner_products, weighted_sums
from tfrs_npa.layers.untracked import Untracked
from tfrs_npa.layers.user_embedding import UserEmbedding
from tfrs_npa.models.replicas import has_parameter_servers
from tfrs_npa.models.swap_lock import SwapLock
from tfrs_npa.models.title_layout import ROWS


class TitleFeatures(NamedTuple):
    """Titles encoded up to the point where a user is needed, their words packed.

    Attributes:
        values: `[words, num_filters]`, the contextual words c_i.
        keys: `[words, attention_dim]` (`num_filters` in the `paper` form), what a user's query is
            compared with; None where the weights of the words depend on no user. The title is then
            pooled already, and is a single word here.
        starts: `[titles]`, the first word of each title.
        lengths: `[titles]`, the words of each title.
        terms: `[titles, num_terms]`, what `NewsEncoder.terms` gives, if it is known already.
    """

    values: tf.Tensor
    keys: tf.Tensor | None
    starts: tf.Tensor
    lengths: tf.Tensor
    terms: tf.Tensor | None = None


class WordProducts(NamedTuple):
    """Words of many titles, multiplied once by the convolution's kernel.

    Attributes:
        rows: `[num_words]` int32, for each word of the vocabulary its row of `x`; -1 for others.
        x: `[distinct words, word_embedding_dim]`.
        products: `[distinct words * window_size, num_filters]`, see `packed_convolution`.
    """

    rows: tf.Tensor
    x: tf.Tensor
    products: tf.Tensor


class NewsEncoder(WholeWeights, tf.keras.Model):
    """Personalised news encoder (Wu et al., KDD 2019, section 3.1): the candidate tower.

    Word embeddings, a convolution over them, and an attention over its outputs whose query is
    the user. All but the last step is the same for every user, so it is done once for each
    distinct article of a call. Words are packed one title after the other: nothing is computed
    for padding, unless the configuration says that padding takes part.

    The score of an article is the inner product of its vector and a user vector; where a user has
    several, it is the log of the sum of the exponentials of their products. So that this can hold
    for every configuration, `terms` that depend on no user come after r_u in the vector of an
    article, and what a user multiplies them with comes last in the user vector:

    - with `user_interest="density"`, a one, and the log of everyone's density at the article,
      `log p(n) = log sum_k w_k exp(b r_n . z_k)`, negative. Here r_n is the article as the unknown
      user sees it, b the learned factor, z `[background_titles, num_filters]` and w learned; they
      start with titles of the catalogue and equal weights.
    - with `item_bias`, a learned linear function of r_n.

    Args:
        config: Hyper-parameters.
        tokens: `[articles, title_length]` word indices of every article's title, 0 at padding.
            Not a weight: it is neither trained nor saved with the weights. It keeps its type:
            TensorFlow holds int64 on a GPU, int32 on the host.
        num_words: Rows V of the word table.
        user_embedding: The table of users, shared with the query tower.
        word_embeddings: `[num_words, word_embedding_dim]` initial values of the word table; None:
            random.
        vectors: `[articles, dim]` vectors of the articles, computed elsewhere; None: there are
            none. What a trained kernel, zero at first, makes of the vector of an article is added
            to each word of its title. Like `tokens`, they are no weight; an article whose vector is
            zero is encoded as if there were none, as is, where padding is masked, a title without
            words.

    Call arguments:
        inputs: A dict of `user_id` `[batch]` and `news_id` `[batch]`, indices of the user index
            and of the catalogue.
        training: Whether dropout is on.

    Returns:
        `[batch, num_filters + num_terms]`: the vector r_u of each article for its user, and the
        terms of its score that depend on no user.

    Attributes:
        num_terms: Number of these terms; 0 in the published forms.
        articles_lock: A `SwapLock` (`swap_lock.py`), under which the articles are replaced.
            Whoever reads them more than once and wants the same ones takes it for reading; the
            top-K layers of the model do.
    """

    def __init__(
        self,
        config: NPAConfig,
        tokens,
        num_words: int,
        user_embedding: UserEmbedding,
        word_embeddings=None,
        vectors=None,
        name: str = "candidate_tower",
    ):
        super().__init__(name=name)
        self.config = config
        self.num_terms = 2 * (config.user_interest == "density") + config.item_bias
        self.user_embedding = user_embedding
        # Open, so that other articles need no new trace. A worker of a parameter server aborts
        # where a step captures a variable of unknown shape.
        articles = len(tokens) if has_parameter_servers() else None
        self._untracked = Untracked(
            tokens=tf.Variable(
                tokens, trainable=False, shape=[articles, config.title_length], name="tokens"
            ),
            vectors=None,
            lock=SwapLock(),
        )
        if vectors is not None:
            dim = vectors.shape[1]
            self._untracked.vectors = tf.Variable(
                vectors, trainable=False, dtype=tf.float32, shape=[articles, dim], name="vectors"
            )
            self.vector_kernel = self.add_weight(
                name="vector_kernel", shape=(dim, config.num_filters), initializer="zeros"
            )
        self.word_table = self.add_weight(
            name="word_table",
            shape=(num_words, config.word_embedding_dim),
            initializer=(
                tf.keras.initializers.RandomNormal(stddev=0.4, seed=config.seed)
                if word_embeddings is None
                else tf.keras.initializers.Constant(word_embeddings)
            ),
            # Rows that are looked up are rounded, not all rows in each step.
            experimental_autocast=False,
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
            uniform_start=config.uniform_attention,
            seed=config.seed + 10,
            name="word_attention",
        )
        self.attention.build(((None, None, config.num_filters), (None, config.user_embedding_dim)))
        if config.residual:
            self.convolution_scale = self.add_weight(
                name="convolution_scale", shape=(config.num_filters,), initializer="zeros"
            )
        if config.unit_vectors:
            self.logit_scale = self.add_weight(
                name="logit_scale",
                shape=(),
                initializer=tf.keras.initializers.Constant(config.logit_scale),
            )
        if config.item_bias:
            self.item_bias = self.add_weight(
                name="item_bias", shape=(config.num_filters,), initializer="zeros"
            )
        # One layer for both would draw the same bytes in both places of a graph.
        self._word_dropout = ByteDropout(config.dropout, config.seed + 2)
        self._dropout = ByteDropout(config.dropout, config.seed + 3)
        if config.user_interest == "density":
            self._add_background(tokens)
        self.built = True

    def _add_background(self, tokens):
        """Adds the weights of everyone's density, which starts from titles of the catalogue."""
        number = self.config.background_titles
        generator = np.random.default_rng(self.config.seed)
        titles = np.flatnonzero(np.any(np.asarray(tokens) != PADDING, axis=1))
        vectors = np.zeros((number, self.config.num_filters), np.float32)
        if len(titles):
            drawn = tf.constant(generator.choice(titles, number), tf.int32)
            vectors = tf.cast(self.for_everyone(self.title_features(drawn)), tf.float32).numpy()
        self.background = self.add_weight(
            name="background",
            shape=vectors.shape,
            initializer=tf.keras.initializers.Constant(vectors),
        )
        self.background_logits = self.add_weight(
            name="background_logits", shape=(number,), initializer="zeros"
        )

    @property
    def tokens(self) -> tf.Variable:
        """`[articles, title_length]` word indices of the articles that can be encoded."""
        return self._untracked.tokens

    @property
    def articles_lock(self) -> SwapLock:
        """The lock under which the articles are replaced."""
        return self._untracked.lock

    @property
    def article_tables(self) -> list[tf.Variable]:
        """What is known of the articles: `tokens`, and their vectors if there are any."""
        own = self._untracked
        return [own.tokens] if own.vectors is None else [own.tokens, own.vectors]

    def set_articles(self, tokens, vectors=None) -> None:
        """Replaces the articles that can be encoded.

        Args:
            tokens: `[articles, title_length]` as in the constructor.
            vectors: `[articles, dim]` as in the constructor; None: no article has one.

        Raises:
            ValueError: if the vectors are of another length than those that the tower was made
                with, or it was made without.
        """
        self.assign_articles(self.tables_of(tokens, vectors))

    def tables_of(self, tokens, vectors=None) -> list[tf.Tensor]:
        """Returns what `article_tables` would hold after `set_articles`; nothing changes.

        Args, Raises: as `set_articles`.
        """
        own = self._untracked
        dim = None if own.vectors is None else own.vectors.shape[1]
        if vectors is None and dim is not None:
            vectors = np.zeros((len(tokens), dim), np.float32)
        if vectors is not None and vectors.shape[1] != dim:
            raise ValueError(
                f"the articles have vectors of {vectors.shape[1]} numbers, but the model was made "
                + ("without" if dim is None else f"for {dim}")
            )
        tables = [tf.cast(tokens, own.tokens.dtype)]
        return tables if vectors is None else [*tables, tf.cast(vectors, tf.float32)]

    def assign_articles(self, tables) -> None:
        """Replaces the articles by what `tables_of` gave; threads that read them never wait long.

        Args:
            tables: Tensors, as `article_tables`.
        """
        with self.articles_lock.swapping():
            for variable, table in zip(self.article_tables, tables, strict=True):
                variable.assign(table)

    def title_inputs(self, news_id, tables=None):
        """Returns what titles are encoded from, the first arguments of `encode_titles`.

        Args:
            news_id: `[articles]` indices of the catalogue.
            tables: What to read instead of `article_tables`: other articles, see `tables_of`.
        """
        if tables is not None:
            return tuple(tf.gather(table, news_id) for table in tables)
        return tuple(lookup(table, news_id) for table in self.article_tables)

    def title_lengths(self, tables=None) -> np.ndarray:
        """Returns the words of each article's title, as `TitleFeatures` counts them.

        Args:
            tables: As in `title_inputs`.

        Returns:
            `[articles]` int32.
        """
        tokens = (self.tokens if tables is None else tables[0]).numpy()
        if self.attention.kind != "personalized":
            return np.ones(len(tokens), np.int32)
        if self.config.mask_padding:
            return np.count_nonzero(tokens != PADDING, axis=1).astype(np.int32)
        return np.full(len(tokens), tokens.shape[1], np.int32)

    # AutoGraph would look for loops and branches of Python's on tensors. There are none, and the
    # search took half of the time to the first step.
    @tf.autograph.experimental.do_not_convert
    def title_features(self, news_id, training=False, further=None, tables=None, words=None):
        """Encodes titles up to the point where a user is needed.

        Args:
            news_id: `[articles]` indices of the catalogue; beyond it, of `further`.
            training: Whether dropout is on.
            further: `[titles, title_length]` words of titles that are in no catalogue, or None.
            tables: As in `title_inputs`; only without `further`.
            words: As in `contextual_words`; only without `further`.

        Returns:
            `TitleFeatures` of the articles.
        """
        if further is None:
            inputs = self.title_inputs(news_id, tables)
            return self.encode_titles(*inputs, training=training, **_given(words))
        known = tf.shape(self.tokens)[0]
        is_known = news_id < known
        # The vector of padding, if articles have vectors, is zero.
        own, *vectors = self.title_inputs(tf.where(is_known, news_id, PADDING))
        # Padded, so that there is a first one.
        further = tf.pad(further, [[0, 1], [0, 0]])
        others = tf.gather(further, tf.where(is_known, 0, news_id - known))
        tokens = tf.where(is_known[:, tf.newaxis], own, tf.cast(others, own.dtype))
        return self.encode_titles(tokens, *vectors, training=training)

    @tf.autograph.experimental.do_not_convert
    def distinct_features(self, news_id, training=False, further=None):
        """Encodes each distinct article once.

        Args:
            news_id: `[articles]` as in `title_features`.
            training: Whether dropout is on.
            further: As in `title_features`.

        Returns:
            The pair of `TitleFeatures` and `[articles]`, the title of each article in them.
        """
        distinct, titles = tf.unique(tf.cast(news_id, tf.int32))
        return self.title_features(distinct, training, further), titles

    @tf.autograph.experimental.do_not_convert
    def encode_titles(self, tokens, vectors=None, training=False, words=None):
        """Encodes arbitrary titles, as `title_features` does for articles.

        Args:
            tokens: As in `contextual_words`.
            vectors: As in `contextual_words`.
            training: Whether dropout is on.
            words: As in `contextual_words`.

        Returns:
            `TitleFeatures` of the titles.
        """
        values, lengths = self.contextual_words(tokens, vectors, training, **_given(words))
        values = self.attention.dropped(values, training)
        keys = self.attention.keys(values)
        if self.attention.kind != "personalized":
            pooled = self.attention.pool_packed(values, keys, self.attention.query(None), lengths)
            values, keys, lengths = self._unit(pooled["output"]), None, tf.ones_like(lengths)
        return TitleFeatures(values, keys, packed_starts(lengths), lengths)

    def word_products(self, words: np.ndarray) -> WordProducts:
        """Multiplies words by the kernel, as `contextual_words` does, once for many titles.

        Args:
            words: Their indices, of any shape.
        """
        is_there = np.zeros(self.word_table.shape[0], bool)
        is_there[words] = True
        rows = np.where(is_there, np.cumsum(is_there, dtype=np.int32) - 1, np.int32(-1))
        x = tf.cast(lookup(self.word_table, np.flatnonzero(is_there)), self.compute_dtype)
        return WordProducts(tf.constant(rows), x, word_products(x, self.convolution_kernel))

    def contextual_words(self, tokens, vectors=None, training=False, words=None):
        """Encodes the words of titles (Wu et al., KDD 2019, equation 1).

        Args:
            tokens: `[titles, title_length]` word indices, 0 at padding, which is on the right.
            vectors: `[titles, dim]` vectors of the articles; None: there are none.
            training: Whether dropout is on.
            words: `WordProducts` that have those of the titles; None: they are made here.
                Only where dropout is off.

        Returns:
            The pair of `[words, num_filters]`, the contextual words c_i of one title after the
            other, and `[titles]`, how many each title has: where padding is masked, its real words.
        """
        if self.config.mask_padding:
            real = tokens != PADDING
            lengths = tf.math.count_nonzero(real, axis=1, dtype=tf.int32)
            indices = selected(tokens, real)
        else:
            lengths = tf.fill(tf.shape(tokens)[:1], tf.shape(tokens)[1])
            indices = tf.reshape(tokens, [-1])
        if words is None:
            distinct, rows = tf.unique(indices)
            x = tf.cast(lookup(self.word_table, distinct), self.compute_dtype)
            x = self._word_dropout(x, training=training)
            products = word_products(x, self.convolution_kernel)
        else:
            rows, x, products = tf.gather(words.rows, indices), words.x, words.products
        values = packed_convolution(
            products, rows, lengths, self.config.window_size, self.convolution_bias
        )
        if self.config.residual:
            own = _fitted(x, self.config.num_filters)
            number = tf.size(rows)
            values *= tf.cast(self.convolution_scale, x.dtype)
            values += weighted_sums(None, own, tf.range(number), rows, number)
        if vectors is not None:
            # Whole groups of rows, so that equal articles are equal to the last bit.
            vectors = tf.cast(padded_rows(vectors, ROWS), x.dtype)
            added = tf.matmul(vectors, tf.cast(self.vector_kernel, x.dtype))
            values += tf.gather(added, packed_rows(lengths))
        return self._dropout(values, training=training), lengths

    @tf.autograph.experimental.do_not_convert
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
        vectors = weighted_sums(
            weights, features.values, packed_rows(lengths), words, tf.size(lengths)
        )
        return self._unit(vectors)

    def _unit(self, vectors):
        """Returns vectors of unit length, if r_u is to have it; those without words stay zero."""
        return unit(vectors) if self.config.unit_vectors else vectors

    def for_everyone(self, features):
        """Returns the vector of each title of `features` as the unknown user sees it.

        Args:
            features: `TitleFeatures`.

        Returns:
            `[titles, num_filters]`.
        """
        titles = tf.range(tf.size(features.lengths))
        query = self.attention.query(self.user_embedding(tf.constant([UNKNOWN_USER])))
        return self.pool(features, titles, tf.zeros_like(titles), query)

    @tf.autograph.experimental.do_not_convert
    def terms(self, features, titles):
        """Returns the terms of a score that depend on the title alone; see the class.

        Args:
            features: `TitleFeatures`.
            titles: `[n]` titles of `features`.

        Returns:
            `[n, num_terms]`.
        """
        if features.terms is not None:
            return tf.gather(features.terms, titles)
        titles, back = tf.unique(titles)
        lengths = tf.gather(features.lengths, titles)
        words = packed_positions(tf.gather(features.starts, titles), lengths)
        keys = None if features.keys is None else tf.gather(features.keys, words)
        chosen = TitleFeatures(
            tf.gather(features.values, words), keys, packed_starts(lengths), lengths
        )
        return tf.gather(self.terms_of(self.for_everyone(chosen)), back)

    @tf.autograph.experimental.do_not_convert
    def with_terms(self, features):
        """Returns `features` with the terms of all its titles."""
        if not self.num_terms:
            return features
        return features._replace(terms=self.terms_of(self.for_everyone(features)))

    def terms_of(self, vectors):
        """Returns the `terms` of titles, given the result of `for_everyone`.

        Args:
            vectors: `[titles, num_filters]`.

        Returns:
            `[titles, num_terms]`.
        """
        # Whole groups of rows, so that equal titles have equal terms to the last bit.
        number, vectors = tf.shape(vectors)[0], padded_rows(vectors, ROWS)
        terms = []
        if self.config.user_interest == "density":
            background = tf.cast(self.background, vectors.dtype)
            scale = tf.cast(self.logit_scale, vectors.dtype)
            logits = scale * tf.matmul(vectors, background, transpose_b=True)
            logits += tf.cast(tf.nn.log_softmax(self.background_logits), vectors.dtype)
            density = tf.reduce_logsumexp(logits, axis=1)
            terms += [tf.ones_like(density), -density]
        if self.config.item_bias:
            terms.append(tf.linalg.matvec(vectors, tf.cast(self.item_bias, vectors.dtype)))
        return tf.stack(terms, axis=1)[:number]

    def vectors(self, features, titles, rows, query):
        """Returns the vectors of articles whose products with user vectors are scores.

        Args, Returns: as `pool`, but `[pairs, num_filters + num_terms]`.
        """
        vectors = self.pool(features, titles, rows, query)
        if not self.num_terms:
            return vectors
        return tf.concat([vectors, self.terms(features, titles)], axis=1)

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
        owners = tf.gather(rows, packed_rows(lengths))
        weights = packed_softmax(inner_products(query, features.keys, owners, words), lengths)
        return weights, words, lengths

    @tf.autograph.experimental.do_not_convert
    def score(self, features, titles, rows, query, user, training=False):
        """Returns the scores of titles for users.

        Args:
            features: As in `pool`.
            titles: As in `pool`.
            rows: As in `pool`.
            query: As in `pool`.
            user: `[batch, num_filters + num_terms]` user vectors, or `[batch, interests,
                num_filters + num_terms]` where a user has several; see the class.
            training: Whether scores of equal titles may differ by rounding.

        Returns:
            `[pairs]`.
        """
        if features.keys is None and not self.num_terms:
            return inner_products(user, features.values, rows, titles)
        vectors = self.vectors(features, titles, rows, query)
        if user.shape.rank == 2:
            return inner_products(user, vectors, rows, tf.range(tf.size(rows)))
        # Padded to rows of equal length: a product of matrices is worth the padding.
        number = tf.shape(user)[0]
        lengths = tf.math.unsorted_segment_sum(tf.ones_like(rows), rows, number)
        columns = tf.range(tf.size(rows)) - tf.gather(packed_starts(lengths), rows)
        width = tf.maximum(tf.reduce_max(lengths), 0)
        if not training:
            width += -width % ROWS
        slots = rows * width + columns
        dense = tf.scatter_nd(slots[:, tf.newaxis], vectors, [number * width, vectors.shape[-1]])
        dense = tf.reshape(dense, [number, width, vectors.shape[-1]])
        scores = tf.reduce_logsumexp(tf.matmul(dense, user, transpose_b=True), axis=2)
        return tf.gather(tf.reshape(scores, [-1]), slots)

    @tf.autograph.experimental.do_not_convert
    def call(self, inputs, training=False):
        """Encodes articles for users; see the class."""
        user_embedding = self.user_embedding(inputs["user_id"], training=training)
        features, titles = self.distinct_features(inputs["news_id"], training)
        rows = tf.range(tf.shape(user_embedding)[0])
        query = self.attention.query(user_embedding)
        return self.vectors(features, titles, rows, query)


def unit(vectors):
    """Returns vectors `[rows, ..., n]` divided by their length; zeros stay zeros."""
    squares = tf.reduce_sum(tf.square(vectors), axis=-1, keepdims=True)
    # TensorFlow rounds the last few roots of an array otherwise than the rest. Those are of padding
    # here, so equal vectors stay equal wherever they are.
    roots = tf.math.rsqrt(tf.maximum(padded_rows(squares, ROWS), 1e-12))
    return vectors * roots[: tf.shape(vectors)[0]]


def joined(parts):
    """Returns several `TitleFeatures` as one, whose titles are those of one after the other."""
    lengths = tf.concat([part.lengths for part in parts], axis=0)

    def whole(name):
        values = [getattr(part, name) for part in parts]
        return None if values[0] is None else tf.concat(values, axis=0)

    return TitleFeatures(
        whole("values"), whole("keys"), packed_starts(lengths), lengths, whole("terms")
    )


def _given(words):
    """Returns `words` as a keyword if there are any: methods of a subclass may lack it."""
    return {} if words is None else {"words": words}


def _fitted(x, width):
    """Returns rows cut, or padded with zeros, to `width`."""
    x = x[:, :width]
    return tf.pad(x, [[0, 0], [0, width - x.shape[1]]])
