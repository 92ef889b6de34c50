"""In-batch negatives in the manner of `tfrs.tasks.Retrieval`, for a personal candidate tower.

Stock retrieval scores every query of a batch against every clicked candidate of it with a single
product, which is impossible if a candidate vector depends on the user: 64 users and 64 articles
need 4,096 article vectors. But the expensive work is the same for every user: the titles are
encoded once, and each further user costs two inner products per word. The scores then go through
the stock task, which removes accidental hits and corrects for popular articles.

Trained with negatives from the whole batch, the model is for retrieval: its metric is how often the
clicked article is among the first ten of the catalogue's articles.
"""

from __future__ import annotations

import argparse

import numpy as np
import tensorflow as tf

import tfrs_npa  # before TensorFlow Recommenders: it chooses the Keras that both need

import tensorflow_recommenders as tfrs  # isort: skip


class InBatchNegatives(tfrs.Model):
    """Trains NPA with the other clicks of a batch as negatives.

    Args:
        npa: The model.
        sampling_probability: `[articles]` share of the clicks, by index of the catalogue: the
            probability that an article becomes a negative.
    """

    def __init__(self, npa: tfrs_npa.NPA, sampling_probability: np.ndarray):
        super().__init__()
        self.npa = npa
        self.sampling_probability = tf.constant(sampling_probability, tf.float32)
        self.task = tfrs.tasks.Retrieval(
            temperature=npa.config.temperature, remove_accidental_hits=True
        )

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

    data = tfrs_npa.load_mind(args.data)
    # A batch has as many negatives as rows, so none are drawn, and the learning rate is lower.
    # Popular articles are those of impressions, so rows are made of impressions alone.
    config = tfrs_npa.NPAConfig.preset("small").replace(
        negatives_per_positive=1, history_rows=0, batch_size=args.batch_size, learning_rate=1e-3
    )
    catalog = tfrs_npa.NewsCatalog().adapt(data.news["train"]).extend(data.news["validation"])
    users = tfrs_npa.UserIndex().adapt(data.behaviors["train"])
    training = data.impressions("train", catalog, users)
    validation = data.impressions("validation", catalog, users)
    train = tfrs_npa.training_batches(training, catalog, users, config)
    valid = tfrs_npa.training_batches(validation, catalog, users, config)

    clicks = training.candidate_values[training.clicked == 1]
    counts = np.bincount(clicks, minlength=len(catalog)) + 1
    tf.keras.utils.set_random_seed(config.seed)
    npa = tfrs_npa.NPA(config, catalog, users)
    model = InBatchNegatives(npa, counts / counts.sum())
    model.compile(optimizer=tfrs_npa.default_optimizer(config, len(train) * args.epochs))

    # Articles that were shown on those days are those that could be recommended.
    candidates = np.array(catalog.ids)[np.unique(validation.candidate_values)]
    before = recall_at_10(npa, valid, candidates)
    model.fit(train, epochs=args.epochs, verbose=2)
    after = recall_at_10(npa, valid, candidates)
    print(
        f"recall@10 of {len(candidates):,} articles: {before:.4f} before, {after:.4f} after, "
        f"{10 / len(candidates):.4f} by chance"
    )


if __name__ == "__main__":
    main()
