"""What a model is trained on, validated on and tested on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from typing import Any

import numpy as np

from tfrs_npa.data.article_vectors import ArticleVectors
from tfrs_npa.data.cache import Cache
from tfrs_npa.data.catalog import FIRST_ARTICLE, NewsCatalog
from tfrs_npa.data.impressions import Impressions, with_users
from tfrs_npa.data.loading import MindData, load_mind
from tfrs_npa.data.users import HashedUserIndex, UserIndex
from tfrs_npa.data.word_vectors import WordVectors
from tfrs_npa.settings import SECONDS_PER_DAY, DataSettings

_CHUNK = 16384

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class Splits:
    """The impressions of a training.

    Attributes:
        data: The data set they come from.
        users: The users of the impressions that are trained on.
        train: The impressions that are trained on.
        validation: Those that early stopping and a search monitor; None if there are none.
        test: Those that metrics are reported on; neither training nor early stopping sees them.
        names: Names of the three in result files: `train`, `stopping` (the
            validation impressions) and `report` (the test impressions).
    """

    data: MindData
    users: UserIndex
    train: Impressions
    validation: Impressions | None
    test: Impressions
    names: dict[str, str | None]

    @property
    def test_split(self) -> str:
        """The split of the data set that `test` is."""
        return str(self.names["report"])

    def fingerprint(self, catalog: NewsCatalog) -> dict[str, Any]:
        """Returns a summary that shows whether data has changed.

        Args:
            catalog: The articles.

        Returns:
            A dict that JSON can hold: for `articles`, `users` and the impressions of each of the
            three, their `count` and hashes of their columns.
        """
        result: dict[str, Any] = {
            "articles": {
                "count": len(catalog) - FIRST_ARTICLE,
                "ids": _hash(json.dumps(catalog.ids).encode()),
                "titles": _hash(json.dumps(catalog.titles).encode()),
            },
            "users": {
                "count": int(np.count_nonzero(self.users.known)),
                "ids": _hash(_content(self.users)),
            },
        }
        if (vectors := catalog.vectors()) is not None:
            result["articles"]["vectors"] = _hash(vectors.tobytes())
        for name in ("train", "validation", "test"):
            impressions = getattr(self, name)
            if impressions is not None:
                result[f"{name} impressions"] = _fingerprint(impressions)
        return result


def _fingerprint(impressions: Impressions) -> dict[str, Any]:
    hashes = {
        name: hashlib.sha256() for name in ("ids", "users", "histories", "candidates", "clicks")
    }
    for first in range(0, len(impressions), _CHUNK):
        rows = np.arange(first, min(first + _CHUNK, len(impressions)))
        chunk = impressions.take(rows)
        for name, columns in (
            ("ids", [chunk.impression_id]),
            ("users", [chunk.user_id]),
            ("histories", [np.diff(chunk.history_splits), chunk.history_values]),
            ("candidates", [np.diff(chunk.candidate_splits), chunk.candidate_values]),
            ("clicks", [chunk.clicked]),
        ):
            for column in columns:
                hashes[name].update(np.ascontiguousarray(column).tobytes())
    return {"count": len(impressions)} | {name: hash_.hexdigest() for name, hash_ in hashes.items()}


def _content(users: UserIndex) -> bytes:
    if isinstance(users, HashedUserIndex):
        return users.seen.tobytes()
    return json.dumps(users.ids).encode()


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclasses.dataclass(frozen=True)
class Inherited:
    """What a training takes over from an earlier one.

    Attributes:
        catalog: Its words and articles.
        users: Its users.
    """

    catalog: NewsCatalog
    users: UserIndex


def load_splits(
    settings: DataSettings, cache: Cache | None = None, inherited: Inherited | None = None
) -> tuple[NewsCatalog, Splits]:
    """Loads articles and impressions.

    Args:
        settings: Where they are, and what is held out.
        cache: Keeps preprocessed data.
        inherited: Words, articles and users that come before those of the data.

    Returns:
        The articles of all splits, with the words of the training titles and of the word vectors,
        and the impressions.

    Raises:
        ValueError: if anything is wrong with the files or the settings, the vectors of articles
            are not as long as the inherited ones, or the inherited users are in other buckets.
    """
    if inherited is not None and inherited.users.buckets != settings.user_buckets:
        raise ValueError(
            f"user_buckets is {settings.user_buckets}, but {inherited.users.buckets} in the run to "
            "start from: users of one cannot be found in the other. Give the same, or train from "
            "scratch"
        )
    vectors = WordVectors.read(settings.word_vectors, settings.word_list)
    article_vectors = None
    if settings.article_vectors is not None and settings.article_ids is not None:
        article_vectors = ArticleVectors.load(settings.article_vectors, settings.article_ids)
    if inherited is not None and article_vectors is not None:
        _require_dim(article_vectors, inherited.catalog.article_vectors)
    data = load_mind(settings.data, settings.data_dir, settings.manual_dir, cache, settings.news)
    if inherited is None:
        catalog = NewsCatalog(vectors, None, settings.tokenizer, article_vectors)
        catalog.adapt(data.titles("train"))
    else:
        catalog = inherited.catalog.with_news(data.titles("train"), article_vectors)
    for split in data.splits:
        if split != "train":
            catalog.extend(data.titles(split))
    if inherited is None and vectors is not None and not (catalog.coverage or {}).get("words"):
        raise ValueError(
            f"{settings.word_vectors} has a vector for none of the words of the titles of "
            f"{data.name}: is it of another language, or are its words not in lower case?"
        )
    if article_vectors is not None:
        found = np.count_nonzero(article_vectors.matrix(catalog.ids).any(axis=1))
        if not found:
            raise ValueError(f"{settings.article_ids} holds no id of an article of {data.name}")
        articles = len(catalog) - FIRST_ARTICLE
        logger.info("%s of %s articles have a vector", f"{found:,}", f"{articles:,}")
    users = None if inherited is None else inherited.users
    splits = split_impressions(data, catalog, settings.holdout, users, settings.user_buckets)
    if settings.user_buckets is not None:
        share = np.count_nonzero(splits.users.known) / settings.user_buckets
        logger.info(
            "%.1f%% of %s buckets have users: as many of the new users share one with them",
            100 * share,
            f"{settings.user_buckets:,}",
        )
    return catalog, splits


def _require_dim(given: ArticleVectors, inherited: ArticleVectors | None) -> None:
    if inherited is None or inherited.dim != given.dim:
        had = "without vectors" if inherited is None else f"with vectors of {inherited.dim} numbers"
        raise ValueError(
            f"the vectors of articles have {given.dim} numbers, but the run to start from was "
            f"trained {had}: train from scratch, or without them"
        )


def split_impressions(
    data: MindData,
    catalog: NewsCatalog,
    holdout: str,
    inherited: UserIndex | None = None,
    user_buckets: int | None = None,
) -> Splits:
    """Reads the impressions and decides what to train, validate and test on.

    Args:
        data: The data set.
        catalog: The articles of all splits.
        holdout: See `DataSettings`.
        inherited: Users who are known whether they are in the training impressions or not.
        user_buckets: Number of buckets of users, see `UserIndex.hashed`; None: no buckets.

    Raises:
        ValueError: if the last day is to be held out and there is only one day; if there is no
            split to train or report on, or the latter has no labels.
    """
    test_split = data.report_split
    data.require_labels(test_split)
    if holdout == "auto":
        holdout = "validation" if test_split == "test" else "last-day"
    names = {"train": "train", "stopping": None, "report": test_split}
    features = ["time"] if holdout == "last-day" else []
    train, users = data.impressions_and_users("train", catalog, features, user_buckets)
    validation = None
    if holdout == "last-day":
        train, validation, users = hold_out_last_day(train, users, inherited)
        names |= {"train": "train without its last day", "stopping": "last day of train"}
    elif inherited is not None:
        known = users.empty().extend_from(inherited).extend_from(users)
        train, users = with_users(train, users, known), known
    if holdout == "validation":
        validation = data.impressions("validation", catalog, users)
        names |= {"stopping": "validation"}
    # The time is not needed any more, and would be part of every batch.
    train = dataclasses.replace(train, features={})
    if validation is not None:
        validation = dataclasses.replace(validation, features={})
    test = data.impressions(test_split, catalog, users)
    return Splits(data, users, train, validation, test, names)


def hold_out_last_day(
    impressions: Impressions, users: UserIndex, inherited: UserIndex | None = None
) -> tuple[Impressions, Impressions, UserIndex]:
    """Separates the impressions of the last day from the earlier ones.

    A user who is seen on the last day only is a new user there, as most users of a news site are:
    the returned user index knows the users of the earlier days alone.

    Args:
        impressions: Impressions with the feature `time`, in seconds since the epoch. The last day
            is the UTC day of the latest one.
        users: The index that `impressions` were converted with.
        inherited: Users who are known whether they are seen on the earlier days or not.

    Returns:
        Views of the impressions of the earlier days and of the last day, both with the indices of
        the new user index, and that index.

    Raises:
        ValueError: if all impressions are of one day.
    """
    days = impressions.features["time"] // SECONDS_PER_DAY
    is_last = days == days.max()
    if is_last.all():
        raise ValueError(
            "all training impressions are of one day, so its last day cannot be held out; "
            "--holdout none trains for a fixed number of epochs"
        )
    earlier = impressions.view(~is_last)
    kept = users.empty()
    if inherited is not None:
        kept.extend_from(inherited)
    kept.extend_from(users, earlier.user_id)
    last = impressions.view(is_last)
    return with_users(earlier, users, kept), with_users(last, users, kept), kept
