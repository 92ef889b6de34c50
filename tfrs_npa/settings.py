"""Settings of trainings and searches other than hyper-parameters, and their allowed values.

Needs no TensorFlow, so that the command line can use it before it imports anything slow.
"""

from __future__ import annotations

import dataclasses
import os
from typing import ClassVar

DATA_SETS = ("mind/synthetic", "mind/demo", "mind/small", "mind/large")
"""Names of data sets; anything else is a folder in MIND's format."""
_PREFIX = "mind/"
SPLITS = ("train", "validation", "test")
TUNERS = ("hyperband", "random", "bayesian", "grid")
DTYPES = ("float32", "bfloat16")
"""Types that encoded titles can be kept in."""

ENCODING_MEMORY = 4 * 2**30
"""Bytes that the encoded titles of a catalogue may take during an evaluation."""
CACHE_BYTES = 10 * 2**30
"""Bytes that the cache of preprocessed data may take."""
DEFAULT_K = 10
"""Number of articles to recommend."""
KEPT_VERSIONS = 3
"""Versions of an export that a refresh leaves."""
DEFAULT_TRIALS = 20
"""Number of trials of a tuner that would otherwise never stop."""
CHIEF_TIMEOUT = 300.0
"""Seconds that a worker waits for its chief to start."""


def is_data_set(name: str) -> bool:
    """Whether data is named as a data set, and not by its folder."""
    return name.startswith(_PREFIX)


def require_data(name: str, manual_dir: str | os.PathLike | None = None) -> None:
    """Makes sure that there is a data set or a folder of that name.

    Args:
        name: One of `DATA_SETS`, or a folder.
        manual_dir: Folder of zips; None: there is none.

    Raises:
        ValueError: if there is not, or the folder of zips does not exist.
    """
    if name not in DATA_SETS and (is_data_set(name) or not os.path.isdir(name)):
        kind = "data set" if is_data_set(name) else "folder"
        raise ValueError(
            f"there is no {kind} {name}; give a folder in MIND's format, or {', '.join(DATA_SETS)}"
        )
    if manual_dir is not None and not os.path.isdir(manual_dir):
        raise ValueError(f"the manual folder {manual_dir} does not exist")


@dataclasses.dataclass(frozen=True)
class DataSettings:
    """Source of the impressions and word vectors, and the holdout.

    Attributes:
        data: One of `DATA_SETS`, or a folder; see `tfrs_npa.load_mind`.
        data_dir: Where TensorFlow Datasets keeps the data it has prepared.
        manual_dir: Folder of MIND's zips that were downloaded by hand.
        word_vectors: File of pretrained word vectors, text or `.npy`.
        word_list: The words of an `.npy` file.
        holdout: The impressions that epochs are compared on. `last-day`: the last day of the
            training impressions, which is then not trained on. `none`: none. `auto`: the split
            `validation` if there is a labelled `test` to report on, else `last-day`.

    Raises:
        ValueError: if the holdout is unknown, or a word list is given without `.npy` vectors.
    """

    data: str
    data_dir: str | None = None
    manual_dir: str | None = None
    word_vectors: str | None = None
    word_list: str | None = None
    holdout: str = "auto"

    HOLDOUTS: ClassVar[tuple[str, ...]] = ("auto", "last-day", "none")

    def __post_init__(self):
        self._require_one_of("holdout", self.HOLDOUTS)
        is_array = (self.word_vectors or "").endswith(".npy")
        if is_array != (self.word_list is not None):
            raise ValueError(
                "word vectors in an .npy file need a word list, and a word list needs such a file"
            )

    def _require_one_of(self, name: str, choices: tuple[str, ...]) -> None:
        value = getattr(self, name)
        if value not in choices:
            raise ValueError(f"{name} is {value!r}; it has to be one of {', '.join(choices)}")

    def _require_at_least(self, name: str, least: int) -> None:
        value = getattr(self, name)
        if value < least:
            raise ValueError(f"{name} is {value}; it has to be at least {least}")


@dataclasses.dataclass(frozen=True)
class TrainingSettings(DataSettings):
    """Settings of a training other than its hyper-parameters.

    Attributes:
        data, data_dir, manual_dir, word_vectors, word_list: See `DataSettings`.
        holdout: The impressions that early stopping monitors, see `DataSettings`; with `none`, the
            training lasts all `epochs`.
        epochs: The most passes over the training impressions.
        patience: Passes without a better `val_auc` after which the training stops.

    Raises:
        ValueError: if a value is out of range, or as `DataSettings`.
    """

    epochs: int = 2
    patience: int = 2

    def __post_init__(self):
        super().__post_init__()
        self._require_at_least("epochs", 1)
        self._require_at_least("patience", 1)


@dataclasses.dataclass(frozen=True)
class SearchSettings(DataSettings):
    """Settings of a search other than its space.

    Attributes:
        data, data_dir, manual_dir, word_vectors, word_list: See `DataSettings`.
        holdout: The impressions that the objective `val_auc` is measured on, see `DataSettings`;
            not `none`.
        tuner: One of `TUNERS`.
        epochs: Passes of a trial over the training impressions; with Hyperband, the most.
        max_trials: The most trials; None: `DEFAULT_TRIALS` for `random` and `bayesian`, and as many
            as they plan themselves for the others.
        seed: Seed for choosing trials; the seed of the trainings is part of the space.

    Raises:
        ValueError: if a value is out of range, or as `DataSettings`.
    """

    tuner: str = "hyperband"
    epochs: int = 10
    max_trials: int | None = None
    seed: int = 42

    # A search needs impressions to measure its trials on.
    HOLDOUTS: ClassVar[tuple[str, ...]] = ("auto", "last-day")

    def __post_init__(self):
        super().__post_init__()
        self._require_one_of("tuner", TUNERS)
        self._require_at_least("epochs", 1)
        self._require_at_least("seed", 0)
        if self.max_trials is not None:
            self._require_at_least("max_trials", 1)
