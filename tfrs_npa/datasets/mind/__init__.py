"""The TFDS dataset `mind`; importing this registers it.

Imports in this folder are relative, because `tfds build` imports it under another name.
"""

from .errors import MindFileError
from .folder import find_splits
from .mind_dataset_builder import Builder
from .synthetic import SyntheticWorld
from .synthetic_knobs import WorldKnobs
from .tsv import read_behaviors, read_news, write_behaviors, write_news

__all__ = [
    "Builder",
    "MindFileError",
    "SyntheticWorld",
    "WorldKnobs",
    "find_splits",
    "read_behaviors",
    "read_news",
    "write_behaviors",
    "write_news",
]
