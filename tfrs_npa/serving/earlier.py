"""The model of an export whose encoded titles are laid out as in an earlier version."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_npa.config import NPAConfig
from tfrs_npa.data.article_vectors import ArticleVectors
from tfrs_npa.data.catalog import FIRST_ARTICLE, NewsCatalog
from tfrs_npa.data.users import UNKNOWN_USER, UserIndex
from tfrs_npa.models.npa import NPA
from tfrs_npa.serving.versions import WORDS


def exported_model(version: pathlib.Path, description: Mapping[str, Any]) -> tuple[NPA, np.ndarray]:
    """Returns the model of an export, of any format, with its articles and users.

    Args:
        version: Folder of the version.
        description: What the export says of itself.

    Returns:
        The model, and the indices of the articles that may be recommended.
    """
    saved = tf.saved_model.load(os.fspath(version))
    articles = saved.articles
    ids, indices = _exported(articles.indexed._table)
    ids = [news_id.decode() for news_id in ids[np.argsort(indices)]]
    titles = [title.decode() for title in articles.titles.numpy()]
    words = NewsCatalog.load(version / WORDS)
    catalog = words.with_tokens(ids, titles, articles.tokens.numpy())
    if description["vector_dim"] is not None:
        vectors = articles.vectors.numpy()[FIRST_ARTICLE:]
        catalog.set_article_vectors(ArticleVectors(ids[FIRST_ARTICLE:], vectors))
    users = _users(saved._tables[0], description["users"])
    model = NPA(NPAConfig.from_saved(description["config"]), catalog, users)
    model.set_weights([weight.numpy() for weight in saved._weights])
    return model, articles.indexed.indices.numpy()


def _exported(table):
    """Returns the keys and values of a table that was loaded with a SavedModel."""
    found = tf.raw_ops.LookupTableExportV2(
        table_handle=table.resource_handle, Tkeys=tf.string, Tvalues=tf.int32
    )
    return found.keys.numpy(), found.values.numpy()


def _users(table, number: int) -> UserIndex:
    if hasattr(table, "seen"):
        users = UserIndex.hashed(number - 1)
        users.seen = table.seen.numpy()
        return users
    ids, indices = _exported(table)
    known = indices != UNKNOWN_USER
    ids = ids[known][np.argsort(indices[known])]
    return UserIndex().adapt({"user_id": [user_id.decode() for user_id in ids]})
