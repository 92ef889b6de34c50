"""A search whose trials have one shape, and one of its trials in a process of its own.

python tests/search/one_trial.py LEARNING_RATE DROPOUT
"""

from __future__ import annotations

import hashlib
import sys

import numpy as np

import tfrs_npa
from tfrs_npa.cli.messages import import_tensorflow

ARTICLES, IMPRESSIONS = 12, 24


def hypermodel() -> tfrs_npa.NPAHyperModel:
    """A hypermodel on made-up data, with draws in all places."""
    generator = np.random.default_rng(0)
    catalog = tfrs_npa.NewsCatalog().adapt(
        {
            "news_id": [f"N{i}" for i in range(ARTICLES)],
            "title": [f"word{i % 5} word{i % 3}" for i in range(ARTICLES)],
        }
    )
    users = tfrs_npa.UserIndex().adapt({"user_id": ["U0", "U1", "U2"]})
    columns = {
        "impression_id": np.arange(IMPRESSIONS),
        "user_id": generator.integers(0, 4, IMPRESSIONS, np.int32),
        "history_values": generator.integers(2, ARTICLES + 2, 3 * IMPRESSIONS, np.int32),
        "history_lengths": np.full(IMPRESSIONS, 3),
        "candidate_values": generator.integers(2, ARTICLES + 2, 4 * IMPRESSIONS, np.int32),
        "candidate_lengths": np.full(IMPRESSIONS, 4),
        "clicked": np.tile(np.array([0, 1, 0, 0], np.int8), IMPRESSIONS),
    }
    impressions = tfrs_npa.Impressions.from_columns(columns)
    base = tfrs_npa.NPAConfig.preset("small").replace(
        word_embedding_dim=6,
        user_embedding_dim=3,
        num_filters=4,
        attention_dim=3,
        background_titles=4,
        pooling_dropout=0.1,
        warmup_steps=2,
        batch_size=16,
    )
    searched = {
        "learning_rate": {"min": 1e-3, "max": 1e-1, "sampling": "log"},
        "dropout": {"min": 0.1, "max": 0.5},
    }
    space = tfrs_npa.SearchSpace(searched, base, others="pinned")
    return tfrs_npa.NPAHyperModel(catalog, impressions, impressions, space, users=users)


def digest(model, history) -> str:
    """A digest of all bits of what was trained and of what was measured."""
    variables = [*model.weights, *model.optimizer.variables]
    arrays = [*(variable.numpy() for variable in variables), *map(np.array, history.values())]
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


if __name__ == "__main__":
    import_tensorflow()
    import keras_tuner

    hp = keras_tuner.HyperParameters()
    hp.values.update(learning_rate=float(sys.argv[1]), dropout=float(sys.argv[2]))
    alone = hypermodel()
    model = alone.build(hp)
    print(digest(model, alone.fit(hp, model, epochs=2, verbose=0).history))
