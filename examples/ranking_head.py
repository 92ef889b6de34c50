"""Features of your own next to NPA in a ranking head: hour of the day, popularity, and age.

The head adds the output of a small network to NPA's logit; its inputs are the click-through rate of
an article in training, its age when it was shown, and the hour. Both are trained together, from the
same batches: `features=["time", "age"]` passes the time of an impression and the age of each of its
candidates through to the model.
"""

from __future__ import annotations

import argparse
import dataclasses
import math

import numpy as np
import tensorflow as tf

import tfrs_npa  # before TensorFlow Recommenders: it chooses the Keras that both need
from tfrs_npa.layers.personalized_attention import MASKED_LOGIT

import tensorflow_recommenders as tfrs  # isort: skip

_SECONDS_PER_DAY = 86_400


class RankingHead(tfrs.Model):
    """NPA's logit, corrected by popularity, age and the hour.

    Args:
        npa: The personal part of the score.
        click_rate: `[articles]` smoothed click-through rate by index of the catalogue.
    """

    def __init__(self, npa: tfrs_npa.NPA, click_rate: np.ndarray):
        super().__init__()
        self.npa = npa
        logit = np.log(click_rate / (1 - click_rate))
        self.popularity = tf.constant((logit - logit.mean()) / logit.std(), tf.float32)
        # The last layer starts at zero: training starts with NPA alone.
        self.head = tf.keras.Sequential(
            [
                tf.keras.layers.Dense(16, activation="relu"),
                tf.keras.layers.Dense(1, kernel_initializer="zeros"),
            ]
        )
        self.task = tfrs.tasks.Ranking(
            loss=tf.keras.losses.CategoricalCrossentropy(from_logits=True)
        )
        self.ranking = tfrs_npa.ImpressionMetrics()
        self.ranking_metrics = self.ranking.metrics  # where Keras finds them

    def call(self, features, training=False):
        """Returns `[batch, candidates]` logits."""
        candidates = features["candidates"]
        seconds = tf.cast(features["time"] % _SECONDS_PER_DAY, tf.float32)
        angle = (2 * math.pi / _SECONDS_PER_DAY * seconds)[:, tf.newaxis]
        inputs = [tf.gather(self.popularity, candidates), tf.math.log1p(features["age"])]
        inputs += [wave(angle) * tf.ones_like(inputs[0]) for wave in (tf.sin, tf.cos)]
        logits = self.npa(features, training=training)
        logits += tf.squeeze(self.head(tf.stack(inputs, axis=-1)), axis=-1)
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
            tf.math.divide_no_nan(clicked, tf.reduce_sum(clicked, axis=1, keepdims=True)),
            logits / self.npa.config.temperature,
        )


def click_rates(impressions: tfrs_npa.Impressions, articles: int) -> np.ndarray:
    """Returns smoothed click-through rates by index of the catalogue, `[articles]`."""
    shown = np.bincount(impressions.candidate_values, minlength=articles)
    clicks = impressions.candidate_values[impressions.clicked == 1]
    clicked = np.bincount(clicks, minlength=articles)
    mean = clicked.sum() / shown.sum()
    # As if each article had been shown twenty more times, and clicked as often as the average.
    return (clicked + 20 * mean) / (shown + 20)


def with_age(impressions: tfrs_npa.Impressions, first_shown: np.ndarray) -> tfrs_npa.Impressions:
    """Adds the age of each candidate when it was shown, in hours, as a feature.

    Args:
        impressions: Impressions with the feature `time`.
        first_shown: `[articles]` time at which each article was shown first; takes in earlier ones.
    """
    times = impressions.features["time"].repeat(np.diff(impressions.candidate_splits))
    np.minimum.at(first_shown, impressions.candidate_values, times)
    hours = (times - first_shown[impressions.candidate_values]) / 3_600
    return dataclasses.replace(impressions, candidate_features={"age": hours.astype(np.float32)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="mind/synthetic", help="default: %(default)s")
    parser.add_argument("--epochs", type=int, default=3, help="default: %(default)s")
    args = parser.parse_args()

    data = tfrs_npa.load_mind(args.data)
    config = tfrs_npa.NPAConfig.preset("small")
    catalog = tfrs_npa.NewsCatalog().adapt(data.news["train"]).extend(data.news["validation"])
    users = tfrs_npa.UserIndex().adapt(data.behaviors["train"])
    training, validation = (
        data.impressions(split, catalog, users, ["time"]) for split in ("train", "validation")
    )
    first_shown = np.full(len(catalog), np.iinfo(np.int64).max)
    training, validation = (with_age(part, first_shown) for part in (training, validation))
    names = ["time", "age"]
    train = tfrs_npa.training_batches(training, catalog, users, config, features=names)
    valid = tfrs_npa.impression_batches(validation, catalog, users, config, features=names)

    tf.keras.utils.set_random_seed(config.seed)
    npa = tfrs_npa.NPA(config, catalog, users)
    model = RankingHead(npa, click_rates(training, len(catalog)))
    model.compile(optimizer=tfrs_npa.default_optimizer(config, len(train) * args.epochs))
    model.fit(train, epochs=args.epochs, verbose=2)
    metrics = model.evaluate(valid, verbose=0, return_dict=True)
    print(f"AUC {metrics['auc']:.4f}, nDCG@10 {metrics['ndcg_10']:.4f}")


if __name__ == "__main__":
    main()
