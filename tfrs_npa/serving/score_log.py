"""Scores a log of any size with an export, on Apache Beam."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

# Before Beam itself: it says what to install.
from tfrs_npa.datasets.mind.on_beam import errors_of_workers, require_known  # isort: skip
import apache_beam as beam
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.utils.shared import Shared

from tfrs_npa._files import require_replaceable
from tfrs_npa.data import ragged
from tfrs_npa.data.chunk import Chunk
from tfrs_npa.datasets.mind.errors import MindFileError
from tfrs_npa.datasets.mind.predictions import prediction_lines
from tfrs_npa.serving.checksums import DamagedExportError, check_sums, naming_damage
from tfrs_npa.serving.log_parts import ParquetPart, TsvPart, open_log, parts_of
from tfrs_npa.serving.versions import versions_of
from tfrs_npa.submission import DivergedError, ranks_of, require_distinct, require_numbers

# Runs here and needs nothing. Beam's own default first tries to download another one.
_RUNNER = "FnApiRunner"
# Groups in which ids are compared with each other.
_GROUPS = 256
_SUMMARY = "summary.json"
_COUNTS = ("impressions", "candidates", "tied_impressions")
_SCHEMA = pa.schema(
    {
        "impression_id": pa.int64(),
        "user_id": pa.string(),
        "candidates": pa.list_(pa.string()),
        "scores": pa.list_(pa.float32()),
        "ranks": pa.list_(pa.int64()),
    }
)


def score_log(
    export: str | os.PathLike[str],
    log: str | os.PathLike[str],
    to: str | os.PathLike[str],
    beam_options: Sequence[str] = (),
) -> dict[str, int]:
    """Scores the impressions of a log with an export, on one machine or many.

    Impressions come out in the order of the log, and scores are the same, bit for bit, however many
    workers there are, if these are of one kind. No worker holds more than a part of the log at a
    time. The file appears once it is complete.

    >>> score_log("exports/npa", "behaviors.tsv", "prediction.txt")
    >>> options = ["direct_running_mode=multi_processing", "direct_num_workers=4"]
    >>> score_log("exports/npa", "log/*.parquet", "scores.parquet", options)

    Args:
        export: What `tfrs_npa.export` wrote: a folder of versions, of which the last is taken, or a
            version. Articles that it does not hold are unknown; refresh it before.
        log: A `behaviors.tsv`, or a Parquet file with the columns of `Impressions.from_arrow`; or a
            pattern of several such files, which are one log in the order of their names. Labels do
            not count.
        to: The file to write, replaced if it exists. With the suffix `.txt`, lines as
            `write_predictions` writes them; with `.parquet`, a row for each impression:
            `impression_id`, `user_id`, and lists of its `candidates`, `scores` (float32) and
            `ranks`.
        beam_options: Beam's pipeline options, `name=value` or `name`. Without `runner`, the
            pipeline runs on this machine. Elsewhere, workers have to reach all three paths, and
            have this package installed.

    Returns:
        `impressions` and `candidates`, how many; and `tied_impressions`, how many of them have
        candidates with the same score, whose ranks are in candidate order.

    Raises:
        ImportError: if Apache Beam is not installed.
        OSError: if a file cannot be read or written.
        ValueError: if `to` has another suffix, there is no export, it is damaged, the log is
            malformed (naming file and line or row), an impression id is repeated, a score is NaN,
            there is nothing to write lines of, or an option of Beam is wrong.
    """
    export, log, to = map(_absolute, (export, log, to))
    suffix = os.path.splitext(to)[1]
    if suffix not in _FORMATS:
        raise ValueError(f"{to} does not end in one of {', '.join(_FORMATS)}")
    if "://" not in to:
        to = str(require_replaceable(to))
    write, join = _FORMATS[suffix]
    version = _version(export)
    if "://" not in version:
        check_sums(pathlib.Path(version))
    pipeline = _pipeline(beam_options)
    parts = list(enumerate(parts_of(log)))
    if not parts and suffix == ".txt":
        raise MindFileError("holds no impressions to rank", log)
    with _temporary_folder(to) as folder:
        with errors_of_workers(MindFileError, DivergedError, DamagedExportError), pipeline:
            found = (
                pipeline
                | "Parts" >> beam.Create(parts)
                | "Spread" >> beam.Reshuffle()
                | "Score"
                >> beam.ParDo(_Score(version, folder, write)).with_outputs("ids", "counts")
            )
            (
                found.ids
                | "SameGroup" >> beam.GroupByKey()
                | "Distinct" >> beam.Map(_require_distinct, log)
            )
            (
                found.counts
                | "Sum" >> beam.CombineGlobally(_sums)
                | "Summary" >> beam.Map(_write_summary, FileSystems.join(folder, _SUMMARY))
            )
        with _created(FileSystems.join(folder, "joined"), to) as file:
            join(file, [_file_of(folder, number) for number, _ in parts])
        with open_log(FileSystems.join(folder, _SUMMARY)) as file:
            return json.load(file)


def _pipeline(options: Sequence[str]) -> beam.Pipeline:
    parsed = PipelineOptions([f"--{option}" for option in options])
    require_known(parsed)
    runner = parsed.view_as(StandardOptions).runner or _RUNNER
    try:
        return beam.Pipeline(runner, parsed)
    except (ImportError, AttributeError) as error:  # of a module that is named as the runner
        raise ValueError(f"runner {runner}: {error}") from error


class Scorer:
    """An export that scores impressions by the ids in them.

    Args:
        version: Folder of a version of the export.

    Raises:
        DamagedExportError: if it cannot be loaded.
    """

    def __init__(self, version: str):
        with naming_damage(version):
            # The signature alone would not keep the variables.
            self._module = tf.saved_model.load(version)
            self._score = self._module.signatures["score"]

    def __call__(self, chunk: Chunk) -> Scored:
        """Returns the scores of impressions; empty ids are no candidates."""
        user_id = chunk.user_id.to_pylist()
        history, _ = _padded(chunk.history, chunk.history_lengths)
        candidates, is_candidate = _padded(chunk.candidates, chunk.candidate_lengths)
        scores = self._score(
            user_id=tf.constant(user_id, tf.string),
            history=tf.constant(history, tf.string),
            candidates=tf.constant(candidates, tf.string),
        )["scores"].numpy()
        return Scored(
            np.asarray(chunk.impression_id, np.int64),
            user_id,
            candidates[is_candidate],
            scores[is_candidate],
            ragged.splits_of(is_candidate.sum(axis=1)),
        )


class Scored(NamedTuple):
    """Consecutive impressions with the scores of their candidates, packed one after the other.

    Attributes:
        impression_id: `int64 [impressions]`.
        user_id: Ids of users.
        candidates: `[candidates]` ids of articles.
        scores: `float32 [candidates]`.
        splits: `int64 [impressions + 1]`; impression `i` has `scores[splits[i] : splits[i + 1]]`.
    """

    impression_id: np.ndarray
    user_id: list[str]
    candidates: np.ndarray
    scores: np.ndarray
    splits: np.ndarray


class _Score(beam.DoFn):
    """Scores parts of a log, and writes a file of each."""

    def __init__(self, version, folder, write):
        self._version, self._folder, self._write = version, folder, write
        self._shared = Shared()

    def setup(self):
        # All threads of a worker have one.
        self._scorer = self._shared.acquire(lambda: Scorer(self._version))

    def process(self, numbered: tuple[int, TsvPart | ParquetPart]) -> Iterator[Any]:
        number, part = numbered
        counts, ids = np.zeros(len(_COUNTS), np.int64), []

        def scored() -> Iterator[tuple[Scored, np.ndarray]]:
            for found in map(self._scorer, part.chunks()):
                require_numbers(found.impression_id, found.scores, found.splits)
                ranks, tied = ranks_of(found.scores, found.splits)
                counts[:] += (len(found.impression_id), len(ranks), tied)
                ids.append(found.impression_id)
                yield found, ranks

        target = _file_of(self._folder, number)
        # The same part may be scored twice at the same time.
        with _created(f"{target}.{uuid.uuid4().hex}", target) as file:
            self._write(file, scored())
        yield beam.pvalue.TaggedOutput("counts", counts.tolist())
        for group, members in enumerate(_grouped(ids)):
            if len(members):
                yield beam.pvalue.TaggedOutput("ids", (group, members))


def _grouped(ids: list[np.ndarray]) -> list[np.ndarray]:
    found = np.concatenate([np.zeros(0, np.int64), *ids])
    found = found[np.argsort(found % _GROUPS, kind="stable")]
    return np.split(found, np.searchsorted(found % _GROUPS, np.arange(1, _GROUPS)))


def _require_distinct(group: tuple[int, Iterable[np.ndarray]], log: str) -> None:
    try:
        require_distinct(np.concatenate(list(group[1])))
    except ValueError as error:
        raise MindFileError(str(error), log) from error


def _sums(counts: Iterable[Sequence[int]]) -> list[int]:
    return [sum(column) for column in zip([0] * len(_COUNTS), *counts)]


def _write_summary(counts: list[int], path: str) -> None:
    with FileSystems.create(path) as file:
        file.write(json.dumps(dict(zip(_COUNTS, counts, strict=True))).encode())


def _write_lines(file: BinaryIO, scored: Iterable[tuple[Scored, np.ndarray]]) -> None:
    for found, ranks in scored:
        lines = prediction_lines(found.impression_id, ranks, found.splits)
        file.write("".join(lines).encode("ascii"))


def _join_lines(file: BinaryIO, paths: list[str]) -> None:
    for path in paths:
        with open_log(path) as part:
            shutil.copyfileobj(part, file, 1 << 20)


def _write_table(file: BinaryIO, scored: Iterable[tuple[Scored, np.ndarray]]) -> None:
    tables = [_SCHEMA.empty_table()]
    for found, ranks in scored:
        lists = [found.candidates, found.scores, ranks]
        splits = pa.array(found.splits, pa.int32())
        columns = [pa.ListArray.from_arrays(splits, pa.array(values)) for values in lists]
        columns = [pa.array(found.impression_id), pa.array(found.user_id, pa.string()), *columns]
        columns = [column.cast(type_) for column, type_ in zip(columns, _SCHEMA.types)]
        tables.append(pa.table(columns, schema=_SCHEMA))
    pq.write_table(pa.concat_tables(tables), file)


def _join_tables(file: BinaryIO, paths: list[str]) -> None:
    with pq.ParquetWriter(file, _SCHEMA) as writer:
        for path in paths:
            with open_log(path) as part:
                writer.write_table(pq.read_table(part))


_FORMATS = {".txt": (_write_lines, _join_lines), ".parquet": (_write_table, _join_tables)}


def _padded(ids, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns lists of ids as a matrix with `""` as padding, and where it holds ids."""
    inside = np.arange(lengths.max(initial=0)) < lengths[:, None]
    matrix = np.full(inside.shape, "", object)
    matrix[inside] = np.asarray(ids, object)
    return matrix, matrix != ""


def _version(export: str) -> str:
    if FileSystems.exists(FileSystems.join(export, "saved_model.pb")):
        return export
    versions = versions_of(pathlib.Path(export))
    if not versions:
        raise ValueError(f"{export} is no export; `tfrs-npa export` writes one")
    return str(versions[-1])


def _absolute(path: str | os.PathLike[str]) -> str:
    path = os.fspath(path)
    return path if "://" in path else os.path.abspath(path)


def _file_of(folder: str, number: int) -> str:
    return FileSystems.join(folder, f"{number:09}")


@contextlib.contextmanager
def _temporary_folder(target: str) -> Iterator[str]:
    """Yields a new folder beside a file, which is removed in the end."""
    parent, name = FileSystems.split(target)
    folder = FileSystems.join(parent, f".{uuid.uuid4().hex[:12]}.tmp.{name}")
    FileSystems.mkdirs(folder)
    try:
        yield folder
    finally:
        # Where there are only names, as in Cloud Storage, the slash makes it a folder.
        FileSystems.delete([f"{folder}/" if "://" in folder else folder])


@contextlib.contextmanager
def _created(temporary: str, target: str) -> Iterator[BinaryIO]:
    """Yields a file to write, which is moved to its target."""
    with FileSystems.create(temporary, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        yield file
    FileSystems.rename([temporary], [target])
