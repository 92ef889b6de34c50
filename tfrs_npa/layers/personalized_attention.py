"""Attention pooling whose query is the user."""

from __future__ import annotations

import functools

import tensorflow as tf

from tfrs_npa._shards import WholeWeights, whole_variables
from tfrs_npa.layers.byte_dropout import ByteDropout
from tfrs_npa.layers.packed import packed_rows, packed_softmax
from tfrs_npa.layers.sparse_products import weighted_sums

# Large and finite: infinity times zero would be NaN in the gradient.
MASKED_LOGIT = -1e9


@tf.keras.utils.register_keras_serializable(package="tfrs_npa")
class PersonalizedAttention(WholeWeights, tf.keras.layers.Layer):
    """Weighted sum of a sequence, with weights that a user's embedding chooses.

    For values `c_1..c_L` (`[F]` each) and a user embedding `e`, the result is
    `sum_i softmax_i(a_i) c_i` with, in the two published forms,

        recommenders:  q = V e + v                 a_i = q . tanh(W c_i + b)
        paper:         q = relu(V e + v)
                       p = tanh(P q + b)           a_i = p . c_i

    The first is Microsoft Recommenders' NPAModel, the second Wu et al., KDD 2019, section 3.1,
    equations 3 to 5 (words) and section 3.2, equations 7 to 9 (articles). Both are `a_i = query .
    key_i` where only the query knows the user and only the keys know the values. `query`, `keys`
    and `pool` give the parts, so that keys can be computed once for all users.

    Args:
        kind: `"personalized"`; `"vanilla"`: one learned query for every user; `"mean"`: equal
            weights.
        form: `"recommenders"` or `"paper"`.
        attention_dim: Size A of the hidden layer.
        dropout: Dropout rate on the values.
        uniform_start: Whether all weights are equal before training: the query starts at zero, a
            personalised one where user embeddings do.
        seed: Seed of the initial weights and of the dropout.

    Call arguments:
        inputs: The pair of values `[..., length, features]` and user embeddings `[...,
            user_embedding_dim]`, which are not read unless `kind` is `"personalized"`.
        mask: `[..., length]` booleans, False where a value gets no weight; None: all take part.
        training: Whether dropout is on.

    Returns:
        A dict with `output`, `[..., features]`, and `attention`, `[..., length]`, the weights. A
        sequence that is masked entirely has zero weights and a zero output.

    Example:
        >>> attention = PersonalizedAttention(attention_dim=4)
        >>> out = attention((tf.ones([2, 5, 8]), tf.ones([2, 3])))
        >>> out["output"].shape, out["attention"].shape
        (TensorShape([2, 8]), TensorShape([2, 5]))
    """

    def __init__(
        self,
        kind: str = "personalized",
        form: str = "recommenders",
        attention_dim: int = 200,
        dropout: float = 0.0,
        uniform_start: bool = False,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.kind = kind
        self.form = form
        self.attention_dim = attention_dim
        self.dropout = dropout
        self.uniform_start = uniform_start
        self.seed = seed
        self._dropout = ByteDropout(dropout, seed)

    def build(self, input_shape):
        """Creates the weights for inputs of shape `[..., length, features]`, `[..., user dims]`."""
        values_shape, user_shape = input_shape
        features, user_dim = values_shape[-1], user_shape[-1]

        def weight(name, *shape, zero=False, constant=0.0):
            # One seed for all would give weights of equal shape equal values.
            seed = None if self.seed is None else self.seed + len(whole_variables(self.weights))
            initializer = tf.keras.initializers.Constant(constant)
            if len(shape) > 1 and not zero:
                initializer = tf.keras.initializers.GlorotUniform(seed)
            return self.add_weight(name=name, shape=shape, initializer=initializer)

        if self.kind != "mean" and self.form == "recommenders":
            self.key_kernel = weight("key_kernel", features, self.attention_dim)
            self.key_bias = weight("key_bias", self.attention_dim)
        zero = self.uniform_start
        if self.kind == "personalized":
            # Never zero: multiplied by an embedding of zero, neither would have a gradient.
            self.query_kernel = weight("query_kernel", user_dim, self.attention_dim)
            # In the `paper` form the query is behind a relu, which is off at zero.
            start = 1 / self.attention_dim if zero and self.form == "paper" else 0
            self.query_bias = weight("query_bias", self.attention_dim, constant=start)
            if self.form == "paper":
                shape = self.attention_dim, features
                self.preference_kernel = weight("preference_kernel", *shape, zero=zero)
                self.preference_bias = weight("preference_bias", features)
        elif self.kind == "vanilla":
            size = self.attention_dim if self.form == "recommenders" else features
            self.learned_query = weight("learned_query", 1, size, zero=zero)
        super().build(input_shape)

    def query(self, user_embedding):
        """Returns the query `[..., attention_dim]` (`[..., features]` in the `paper` form).

        Without personalisation it is one for all, `[1, ...]`, or None where weights are equal.

        Args:
            user_embedding: `[..., user_embedding_dim]`.
        """
        if self.kind == "mean":
            return None
        if self.kind == "vanilla":
            return tf.cast(self.learned_query, self.compute_dtype)
        query = _dense(user_embedding, self.query_kernel, self.query_bias)
        if self.form == "paper":
            query = tf.nn.relu(query)
            query = tf.tanh(_dense(query, self.preference_kernel, self.preference_bias))
        return query

    def keys(self, values):
        """Returns what the query is compared with, the same for every user.

        Args:
            values: `[..., length, features]`.

        Returns:
            `[..., length, attention_dim]` (`[..., length, features]` in the `paper` form), or
            None where weights are equal.
        """
        if self.kind == "mean":
            return None
        if self.form == "paper":
            return values
        return tf.tanh(_dense(values, self.key_kernel, self.key_bias))

    @property
    def folds(self) -> bool:
        """Whether `folded_keys` are shorter than keys."""
        if self.kind != "personalized" or self.form != "recommenders":
            return False
        return self.query_kernel.shape[0] + 1 < self.attention_dim

    @property
    def folded_dim(self) -> int:
        """Length of a `folded_query`; 0 where weights depend on no user."""
        if self.kind != "personalized":
            return 0
        if self.folds:
            return self.query_kernel.shape[0] + 1
        kernel = self.preference_kernel if self.form == "paper" else self.query_kernel
        return kernel.shape[1]

    def folded_keys(self, keys):
        """Returns keys to be compared with `folded_query`, as short as they can be.

        A query of the `recommenders` form is linear, so `k . (V e + v) = (V' k) . e + k . v`.

        Args:
            keys: `[rows, ...]`, see `keys`.

        Returns:
            `[rows, user_embedding_dim + 1]` where that is less, else `keys`.
        """
        if not self.folds:
            return keys
        kernel = tf.concat([self.query_kernel, self.query_bias[tf.newaxis]], axis=0)
        return tf.matmul(keys, tf.cast(kernel, keys.dtype), transpose_b=True)

    def folded_query(self, user_embedding):
        """Returns what `folded_keys` are compared with, `[rows, user_embedding_dim + 1]` or so.

        Args:
            user_embedding: `[rows, user_embedding_dim]`.
        """
        if not self.folds:
            return self.query(user_embedding)
        return tf.pad(user_embedding, [[0, 0], [0, 1]], constant_values=1)

    @property
    def projects(self) -> bool:
        """Whether keys are made of `projected` values."""
        return self.kind != "mean" and self.form == "recommenders"

    def projected(self, values):
        """Returns `W values`, from which `projected_keys` makes keys; None where keys need no `W`.

        Args:
            values: `[rows, features]`.

        Returns:
            `[rows, attention_dim]` or None.
        """
        if not self.projects:
            return None
        return tf.matmul(values, tf.cast(self.key_kernel, values.dtype))

    def projected_keys(self, projected):
        """Returns the `keys` of values, given the result of `projected`."""
        return tf.tanh(projected + tf.cast(self.key_bias, projected.dtype))

    def pool(self, values, keys, query, mask=None):
        """Pools `values` by the softmax of `query . keys`; see the class for shapes and result."""
        if self.kind == "mean":
            logits = tf.zeros_like(values[..., 0])
        else:
            logits = tf.linalg.matvec(keys, query)
        if mask is None:
            weights = tf.nn.softmax(logits)
        else:
            mask = tf.cast(mask, logits.dtype)
            weights = tf.nn.softmax(logits + (1 - mask) * MASKED_LOGIT) * mask
        output = tf.linalg.matvec(values, weights, transpose_a=True)
        return {"output": output, "attention": weights}

    def pool_packed(self, values, keys, query, lengths, repeats=None):
        """Pools sequences that are packed one after the other, without any padding.

        Args:
            values: `[elements, features]`, the elements of all sequences.
            keys: `[elements, ...]`, see `keys`.
            query: `[elements, ...]`, the query that each element is compared with, or one for all,
                `[1, ...]`; see `query`.
            lengths: `[sequences]` elements of each sequence.
            repeats: `[elements]`, how many equal elements each stands for; its weight is theirs
                together. None: one.

        Returns:
            A dict of `output` `[sequences, features]` and `attention`, a ragged `[sequences,
            (elements)]`; a sequence without elements has a zero output.
        """
        if self.kind == "mean":
            logits = tf.zeros_like(values[:, 0])
        else:
            logits = tf.reduce_sum(keys * query, axis=-1)
        weights, rows = packed_weights(logits, lengths, repeats), packed_rows(lengths)
        output = weighted_sums(weights, values, rows, tf.range(tf.size(rows)), tf.size(lengths))
        attention = tf.RaggedTensor.from_row_lengths(weights, lengths, validate=False)
        return {"output": output, "attention": attention}

    def call(self, inputs, mask=None, training=False):
        """Pools `inputs = (values, user_embedding)`; see the class."""
        values, user_embedding = inputs
        values = self.dropped(values, training)
        return self.pool(values, self.keys(values), self.query(user_embedding), mask)

    def dropped(self, values, training=False):
        """Returns `values` after this layer's dropout."""
        return self._dropout(values, training=training)

    def get_config(self):
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "kind": self.kind,
            "form": self.form,
            "attention_dim": self.attention_dim,
            "dropout": self.dropout,
            "uniform_start": self.uniform_start,
            "seed": self.seed,
        }


def packed_weights(logits, lengths, repeats=None):
    """Returns the weights of the elements of packed sequences.

    Args:
        logits: `[elements]`.
        lengths: As in `PersonalizedAttention.pool_packed`.
        repeats: As in `PersonalizedAttention.pool_packed`.
    """
    if repeats is not None:
        logits += tf.math.log(tf.cast(repeats, logits.dtype))
    return packed_softmax(logits, lengths)


def _dense(inputs, kernel, bias):
    """Returns `inputs @ kernel + bias` over the last axis, in the dtype of the inputs."""
    # `tensordot` would add twenty operations to a graph that does not know the number of rows.
    product = tf.matmul if inputs.shape.rank == 2 else functools.partial(tf.tensordot, axes=1)
    return product(inputs, tf.cast(kernel, inputs.dtype)) + tf.cast(bias, inputs.dtype)
