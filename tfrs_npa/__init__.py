"""NPA (Neural News Recommendation with Personalized Attention) for TensorFlow Recommenders.

Importing it chooses Keras 2, which TensorFlow Recommenders needs, and registers the data set `mind`
with TensorFlow Datasets.
"""

# ruff: noqa: I001  Keras has to be chosen before anything imports TensorFlow.
from tfrs_npa import _keras as _keras

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
from tfrs_npa.layers import PersonalizedAttention
from tfrs_npa.models import NPA, NewsEncoder, UserEncoder
from tfrs_npa.models.recommenders import load_recommenders_weights
from tfrs_npa.optimizers import LazyAdam, default_optimizer
from tfrs_npa.run import load_run

__version__ = "0.1.0"

__all__ = [
    "NPA",
    "Cache",
    "Impressions",
    "LazyAdam",
    "NPAConfig",
    "NewsCatalog",
    "NewsEncoder",
    "PersonalizedAttention",
    "UserEncoder",
    "UserIndex",
    "Vocabulary",
    "WordVectors",
    "default_optimizer",
    "impression_batches",
    "load_recommenders_weights",
    "load_run",
    "training_batches",
]
