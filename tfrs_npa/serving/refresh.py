"""A new version of an export, with other articles and the same weights."""

from __future__ import annotations

import logging
import os
import pathlib
import shutil
from collections.abc import Iterable

import numpy as np

from tfrs_npa._files import atomic_folder, is_temporary, remove_folder, sweep
from tfrs_npa._lock import locked
from tfrs_npa.config import NPAConfig
from tfrs_npa.data.article_vectors import ArticleVectors
from tfrs_npa.data.catalog import FIRST_ARTICLE, NewsCatalog
from tfrs_npa.data.loading import articles_in
from tfrs_npa.layers.user_embedding import UserEmbedding
from tfrs_npa.models.news_encoder import NewsEncoder
from tfrs_npa.models.npa import NPA
from tfrs_npa.serving.checkpoint import (
    KEPT_DATA,
    KEPT_INDEX,
    VARIABLES,
    check_kept,
    link,
    read_articles,
    tokens_type,
    write_articles,
)
from tfrs_npa.serving.checksums import (
    CHECKSUMS,
    check_sums,
    naming_damage,
    sums_of,
    write_sums,
)
from tfrs_npa.serving.description import check_variables, read_description
from tfrs_npa.serving.earlier import exported_model
from tfrs_npa.serving.export import known_articles, write_version
from tfrs_npa.serving.served_articles import ServedArticles
from tfrs_npa.serving.versions import (
    FORMAT,
    WORDS,
    next_version,
    remove_old_versions,
    versions_of,
)
from tfrs_npa.settings import KEPT_VERSIONS

logger = logging.getLogger(__name__)


def refresh_export(
    folder: str | os.PathLike[str],
    news=None,
    withdraw: Iterable[str] = (),
    keep: int = KEPT_VERSIONS,
    article_vectors: ArticleVectors | None = None,
) -> pathlib.Path:
    """Writes the next version of an export, with articles added and withdrawn.

    It needs neither data nor run: the last version has all that it takes. Only the titles of new
    articles are encoded, nothing is traced, and the encoded titles of the export are not even read.
    Apart from rounding, the answers are those of an export of the model with the same articles.
    If an earlier version of tfrs_npa wrote the last version, it is exported again, which takes as
    long as the first time.

    What earlier refreshes added is written again, so a refresh takes longer the more there is: now
    and then, such as after each training, export again.

    >>> tfrs_npa.export(model, "exports/npa")
    PosixPath('exports/npa/1')
    >>> tfrs_npa.refresh_export("exports/npa", "today/news.tsv", withdraw=["N3"])
    PosixPath('exports/npa/2')

    Args:
        folder: Folder of the versions, as `export` wrote it.
        news: Articles to add, which may then be recommended: a `news.tsv` or Parquet file, or as
            `NewsCatalog.extend` takes them. One that is there already keeps its title. None: none.
        withdraw: Ids of articles that may not be recommended any more; histories still know
            them. This comes first: an article that is in `news` too may be recommended.
        keep: Versions to keep, the new one included; older ones are removed.
        article_vectors: Vectors of the articles to add, if the model has them. Those without one
            are encoded by their titles alone.

    Returns:
        The folder of the new version. It is created atomically: whatever interrupts this, older
        versions stay as they are.

    Raises:
        ValueError: if there is no version, the last one is damaged or was written by an `export` of
            an unknown format, it does not know an article to withdraw, no article could be
            recommended any more, `keep` is less than 1, `news` is malformed, or there are vectors
            of articles and the model has none, or of another length, or another process writes a
            version. Nothing is written then.
    """
    folder = pathlib.Path(folder)
    if keep < 1:
        raise ValueError(f"keep is {keep}; it has to be at least 1")
    with locked(folder, "export"):
        sweep(folder)
        old, description = _last_version(folder)
        if description["format"] != FORMAT:
            return _exported_again(old, description, news, withdraw, keep, article_vectors)
        articles, catalog = _read(old, description)
        known = len(catalog)
        recommendable = _changed(
            old, catalog, articles.recommendable, catalog.add, news, withdraw, article_vectors
        )
        articles.refresh(description["articles"], catalog, recommendable)
        target = folder / str(next_version(folder))
        with atomic_folder(target) as temporary:
            shutil.copytree(
                old, temporary, copy_function=link, dirs_exist_ok=True, ignore=_without_variables
            )
            write_articles(old, temporary, articles)
            # The checksum of what is shared stays: if it is damaged, this does not hide it.
            kept = KEPT_DATA.as_posix()
            write_sums(temporary, {kept: sums_of(old).get(kept)})
        remove_old_versions(folder, keep)
        _report(catalog, known, recommendable)
        return target


def _exported_again(old, description, news, withdraw, keep, article_vectors):
    """Does what `refresh_export` does, for a version of an earlier format."""
    model, recommendable = _read_model(old, description)
    catalog, known = model.catalog, len(model.catalog)
    recommendable = _changed(
        old, catalog, recommendable, model.add_articles, news, withdraw, article_vectors
    )
    ids = [catalog.ids[index] for index in recommendable]
    target = write_version(model, old.parent, dtype=description["dtype"], recommendable=ids)
    remove_old_versions(target.parent, keep)
    _report(catalog, known, recommendable)
    return target


def _read_model(version, description):
    """Returns what `exported_model` does.

    Raises:
        DamagedExportError: as `_read`.
    """
    check_sums(version)
    with naming_damage(version):
        check_variables(version, description)
        return exported_model(version, description)


def _changed(old, catalog, recommendable, add, news, withdraw, article_vectors):
    """Adds articles with the function `add`; returns the indices of those to recommend."""
    if article_vectors is not None:
        if catalog.article_vectors is None:
            raise ValueError(f"{old} is of a model that was trained without vectors of articles")
        catalog.article_vectors.extend(*article_vectors.items())
    staying = np.setdiff1d(recommendable, known_articles(catalog, withdraw, "withdraw"))
    added = np.zeros(0, np.int32)
    if news is not None:
        added = add(articles_in(news) if isinstance(news, (str, os.PathLike)) else news)
    changed = np.union1d(staying, added)
    if not len(changed):
        raise ValueError("every article would be withdrawn: there would be none to recommend")
    return changed


def _report(catalog, known, recommendable):
    logger.info(
        "%s new articles of %s; %s may be recommended",
        f"{len(catalog) - known:,}",
        f"{len(catalog) - FIRST_ARTICLE:,}",
        f"{len(recommendable):,}",
    )


def export_again(model: NPA, folder: str | os.PathLike[str]) -> pathlib.Path:
    """Writes the next version of an export, of this model, and removes everything earlier.

    The articles, those that may be recommended and the type of encoded titles stay. Versions of any
    format are removed, and what interrupted commands left behind.

    Args:
        model: The model, with the configuration of the export. Its catalogue grows by the articles
            that it lacks.
        folder: Folder of the versions.

    Returns:
        The folder of the new version.

    Raises:
        ValueError: if there is no version, it is damaged or of another format, or the configuration
            differs. Nothing is written then.
    """
    folder = pathlib.Path(folder)
    with locked(folder, "export"):
        return _replaced(model, folder)


def _replaced(model, folder):
    """Does what `export_again` does, once the folder is locked."""
    old, description = _last_version(folder)
    if description["format"] == FORMAT:
        articles, catalog = _read(old, description)
        recommendable = articles.recommendable
    else:
        earlier, recommendable = _read_model(old, description)
        catalog = earlier.catalog
    if NPAConfig.from_saved(description["config"]) != model.config:
        raise ValueError(f"{old} is of a model with another configuration")
    vectors = catalog.vectors()
    if vectors is not None and model.catalog.article_vectors is not None:
        ids = catalog.ids[FIRST_ARTICLE:]
        model.catalog.article_vectors.extend(ids, vectors[FIRST_ARTICLE:])
    model.add_articles(
        {"news_id": catalog.ids[FIRST_ARTICLE:], "title": catalog.titles[FIRST_ARTICLE:]}
    )
    ids = [catalog.ids[index] for index in recommendable]
    target = write_version(model, folder, dtype=description["dtype"], recommendable=ids)
    versions = [path for path in versions_of(folder) if path != target]
    for path in (*versions, *filter(is_temporary, folder.iterdir())):
        remove_folder(path)
    return target


def _last_version(folder):
    """Returns the folder of the last version, and its description.

    Raises:
        ValueError: if there is none, or it cannot be refreshed.
    """
    versions = versions_of(folder)
    if not versions:
        raise ValueError(f"{folder} holds no version of an export: write one with `export`")
    path = versions[-1]
    return path, read_description(path)


def _read(version, description):
    """Returns the articles of a version, as they are served and as a catalogue.

    Raises:
        DamagedExportError: if a file of it is not what was written, or cannot be read.
    """
    # Of the file that a refresh keeps, little is read; TensorFlow has checksums of its tensors.
    check_sums(version, unread=[KEPT_DATA])
    with naming_damage(version):
        check_variables(version, description)
        check_kept(version)
        return _read_articles(version, description)


def _read_articles(version, description):
    config = NPAConfig.from_saved(description["config"])
    words = NewsCatalog.load(version / WORDS)
    # Zeros take no second copy while they are made; the table is read over them.
    user_embedding = UserEmbedding(
        description["users"], config.user_embedding_dim, initializer="zeros"
    )
    user_embedding.build((None,))
    dim, tokens = description["vector_dim"], words.tokens(config.title_length)
    # Earlier versions of tfrs_npa wrote int32.
    tokens = tokens.astype(tokens_type(version).as_numpy_dtype)
    tower = NewsEncoder(
        config,
        tokens,
        len(words.require_vocabulary()),
        user_embedding,
        vectors=None if dim is None else np.zeros((len(tokens), dim), np.float32),
    )
    articles = ServedArticles(tower, description["dtype"])
    read_articles(version, articles)
    titles = [title.decode() for title in articles.titles.numpy()]
    catalog = words.with_tokens(articles.indexed.all_ids(), titles, articles.tokens.numpy())
    if articles.vectors is not None:
        vectors = articles.vectors.numpy()[FIRST_ARTICLE:]
        catalog.set_article_vectors(ArticleVectors(catalog.ids[FIRST_ARTICLE:], vectors))
    return articles, catalog


def _without_variables(_, names):
    # The fingerprint is of the variables too.
    written = {VARIABLES.parent.name, KEPT_INDEX.name, CHECKSUMS.name, "fingerprint.pb"}
    return written.intersection(names)
