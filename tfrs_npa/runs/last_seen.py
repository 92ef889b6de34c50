"""In which training words, articles and users were last seen, so that old ones can be dropped."""

from __future__ import annotations

import dataclasses
import pathlib
import zipfile
from typing import TYPE_CHECKING

import numpy as np

from tfrs_npa._files import atomic_file
from tfrs_npa.data.catalog import UNKNOWN_ARTICLE, UNKNOWN_WORD, NewsCatalog
from tfrs_npa.data.splits import Splits
from tfrs_npa.data.users import UNKNOWN_USER

if TYPE_CHECKING:
    from tfrs_npa.models.npa import NPA


@dataclasses.dataclass(frozen=True, eq=False)
class LastSeen:
    """The last training that saw something, for each index: 1 is the first of a chain; 0: none.

    Attributes:
        words: `int32 [words]`, with the word in a title of its news.
        articles: `int32 [articles]`, with the article among its news.
        users: `int32 [users]`, with an impression of the user.
    """

    words: np.ndarray
    articles: np.ndarray
    users: np.ndarray

    @classmethod
    def of_training(
        cls, catalog: NewsCatalog, splits: Splits, before: tuple[NPA, LastSeen] | None = None
    ) -> LastSeen:
        """Returns what is known when a training starts.

        Args:
            catalog: The articles of the training.
            splits: Its impressions.
            before: The model that the training starts from, and what was known of it.
        """
        vocabulary, users = catalog.require_vocabulary(), splits.users
        if before is None:
            training = 1
            seen = cls(*(np.zeros(len(index), np.int32) for index in (vocabulary, catalog, users)))
        else:
            model, last = before
            training = last.training + 1
            words = model.catalog.require_vocabulary().index(vocabulary.words)
            seen = cls(
                _carried(last.words, words, UNKNOWN_WORD),
                _carried(last.articles, model.catalog.index(catalog.ids), UNKNOWN_ARTICLE),
                _carried(last.users, users.indices_in(model.users), UNKNOWN_USER),
            )
        news = [catalog.index(splits.data.titles(split)["news_id"]) for split in splits.data.splits]
        is_of_news = np.zeros(len(catalog), bool)
        is_of_news[np.concatenate(news)] = True
        of_news = np.repeat(is_of_news, np.diff(catalog.token_splits))
        seen.words[catalog.token_values[of_news]] = training
        seen.articles[is_of_news] = training
        seen.users[splits.train.user_id] = training
        return seen

    @property
    def training(self) -> int:
        """The number of the latest training."""
        return int(self.articles.max())

    def recent(self, trainings: int | None) -> dict[str, np.ndarray]:
        """Returns boolean arrays by name: whether one of the last `trainings` saw it.

        What none has seen is recent too: a word with a pretrained vector waits for a title. With
        None, everything is.
        """
        oldest = 0 if trainings is None else self.training - trainings + 1
        return {name: (last == 0) | (last >= oldest) for name, last in vars(self).items()}

    def save(self, path: pathlib.Path) -> None:
        """Writes the arrays to an `.npz` file."""
        with atomic_file(path) as temporary:
            np.savez(temporary, **vars(self))

    @classmethod
    def load(cls, path: pathlib.Path) -> LastSeen:
        """Loads what `save` wrote.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return cls(**arrays)
        except (TypeError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(str(error)) from error


def _carried(last: np.ndarray, indices: np.ndarray, unknown: int) -> np.ndarray:
    return np.where(indices == unknown, 0, last[indices])
