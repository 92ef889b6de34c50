"""Scores and explanations by the ids of users and articles, of a model or of an export."""

from __future__ import annotations

import functools
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_npa.data.catalog import FIRST_ARTICLE
from tfrs_npa.models.npa import NPA
from tfrs_npa.retrieval.requests import string_matrix
from tfrs_npa.serving.checksums import check_sums, naming_damage
from tfrs_npa.serving.module import ServingModule
from tfrs_npa.serving.versions import versions_of

_SIGNATURES = ("recommend", "explain", "score_titles")
# Rows that are scored against all articles at once.
_ROWS = 64


class Explainer:
    """Scores articles and explains the scores.

    `Explainer.of_model` and `Explainer.of_export` make one; both ask the signatures `recommend`,
    `explain` and `score_titles` of `tfrs_npa.serving.ServingModule`.

    Args:
        signatures: The three by name; they take and return tensors by name.
        ids: Ids of the articles that may be recommended.

    Attributes:
        ids: As given.
        positions: The position of each in `ids`.
    """

    def __init__(self, signatures: Mapping[str, Callable[..., Any]], ids: Sequence[str]):
        self.ids = list(ids)
        self._recommend, self._explain, self._score_titles = (
            signatures[name] for name in _SIGNATURES
        )
        self.positions = {news_id: position for position, news_id in enumerate(self.ids)}

    @classmethod
    def of_model(cls, model: NPA) -> Explainer:
        """Explains by a model of this process.

        Args:
            model: The model; all articles of its catalogue may be recommended.

        Raises:
            ValueError: if there is no article.
        """
        articles = np.arange(FIRST_ARTICLE, len(model.catalog))
        if not len(articles):
            raise ValueError("the model's catalogue holds no articles: there is nothing to explain")
        module = ServingModule(model)
        module.articles.start(model.catalog, articles)
        signatures = {name: getattr(module, name) for name in _SIGNATURES}
        return cls(signatures, model.catalog.ids[FIRST_ARTICLE:])

    @classmethod
    def of_export(cls, path: str | os.PathLike[str]) -> Explainer:
        """Explains by an export.

        Args:
            path: What `tfrs_npa.export` wrote: a version, or the folder of the versions, of which
                the latest counts.

        Raises:
            ValueError: if there is no export, it is damaged, or it was made by a version of this
                package whose `explain` does not say what each click contributes.
        """
        path = pathlib.Path(path)
        if not (path / "saved_model.pb").is_file():
            versions = versions_of(path) if path.is_dir() else []
            if not versions:
                raise ValueError(f"{path} is no export: `tfrs-npa export` makes one")
            path = versions[-1]
        check_sums(path)
        with naming_damage(path):
            module = tf.saved_model.load(str(path))
            signatures = {name: module.signatures[name] for name in _SIGNATURES}
        if "contributions" not in signatures["explain"].structured_outputs:
            raise ValueError(
                f"{path} was exported by an earlier version, which did not say what each click "
                "contributes to a score: export the run again"
            )
        # The variables of a module live as long as it does: each signature holds on to it.
        asked = {name: functools.partial(_ask, module, signatures[name]) for name in _SIGNATURES}
        return cls(asked, [news_id.decode() for news_id in module.articles.indexed.ids.numpy()])

    def scores(self, user_id: str, histories: Sequence[Sequence[str]]) -> np.ndarray:
        """Scores all articles that may be recommended.

        Args:
            user_id: The id of a user.
            histories: Several histories of theirs, ids of clicked articles, oldest first.

        Returns:
            float32 `[histories, articles]`, the articles in the order of `ids`.
        """
        scores = np.empty((len(histories), len(self.ids)), np.float32)
        for start in range(0, len(histories), _ROWS):
            some = histories[start : start + _ROWS]
            nothing = tf.zeros([len(some), 0], tf.string)
            found = self._recommend(
                user_id=tf.constant([user_id] * len(some)),
                history=_padded(some),
                k=tf.constant(len(self.ids)),
                exclusions=nothing,
                candidates=nothing,
            )
            for row, (ids, values) in enumerate(zip(found["news_id"].numpy(), found["scores"])):
                columns = [self.positions[news_id.decode()] for news_id in ids]
                scores[start + row, columns] = values
        return scores

    def explain(
        self, user_id: str, histories: Sequence[Sequence[str]], candidates: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Explains the scores of articles.

        Args:
            user_id: The id of a user.
            histories: Several histories of theirs, ids of clicked articles, oldest first.
            candidates: Ids of articles.

        Returns:
            What `ServingModule.explain` returns, as arrays, strings as objects of type str.
        """
        found = self._explain(
            user_id=tf.constant([user_id] * len(histories)),
            history=_padded(histories),
            candidates=_padded([candidates] * len(histories)),
        )
        return {name: _array(value) for name, value in found.items()}

    def score_titles(
        self, user_id: str, history: Sequence[str], titles: Sequence[str]
    ) -> np.ndarray:
        """Scores arbitrary titles.

        Args:
            user_id: The id of a user.
            history: Their history, ids of clicked articles, oldest first.
            titles: The titles.

        Returns:
            float32 `[titles]`.
        """
        # An empty title is padding to the signature, and a blank is a title without words.
        given = [title or " " for title in titles]
        found = self._score_titles(
            user_id=tf.constant([user_id]), history=_padded([history]), titles=_padded([given])
        )
        return found["scores"].numpy()[0]


def _ask(module: Any, signature: Callable[..., Any], **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
    return signature(**inputs)


def _padded(rows: Iterable[Iterable[str]]) -> tf.Tensor:
    return string_matrix([list(row) for row in rows], "a list of articles")


def _array(tensor: tf.Tensor) -> np.ndarray:
    array = tensor.numpy()
    if tensor.dtype != tf.string:
        return array
    decoded = [text.decode("utf-8", "replace") for text in array.reshape(-1)]
    return np.array(decoded, object).reshape(array.shape)
