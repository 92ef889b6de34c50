"""What a training is given besides the hyper-parameters."""

from __future__ import annotations

import dataclasses

from tfrs_npa.data.settings import DataSettings


@dataclasses.dataclass(frozen=True)
class TrainingSettings(DataSettings):
    """What a training is given besides the hyper-parameters.

    Attributes:
        data, data_dir, manual_dir, word_vectors, word_list: see `DataSettings`.
        holdout: what early stopping looks at, see `DataSettings`; with `none` the training lasts
            `epochs`.
        epochs: the most passes over the training impressions.
        patience: passes without a better `val_auc` after which the training stops.

    Raises:
        ValueError: if a value is out of range, or as `DataSettings`.
    """

    epochs: int = 10
    patience: int = 2

    def __post_init__(self):
        super().__post_init__()
        self._require_at_least("epochs", 1)
        self._require_at_least("patience", 1)
