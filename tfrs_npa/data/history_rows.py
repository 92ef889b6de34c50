"""Training rows made of the users' histories, besides those made of impressions."""

from __future__ import annotations

import numpy as np

from tfrs_npa.data import ragged
from tfrs_npa.data.catalog import PADDING, UNKNOWN_ARTICLE
from tfrs_npa.data.impressions import Impressions
from tfrs_npa.data.users import UNKNOWN_USER

_LEAST_CLICKS = 2


class HistoryRows:
    """Rows that ask which article a user clicked, given their other clicks.

    Each known user has `config.history_rows` of them, though fewer than clicks, from their longest
    history in `impressions`. Each batch draws what is asked from the latest `history_length + 1`
    clicks; it is not in the history that is shown, wherever it occurs. Negatives are drawn from
    everyone's histories: what others clicked and this user did not. So a row says what sets this
    user apart, and nothing about what everyone clicks.

    Args:
        impressions: The impressions.
        config: An `NPAConfig`; of its fields, `history_rows`, `history_length`,
            `negatives_per_positive` and `mask_padding` matter here.

    Attributes:
        impression: `int64 [rows]`, the impression whose history each row is made of.
    """

    def __init__(self, impressions: Impressions, config):
        self._impressions, self._config = impressions, config
        every = np.arange(len(impressions))
        lengths = ragged.bounds(impressions.history_splits, every)[1]
        # The last of each user has the longest history, and of equal ones it is the latest.
        order = np.lexsort((lengths, impressions.user_id))
        users = impressions.user_id[order]
        is_last = np.append(users[1:] != users[:-1], True)
        longest = order[is_last & (users != UNKNOWN_USER) & (lengths[order] >= _LEAST_CLICKS)]
        self._starts, counts = ragged.bounds(impressions.history_splits, longest)
        self._splits = ragged.splits_of(counts)
        self.impression = np.repeat(longest, np.minimum(config.history_rows, counts - 1))

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.impression)

    def batch(
        self, rows: np.ndarray, generator: np.random.Generator, part: slice = ragged.ALL
    ) -> tuple[np.ndarray, np.ndarray]:
        """Assembles rows.

        Args:
            rows: The rows, `[batch]` integers from 0 on.
            generator: Source of the draws.
            part: Which of `rows` to return, at least one; the draws are those of all.

        Returns:
            `history` `int32 [part, history]`, oldest first, and `candidates`
            `int32 [part, 1 + negatives]`, the click first; 0 = padding in both.
        """
        impressions, limit = self._impressions, self._config.history_length
        draws = generator.random(len(rows))[part]
        shape = len(rows), self._config.negatives_per_positive
        places = generator.integers(self._splits[-1], size=shape)[part]
        starts, lengths = ragged.bounds(impressions.history_splits, self.impression[rows[part]])
        kept = np.minimum(lengths, limit + 1)
        ends = starts + lengths
        asked = ends - 1 - (draws * kept).astype(np.int64)
        click = impressions.history_values[asked]
        clicks = ragged.pad(impressions.history_values, ends - kept, kept, kept.max())
        is_shown = (clicks != PADDING) & (clicks != click[:, np.newaxis])
        order = np.argsort(~is_shown, axis=1, kind="stable")
        shown = np.where(is_shown, clicks, PADDING)
        history = np.take_along_axis(shown, order, axis=1)[:, :limit]
        if not self._config.mask_padding:
            history = np.pad(history, ((0, 0), (0, limit - history.shape[1])))
        return history, np.column_stack([click, self._negatives(click, starts, lengths, places)])

    def _negatives(self, click, starts, lengths, places):
        """Returns what is at drawn places among everyone's clicks, `[part, negatives]`.

        It is 0 where the user clicked it, or it came twice.
        """
        owner = np.searchsorted(self._splits, places, side="right") - 1
        drawn = self._impressions.history_values[places + self._starts[owner] - self._splits[owner]]
        clicks = ragged.pad(self._impressions.history_values, starts, lengths, lengths.max())
        is_new = (drawn[:, :, np.newaxis] != clicks[:, np.newaxis]).all(axis=2)
        same = drawn[:, :, np.newaxis] == drawn[:, np.newaxis]
        is_new &= ~np.tril(same, -1).any(axis=2)
        # Nothing is known of what was clicked: such a row says nothing.
        is_new &= (drawn != UNKNOWN_ARTICLE) & (click != UNKNOWN_ARTICLE)[:, np.newaxis]
        return np.where(is_new, drawn, PADDING)
