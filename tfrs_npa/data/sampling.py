"""Training rows: one for each click, with sampled negatives."""

from __future__ import annotations

import logging

import numpy as np

from tfrs_npa.data import ragged
from tfrs_npa.data.catalog import UNKNOWN_ARTICLE
from tfrs_npa.data.history_rows import HistoryRows
from tfrs_npa.data.impressions import Impressions

_CHUNK = 16384

logger = logging.getLogger(__name__)


class TrainingRows:
    """One row for each click of `impressions` that can be compared with a negative.

    A negative is a candidate of the same impression that was not clicked, nor was the same article
    elsewhere in the list. Impressions without a click (or without labels) and impressions without a
    negative give no rows. After these rows come those of `HistoryRows`. Unknown articles are as if
    they were not there, unless `unknown_articles` is `"untitled"`.

    Args:
        impressions: Labelled impressions.
        config: An `NPAConfig`; of its fields, `history_length`, `history_sampling`, `history_rows`,
            `negatives_per_positive`, `unknown_articles`, `mask_padding`, `batch_size` and `seed`
            matter here.

    Attributes:
        without_click: Number of impressions left out because they have no click.
        without_negative: Number of impressions left out because they have a click but no negative.

    Raises:
        ValueError: if there are no rows.
    """

    def __init__(self, impressions: Impressions, config):
        self._leaves_out = config.unknown_articles == "left_out"
        if self._leaves_out:
            impressions = impressions.without_unknown_clicks()
        self._impressions = impressions
        self._config = config
        self._find_rows()
        counts = (
            f"{len(impressions):,} impressions: {self.without_click:,} have no click, "
            f"{self.without_negative:,} have a click but nothing that was not clicked"
        )
        if not len(self._click):
            raise ValueError(f"no training rows in {counts}")
        self._of_histories = HistoryRows(impressions, config)
        if len(self._of_histories):
            counts += f"; {len(self._of_histories):,} more in histories"
        logger.info("%s training rows in %s", f"{len(self._click):,}", counts)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._click) + len(self._of_histories)

    @property
    def impressions(self) -> Impressions:
        """The impressions that the rows are made of."""
        return self._impressions

    @property
    def config(self):
        """The hyper-parameters."""
        return self._config

    @property
    def steps(self) -> int:
        """Number of batches in an epoch."""
        return -(-len(self) // self._config.batch_size)

    def batch(
        self, rows: np.ndarray, generator: np.random.Generator, part: slice = ragged.ALL
    ) -> dict[str, np.ndarray]:
        """Assembles a batch, drawing negatives and, if so configured, histories.

        Args:
            rows: The rows, `[batch]` integers from 0 on.
            generator: Source of the draws.
            part: Which of `rows` to return; these are what they are in the whole batch, but for the
                width of `history`. Of the others, only the lengths of their lists are read.

        Returns:
            `impression_id` `int64 [batch]`, `user_id` `int32 [batch]`, `history`
            `int32 [batch, history]` (0 = padding), `candidates` and `clicked`
            `int32 [batch, 1 + negatives]`, the click first (0 = padding), and the features; those
            of the candidates `[batch, 1 + negatives, ...]`, 0 where there is padding and in rows of
            histories, where nothing says what they were.
        """
        impressions, count = self._impressions, len(self._click)
        is_later = rows >= count
        earlier, later = rows[~is_later], rows[is_later] - count
        # Of each kind of rows, those of the part are together too.
        part_later = _counted(is_later, part)
        history, places = self._batch_of_impressions(earlier, generator, _counted(~is_later, part))
        candidates = _taken(impressions.candidate_values, places)
        features = {
            name: _taken(array, places) for name, array in impressions.candidate_features.items()
        }
        is_later = is_later[part]
        impression = np.empty(len(is_later), np.int64)
        impression[~is_later] = self._impression[rows[part][~is_later]]
        impression[is_later] = self._of_histories.impression[later[part_later]]
        if is_later.any():
            more = self._of_histories.batch(later, generator, part_later)
            history = _interleaved(history, more[0], is_later)
            candidates = _interleaved(candidates, more[1], is_later)
            for name, array in features.items():
                nothing = np.zeros((len(more[1]), *array.shape[1:]), array.dtype)
                features[name] = _interleaved(array, nothing, is_later)
        clicked = np.zeros_like(candidates)
        clicked[:, 0] = 1
        return {
            "impression_id": impressions.impression_id[impression],
            "user_id": impressions.user_id[impression],
            "history": history,
            "candidates": candidates,
            "clicked": clicked,
            **{name: array[impression] for name, array in impressions.features.items()},
            **features,
        }

    def _batch_of_impressions(self, rows, generator, part):
        """Returns `history` of a part of rows of impressions, and positions of their candidates.

        The positions are `[batch, 1 + negatives]`, -1 where there is padding.
        """
        impression = self._impression[rows]
        negatives = self._draw_negatives(impression, generator, part)
        places = np.column_stack([self._click[rows[part]], negatives])
        random = self._config.history_sampling == "random"
        draws = generator if random else None
        return histories(self._impressions, impression, self._config, draws, part), places

    def _find_rows(self):
        impressions = self._impressions
        clicks, owners, never_drawn = ([np.zeros(0, np.int64)] for _ in range(3))
        self.without_click = self.without_negative = 0
        # In chunks: the pairs of impression and article take 8 bytes a candidate and a sort.
        for first in range(0, len(impressions), _CHUNK):
            chunk = np.arange(first, min(first + _CHUNK, len(impressions)))
            count = len(chunk)
            positions = ragged.positions(impressions.candidate_splits, chunk)
            lengths = ragged.bounds(impressions.candidate_splits, chunk)[1]
            owner = np.repeat(np.arange(count), lengths)
            articles = impressions.candidate_values[positions].astype(np.int64)
            pairs = owner * (articles.max(initial=0) + 1) + articles
            labels = impressions.clicked[positions]
            click, negative = labels == 1, labels == 0
            is_left_out = self._leaves_out & (articles == UNKNOWN_ARTICLE)
            click &= ~is_left_out
            # Like np.isin, which sorts the many to find the few.
            clicked = np.sort(pairs[click])
            same = np.append(clicked, -1)[np.searchsorted(clicked, pairs)] == pairs
            excluded = negative & (same | is_left_out)
            negative &= ~excluded
            has_click = np.bincount(owner[click], minlength=count) > 0
            has_negative = np.bincount(owner[negative], minlength=count) > 0
            self.without_click += np.count_nonzero(~has_click)
            self.without_negative += np.count_nonzero(has_click & ~has_negative)
            kept = np.flatnonzero(click & has_negative[owner])
            clicks.append(positions[kept])
            owners.append(first + owner[kept])
            never_drawn.append(positions[np.flatnonzero(excluded)])
        # Positions, ascending. They are few if any: less memory than a mark for each candidate.
        self._never_drawn = np.unique(np.concatenate(never_drawn))
        self._click = np.concatenate(clicks)
        self._impression = np.concatenate(owners)

    def _draw_negatives(self, impression, generator, part):
        """Draws positions `[part, negatives]` without replacement; -1 where there are too few."""
        starts, lengths = ragged.bounds(self._impressions.candidate_splits, impression)
        columns = np.arange(lengths.max(initial=0))
        keys = generator.random((len(impression), len(columns)), np.float32)[part]
        starts, lengths = starts[part], lengths[part]
        allowed = columns < lengths[:, None]
        allowed[allowed] = self._impressions.clicked[(starts[:, None] + columns)[allowed]] == 0
        excluded = self._never_drawn
        first, last = np.searchsorted(excluded, starts), np.searchsorted(excluded, starts + lengths)
        for row in np.flatnonzero(first < last):
            allowed[row, excluded[first[row] : last[row]] - starts[row]] = False
        keys[~allowed] = np.inf
        chosen = ragged.smallest(keys, self._config.negatives_per_positive)
        drawn = np.take_along_axis(allowed, chosen, axis=1)
        negatives = np.full((len(starts), self._config.negatives_per_positive), -1)
        negatives[:, : chosen.shape[1]][drawn] = (starts[:, None] + chosen)[drawn]
        return negatives


def _taken(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Returns the values at positions, 0 where a position is -1."""
    taken = values[places]
    taken[places < 0] = 0
    return taken


def _interleaved(some: np.ndarray, others: np.ndarray, is_other: np.ndarray) -> np.ndarray:
    """Puts the rows of two arrays together, padded with 0 on the right to equal width."""
    width = max(some.shape[1], others.shape[1])
    matrix = np.zeros((len(is_other), width, *some.shape[2:]), some.dtype)
    matrix[~is_other, : some.shape[1]] = some
    matrix[is_other, : others.shape[1]] = others
    return matrix


def _counted(chosen: np.ndarray, part: slice) -> slice:
    """Returns which of the chosen rows of a batch are in a part of the batch."""
    start, stop, _ = part.indices(len(chosen))
    return slice(np.count_nonzero(chosen[:start]), np.count_nonzero(chosen[:stop]))


def histories(
    impressions: Impressions,
    rows: np.ndarray,
    config,
    generator: np.random.Generator | None = None,
    part: slice = ragged.ALL,
) -> np.ndarray:
    """Returns the histories of some impressions, oldest first, padded with 0 on the right.

    Args:
        impressions: The impressions.
        rows: Which of them, `[batch]` integers from 0 on.
        config: An `NPAConfig`. At most `history_length` articles are taken; if `mask_padding`, the
            width is that of the longest history (at least 1), else always `history_length`.
        generator: Draws the articles of longer histories. None: their last articles are taken.
        part: Which of `rows` to return; the draws are those of all.

    Returns:
        `int32 [part, width]`.
    """
    limit = config.history_length
    starts, lengths = ragged.bounds(impressions.history_splits, rows)
    if generator is not None:
        is_longer = lengths > limit
        shape = np.count_nonzero(is_longer), lengths.max(initial=0)
        keys = generator.random(shape, np.float32)[_counted(is_longer, part)]
    starts, lengths = starts[part], lengths[part]
    kept = np.minimum(lengths, limit)
    width = max(1, kept.max(initial=0)) if config.mask_padding else limit
    history = ragged.pad(impressions.history_values, starts + lengths - kept, kept, width)
    longer = np.flatnonzero(lengths > limit)
    if generator is not None and len(longer):
        keys[np.arange(keys.shape[1]) >= lengths[longer, None]] = np.inf
        chosen = np.sort(ragged.smallest(keys, limit), axis=1)
        history[longer] = impressions.history_values[starts[longer, None] + chosen]
    return history
