"""What a search is given besides the space that it searches."""

from __future__ import annotations

import dataclasses

TUNERS = ("hyperband", "random", "bayesian", "grid")
HOLDOUTS = ("auto", "last-day")


@dataclasses.dataclass(frozen=True)
class SearchSettings:
    """What a search is given besides the space that it searches.

    Attributes:
        data: `mind/small` and so on, or a folder; see `load_mind`.
        data_dir: where TensorFlow Datasets keeps what it has prepared.
        manual_dir: where zips of MIND lie that were fetched by hand.
        word_vectors: file of pretrained word vectors, text or `.npy`.
        word_list: the words of an `.npy` file.
        holdout: what the objective `val_auc` is measured on. `last-day`: the last day of the
            training impressions, which is then not trained on. `auto`: the split `validation` if
            there is a labelled `test` to report on, else `last-day`.
        tuner: `hyperband`, `random`, `bayesian` or `grid`.
        epochs: the passes of a trial over the training impressions; of Hyperband, the most.
        max_trials: the most trials; None: 20 for `random` and `bayesian`, and for the others as
            many as they plan themselves.
        seed: of the choice of trials; that of the trainings is in the space.

    Raises:
        ValueError: if a value is out of range, or a word list is given without `.npy` vectors.
    """

    data: str
    data_dir: str | None = None
    manual_dir: str | None = None
    word_vectors: str | None = None
    word_list: str | None = None
    holdout: str = "auto"
    tuner: str = "hyperband"
    epochs: int = 10
    max_trials: int | None = None
    seed: int = 42

    def __post_init__(self):
        if self.holdout not in HOLDOUTS:
            raise ValueError(
                f"holdout is {self.holdout!r}; it is one of {', '.join(HOLDOUTS)}: a search needs "
                "impressions to measure its trials on"
            )
        if self.tuner not in TUNERS:
            raise ValueError(f"tuner is {self.tuner!r}; it is one of {', '.join(TUNERS)}")
        for name, least in (("epochs", 1), ("max_trials", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} is {value}; the least is {least}")
        is_array = (self.word_vectors or "").endswith(".npy")
        if is_array != (self.word_list is not None):
            raise ValueError("a word list goes with word vectors in an .npy file, and they with it")
