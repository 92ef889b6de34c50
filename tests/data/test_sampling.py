from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tfrs_npa.data.impressions import Impressions
from tfrs_npa.data.sampling import TrainingRows, histories


def config(**changes):
    fields = {
        "history_length": 3,
        "history_sampling": "last",
        "history_rows": 0,
        "negatives_per_positive": 2,
        "unknown_articles": "untitled",
        "mask_padding": True,
    }
    return SimpleNamespace(**fields | changes)


def impressions(rows):
    """Impressions 100, 101, ... from pairs of a history and [(article, label), ...]."""

    def pack(lists):
        splits = np.cumsum([0] + [len(values) for values in lists], dtype=np.int64)
        return [value for values in lists for value in values], splits

    history, history_splits = pack([history for history, _ in rows])
    candidates, candidate_splits = pack([[a for a, _ in candidates] for _, candidates in rows])
    labels, _ = pack([[label for _, label in candidates] for _, candidates in rows])
    return Impressions(
        impression_id=np.arange(100, 100 + len(rows)),
        user_id=np.arange(len(rows), dtype=np.int32),
        history_values=np.array(history, np.int32),
        history_splits=history_splits,
        candidate_values=np.array(candidates, np.int32),
        candidate_splits=candidate_splits,
        clicked=np.array(labels, np.int8),
        features={"time": np.arange(len(rows)) * 10},
    )


def draw(rows, seed=0, **changes):
    training = TrainingRows(impressions(rows), config(**changes))
    return training.batch(np.arange(len(training)), np.random.default_rng(seed))


def test_one_row_for_each_click():
    batch = draw(
        [
            ([2, 3], [(4, 0), (5, 1), (6, 0), (7, 1)]),
            ([], [(8, 1), (9, 0), (10, 0)]),
        ]
    )
    assert batch["impression_id"].tolist() == [100, 100, 101]
    assert batch["user_id"].tolist() == [0, 0, 1]
    assert batch["time"].tolist() == [0, 0, 10]
    assert batch["history"].tolist() == [[2, 3], [2, 3], [0, 0]]
    assert batch["candidates"][:, 0].tolist() == [5, 7, 8]
    assert [sorted(row) for row in batch["candidates"][:, 1:].tolist()] == [[4, 6], [4, 6], [9, 10]]
    assert batch["clicked"].tolist() == [[1, 0, 0]] * 3
    types = {name: array.dtype for name, array in batch.items()}
    assert types == {
        "impression_id": np.int64,
        "user_id": np.int32,
        "history": np.int32,
        "candidates": np.int32,
        "clicked": np.int32,
        "time": np.int64,
    }


def test_missing_negatives_are_padding_on_the_right():
    batch = draw([([], [(4, 0), (5, 1)]), ([], [(6, 1), (7, 0), (8, 0)])], negatives_per_positive=4)
    assert batch["candidates"][0].tolist() == [5, 4, 0, 0, 0]
    assert sorted(batch["candidates"][1, 1:3]) == [7, 8]
    assert batch["candidates"][1, 3:].tolist() == [0, 0]
    assert batch["clicked"].tolist() == [[1, 0, 0, 0, 0]] * 2


def test_what_gives_no_row_is_counted():
    training = TrainingRows(
        impressions(
            [
                ([], [(4, 0), (5, 0)]),  # no click
                ([], [(4, -1), (5, -1)]),  # no labels
                ([], []),  # no candidates
                ([], [(4, 1), (5, 1)]),  # no negative
                ([], [(4, 1), (4, 0)]),  # nothing but the clicked article
                ([], [(4, 1), (4, 0), (6, 0)]),
            ]
        ),
        config(),
    )
    assert len(training) == 1
    assert training.without_click == 3
    assert training.without_negative == 2
    batch = training.batch(np.array([0]), np.random.default_rng(0))
    assert batch["impression_id"].tolist() == [105]
    assert batch["candidates"].tolist() == [[4, 6, 0]]


def test_unknown_articles_are_as_if_they_were_not_there():
    rows = [
        ([1, 2, 1], [(4, 0), (1, 0), (5, 1), (1, 1), (6, 0)]),
        ([1], [(1, 1), (4, 0)]),  # no click
        ([], [(5, 1), (1, 0)]),  # no negative
    ]
    training = TrainingRows(
        impressions(rows), config(negatives_per_positive=3, unknown_articles="left_out")
    )
    assert (len(training), training.without_click, training.without_negative) == (1, 1, 1)
    batch = training.batch(np.array([0]), np.random.default_rng(0))
    assert batch["history"].tolist() == [[2]]
    assert batch["candidates"][0, 0] == 5 and batch["candidates"][0, 3] == 0
    assert sorted(batch["candidates"][0, 1:3]) == [4, 6]


def test_unknown_articles_take_part_untitled():
    batch = draw([([1, 2, 1], [(1, 0), (5, 1)]), ([], [(1, 1), (6, 0)])])
    assert batch["history"].tolist() == [[1, 2, 1], [0, 0, 0]]
    assert batch["candidates"].tolist() == [[5, 1, 0], [1, 6, 0]]


@pytest.mark.parametrize("rows", [[], [([], [(4, 0), (5, 0)]), ([], [(6, 1)])]])
def test_nothing_to_train_on(rows):
    with pytest.raises(ValueError, match=f"no training rows in {len(rows)} impressions: "):
        TrainingRows(impressions(rows), config())


LISTS = st.lists(st.tuples(st.integers(1, 9), st.sampled_from([0, 0, 0, 1, -1])), max_size=12)
ROWS = st.lists(st.tuples(st.lists(st.integers(1, 50), max_size=8), LISTS), min_size=1, max_size=6)


@settings(deadline=None, max_examples=200)
@given(ROWS, st.integers(1, 5), st.integers(0, 2**32))
def test_negatives_are_never_clicked(rows, negatives, seed):
    available = []  # for each row: impression, click, how often each negative is in the list
    for number, (_, candidates) in enumerate(rows):
        clicks = [article for article, label in candidates if label == 1]
        others = Counter(a for a, label in candidates if label == 0 and a not in clicks)
        available += [(100 + number, click, others) for click in clicks if others]
    assume(available)
    batch = draw(rows, seed, negatives_per_positive=negatives)
    assert len(batch["candidates"]) == len(available)
    for row, (impression, click, others) in enumerate(available):
        candidates = batch["candidates"][row].tolist()
        drawn = [article for article in candidates[1:] if article]
        assert batch["impression_id"][row] == impression
        assert candidates[0] == click
        assert len(drawn) == min(negatives, others.total())
        assert Counter(drawn) <= others
        assert candidates[1 + len(drawn) :] == [0] * (negatives - len(drawn))


def test_each_negative_is_equally_likely():
    rows = [([], [(1, 1), *((article, 0) for article in range(2, 12))])] * 6000
    drawn = draw(rows, negatives_per_positive=3)["candidates"][:, 1:]
    shares = np.bincount(drawn.ravel(), minlength=12)[2:] / 6000
    # Each of 10 is drawn with probability 0.3; five standard errors.
    np.testing.assert_allclose(shares, 0.3, atol=5 * np.sqrt(0.3 * 0.7 / 6000))


def test_the_generator_decides():
    rows = [([], [(1, 1), *((article, 0) for article in range(2, 40))])] * 20
    first, again, other = draw(rows, 1), draw(rows, 1), draw(rows, 2)
    np.testing.assert_array_equal(first["candidates"], again["candidates"])
    assert (first["candidates"] != other["candidates"]).any()


HISTORIES = impressions([([2, 3, 4, 5, 6], []), ([], []), ([7], []), ([8, 9, 10], [])])


@pytest.mark.parametrize(
    ("rows", "length", "mask_padding", "expected"),
    [
        ([0, 1, 2, 3], 4, True, [[3, 4, 5, 6], [0, 0, 0, 0], [7, 0, 0, 0], [8, 9, 10, 0]]),
        ([3, 2], 4, True, [[8, 9, 10], [7, 0, 0]]),
        ([3, 2], 4, False, [[8, 9, 10, 0], [7, 0, 0, 0]]),
        ([0, 2], 2, True, [[5, 6], [7, 0]]),
        ([1], 4, True, [[0]]),
        ([1], 4, False, [[0, 0, 0, 0]]),
    ],
)
def test_last_clicks(rows, length, mask_padding, expected):
    chosen = config(history_length=length, mask_padding=mask_padding)
    history = histories(HISTORIES, np.array(rows), chosen)
    assert history.dtype == np.int32
    assert history.tolist() == expected


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.lists(st.integers(1, 99), max_size=9), min_size=1, max_size=6),
    st.integers(1, 6),
    st.integers(0, 2**32),
)
def test_random_histories_keep_their_order(lists, length, seed):
    # Articles numbered by position, so that order and repetition show.
    lists = [list(range(1, len(values) + 1)) for values in lists]
    data = impressions([(values, []) for values in lists])
    generator = np.random.default_rng(seed)
    drawn = histories(data, np.arange(len(lists)), config(history_length=length), generator)
    for row, values in zip(drawn.tolist(), lists, strict=True):
        kept = [article for article in row if article]
        assert len(kept) == min(length, len(values))
        assert row[len(kept) :] == [0] * (len(row) - len(kept))
        assert kept == sorted(set(kept)) and set(kept) <= set(values)


def test_random_histories_differ_from_draw_to_draw():
    rows = [(list(range(2, 40)), [(1, 1), (2, 0)])] * 10
    batch = draw(rows, 1, history_sampling="random")
    assert batch["history"].shape == (10, 3)
    assert len({tuple(row) for row in batch["history"].tolist()}) > 5
    counts = np.bincount(
        draw(rows * 500, 2, history_sampling="random")["history"].ravel(), minlength=40
    )[2:]
    # Each of 38 clicks is kept with probability 3/38, 5,000 times; six standard errors.
    np.testing.assert_allclose(counts / 5000, 3 / 38, atol=6 * np.sqrt(3 / 38 / 5000))
