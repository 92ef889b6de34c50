"""What a search is given besides the space that it searches."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfrs_npa.data.settings import DataSettings

TUNERS = ("hyperband", "random", "bayesian", "grid")


@dataclasses.dataclass(frozen=True)
class SearchSettings(DataSettings):
    """What a search is given besides the space that it searches.

    Attributes:
        data, data_dir, manual_dir, word_vectors, word_list: see `DataSettings`.
        holdout: what the objective `val_auc` is measured on, see `DataSettings`; not `none`.
        tuner: `hyperband`, `random`, `bayesian` or `grid`.
        epochs: the passes of a trial over the training impressions; of Hyperband, the most.
        max_trials: the most trials; None: 20 for `random` and `bayesian`, and for the others as
            many as they plan themselves.
        seed: of the choice of trials; that of the trainings is in the space.

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
