from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_npa.data.catalog import FIRST_ARTICLE, UNKNOWN_ARTICLE
from tfrs_npa.data.history_rows import HistoryRows
from tfrs_npa.data.impressions import Impressions
from tfrs_npa.data.sampling import TrainingRows


def config(**changes):
    fields = {
        "history_rows": 2,
        "history_length": 3,
        "history_sampling": "last",
        "negatives_per_positive": 2,
        "unknown_articles": "left_out",
        "mask_padding": True,
        "batch_size": 2,
    }
    return SimpleNamespace(**fields | changes)


def impressions(rows):
    """Impressions 100, 101, ... from pairs of a user and a history; candidates are 90 and 91."""
    lengths = [len(history) for _, history in rows]
    return Impressions(
        impression_id=np.arange(100, 100 + len(rows)),
        user_id=np.array([user for user, _ in rows], np.int32),
        history_values=np.array([click for _, history in rows for click in history], np.int32),
        history_splits=np.cumsum([0, *lengths]),
        candidate_values=np.array([90, 91] * len(rows), np.int32),
        candidate_splits=2 * np.arange(len(rows) + 1),
        clicked=np.array([1, 0] * len(rows), np.int8),
        features={"time": 10 * np.arange(len(rows))},
    )


def batch_of(rows, seed=0):
    return rows.batch(np.arange(len(rows)), np.random.default_rng(seed))


def test_rows_are_of_the_longest_history_of_each_known_user():
    rows = HistoryRows(
        impressions([(1, [2, 3]), (2, [4]), (1, [2, 3, 4, 5]), (0, [2, 3, 4]), (3, [6, 7])]),
        config(),
    )
    # User 2 has nothing besides the click that is asked for, user 0 is the unknown one.
    assert rows.impression.tolist() == [2, 2, 4]


def test_none_when_off():
    data = impressions([(1, [2, 3, 4])])
    assert len(HistoryRows(data, config(history_rows=0))) == 0
    assert len(TrainingRows(data, config(history_rows=0))) == 1


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 4), st.lists(st.integers(UNKNOWN_ARTICLE, 12), min_size=0, max_size=9)
        ),
        min_size=1,
        max_size=8,
    ),
    st.integers(1, 4),
    st.integers(1, 3),
    st.booleans(),
    st.integers(0, 3),
)
def test_what_a_row_holds(data, length, negatives, mask_padding, seed):
    settings_ = config(
        history_length=length,
        negatives_per_positive=negatives,
        mask_padding=mask_padding,
        history_rows=3,
    )
    packed = impressions(data)
    rows = HistoryRows(packed, settings_)
    if not len(rows):
        return
    history, candidates = batch_of(rows, seed)
    everyone = {click for _, clicks in data for click in clicks}
    assert candidates.shape == (len(rows), 1 + negatives)
    assert history.shape[1] <= length if mask_padding else history.shape[1] == length
    for row, impression in enumerate(rows.impression):
        _, clicks = data[impression]
        latest, click = clicks[-length - 1 :], candidates[row, 0]
        assert click in latest
        # All the latest clicks but that one, in their order, padded on the right.
        shown = [other for other in latest if other != click][:length]
        assert history[row].tolist() == shown + [0] * (history.shape[1] - len(shown))
        drawn = [other for other in candidates[row, 1:] if other]
        assert len(set(drawn)) == len(drawn)
        assert set(drawn) <= everyone - set(clicks) - {UNKNOWN_ARTICLE}
        assert click >= FIRST_ARTICLE or not drawn


def test_draws_are_of_the_generator():
    rows = HistoryRows(impressions([(1, list(range(2, 40))), (2, list(range(30, 80)))]), config())
    same = [batch_of(rows, seed=3) for _ in range(2)]
    for one, other in zip(*same, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(batch_of(rows, seed=4)[1], same[0][1])


def test_every_click_is_asked_for():
    rows = HistoryRows(impressions([(1, [2, 3, 4, 5]), (2, [8, 9])]), config(history_rows=1))
    asked = {int(batch_of(rows, seed)[1][0, 0]) for seed in range(60)}
    assert asked == {2, 3, 4, 5}
    negatives = {int(n) for seed in range(60) for n in batch_of(rows, seed)[1][0, 1:]}
    assert negatives == {0, 8, 9}


@pytest.mark.parametrize("chosen", [[0, 1, 2, 3, 4], [4, 0, 3], [0, 1], [3, 4]])
def test_training_rows_hold_both(chosen):
    rows = TrainingRows(impressions([(1, [2, 3, 4, 5]), (2, [6, 7])]), config())
    assert len(rows) == 2 + 3 and rows.steps == 3
    batch = rows.batch(np.array(chosen), np.random.default_rng(0))
    expected = np.array([100, 101, 100, 100, 101])[chosen]
    assert batch["impression_id"].tolist() == expected.tolist()
    assert batch["user_id"].tolist() == (expected - 99).tolist()
    assert batch["time"].tolist() == (10 * (expected - 100)).tolist()
    assert batch["clicked"].tolist() == [[1, 0, 0]] * len(chosen)
    for row, candidates, history in zip(chosen, batch["candidates"], batch["history"], strict=True):
        if row < 2:
            assert candidates.tolist() == [90, 91, 0]
            assert history[history > 0].tolist() == [[3, 4, 5], [6, 7]][row]
        else:
            assert candidates[0] in range(2, 8) and candidates[0] not in history
    assert {array.dtype for name, array in batch.items() if name in ("history", "candidates")} == {
        np.dtype(np.int32)
    }
