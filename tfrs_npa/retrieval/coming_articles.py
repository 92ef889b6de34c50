"""Articles that a model's catalogue is about to get."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfrs_npa.data.catalog import FIRST_ARTICLE, NewsCatalog
from tfrs_npa.data.columns import text_columns
from tfrs_npa.models.npa import NPA

_NAMES = ["news_id", "title"]


class ComingArticles:
    """The articles of a model's catalogue and others, which are not in it until `add`.

    So new titles can be encoded while the model is in use, and nothing has changed if that fails.

    Args:
        model: The model.
        news: Articles to add, as `NewsCatalog.extend` takes them; None: none. Those by which the
            catalogue was extended directly, and which the model does not know yet, come too.

    Attributes:
        ids: The ids of all articles by index.
        tables: What `NewsEncoder.article_tables` will hold.
        indices: `int32 [news]`, the indices that the articles of `news` will have.

    Raises:
        ValueError: if `news` is malformed, as `NewsCatalog.extend` says.
    """

    def __init__(self, model: NPA, news=None):
        catalog = model.catalog
        self._model, self._known = model, len(catalog)
        new = NewsCatalog(
            vocabulary=catalog.require_vocabulary(), article_vectors=catalog.article_vectors
        )
        self._news = None if news is None else _columns(news)
        if self._news is None:
            self.indices = np.zeros(0, np.int32)
        else:
            self.indices = catalog.index(self._news["news_id"])
            is_new = self.indices < FIRST_ARTICLE
            rows = np.flatnonzero(is_new)
            if len(rows):
                added = new.add({name: [self._news[name][row] for row in rows] for name in _NAMES})
                self.indices[is_new] = self._known + added - FIRST_ARTICLE
        self.ids = [*catalog.ids, *new.ids[FIRST_ARTICLE:]]
        length, vectors = model.config.title_length, [catalog.vectors(), new.vectors()]
        self.tables = model.candidate_tower.tables_of(
            _joined([catalog.tokens(length), new.tokens(length)]),
            None if catalog.article_vectors is None else _joined(vectors),
        )

    def add(self) -> None:
        """Adds the articles to the model's catalogue; the model takes them over in `swap`.

        Raises:
            ValueError: if the catalogue has been changed since, or as `NewsCatalog.extend`.
        """
        if len(self._model.catalog) != self._known:
            raise ValueError(
                "The model's catalogue got articles while others were encoded: add articles with "
                "`add_articles` or the top-K layers of the model, which wait for each other."
            )
        if self._news is not None:
            self._model.catalog.add(self._news)

    def swap(self) -> None:
        """Lets the model score the articles."""
        # Also where there are as many as before: vectors of articles may be others.
        self._model.candidate_tower.assign_articles(self.tables)


def _joined(parts):
    """Returns tables of two catalogues as one, whose padding and unknown article come once."""
    first, second = parts
    return np.concatenate([first, second[FIRST_ARTICLE:]])


def _columns(news) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {name: [] for name in _NAMES}
    for chunk in text_columns(news, _NAMES, "news", lists=["title"]):
        for column, values in zip(columns.values(), chunk, strict=True):
            column.extend(values)
    return columns
