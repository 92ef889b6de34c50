"""One's own features beside NPA's in a ranking head: the hour of the day, and popularity.

The head adds to NPA's logit what a small network makes of an article's click-through rate in
training and of the hour. Both are trained together, from the same batches: `features=["time"]`
passes the time of an impression through to the model.
"""

from __future__ import annotations

import argparse
import math

import numpy as np
import tensorflow as tf

import tfrs_npa  # before TensorFlow Recommenders: it chooses the Keras that both need
from tfrs_npa.data.loading import load_mind
from tfrs_npa.layers.personalized_attention import MASKED_LOGIT
from tfrs_npa.metrics import ImpressionMetrics

import tensorflow_recommenders as tfrs  # isort: skip

_SECONDS_PER_DAY = 86_400


class RankingHead(tfrs.Model):
    """NPA's logit, corrected by popularity and the hour.

    Args:
        npa: the personal part of the score.
        click_rate: `[articles]` smoothed click-through rate by index of the catalogue.
    """

    def __init__(self, npa: tfrs_npa.NPA, click_rate: np.ndarray):
        super().__init__()
        self.npa = npa
        logit = np.log(click_rate / (1 - click_rate))
        self.popularity = tf.constant((logit - logit.mean()) / logit.std(), tf.float32)
        # The last layer starts at zero: training begins with NPA alone.
        self.head = tf.keras.Sequential(
            [
                tf.keras.layers.Dense(16, activation="relu"),
                tf.keras.layers.Dense(1, kernel_initializer="zeros"),
            ]
        )
        self.task = tfrs.tasks.Ranking(
            loss=tf.keras.losses.CategoricalCrossentropy(from_logits=True)
        )
        self.ranking = ImpressionMetrics()
        self.ranking_metrics = self.ranking.metrics  # where Keras finds them

    def call(self, features, training=False):
        """Returns `[batch, candidates]` logits."""
        candidates = features["candidates"]
        seconds = tf.cast(features["time"] % _SECONDS_PER_DAY, tf.float32)
        angle = (2 * math.pi / _SECONDS_PER_DAY * seconds)[:, tf.newaxis]
        own = [tf.gather(self.popularity, candidates)]
        own += [wave(angle) * tf.ones_like(own[0]) for wave in (tf.sin, tf.cos)]
        logits = self.npa(features, training=training)
        logits += tf.squeeze(self.head(tf.stack(own, axis=-1)), axis=-1)
        return tf.where(candidates != 0, logits, MASKED_LOGIT)

    def compute_loss(self, features, training=False):
        """Returns the softmax cross-entropy of an impression."""
        logits = self(features, training=training)
        clicked = tf.cast(features["clicked"] > 0, logits.dtype)
        if not training:
            self.ranking.update(
                features["clicked"],
                logits,
                mask=features["candidates"] != 0,
                known_user=features["user_id"] != 0,
            )
        return self.task(
            tf.math.divide_no_nan(clicked, tf.reduce_sum(clicked, axis=1, keepdims=True)), logits
        )


def click_rates(impressions: tfrs_npa.Impressions, articles: int) -> np.ndarray:
    """Returns smoothed click-through rates by index of the catalogue, `[articles]`."""
    shown = np.bincount(impressions.candidate_values, minlength=articles)
    clicks = impressions.candidate_values[impressions.clicked == 1]
    clicked = np.bincount(clicks, minlength=articles)
    mean = clicked.sum() / shown.sum()
    # As if each article had been shown twenty times more, and clicked as often as the average.
    return (clicked + 20 * mean) / (shown + 20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="mind/synthetic", help="default: %(default)s")
    parser.add_argument("--epochs", type=int, default=3, help="default: %(default)s")
    args = parser.parse_args()

    data = load_mind(args.data)
    config = tfrs_npa.NPAConfig.preset("small")
    catalog = tfrs_npa.NewsCatalog().adapt(data.news["train"]).extend(data.news["validation"])
    users = tfrs_npa.UserIndex().adapt(data.behaviors["train"])
    parts = {
        split: data.impressions(split, catalog, users, ["time"])
        for split in ("train", "validation")
    }
    train = tfrs_npa.training_batches(parts["train"], catalog, users, config, features=["time"])
    valid = tfrs_npa.impression_batches(
        parts["validation"], catalog, users, config, features=["time"]
    )

    tf.keras.utils.set_random_seed(config.seed)
    npa = tfrs_npa.NPA(config, catalog, users)
    model = RankingHead(npa, click_rates(parts["train"], len(catalog)))
    model.compile(optimizer=tfrs_npa.default_optimizer(config, len(train) * args.epochs))
    model.fit(train, epochs=args.epochs, verbose=2)
    metrics = model.evaluate(valid, verbose=0, return_dict=True)
    print(f"AUC {metrics['auc']:.4f}, nDCG@10 {metrics['ndcg_10']:.4f}")


if __name__ == "__main__":
    main()
