"""A SavedModel in a folder of versions, as TensorFlow Serving expects it."""

from __future__ import annotations

import json
import logging
import os
import pathlib
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from tfrs_npa._files import atomic_folder, sweep
from tfrs_npa._lock import locked
from tfrs_npa.data.catalog import FIRST_ARTICLE, NewsCatalog
from tfrs_npa.models.distributed_model import check_is_npa
from tfrs_npa.models.npa import NPA
from tfrs_npa.serving.checkpoint import put_articles
from tfrs_npa.serving.checksums import write_sums
from tfrs_npa.serving.module import ServingModule
from tfrs_npa.serving.versions import DESCRIPTION, FORMAT, WORDS, next_version
from tfrs_npa.serving.warm_up import WARM_UP_FILE, example_requests, write_warm_up

logger = logging.getLogger(__name__)


def export(
    model: NPA,
    folder: str | os.PathLike[str],
    version: int | None = None,
    dtype: str = "float32",
    recommendable: Iterable[str] | None = None,
) -> pathlib.Path:
    """Writes a model as a SavedModel that needs nothing but TensorFlow.

    The signatures are the methods of `tfrs_npa.serving.ServingModule`: `score` (the default),
    `score_with_titles`, `score_titles`, `recommend`, `recommend_with_titles`, `encode`,
    `encode_articles` and `explain`. The titles of the
    catalogue are encoded now and travel along, so that no request encodes them again. A request of
    each signature is written to `assets.extra/tf_serving_warmup_requests`, with which TensorFlow
    Serving warms up before it takes over a version; that needs `tensorflow-serving-api`.

    >>> tfrs_npa.export(model, "exports/npa")
    PosixPath('exports/npa/1')
    >>> score = tf.saved_model.load("exports/npa/1").signatures["score"]
    >>> history, candidates = tf.constant([["N1"]]), tf.constant([["N2", "N3"]])
    >>> score(user_id=tf.constant(["U1"]), history=history, candidates=candidates)["scores"]

    Args:
        model: The model, with the articles that are to be served in its catalogue. Of a model with
            an NPA inside, that NPA.
        folder: Folder of the versions, created if missing.
        version: The version; None: one more than the highest existing one, or 1.
        dtype: Type of the encoded titles, `"float32"` or `"bfloat16"`; the second takes 60 % of the
            space, and rounds the values of words to 8 significant bits. `recommend` answers as if
            it had given all articles to `score`.
        recommendable: Ids of the articles that `recommend` may return; None: all of the catalogue.
            Histories know the others too, and they can be scored.

    Returns:
        The folder of the version, which is created atomically.

    Raises:
        TypeError: if the model is not an `NPA`.
        ValueError: if the version exists or is no positive number, `dtype` is unknown, the
            catalogue holds no articles, there are none to recommend, the catalogue does not hold
            all of these, or another process writes a version.
    """
    check_is_npa(model, "export")
    folder = pathlib.Path(folder)
    with locked(folder, "export"):
        sweep(folder)
        return write_version(model, folder, version, dtype, recommendable)


def write_version(
    model: NPA,
    folder: pathlib.Path,
    version: int | None = None,
    dtype: str = "float32",
    recommendable: Iterable[str] | None = None,
) -> pathlib.Path:
    """Does what `export` does, for a caller that has locked the folder."""
    if version is None:
        version = next_version(folder)
    if version < 1:
        raise ValueError(f"the version is {version}; it has to be at least 1")
    target = folder / str(version)
    _require_absent(target)
    catalog = model.catalog
    if len(catalog) <= FIRST_ARTICLE:
        raise ValueError("the model's catalogue holds no articles: there is nothing to serve")
    indices = np.arange(FIRST_ARTICLE, len(catalog))
    if recommendable is not None:
        indices = np.unique(known_articles(catalog, recommendable, "recommend"))
    if not len(indices):
        raise ValueError("recommendable holds no articles: there would be none to recommend")
    module = ServingModule(model, dtype)
    with atomic_folder(target) as temporary:
        tf.saved_model.save(module, temporary, module.signatures())
        module.articles.start(catalog, indices)
        put_articles(temporary, module.articles)
        _warm_up(temporary, model, folder.resolve().name)
        NewsCatalog(vocabulary=catalog.vocabulary).save(temporary / WORDS)
        vectors = catalog.article_vectors
        description = {
            "format": FORMAT,
            "dtype": dtype,
            "articles": len(catalog),
            "users": model.user_embedding.num_users,
            "vector_dim": None if vectors is None else vectors.dim,
            "config": model.config.to_dict(),
        }
        text = json.dumps(description, indent=2) + "\n"
        (temporary / DESCRIPTION).write_text(text, encoding="utf-8")
        write_sums(temporary, {})
        _require_absent(target)
    return target


def known_articles(catalog: NewsCatalog, ids: Iterable[str], purpose: str) -> np.ndarray:
    """Returns the indices of articles in a catalogue.

    Args:
        catalog: The catalogue.
        ids: Ids of articles.
        purpose: What they are for, in error messages.

    Raises:
        ValueError: if the catalogue does not hold all of them.
    """
    ids = list(ids)
    if not ids:
        return np.zeros(0, np.int32)
    indices = catalog.index(ids)
    unknown = np.flatnonzero(indices < FIRST_ARTICLE)
    if len(unknown):
        raise ValueError(
            f"{len(unknown):,} of the {len(ids):,} articles to {purpose} are not in the catalogue, "
            f"such as {ids[unknown[0]]!r}"
        )
    return indices


def _require_absent(target: pathlib.Path) -> None:
    if target.exists():
        raise ValueError(f"{target} exists already; give another version, or none for the next one")


def _warm_up(path: pathlib.Path, model: NPA, model_name: str) -> None:
    try:
        write_warm_up(path / WARM_UP_FILE, example_requests(model), model_name)
    except ImportError:
        logger.warning("no warm-up requests: they need `pip install tensorflow-serving-api`")
