"""When words, articles and users were last seen, so that old ones can be dropped."""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np

from tfrs_npa._files import atomic_file

_SECONDS_PER_DAY = 86_400


@dataclasses.dataclass(frozen=True, eq=False)
class LastSeen:
    """Times of the last training whose data had something, in seconds since the epoch.

    The time of a training is that of its latest impression.

    Attributes:
        words: `int64 [words]`, the last training with the word in a title; 0: none so far.
        articles: `int64 [articles]`, the last training with the article among its news.
        users: `int64 [users]`, the last training with an impression of the user.
    """

    words: np.ndarray
    articles: np.ndarray
    users: np.ndarray

    @property
    def time(self) -> int:
        """The time of the latest training."""
        return int(max(times.max(initial=0) for times in vars(self).values()))

    def recent(self, days: float | None) -> LastSeen:
        """Returns boolean arrays instead: what was seen in the last `days` of the log.

        Words that no title has had yet are kept too: they have a pretrained vector. None: all.
        """
        if days is None:
            return LastSeen(*(np.ones(len(times), bool) for times in vars(self).values()))
        oldest = self.time - days * _SECONDS_PER_DAY
        return LastSeen(*((times == 0) | (times >= oldest) for times in vars(self).values()))

    def save(self, path: pathlib.Path) -> None:
        """Writes the times to an `.npz` file."""
        with atomic_file(path) as temporary:
            np.savez(temporary, **vars(self))

    @classmethod
    def load(cls, path: pathlib.Path) -> LastSeen:
        """Loads times that `save` wrote.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is damaged.
        """
        with np.load(path, allow_pickle=False) as arrays:
            return cls(**arrays)
