"""In-batch negatives in the manner of `tfrs.tasks.Retrieval`, for a personal candidate tower.

Stock retrieval scores every query of a batch against every clicked candidate of it by one product,
which a candidate vector that depends on the user rules out: 64 users and 64 articles need 4,096
article vectors. But all that is expensive in them is the same for every user: the titles are
encoded once, and each further user costs two inner products a word. The scores then go through the
stock task, which removes accidental hits and corrects for popular articles.

Trained with negatives of the whole batch, the model is for retrieval: what it is measured by is how
often the clicked article is among the first ten of the catalogue's articles.
"""

from __future__ import annotations

import argparse

import numpy as np
import tensorflow as tf

import tfrs_npa  # before TensorFlow Recommenders: it chooses the Keras that both need
from tfrs_npa.data.loading import load_mind

import tensorflow_recommenders as tfrs  # isort: skip


class InBatchNegatives(tfrs.Model):
    """Trains NPA with the other clicks of a batch as negatives.

    Args:
        npa: the model.
        sampling_probability: `[articles]` how often an article is clicked, by index of the
            catalogue: with what probability it becomes a negative.
    """

    def __init__(self, npa: tfrs_npa.NPA, sampling_probability: np.ndarray):
        super().__init__()
        self.npa = npa
        self.sampling_probability = tf.constant(sampling_probability, tf.float32)
        self.task = tfrs.tasks.Retrieval(remove_accidental_hits=True)

    def logits(self, user_id, history, news_id, training=False):
        """Scores every article for every user.

        Args:
            user_id: `[users]`.
            history: `[users, history]`, 0 at padding.
            news_id: `[articles]`.
            training: Whether dropout is on.

        Returns:
            `[users, articles]`.
        """
        tower = self.npa.candidate_tower
        users, articles = tf.size(user_id), tf.size(news_id)
        vectors = self.npa.query_tower({"user_id": user_id, "history": history}, training=training)
        query = tower.attention.query(self.npa.user_embedding(user_id, training=training))
        titles = tower.title_features(news_id, training)
        rows = tf.repeat(tf.range(users), articles)
        pairs = tf.tile(tf.range(articles), [users])
        logits = tower.score(titles, pairs, rows, query, vectors)
        return tf.reshape(logits, [users, articles])

    def compute_loss(self, features, training=False):
        """Returns the softmax cross-entropy of the clicks of a batch against each other."""
        clicked = features["candidates"][:, 0]  # `training_batches` puts the click first
        logits = self.logits(features["user_id"], features["history"], clicked, training)
        # The task multiplies queries and candidates: logits and the identity give the logits.
        return self.task(
            logits,
            tf.eye(tf.size(clicked)),
            candidate_sampling_probability=tf.gather(self.sampling_probability, clicked),
            candidate_ids=clicked,
            compute_metrics=False,
        )


def recall_at_10(npa: tfrs_npa.NPA, batches: tf.data.Dataset, candidates: np.ndarray) -> float:
    """Returns how often the clicked article is among the first ten of the articles `candidates`."""
    index = tfrs_npa.PersonalizedTopK(npa, k=10).index()
    users, articles = np.array(npa.users.ids), np.array(npa.catalog.ids)
    hits = []
    for batch in batches.as_numpy_iterator():
        queries = {"user_id": users[batch["user_id"]], "history": articles[batch["history"]]}
        _, found = index(queries, candidates=candidates)
        clicked = articles[batch["candidates"][:, :1]]
        hits.extend((found.numpy().astype(str) == clicked).any(axis=1))
    return float(np.mean(hits))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="mind/synthetic", help="default: %(default)s")
    parser.add_argument("--epochs", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--batch-size", type=int, default=64, help="default: %(default)s")
    args = parser.parse_args()

    data = load_mind(args.data)
    # No other negatives are needed. The rate is lower: a batch holds as many as it has rows.
    config = tfrs_npa.NPAConfig.preset("small").replace(
        negatives_per_positive=1, batch_size=args.batch_size, learning_rate=1e-3
    )
    catalog = tfrs_npa.NewsCatalog().adapt(data.news["train"]).extend(data.news["validation"])
    users = tfrs_npa.UserIndex().adapt(data.behaviors["train"])
    parts = {split: data.impressions(split, catalog, users) for split in ("train", "validation")}
    train = tfrs_npa.training_batches(parts["train"], catalog, users, config)
    valid = tfrs_npa.training_batches(parts["validation"], catalog, users, config)

    clicks = parts["train"].candidate_values[parts["train"].clicked == 1]
    counts = np.bincount(clicks, minlength=len(catalog)) + 1
    tf.keras.utils.set_random_seed(config.seed)
    npa = tfrs_npa.NPA(config, catalog, users)
    model = InBatchNegatives(npa, counts / counts.sum())
    model.compile(optimizer=tfrs_npa.default_optimizer(config, len(train) * args.epochs))

    # What was shown is what could be recommended on those days.
    shown = np.array(catalog.ids)[np.unique(parts["validation"].candidate_values)]
    before = recall_at_10(npa, valid, shown)
    model.fit(train, epochs=args.epochs, verbose=2)
    after = recall_at_10(npa, valid, shown)
    print(
        f"recall@10 of {len(shown):,} articles: {before:.4f} before, {after:.4f} after, "
        f"{10 / len(shown):.4f} by chance"
    )


if __name__ == "__main__":
    main()
