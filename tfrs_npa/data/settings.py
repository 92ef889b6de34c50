"""Where the impressions of a training or a search come from."""

from __future__ import annotations

import dataclasses
from typing import ClassVar


@dataclasses.dataclass(frozen=True)
class DataSettings:
    """Where impressions and words come from.

    Attributes:
        data: `mind/small` and so on, or a folder; see `load_mind`.
        data_dir: where TensorFlow Datasets keeps what it has prepared.
        manual_dir: where zips of MIND lie that were fetched by hand.
        word_vectors: file of pretrained word vectors, text or `.npy`.
        word_list: the words of an `.npy` file.
        holdout: what epochs are compared on. `last-day`: the last day of the training impressions,
            which is then not trained on. `none`: nothing. `auto`: the split `validation` if there
            is a labelled `test` to report on, else `last-day`.

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
            raise ValueError("a word list goes with word vectors in an .npy file, and they with it")

    def _require_one_of(self, name: str, choices: tuple[str, ...]) -> None:
        value = getattr(self, name)
        if value not in choices:
            raise ValueError(f"{name} is {value!r}; it is one of {', '.join(choices)}")

    def _require_at_least(self, name: str, least: int) -> None:
        value = getattr(self, name)
        if value < least:
            raise ValueError(f"{name} is {value}; the least is {least}")
