"""Loads MIND by name, a folder in its format, or a log in Parquet files."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import functools
import itertools
import logging
import os
import pathlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
import tensorflow_datasets as tfds

from tfrs_npa.data import ragged
from tfrs_npa.data.cache import Cache, state_of
from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.data.chunk import texts_of
from tfrs_npa.data.columns import text_columns
from tfrs_npa.data.conversion import check_spec, chunks
from tfrs_npa.data.impressions import Impressions, read_impressions, with_users
from tfrs_npa.data.named_rows import require_regular_file
from tfrs_npa.data.parquet import TIME, ParquetLog, ParquetNews
from tfrs_npa.data.records import PreparedTable, naming_damage
from tfrs_npa.data.tsv_tables import TsvLog, TsvNews, TsvTable
from tfrs_npa.data.users import UserIndex
from tfrs_npa.datasets.mind import find_splits, read_news
from tfrs_npa.settings import SECONDS_PER_DAY, is_data_set, parquet_logs, require_data

_TABLES: Mapping[str, type[TsvTable]] = {"news": TsvNews, "behaviors": TsvLog}
_CHUNK = 1024
_TITLES = ["news_id", "title"]
_TOPICS = ["news_id", "category", "subcategory"]
_PARQUET = b"PAR1"

logger = logging.getLogger(__name__)


Table: TypeAlias = "tf.data.Dataset | PreparedTable | TsvTable | ParquetLog | ParquetNews"


@dataclasses.dataclass(frozen=True, eq=False)
class MindData:
    """Articles and impressions of each split, as the builder `mind` describes them.

    Attributes:
        name: `mind/small` and so on, or the path of the folder or log.
        tables: The rows of `news` and of `behaviors` by split (`train`, `validation` and, if there
            is one, `test`), in file order.
        reference_auc: For synthetic data, the AUC of `history_only` and of `true_preferences` by
            split and group of users; else empty.
        cache: Caches the results of the methods. None: they read the rows every time.
        files: With a cache, the files of `news` and `behaviors` by table and split.
    """

    name: str
    tables: Mapping[str, Mapping[str, Table]]
    reference_auc: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    cache: Cache | None = None
    files: Mapping[str, Mapping[str, Sequence[str | os.PathLike[str]]]] = dataclasses.field(
        default_factory=dict
    )

    @property
    def news(self) -> dict[str, tf.data.Dataset]:
        """Articles by split."""
        return {split: _dataset(table) for split, table in self.tables["news"].items()}

    @property
    def behaviors(self) -> dict[str, tf.data.Dataset]:
        """Impressions by split, in file order."""
        return {split: _dataset(table) for split, table in self.tables["behaviors"].items()}

    @property
    def splits(self) -> list[str]:
        """The names of the splits."""
        return list(self.tables["behaviors"])

    def titles(self, split: str) -> dict[str, list[str]]:
        """Returns the columns `news_id` and `title` of the articles of a split."""
        self.require_split(split)
        return self._news_columns(split, _TITLES)

    def topics(self) -> dict[str, tuple[str, str]]:
        """Returns the category and the subcategory of the articles of all splits by id.

        Either is empty where an article has none.
        """
        found: dict[str, tuple[str, str]] = {}
        for split in self.tables.get("news", {}):
            ids, *names = self._news_columns(split, _TOPICS).values()
            found |= zip(ids, zip(*names, strict=True), strict=True)
        return found

    def _news_columns(self, split: str, names: Sequence[str]) -> dict[str, list[str]]:
        def read() -> dict[str, list[str]]:
            columns: dict[str, list[str]] = {name: [] for name in names}
            for chunk in text_columns(self.tables["news"][split], names, "news"):
                for column, part in zip(columns.values(), chunk, strict=True):
                    column.extend(part)
            return columns

        if self.cache is None:
            return read()
        what = "titles" if names == _TITLES else "topics"
        return self.cache.json([what, state_of(self.files["news"][split])], read)

    def add_articles(self, catalog: NewsCatalog) -> NewsCatalog:
        """Extends a catalogue by the articles of all splits, and returns it."""
        for split in self.splits:
            catalog.extend(self.titles(split))
        return catalog

    def impressions_and_users(
        self,
        split: str,
        catalog: NewsCatalog,
        features: Sequence[str] = (),
        user_buckets: int | None = None,
    ) -> tuple[Impressions, UserIndex]:
        """Returns the impressions of a split as integers, and the index of the users in them.

        With `user_buckets`, that index is a hashed one, see `UserIndex.hashed`.
        """
        self.require_split(split)
        table = self.tables["behaviors"][split]
        if not isinstance(table, ParquetLog):  # which may have columns of one's own
            check_spec(table.element_spec, features)
        files = self.files["behaviors"][split] if self.cache else ()
        return read_impressions(
            table, catalog, features, user_buckets, cache=self.cache, files=files, part=split
        )

    def impressions(
        self, split: str, catalog: NewsCatalog, users: UserIndex, features: Sequence[str] = ()
    ) -> Impressions:
        """Returns the impressions of a split as integers, with the indices of given users."""
        impressions, own_users = self.impressions_and_users(split, catalog, features, users.buckets)
        return with_users(impressions, own_users, users)

    def latest_histories(self, user_ids: Collection[str]) -> dict[str, list[str]]:
        """Returns the articles that users had clicked before their latest impressions.

        Args:
            user_ids: Ids of users.

        Returns:
            By the id of each user who has an impression, ids of articles, oldest first.
        """
        wanted = list(user_ids)
        latest: dict[str, Any] = {}
        histories: dict[str, list[str]] = {}
        for table in self.tables["behaviors"].values():
            has_time = not isinstance(table, ParquetLog) or table.has_time
            for chunk in chunks(table, [TIME] if has_time else []):
                splits = ragged.splits_of(chunk.history_lengths)
                times = chunk.features[TIME] if has_time else np.zeros(len(chunk.user_id))
                is_wanted = pc.is_in(chunk.user_id, value_set=pa.array(wanted, pa.string()))
                for row in np.flatnonzero(is_wanted):
                    user = chunk.user_id[row].as_py()
                    # Of the same second, the later one in the file.
                    if user not in latest or times[row] >= latest[user]:
                        latest[user] = times[row]
                        histories[user] = texts_of(chunk.history[splits[row] : splits[row + 1]])
        return histories

    def readers(self, split: str, clicks: int, number: int = 100) -> list[str]:
        """Returns ids of users of a split, the first who have a history of some length.

        Args:
            split: The split.
            clicks: The least number of clicks in their histories.
            number: The most users.
        """
        self.require_split(split)
        found: dict[str, None] = {}
        for chunk in chunks(self.tables["behaviors"][split], []):
            for row in np.flatnonzero(chunk.history_lengths >= clicks):
                found[chunk.user_id[row].as_py()] = None
                if len(found) == number:
                    return list(found)
        return list(found)

    def is_labelled(self, split: str) -> bool:
        """Whether the clicks of a split are known, judged by its first candidates."""
        rows: Any = self.tables["behaviors"][split]
        for row in rows:
            labels = np.asarray(row["candidates"]["clicked"])
            if len(labels):
                return bool(labels.min() >= 0)
        return False

    def require_split(self, split: str) -> None:
        """Raises a ValueError if there is no such split."""
        if split not in self.splits:
            raise ValueError(f"{self.name} has no split {split}; it has {', '.join(self.splits)}")

    def require_labels(self, split: str) -> None:
        """Raises a ValueError if there is no such split, or its clicks are not known."""
        self.require_split(split)
        if not self.is_labelled(split):
            raise ValueError(f"the split {split} of {self.name} has no labels to evaluate on")

    @property
    def report_split(self) -> str:
        """The split that metrics are reported on: `test` if it is labelled, else `validation`."""
        if "test" in self.splits and self.is_labelled("test"):
            return "test"
        return "validation"


def articles_in(path: str | os.PathLike[str]) -> Iterable[dict[str, Any]]:
    """Returns the articles of a file as dicts: a `news.tsv`, or a Parquet file.

    Args:
        path: The file. Of Parquet, the columns `news_id` and `title` are read.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is malformed; names the file and the line or row.
    """
    require_regular_file(path)
    with open(path, "rb") as file:
        is_parquet = file.read(len(_PARQUET)) == _PARQUET
    return ParquetNews(path) if is_parquet else read_news(path)


def load_mind(
    name_or_folder: str | os.PathLike[str],
    data_dir: str | os.PathLike[str] | None = None,
    manual_dir: str | os.PathLike[str] | None = None,
    cache: Cache | None = None,
    news: str | os.PathLike[str] | None = None,
) -> MindData:
    """Loads a size of MIND by name, a folder in MIND's format, or a log in Parquet files.

    >>> data = load_mind("mind/synthetic")
    >>> sorted(data.behaviors)
    ['test', 'train', 'validation']

    Files are read to the end once before anything else happens, so that a bad line is found at
    once; their rows are never all in memory. With a cache, files that were found good are not read
    again.

    A Parquet file holds impressions as `Impressions.from_parquet` reads them, and `time`, seconds
    since the epoch or datetimes: its last day (UTC) is the split `validation`, the days before are
    `train`. A file of a single day, or without `time`, is the split `validation` as a whole. The
    last day of a `train.parquet` is held out in the same way if there is no `validation.parquet`.
    Articles are the same for all splits.

    Args:
        name_or_folder: `mind/synthetic`, `mind/demo`, `mind/small`, `mind/large`; a folder with
            `train/`, `valid/` or `dev/`, and possibly `test/` (see `find_splits`); a Parquet file,
            or a folder with one or more of `train.parquet`, `validation.parquet`, `test.parquet`.
        data_dir: Where TensorFlow Datasets keeps the data it has prepared; None: its own default.
        manual_dir: Folder of MIND's zips that were downloaded by hand.
        cache: Caches the results of the methods of the returned data.
        news: With Parquet, the articles: a Parquet file with the string columns `news_id`, `title`
            and possibly `category` and `subcategory`.

    Raises:
        MindFileError: a file is missing, empty or damaged, or has a bad line.
        ValueError: there is no data set of that name; a Parquet file lacks a column or a value, or
            `news` is missing or not needed.
    """
    name = os.fspath(name_or_folder)
    require_data(name, manual_dir, news)
    if is_data_set(name):
        return _load_prepared(name, data_dir, manual_dir, cache)
    if news is not None:
        return _load_parquet(os.path.abspath(name), os.path.abspath(news), cache)
    return _load_folder(pathlib.Path(os.path.abspath(name)), cache)


def _load_folder(folder: pathlib.Path, cache: Cache | None) -> MindData:
    tables: dict[str, dict[str, Table]] = {table: {} for table in _TABLES}
    files: dict[str, dict[str, list[Any]]] = {table: {} for table in _TABLES}
    for split, path in find_splits(folder).items():
        for table, kind in _TABLES.items():
            file = path / f"{table}.tsv"
            # Counting the rows validates the file.
            rows = functools.partial(kind.count, file)
            count = rows() if cache is None else cache.json(["rows", state_of([file])], rows)
            tables[table][split], files[table][split] = kind(file, count), [file]
    return MindData(str(folder), tables, cache=cache, files=files)


def _load_parquet(name: str, news: str, cache: Cache | None) -> MindData:
    files = parquet_logs(name)
    logs: dict[str, ParquetLog] = {}
    for split, file in files.items():
        days = _impressions_by_day(file, cache)
        if split == "train" and "validation" not in files and len(days) > 1:
            logs |= _by_last_day(file, days)
        else:
            logs[split] = ParquetLog(file)
    if os.path.isfile(name) and list(logs) == ["train"]:
        why = "they are all of one day, so that none can be held out"
        if not logs["train"].has_time:
            why = f"there is no column {TIME} to hold out the last day by"
        logger.info("%s is the split validation as a whole: %s", name, why)
        logs = {"validation": logs["train"]}
    articles = ParquetNews(news)
    _checked(news, cache, lambda: sum(len(ids) for (ids,) in articles.text_columns(["news_id"])))
    sources = {split: [log.path] for split, log in logs.items()}
    return MindData(
        name,
        {"news": dict.fromkeys(logs, articles), "behaviors": dict(logs)},
        cache=cache,
        files={"news": dict.fromkeys(logs, [news]), "behaviors": sources},
    )


def _impressions_by_day(file: str, cache: Cache | None) -> dict[int, int]:
    """Returns how many impressions each day has, by days since the epoch, and validates the file.

    Without times, there are no days.
    """

    def count() -> list[tuple[int, int]]:
        log = ParquetLog(file)
        days: collections.Counter[float] = collections.Counter()
        for chunk in chunks(log, [TIME] if log.has_time else []):
            if log.has_time:
                days.update((chunk.features[TIME] // SECONDS_PER_DAY).tolist())
        return [(int(day), rows) for day, rows in sorted(days.items())]

    return dict(_checked(file, cache, count))


def _by_last_day(file: str, days: dict[int, int]) -> dict[str, ParquetLog]:
    last, total = max(days), sum(days.values())
    logger.info(
        "%s: the %s impressions of its last day, %s (UTC), are held out as the split validation; "
        "train has the %s before",
        file,
        f"{days[last]:,}",
        datetime.date(1970, 1, 1) + datetime.timedelta(days=last),
        f"{total - days[last]:,}",
    )
    midnight = last * SECONDS_PER_DAY
    return {
        "train": ParquetLog(file, before=midnight, rows=total - days[last]),
        "validation": ParquetLog(file, since=midnight, rows=days[last]),
    }


def _checked(file: str, cache: Cache | None, check: Callable[[], Any]) -> Any:
    """Returns what `check` finds in a file, which is read only if it has changed."""
    return check() if cache is None else cache.json(["checked", state_of([file])], check)


def _load_prepared(name: str, data_dir, manual_dir, cache: Cache | None) -> MindData:
    tables: dict[str, dict[str, Table]] = {}
    metadata, files = {}, {}
    for table in _TABLES:
        root = tfds.core.constants.DATA_DIR if data_dir is None else data_dir
        # A builder reads what is prepared already.
        with naming_damage(os.path.join(os.path.expanduser(root), f"{name}-{table}")):
            builder = tfds.builder(f"{name}-{table}", data_dir=data_dir)
        config = tfds.download.DownloadConfig(manual_dir=manual_dir)
        builder.download_and_prepare(download_config=config)
        metadata.update(builder.info.metadata)
        found = {split: PreparedTable(builder, split) for split in builder.info.splits}
        files[table] = {split: prepared.files for split, prepared in found.items()}
        tables[table] = dict(found)
    reference_auc = metadata.get("reference_auc", {})
    return MindData(name, tables, reference_auc, cache, files)


def _dataset(table: Table) -> tf.data.Dataset:
    """Returns the rows of a table as a data set of known cardinality."""
    if isinstance(table, tf.data.Dataset):
        return table
    if isinstance(table, PreparedTable):
        return table.dataset
    signature = table.element_spec

    # Many rows at a time, because TensorFlow takes long over each call.
    def stacked():
        rows = iter(table)
        while chunk := list(itertools.islice(rows, _CHUNK)):
            yield _stacked(chunk, signature)

    dataset = tf.data.Dataset.from_generator(
        stacked, output_signature=tf.nest.map_structure(_batched, signature)
    )
    # The identity, because rows of ragged tensors otherwise do not count as tensors.
    dataset = dataset.unbatch().map(lambda row: tf.nest.map_structure(tf.identity, row))
    return dataset.apply(tf.data.experimental.assert_cardinality(len(table)))


def _batched(spec: tf.TensorSpec) -> tf.TypeSpec:
    if spec.shape.rank == 0:
        return tf.TensorSpec([None], spec.dtype)
    return tf.RaggedTensorSpec([None, None], spec.dtype)


def _stacked(rows: list[Any], spec: Any):
    if isinstance(spec, Mapping):
        return {name: _stacked([row[name] for row in rows], part) for name, part in spec.items()}
    if spec.shape.rank == 0:
        return tf.constant(rows, spec.dtype)
    values = tf.constant(list(itertools.chain.from_iterable(rows)), spec.dtype)
    return tf.RaggedTensor.from_row_lengths(values, [len(row) for row in rows])
