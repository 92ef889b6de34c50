"""NPA (Neural News Recommendation with Personalized Attention) for TensorFlow Recommenders.

Importing it chooses Keras 2, which TensorFlow Recommenders needs, and registers the data set `mind`
with TensorFlow Datasets. TensorFlow itself is imported when a name that needs it is first used.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from tfrs_npa import _keras as _keras

if TYPE_CHECKING:
    from tfrs_npa.config import NPAConfig
    from tfrs_npa.data.article_vectors import ArticleVectors
    from tfrs_npa.data.batches import impression_batches, training_batches
    from tfrs_npa.data.cache import Cache
    from tfrs_npa.data.catalog import NewsCatalog
    from tfrs_npa.data.impressions import Impressions
    from tfrs_npa.data.loading import load_mind
    from tfrs_npa.data.users import UserIndex
    from tfrs_npa.data.vocabulary import Vocabulary
    from tfrs_npa.data.word_vectors import WordVectors
    from tfrs_npa.datasets.mind.predictions import read_predictions
    from tfrs_npa.layers.personalized_attention import PersonalizedAttention
    from tfrs_npa.metrics.impression_metrics import ImpressionMetrics
    from tfrs_npa.models.explanation import explain
    from tfrs_npa.models.news_encoder import NewsEncoder
    from tfrs_npa.models.npa import NPA
    from tfrs_npa.models.user_encoder import UserEncoder
    from tfrs_npa.models.warm_start import warm_start
    from tfrs_npa.optimizers import LazyAdam, default_optimizer
    from tfrs_npa.recommenders import load_recommenders_weights
    from tfrs_npa.retrieval.personalized_top_k import PersonalizedTopK
    from tfrs_npa.retrieval.two_stage import TwoStageTopK
    from tfrs_npa.runs.forget import forget_users
    from tfrs_npa.runs.run import load_run
    from tfrs_npa.search.hypermodel import NPAHyperModel
    from tfrs_npa.search.space import SearchSpace
    from tfrs_npa.serving.export import export
    from tfrs_npa.serving.refresh import refresh_export
    from tfrs_npa.serving.score_log import score_log
    from tfrs_npa.submission import evaluate_predictions, write_predictions

__version__ = "0.2.0"

__all__ = [
    "NPA",
    "ArticleVectors",
    "Cache",
    "ImpressionMetrics",
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
    "explain",
    "export",
    "forget_users",
    "impression_batches",
    "load_mind",
    "load_recommenders_weights",
    "load_run",
    "read_predictions",
    "refresh_export",
    "score_log",
    "training_batches",
    "warm_start",
    "write_predictions",
]

# The module that each name is imported from when it is first used (scientific Python's SPEC 1).
_HOMES = {
    "NPA": "models.npa",
    "ArticleVectors": "data.article_vectors",
    "Cache": "data.cache",
    "ImpressionMetrics": "metrics.impression_metrics",
    "Impressions": "data.impressions",
    "LazyAdam": "optimizers",
    "NPAConfig": "config",
    "NPAHyperModel": "search.hypermodel",
    "NewsCatalog": "data.catalog",
    "NewsEncoder": "models.news_encoder",
    "PersonalizedAttention": "layers.personalized_attention",
    "PersonalizedTopK": "retrieval.personalized_top_k",
    "SearchSpace": "search.space",
    "TwoStageTopK": "retrieval.two_stage",
    "UserEncoder": "models.user_encoder",
    "UserIndex": "data.users",
    "Vocabulary": "data.vocabulary",
    "WordVectors": "data.word_vectors",
    "default_optimizer": "optimizers",
    "evaluate_predictions": "submission",
    "explain": "models.explanation",
    "export": "serving.export",
    "forget_users": "runs.forget",
    "impression_batches": "data.batches",
    "load_mind": "data.loading",
    "load_recommenders_weights": "recommenders",
    "load_run": "runs.run",
    "read_predictions": "datasets.mind.predictions",
    "refresh_export": "serving.refresh",
    "score_log": "serving.score_log",
    "training_batches": "data.batches",
    "warm_start": "models.warm_start",
    "write_predictions": "submission",
}
_MODULES = (
    "cli",
    "config",
    "data",
    "datasets",
    "explaining",
    "layers",
    "metrics",
    "models",
    "optimizers",
    "recommenders",
    "retrieval",
    "runs",
    "search",
    "serving",
    "settings",
    "submission",
)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(f"tfrs_npa.{_HOMES[name]}"), name)
        globals()[name] = value
        if "tensorflow" in sys.modules:
            _keras.register_classes()
        return value
    if name in _MODULES:
        return importlib.import_module(f"tfrs_npa.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
