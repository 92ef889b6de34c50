"""The user table."""

from __future__ import annotations

import tensorflow as tf

from tfrs_npa._numbers import Numbers
from tfrs_npa._shards import WholeWeights, lookup


@tf.keras.utils.register_keras_serializable(package="tfrs_npa")
class UserEmbedding(WholeWeights, tf.keras.layers.Layer):
    """One embedding per user, with row 0 for every user that is not known.

    While training, a share of the users is replaced by the unknown one. Without that its row would
    keep its initial value, and it is the row that most users of a news site meet.

    Args:
        num_users: Rows of the table, the unknown user included.
        embedding_dim: Size U of an embedding.
        dropout: Share of training rows whose user is replaced by the unknown user.
        initializer: Keras initializer of the table.
        seed: Seed of the initial values and of the dropout.

    Call arguments:
        user_id: `[batch]` integers, 0 for an unknown user; one beyond the table is unknown too.
        training: Whether users are replaced.

    Returns:
        `[batch, embedding_dim]` embeddings.

    Example:
        >>> layer = UserEmbedding(num_users=3, embedding_dim=8)
        >>> layer(tf.constant([2, 0])).shape
        TensorShape([2, 8])
    """

    def __init__(
        self,
        num_users: int,
        embedding_dim: int,
        dropout: float = 0.0,
        initializer="uniform",
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_users = num_users
        self.embedding_dim = embedding_dim
        self.dropout = dropout
        self.numbers = Numbers(dropout=dropout)
        self.initializer = tf.keras.initializers.get(initializer)
        self.seed = seed

    def build(self, input_shape):
        """Creates the table `[num_users, embedding_dim]`."""
        self.table = self.add_weight(
            name="user_table",
            shape=(self.num_users, self.embedding_dim),
            initializer=_seeded(self.initializer, self.seed),
            # Rows that are looked up are rounded, not all rows in each step.
            experimental_autocast=False,
        )
        super().build(input_shape)

    def call(self, user_id, training=False):
        """Looks users up; see the class."""
        user_id = self.known(user_id)
        if training and self.dropout:
            kept = tf.random.uniform(tf.shape(user_id), seed=self.seed) >= self.numbers["dropout"]
            user_id = tf.where(kept, user_id, tf.zeros_like(user_id))
        return tf.cast(lookup(self.table, user_id), self.compute_dtype)

    def known(self, user_id):
        """Returns `user_id` in int32, with 0 for users who came after the table was made."""
        user_id = tf.cast(user_id, tf.int32)
        return tf.where(user_id < self.num_users, user_id, tf.zeros_like(user_id))

    def take_rows(self, rows):
        """Replaces the table by one that is made of rows of it.

        Args:
            rows: `[num_users]` the row of the old table for each row of the new one.
        """
        values = tf.gather(self.table, rows)
        self.num_users = len(rows)
        del self.table
        self.build((None,))
        self.table.assign(values)

    def get_config(self):
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "num_users": self.num_users,
            "embedding_dim": self.embedding_dim,
            "dropout": self.dropout,
            "initializer": tf.keras.initializers.serialize(self.initializer),
            "seed": self.seed,
        }


def _seeded(initializer, seed):
    """Returns a copy of `initializer` that draws from `seed`, if it draws at all."""
    config = initializer.get_config()
    if config.get("seed", 0) is None:
        return type(initializer).from_config({**config, "seed": seed})
    return initializer
