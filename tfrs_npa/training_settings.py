"""What a training is given besides the hyper-parameters."""

from __future__ import annotations

import dataclasses

HOLDOUTS = ("auto", "last-day", "none")


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """What a training is given besides the hyper-parameters.

    Attributes:
        data: `mind/small` and so on, or a folder; see `load_mind`.
        data_dir: where TensorFlow Datasets keeps what it has prepared.
        manual_dir: where zips of MIND lie that were fetched by hand.
        word_vectors: file of pretrained word vectors, text or `.npy`.
        word_list: the words of an `.npy` file.
        holdout: what early stopping looks at. `last-day`: the last day of the training
            impressions, which is then not trained on. `none`: nothing, the training lasts
            `epochs`. `auto`: the split `validation` if there is a labelled `test` to report on,
            else `last-day`.
        epochs: the most passes over the training impressions.
        patience: passes without a better `val_auc` after which the training stops.

    Raises:
        ValueError: if a value is out of range, or a word list is given without `.npy` vectors.
    """

    data: str
    data_dir: str | None = None
    manual_dir: str | None = None
    word_vectors: str | None = None
    word_list: str | None = None
    holdout: str = "auto"
    epochs: int = 10
    patience: int = 2

    def __post_init__(self):
        if self.holdout not in HOLDOUTS:
            raise ValueError(f"holdout is {self.holdout!r}; it is one of {', '.join(HOLDOUTS)}")
        for name in ("epochs", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; the least is 1")
        is_array = (self.word_vectors or "").endswith(".npy")
        if is_array != (self.word_list is not None):
            raise ValueError("a word list goes with word vectors in an .npy file, and they with it")
