"""NPA's towers inside a `tfrs.Model` of your own, with a second task next to the clicks.

The article vectors that rank the clicks of a user are also used to predict the category of the
article. Both tasks train the same towers; `--category-weight 0` leaves the second one out.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

import tfrs_npa  # before TensorFlow Recommenders: it chooses the Keras that both need
from tfrs_npa.layers.personalized_attention import MASKED_LOGIT

import tensorflow_recommenders as tfrs  # isort: skip


class ClicksAndCategories(tfrs.Model):
    """Ranks candidates by NPA's towers and classifies them by the same vectors.

    Args:
        npa: The model with the towers.
        categories: `[articles]` the index of each article's category, by index of the catalogue; -1
            if it is unknown.
        weight: Weight of the loss of the categories.
    """

    def __init__(self, npa: tfrs_npa.NPA, categories: np.ndarray, weight: float):
        super().__init__()
        self.npa = npa
        self.weight = weight
        self.categories = tf.constant(categories, tf.int32)
        self.classifier = tf.keras.layers.Dense(int(categories.max()) + 1)
        self.clicks = tfrs.tasks.Ranking(
            loss=tf.keras.losses.CategoricalCrossentropy(from_logits=True)
        )
        self.category = tfrs.tasks.Ranking(
            loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=[tf.keras.metrics.SparseCategoricalAccuracy("category_accuracy")],
        )
        self.ranking = tfrs_npa.ImpressionMetrics()
        self.ranking_metrics = self.ranking.metrics  # where Keras finds them

    def compute_loss(self, features, training=False):
        """Returns the weighted sum of both losses."""
        candidates = features["candidates"]
        batch, width = tf.unstack(tf.shape(candidates))
        user = self.npa.query_tower(features, training=training)
        vectors = self.npa.candidate_tower(
            {
                "user_id": tf.repeat(features["user_id"], width),
                "news_id": tf.reshape(candidates, [-1]),
            },
            training=training,
        )
        real = candidates != 0
        logits = self.npa.query_tower.scores(user, tf.reshape(vectors, [batch, width, -1]))
        logits = tf.where(real, logits, MASKED_LOGIT)
        clicked = tf.cast(features["clicked"] > 0, logits.dtype)
        loss = self.clicks(
            tf.math.divide_no_nan(clicked, tf.reduce_sum(clicked, axis=1, keepdims=True)),
            logits / self.npa.config.temperature,
        )
        if not training:
            known = features["user_id"] != 0
            self.ranking.update(features["clicked"], logits, mask=real, known_user=known)

        category = tf.gather(self.categories, candidates)
        known = real & (category >= 0)
        classified = tf.boolean_mask(vectors, tf.reshape(known, [-1]))
        loss += self.weight * self.category(
            tf.boolean_mask(category, known), self.classifier(classified)
        )
        return loss


def category_indices(
    news: Mapping[str, tf.data.Dataset], catalog: tfrs_npa.NewsCatalog
) -> np.ndarray:
    """Returns the index of the category of each article of the catalogue, -1 if it has none."""
    category_of = {}
    for articles in news.values():
        for row in articles.as_numpy_iterator():
            category_of[row["news_id"].decode()] = row["category"].decode()
    index_of = {name: index for index, name in enumerate(sorted(set(category_of.values())))}
    return np.array([index_of.get(category_of.get(news_id), -1) for news_id in catalog.ids])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="mind/synthetic", help="default: %(default)s")
    parser.add_argument("--epochs", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--category-weight", type=float, default=0.1, help="default: %(default)s")
    args = parser.parse_args()

    data = tfrs_npa.load_mind(args.data)
    config = tfrs_npa.NPAConfig.preset("small")
    catalog = tfrs_npa.NewsCatalog().adapt(data.news["train"]).extend(data.news["validation"])
    users = tfrs_npa.UserIndex().adapt(data.behaviors["train"])
    train = tfrs_npa.training_batches(data.behaviors["train"], catalog, users, config)
    valid = tfrs_npa.impression_batches(data.behaviors["validation"], catalog, users, config)

    tf.keras.utils.set_random_seed(config.seed)
    npa = tfrs_npa.NPA(config, catalog, users)
    model = ClicksAndCategories(npa, category_indices(data.news, catalog), args.category_weight)
    model.compile(optimizer=tfrs_npa.default_optimizer(config, len(train) * args.epochs))
    model.fit(train, epochs=args.epochs, verbose=2)
    metrics = model.evaluate(valid, verbose=0, return_dict=True)
    print(f"AUC {metrics['auc']:.4f}, category accuracy {metrics['category_accuracy']:.4f}")


if __name__ == "__main__":
    main()
