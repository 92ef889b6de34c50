"""What an editor knows of articles beyond their titles, in a file of their own."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv

from tfrs_npa._quoting import shortened
from tfrs_npa.data import ragged
from tfrs_npa.data.arrow_tables import is_text, open_parquet
from tfrs_npa.data.catalog import FIRST_ARTICLE, NewsCatalog
from tfrs_npa.data.named_rows import require_regular_file

_ID = "news_id"
_NUMBERS = ("alternative_voices", "activation")
_TEXTS = ("representation", "story")
_SEPARATOR = "|"
_PARQUET = b"PAR1"


class ArticleValues:
    """Flags and scores of articles, by id; any of four, each with gaps.

    `alternative_voices`: from 0 to 1, the share of an article's voices that are of a minority, or a
    flag. `activation`: a number, such as the polarity of its sentiment. `representation`: who or
    what it gives a voice to, a text or several. `story`: the event that it is about.

    >>> table = pa.table({"news_id": ["N1", "N2"], "activation": [0.5, None]})
    >>> ArticleValues(table).numbers("activation", catalog)

    Args:
        table: A column `news_id` of distinct strings, and at least one of the four. Several texts
            of one article are a list, or a string with `|` between them.

    Raises:
        ValueError: if a column is missing or of the wrong type, an id is missing or repeated, or a
            share is not from 0 to 1.
    """

    def __init__(self, table: pa.Table):
        names = table.column_names
        self._names = [name for name in (*_NUMBERS, *_TEXTS) if name in names]
        if _ID not in names or not self._names:
            raise ValueError(
                f"the columns are {', '.join(names)}; there must be {_ID} and at least one of "
                f"{', '.join((*_NUMBERS, *_TEXTS))}"
            )
        for name in (_ID, *self._names):
            type_ = table.schema.field(name).type
            is_list = pa.types.is_list(type_) or pa.types.is_large_list(type_)
            if name in _NUMBERS:
                right = any(
                    check(type_)
                    for check in (pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating)
                )
            elif name == "representation" and is_list:
                right = is_text(type_.value_type)
            else:
                right = is_text(type_)
            if not right and not pa.types.is_null(type_):
                kind = "numbers" if name in _NUMBERS else "strings"
                raise ValueError(f"{name} must hold {kind}, got {type_}")
        self._table = table
        ids = table[_ID].to_pylist()
        if None in ids or len(set(ids)) < len(ids):
            raise ValueError(f"{_ID} must hold the id of each article once")
        self._ids = ids
        if "alternative_voices" in self._names:
            share = self._floats("alternative_voices")
            if not np.all(np.isnan(share) | (share >= 0) & (share <= 1)):
                raise ValueError("alternative_voices must be from 0 to 1")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ArticleValues:
        """Reads a Parquet file, or a CSV file with a header.

        Raises:
            OSError: if the file cannot be read.
            ValueError: as the class, or if it is malformed; names the file.
        """
        require_regular_file(path)
        with open(path, "rb") as file:
            is_parquet = file.read(len(_PARQUET)) == _PARQUET
        try:
            if is_parquet:
                with open_parquet(path) as opened:
                    return cls(opened.read())
            texts = dict.fromkeys((_ID, *_TEXTS), pa.string())
            options = csv.ConvertOptions(
                column_types=texts, strings_can_be_null=True, quoted_strings_can_be_null=False
            )
            return cls(csv.read_csv(path, convert_options=options))
        except (ValueError, pa.ArrowInvalid) as error:
            raise ValueError(f"{os.fspath(path)}: {shortened(str(error), 300)}") from error

    def numbers(self, name: str, catalog: NewsCatalog) -> np.ndarray | None:
        """Returns `alternative_voices` or `activation` by index of a catalogue.

        Returns:
            `float64 [articles]`, NaN where an article has none; None if the column is missing.
        """
        if name not in self._names:
            return None
        values = np.full(len(catalog), np.nan)
        rows, indices = self._rows(catalog)
        values[indices] = self._floats(name)[rows]
        return values

    def texts(self, name: str, catalog: NewsCatalog) -> tuple[np.ndarray, np.ndarray] | None:
        """Returns `representation` or `story` by index of a catalogue, as numbers for texts.

        Returns:
            `int64 [values]` and `int64 [articles + 1]`: article `i` has
            `values[splits[i] : splits[i + 1]]`; None if the column is missing.
        """
        if name not in self._names:
            return None
        numbers: dict[str, int] = {}
        of_article: list[list[int]] = [[] for _ in range(len(catalog))]
        column = self._table[name].to_pylist()
        for row, index in zip(*(array.tolist() for array in self._rows(catalog)), strict=True):
            texts = column[row] or []
            if isinstance(texts, str):
                texts = texts.split(_SEPARATOR) if name == "representation" else [texts]
            names = [text.strip() for text in texts if text and text.strip()]
            of_article[index] = [numbers.setdefault(text, len(numbers)) for text in names]
        values = np.array([number for row in of_article for number in row], np.int64)
        return values, ragged.splits_of(np.array([len(row) for row in of_article]))

    def _rows(self, catalog) -> tuple[np.ndarray, np.ndarray]:
        """Returns the rows whose articles the catalogue knows, and their indices."""
        indices = catalog.index(self._ids)
        rows = np.flatnonzero(indices >= FIRST_ARTICLE)
        return rows, indices[rows]

    def _floats(self, name) -> np.ndarray:
        column = self._table[name].cast(pa.float64())
        return pc.fill_null(column, np.nan).to_numpy()


def category_indices(
    topics: Mapping[str, tuple[str, str]], catalog: NewsCatalog
) -> tuple[np.ndarray, list[str]]:
    """Returns the category of each article of a catalogue, and the names of the categories.

    Args:
        topics: Category and subcategory by id, as `MindData.topics` returns them.
        catalog: The articles.

    Returns:
        `int32 [articles]`: 0 where an article has none; and the names by those numbers, of which
        the first is `""`.
    """
    names = {"": 0}
    found = (topics.get(news_id, ("", ""))[0] for news_id in catalog.ids)
    category = [names.setdefault(name, len(names)) for name in found]
    return np.array(category, np.int32), list(names)
