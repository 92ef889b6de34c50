"""Files of predictions for the MIND leaderboard: written from scores, and evaluated."""

from __future__ import annotations

import itertools
import os
import pathlib
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfrs_npa._files import atomic_file
from tfrs_npa.data import ragged
from tfrs_npa.data.impressions import Impressions
from tfrs_npa.datasets.mind import MindFileError, read_behaviors
from tfrs_npa.datasets.mind.predictions import prediction_lines, read_predictions
from tfrs_npa.metrics.impression_metrics import ImpressionMetrics
from tfrs_npa.metrics.impression_values import impression_values, mean_values
from tfrs_npa.metrics.table import OF_ALL_USERS, as_numbers

_TEXT = "prediction.txt"
_ZIP = "prediction.zip"
# Impressions that are ranked or evaluated at a time.
_BLOCK = 1024


class DivergedError(ValueError):
    """A score of a model is not a number."""


def ranks_of(scores: np.ndarray, splits: np.ndarray) -> tuple[np.ndarray, int]:
    """Ranks the candidates of each impression; ties are broken by candidate order.

    Args:
        scores: float `[candidates]` of all impressions, packed; none is NaN.
        splits: `int64 [impressions + 1]`; impression `i` has `scores[splits[i] : splits[i + 1]]`.

    Returns:
        The ranks `int64 [candidates]`, from 1 in each impression, and how many impressions have
        candidates with the same score.
    """
    lengths = np.diff(splits)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    # Stable, so that equals stay in order.
    order = np.lexsort((-scores, rows))
    ranks = np.empty(len(scores), np.int64)
    ranks[order] = np.arange(len(scores)) - np.repeat(splits[:-1], lengths) + 1
    ordered = scores[order]
    is_tied = (ordered[1:] == ordered[:-1]) & (rows[1:] == rows[:-1])
    return ranks, len(np.unique(rows[1:][is_tied]))


def write_predictions(
    folder: str | os.PathLike[str], impressions: Impressions, scores: Iterable[tf.RaggedTensor]
) -> dict[str, Any]:
    """Writes `prediction.txt`, and `prediction.zip` with it inside, for the MIND leaderboard.

    Only a few impressions are in memory at a time. Both files are created atomically.

    >>> batches = impression_batches(impressions, model.catalog, model.users, model.config)
    >>> write_predictions("submission", impressions, model.predict_batches(batches))

    Args:
        folder: Created if missing; files of these names in it are replaced.
        impressions: The impressions that were scored, labelled or not.
        scores: Ragged `[batch, (candidates)]` float tensors, one after the other, in the order of
            the impressions.

    Returns:
        A dict that JSON can hold: `impressions` and `candidates`, how many; `tied_impressions`, how
        many of them have candidates with the same score, whose ranks are in candidate order; and
        `metrics`, empty if there are no labels, else those of `scores` and of `predictions` (the
        file), by name. The two differ only where scores are tied, and only in the AUC.

    Raises:
        OSError: if the files cannot be written.
        ValueError: if an impression id is repeated, a score is NaN, or there are more or fewer
            scores than candidates.
    """
    require_distinct(impressions.impression_id)
    folder = pathlib.Path(folder)
    tied = candidates = 0
    is_labelled = bool(np.all(impressions.take(slice(1)).clicked >= 0))
    metrics = {name: _PackedMetrics() for name in ("scores", "predictions")} if is_labelled else {}
    with (
        atomic_file(folder / _TEXT) as text,
        atomic_file(folder / _ZIP) as archive,
        tqdm(
            total=len(impressions), desc="Predicting", unit=" impressions", delay=2, disable=None
        ) as bar,
    ):
        with text.open("w", encoding="ascii", newline="\n") as file:
            for block, values in _blocks(impressions, scores):
                splits = block.candidate_splits
                ranks, tied_in_block = ranks_of(values, splits)
                tied += tied_in_block
                candidates += len(values)
                file.writelines(prediction_lines(block.impression_id, ranks, splits))
                if is_labelled:
                    metrics["scores"].update(block.clicked, values, splits)
                    metrics["predictions"].update(block.clicked, 1 / ranks, splits)
                bar.update(len(block))
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
            opened.write(text, _TEXT)
    return {
        "impressions": len(impressions),
        "candidates": candidates,
        "tied_impressions": tied,
        "metrics": {name: means.result() for name, means in metrics.items()},
    }


def evaluate_predictions(
    predictions: str | os.PathLike[str], behaviors: str | os.PathLike[str] | tf.data.Dataset
) -> dict[str, float | None]:
    """Evaluates a `prediction.txt` as the MIND leaderboard does: the score of rank r is 1 / r.

    >>> evaluate_predictions("prediction.txt", "MINDsmall_dev/behaviors.tsv")["auc"]

    Args:
        predictions: The file.
        behaviors: The predicted impressions, labelled: a `behaviors.tsv`, or a behaviors data set
            (see `Impressions.from_dataset`).

    Returns:
        `auc`, `mrr`, `ndcg_5` and `ndcg_10`, means over impressions, None if all are skipped;
        `impressions`, their number, and `skipped_impressions`, the number of those that are in no
        mean because they have no click, or nothing but clicks.

    Raises:
        MindFileError, ValueError: as `prediction_values`.
    """
    return mean_values(prediction_values(predictions, behaviors))


def prediction_values(
    predictions: str | os.PathLike[str], behaviors: str | os.PathLike[str] | tf.data.Dataset
) -> dict[str, np.ndarray]:
    """Measures each impression of a `prediction.txt`; see `evaluate_predictions`.

    Args:
        predictions: As `evaluate_predictions` takes it.
        behaviors: Likewise.

    Returns:
        `auc`, `mrr`, `ndcg_5` and `ndcg_10`, float32 `[impressions]`, and `scored`, bool
        `[impressions]`: whether an impression is in the means.

    Raises:
        ValueError: if the two do not hold the same impressions in the same order, with as many
            candidates each; if there are no labels. Says how many, and which line.
        MindFileError: a file is missing, empty or damaged, or has a bad line.
    """
    parts = []
    rows = enumerate(itertools.zip_longest(read_predictions(predictions), _truth(behaviors)), 1)
    while block := list(itertools.islice(rows, _BLOCK)):
        for line, (predicted, true) in block:
            if predicted is None or true is None or predicted[0] != true[0]:
                raise ValueError(_other_impressions(predictions, behaviors, line))
            (impression_id, ranks), (_, clicked) = predicted, true
            if len(ranks) != len(clicked):
                raise MindFileError(
                    f"impression {impression_id} has {len(ranks)} ranks, and {len(clicked)} "
                    f"candidates in {_name(behaviors)}",
                    predictions,
                    line,
                )
            if min(clicked) < 0:
                raise ValueError(
                    f"{_name(behaviors)} has no labels to evaluate on (impression {impression_id})"
                )
        pairs = [pair for _, pair in block]
        clicked = np.concatenate([clicked for _, (_, clicked) in pairs])
        ranks = np.concatenate([ranks for (_, ranks), _ in pairs])
        splits = ragged.splits_of(np.array([len(ranks) for (_, ranks), _ in pairs]))
        parts.append(impression_values(clicked, 1 / ranks, splits))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


class _PackedMetrics:
    """Means of the metrics over packed impressions of all users."""

    def __init__(self) -> None:
        self._metrics = ImpressionMetrics()

    def update(self, clicked: np.ndarray, scores: np.ndarray, splits: np.ndarray) -> None:
        lengths = np.diff(splits)
        width = lengths.max()
        self._metrics.update(
            ragged.pad(clicked, splits[:-1], lengths, width),
            ragged.pad(scores, splits[:-1], lengths, width),
            mask=np.arange(width) < lengths[:, None],
            known_user=np.zeros(len(lengths), bool),
        )

    def result(self) -> dict[str, float | None]:
        found = self._metrics.result()
        counts = {name: int(found[name]) for name in ("impressions", "skipped_impressions")}
        return as_numbers({name: found[name] for name in OF_ALL_USERS}) | counts


def require_distinct(impression_ids: np.ndarray) -> None:
    """Raises a ValueError if one of the ids `[impressions]` is there twice."""
    ordered = np.sort(impression_ids)
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(repeated):
        raise ValueError(
            f"impression {repeated[0]} is repeated, and a file of predictions tells impressions "
            "apart by their ids"
        )


def require_numbers(impression_ids: np.ndarray, scores: np.ndarray, splits: np.ndarray) -> None:
    """Raises a DivergedError if a score is NaN.

    Args:
        impression_ids: `int64 [impressions]`.
        scores: As in `ranks_of`.
        splits: Likewise.
    """
    wrong = np.flatnonzero(np.isnan(scores))
    if len(wrong):
        row = np.searchsorted(splits, wrong[0], side="right") - 1
        raise DivergedError(
            f"a score of impression {impression_ids[row]} is not a number: the model has diverged"
        )


def _blocks(
    impressions: Impressions, scores: Iterable[tf.RaggedTensor]
) -> Iterator[tuple[Impressions, np.ndarray]]:
    """Yields consecutive impressions and the scores of their candidates, packed."""
    first, scores = 0, iter(scores)
    while first < len(impressions):
        batches: list[tuple[np.ndarray, np.ndarray]] = []
        while sum(len(lengths) for _, lengths in batches) < _BLOCK:
            if (batch := next(scores, None)) is None:
                break
            batches.append((batch.values.numpy(), batch.row_lengths().numpy()))
        if not batches:
            raise ValueError(f"there are scores of {first:,} impressions, not {len(impressions):,}")
        values, lengths = (np.concatenate(arrays) for arrays in zip(*batches))
        block = impressions.take(slice(first, first + len(lengths)))
        candidates = np.diff(block.candidate_splits)
        if len(block) < len(lengths):
            break
        differ = np.flatnonzero(candidates != lengths)
        if len(differ):
            row = differ[0]
            raise ValueError(
                f"impression {block.impression_id[row]} has {candidates[row]} candidates and "
                f"{lengths[row]} scores"
            )
        require_numbers(block.impression_id, values, block.candidate_splits)
        yield block, values
        first += len(block)
    if first < len(impressions) or next(scores, None) is not None:
        raise ValueError(f"there are scores of more than {len(impressions):,} impressions")


def _truth(behaviors: tf.data.Dataset | str | os.PathLike[str]) -> Iterator[tuple[int, Any]]:
    """Yields impression ids and labels."""
    if isinstance(behaviors, tf.data.Dataset):
        selected = behaviors.map(lambda row: (row["impression_id"], row["candidates"]["clicked"]))
        for impression_id, clicked in selected.as_numpy_iterator():
            yield int(impression_id), clicked
    else:
        for row in read_behaviors(behaviors, name=os.fspath(behaviors)):
            yield row["impression_id"], row["candidates"]["clicked"]


def _name(behaviors: tf.data.Dataset | str | os.PathLike[str]) -> str:
    return "behaviors" if isinstance(behaviors, tf.data.Dataset) else os.fspath(behaviors)


def _other_impressions(
    predictions: str | os.PathLike[str],
    behaviors: tf.data.Dataset | str | os.PathLike[str],
    line: int,
) -> str:
    """Says how the impressions of a file differ from those that they should be."""
    predicted = {impression_id for impression_id, _ in read_predictions(predictions)}
    true = {impression_id for impression_id, _ in _truth(behaviors)}
    name = _name(behaviors)
    parts = []
    for found, impressions, what in (
        (true - predicted, true, f"of {name} are missing from {predictions}"),
        (predicted - true, predicted, f"of {predictions} are not in {name}"),
    ):
        if found:
            parts.append(
                f"{len(found):,} of the {len(impressions):,} impressions {what} (for example "
                f"{min(found)})"
            )
    if parts:
        return "; ".join(parts)
    return f"{predictions}, line {line}: the order of the impressions is another than in {name}"
