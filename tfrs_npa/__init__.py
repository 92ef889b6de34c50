"""NPA (Neural News Recommendation with Personalized Attention) for TensorFlow Recommenders.

Importing it chooses Keras 2, which TensorFlow Recommenders needs, and registers the data set `mind`
with TensorFlow Datasets.
"""

# ruff: noqa: I001  Keras has to be chosen before anything imports TensorFlow.
from tfrs_npa import _keras as _keras

from typing import TYPE_CHECKING

import tfrs_npa.datasets.mind as _mind  # noqa: F401  registers the builder
from tfrs_npa.config import NPAConfig
from tfrs_npa.data import (
    Cache,
    Impressions,
    NewsCatalog,
    UserIndex,
    Vocabulary,
    WordVectors,
    impression_batches,
    training_batches,
)
from tfrs_npa.export import export
from tfrs_npa.layers import PersonalizedAttention
from tfrs_npa.models import NPA, NewsEncoder, UserEncoder
from tfrs_npa.models.recommenders import load_recommenders_weights
from tfrs_npa.optimizers import LazyAdam, default_optimizer
from tfrs_npa.retrieval import PersonalizedTopK, TwoStageTopK
from tfrs_npa.run import load_run
from tfrs_npa.search_space import SearchSpace
from tfrs_npa.submission import evaluate_predictions, read_predictions, write_predictions

if TYPE_CHECKING:
    from tfrs_npa.hypermodel import NPAHyperModel

__version__ = "0.1.0"

__all__ = [
    "NPA",
    "Cache",
    "Impressions",
    "LazyAdam",
    "NPAConfig",
    "NPAHyperModel",
    "NewsCatalog",
    "NewsEncoder",
    "PersonalizedAttention",
    "PersonalizedTopK",
    "SearchSpace",
    "TwoStageTopK",
    "UserEncoder",
    "UserIndex",
    "Vocabulary",
    "WordVectors",
    "default_optimizer",
    "evaluate_predictions",
    "export",
    "impression_batches",
    "load_recommenders_weights",
    "load_run",
    "read_predictions",
    "training_batches",
    "write_predictions",
]


def __getattr__(name: str):
    # KerasTuner takes over a second to import, which most programs have no use for.
    if name == "NPAHyperModel":
        from tfrs_npa.hypermodel import NPAHyperModel

        return NPAHyperModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
