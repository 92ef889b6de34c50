"""What is kept of encoded titles, and in which types."""

from __future__ import annotations

import functools
from collections.abc import Collection

import tensorflow as tf

from tfrs_npa.data.users import UNKNOWN_USER
from tfrs_npa.layers.packed import packed_rows, packed_softmax, packed_starts, padded_rows
from tfrs_npa.layers.personalized_attention import PersonalizedAttention
from tfrs_npa.layers.sparse_products import weighted_sums
from tfrs_npa.models.news_encoder import NewsEncoder, TitleFeatures, WordProducts, unit
from tfrs_npa.models.title_layout import ROWS
from tfrs_npa.models.traced import Traced


class TitleEncoding:
    """What evaluation, top K and exports keep of the words of titles; nothing else knows it.

    Of each word there are, packed one title after the other:

    - `values`: c_i. Where the weights of words depend on no user, a title is pooled already, and is
      a single word.
    - `keys`: as short as can be (`PersonalizedAttention.folded_keys`). Not where keys are the
      values, in the `paper` form, or where weights depend on no user.
    - `projected`: `W c_i`, given a news attention that needs it: the key of a clicked article in
      the attention over a history is `tanh(W r + b)`, where `W r` is a sum of these as r is a sum
      of values.

    Args:
        encoder: The candidate tower.
        values_dtype: Type of values and what is projected; None: that in which the tower computes.
        keys_dtype: Type of keys; None: the same.
        news_attention: The attention of the query tower; None: nothing is projected.

    Attributes:
        encoder: The candidate tower.
        news_attention: The attention of the query tower, or None.
        words: What there is of each word by name, a `tf.TensorSpec` of shape `[None, n]`.
        is_personalized: Whether the weights of words depend on the user.
        has_own_keys: Whether there are keys apart from the values.
        query_dim: Size of a `query`, 0 if there is none.
    """

    def __init__(
        self,
        encoder: NewsEncoder,
        values_dtype: str | None = None,
        keys_dtype: str | None = None,
        news_attention: PersonalizedAttention | None = None,
    ):
        config, attention = encoder.config, encoder.attention
        self.encoder, self._attention = encoder, attention
        self.news_attention = news_attention
        self._traced: dict[tuple[bool, tuple[str, ...]], Traced] = {}
        self.is_personalized = attention.kind == "personalized"
        self.has_own_keys = self.is_personalized and attention.form == "recommenders"
        self.query_dim = attention.folded_dim

        def spec(size, dtype):
            return tf.TensorSpec([None, size], dtype or encoder.compute_dtype)

        self.words = {"values": spec(config.num_filters, values_dtype)}
        if self.has_own_keys:
            self.words["keys"] = spec(self.query_dim, keys_dtype)
        if news_attention is not None and news_attention.projects:
            self.words["projected"] = spec(config.attention_dim, values_dtype)

    def word_size(self, names: Collection[str] | None = None) -> int:
        """Returns the bytes of a word.

        Args:
            names: Which of `words` are kept; None: all.
        """
        names = self.words if names is None else names
        specs = [self.words[name] for name in names]
        return sum(spec.shape[1] * spec.dtype.size for spec in specs)

    def query(self, user_embedding):
        """Returns what keys are compared with, `[rows, query_dim]`; None: there are none.

        Args:
            user_embedding: `[rows, user_embedding_dim]`.
        """
        return self._attention.folded_query(user_embedding) if self.is_personalized else None

    def folded(self, features: TitleFeatures) -> TitleFeatures:
        """Returns features of the candidate tower with keys that are compared with a `query`.

        They have terms too, for which other keys are needed.
        """
        if features.terms is None:
            features = self.encoder.with_terms(features)
        if self.has_own_keys:
            features = features._replace(keys=self._folded_keys(features.keys))
        return features

    def _folded_keys(self, keys):
        # Whole groups of rows, so that equal words have equal keys to the last bit.
        number, keys = tf.shape(keys)[0], padded_rows(keys, ROWS)
        return self._attention.folded_keys(keys)[:number]

    def of(
        self, features: TitleFeatures, names: Collection[str] | None = None
    ) -> dict[str, tf.Tensor]:
        """Returns what is kept of words, by name.

        Args:
            features: What the candidate tower makes of titles.
            names: Which of `words` are wanted; None: all.
        """
        names = self.words if names is None else names
        parts = {"values": features.values}
        if "keys" in names:
            keys = tf.cast(features.keys, self.words["keys"].dtype)
            parts["keys"] = self._folded_keys(keys)
        if self.news_attention is not None and "projected" in names:
            parts["projected"] = self.news_attention.projected(features.values)
        return {name: tf.cast(parts[name], self.words[name].dtype) for name in names}

    def encoded(
        self,
        articles,
        words: WordProducts | None,
        of_titles: bool,
        of_words: Collection[str],
    ):
        """Encodes articles, and returns what is kept of them.

        Args:
            articles: `[articles]` int32, indices of the catalogue.
            words: As for `NewsEncoder.contextual_words`.
            of_titles: Whether vectors and terms are wanted.
            of_words: What is wanted of words, names of `words`.

        Returns:
            Two dicts. Of titles: `vectors` `[articles, num_filters]` for the unknown user, and
            `terms` `[articles, num_terms]` if there are any. Of words: as `of`.
        """
        features, titles = self.encoder.title_features(articles, words=words), {}
        if of_titles:
            titles["vectors"] = self._for_everyone(features)
            if self.encoder.num_terms:
                titles["terms"] = self.encoder.terms_of(titles["vectors"])
        return titles, self.of(features, of_words)

    def traced(self, of_titles: bool, of_words: tuple[str, ...]) -> Traced:
        """Returns `encoded` as a graph, a function of articles and words, which have to be given.

        It is traced when it is called first.
        """
        key = of_titles, of_words
        if key not in self._traced:
            config, dtype = self.encoder.config, self.encoder.compute_dtype
            words = WordProducts(
                tf.TensorSpec([None], tf.int32),
                tf.TensorSpec([None, config.word_embedding_dim], dtype),
                tf.TensorSpec([None, config.num_filters], dtype),
            )
            self._traced[key] = Traced(
                functools.partial(self.encoded, of_titles=of_titles, of_words=of_words),
                [tf.TensorSpec([None], tf.int32), words],
                self.encoder.user_embedding,
                autograph=False,
            )
        return self._traced[key]

    def _for_everyone(self, features):
        """Returns what `NewsEncoder.for_everyone` does, by a product of all keys and the query."""
        if features.keys is None:
            return features.values
        encoder, lengths = self.encoder, features.lengths
        query = encoder.attention.query(encoder.user_embedding(tf.constant([UNKNOWN_USER])))
        # Whole groups of rows, so that equal titles are equal to the last bit.
        number, keys = tf.shape(features.keys)[0], padded_rows(features.keys, ROWS)
        logits = tf.matmul(keys, query, transpose_b=True)[:number, 0]
        weights, titles = packed_softmax(logits, lengths), packed_rows(lengths)
        vectors = weighted_sums(
            weights, features.values, titles, tf.range(number), tf.size(lengths)
        )
        return unit(vectors) if encoder.config.unit_vectors else vectors

    def features(self, words, lengths, terms, dtype) -> TitleFeatures:
        """Returns titles as features whose keys are compared with a `query`, from what is kept.

        Args:
            words: `[words, n]` each, values and keys.
            lengths: `[titles]` words of each title.
            terms: `[titles, num_terms]`, or None.
            dtype: Type of the features.
        """
        values, keys = tf.cast(words["values"], dtype), None
        if self.is_personalized:
            keys = tf.cast(words["keys"], dtype) if self.has_own_keys else values
        return TitleFeatures(values, keys, packed_starts(lengths), lengths, terms)
