"""Turns strings into batches of integers; independent of any model."""

from tfrs_npa.data.batches import impression_batches, training_batches
from tfrs_npa.data.cache import Cache, default_cache_dir
from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.data.impressions import Impressions
from tfrs_npa.data.tokenizers import tokenize
from tfrs_npa.data.users import UserIndex
from tfrs_npa.data.vocabulary import Vocabulary
from tfrs_npa.data.word_vectors import WordVectors

__all__ = [
    "Cache",
    "Impressions",
    "NewsCatalog",
    "UserIndex",
    "Vocabulary",
    "WordVectors",
    "default_cache_dir",
    "impression_batches",
    "tokenize",
    "training_batches",
]
