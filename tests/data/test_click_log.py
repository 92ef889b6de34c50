"""Impressions made of clicks alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_npa.config import NPAConfig
from tfrs_npa.data.batches import training_batches
from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.data.impressions import Impressions
from tfrs_npa.data.users import UserIndex

IDS = ["A", "B", "C", "D", "E"]  # 2 to 6
CATALOG = NewsCatalog().adapt({"news_id": IDS, "title": [id.lower() for id in IDS]})
USERS = UserIndex().adapt({"user_id": ["U1", "U2", "U3"]})
# Out of order; U3 clicks A twice, U9 is not known.
LOG = [
    ("U1", "B", 20),
    ("U1", "A", 10),
    ("U2", "C", 11),
    ("U3", "A", 12),
    ("U3", "D", 30),
    ("U9", "B", 31),
    ("U3", "A", 200),
]


def columns(log):
    users, news, times = zip(*log, strict=True)
    return {"user_id": list(users), "news_id": list(news), "time": list(times)}


def rows(impressions):
    """`(row of the log, user, history, click, set of negatives)` of each impression."""
    found = []
    packed = impressions.take(slice(None))
    for row, user in enumerate(packed.user_id):
        history = packed.history_values[slice(*packed.history_splits[row : row + 2])]
        shown = packed.candidate_values[slice(*packed.candidate_splits[row : row + 2])]
        clicked = packed.clicked[slice(*packed.candidate_splits[row : row + 2])]
        assert clicked.tolist() == [1] + [0] * (len(shown) - 1)
        negatives = shown[1:].tolist()
        assert len(set(negatives)) == len(negatives)
        number = int(packed.impression_id[row])
        found.append((number, int(user), history.tolist(), int(shown[0]), set(negatives)))
    return found


EXPECTED = [
    (1, 1, [], 2, set()),
    (2, 2, [], 4, {2}),
    (3, 3, [], 2, {4}),
    (0, 1, [2], 3, {4}),  # A is one of the user's own clicks
    (4, 3, [2], 5, {3, 4}),
    (5, 0, [], 3, {2, 4, 5}),
    (6, 3, [2, 5], 2, set()),  # nobody clicked in the 100 seconds before
]


def test_histories_and_candidates():
    log = columns(LOG)
    times = pd.to_datetime(log["time"], unit="s")
    timed = log | {"time": times}
    zoned = log | {"time": times.tz_localize("UTC").tz_convert("Asia/Tokyo")}
    plain = log | {"time": times.to_pydatetime().tolist()}
    objects = log | {"time": np.array(log["time"], object)}
    tables = [pd.DataFrame(log), pd.DataFrame(timed), pd.DataFrame(zoned)]
    for clicks in (log, pa.table(log), pa.table(pd.DataFrame(zoned)), plain, objects, *tables):
        impressions = Impressions.from_clicks(clicks, CATALOG, USERS, window=100)
        assert rows(impressions) == EXPECTED


def test_the_number_and_the_seed_of_negatives():
    log = columns([(f"U{i}", IDS[i % 5], i) for i in range(60)])
    one, again, other = (
        Impressions.from_clicks(log, CATALOG, USERS, negatives=2, seed=seed) for seed in (1, 1, 2)
    )
    lengths = np.diff(one.candidate_splits)
    assert lengths.max() == 3 and lengths[-1] == 3
    assert rows(one) == rows(again) != rows(other)


def test_popular_articles_are_drawn_more_often():
    log = [(f"U{i}", "A" if i % 4 else "B", i) for i in range(4000)]
    log += [(f"V{i}", "C", 4000) for i in range(2000)]
    drawn = Impressions.from_clicks(columns(log), CATALOG, USERS, negatives=1, window=10_000)
    negatives = [next(iter(negative)) for *_, click, negative in rows(drawn)[-2000:] if negative]
    share = np.mean([negative == 2 for negative in negatives if negative in (2, 3)])
    assert share == pytest.approx(0.75, abs=0.04)


def test_anonymous_visitors_are_not_one_user():
    log = [("", "A", 1), ("", "B", 2), ("U1", "C", 3), ("", "A", 4)]
    found = rows(Impressions.from_clicks(columns(log), CATALOG, USERS))
    assert [history for _, _, history, _, _ in found] == [[]] * 4
    assert found[3][4] == {3, 4}


def test_unknown_articles_are_no_negatives():
    log = [("U1", "new", 1), ("U2", "A", 2), ("U3", "B", 3), ("U1", "C", 4)]
    with pytest.warns(UserWarning, match="not in the catalogue"):
        found = rows(Impressions.from_clicks(columns(log), CATALOG, USERS))
    assert [negatives for *_, negatives in found] == [set(), set(), {2}, {2, 3}]


def test_they_can_be_trained_on():
    impressions = Impressions.from_clicks(columns(LOG), CATALOG, USERS, window=100)
    config = NPAConfig.preset("small").replace(batch_size=16)
    (batch,) = training_batches(impressions, CATALOG, USERS, config)
    # The first click and the last have nothing to be compared with; the last one's history of two
    # makes a row of its own.
    assert sorted(batch["impression_id"].numpy()) == [0, 2, 3, 4, 5, 6]


CLICKS = st.lists(
    st.tuples(st.sampled_from(["U1", "U2", "U7", ""]), st.sampled_from(IDS), st.integers(0, 40)),
    min_size=1,
    max_size=30,
)


@settings(deadline=None, max_examples=60)
@given(CLICKS, st.integers(1, 6), st.integers(1, 50))
def test_what_holds_for_any_log(log, negatives, window):
    found = rows(
        Impressions.from_clicks(columns(log), CATALOG, USERS, negatives=negatives, window=window)
    )
    order = sorted(range(len(log)), key=lambda row: (log[row][2], row))
    assert [number for number, *_ in found] == order
    index = {id: place for place, id in enumerate(IDS, start=2)}
    for place, (number, _, history, click, drawn) in enumerate(found):
        user, id, time = log[number]
        before = [log[row] for row in order[:place]]
        assert click == index[id]
        assert history == [index[b] for u, b, _ in before if u == user and user]
        own = {
            index[b] for row, (u, b, _) in enumerate(log) if u == user and (user or row == number)
        }
        allowed = {index[b] for _, b, t in before if t >= time - window} - own
        assert drawn <= allowed and len(drawn) <= negatives


WRONG = {
    "no column": ({"time": None}, "the log lacks time; it needs user_id, news_id and time"),
    "lengths": ({"time": [1, 2]}, "differ in length: 7, 7 and 2"),
    "numbers": ({"news_id": list(range(7))}, "news_id must hold strings, got int64"),
    "none": ({"user_id": ["U1", None, *"abcde"]}, r"row 1 \(the first is 0\) has the user_id None"),
    "no id": ({"news_id": ["A", "", *"BCDEA"]}, "row 1 .* has no news_id"),
    "no time": ({"time": [1.0, 2.0, np.nan, 4, 5, 6, 7]}, "row 2 .* has no time"),
    "not a time": ({"time": pd.to_datetime([None] * 7)}, "row 0 .* has no time"),
    "milliseconds": (
        {"time": [*range(6), 1573808122000]},
        r"row 6 \(the first is 0\) has the time .*; times are seconds since .* divide them by 1000",
    ),
    "text": ({"time": ["today"] * 7}, "time must hold seconds or datetimes"),
    "nothing": ({"user_id": [], "news_id": [], "time": []}, "the log holds no clicks"),
}


@pytest.mark.parametrize("changes, message", WRONG.values(), ids=WRONG)
def test_wrong_logs(changes, message):
    log = {name: value for name, value in (columns(LOG) | changes).items() if value is not None}
    with pytest.raises(ValueError, match=message):
        Impressions.from_clicks(log, CATALOG, USERS)


@pytest.mark.parametrize("arguments", [{"negatives": 0}, {"window": 0}, {"window": -1}])
def test_wrong_arguments(arguments):
    with pytest.raises(ValueError, match="at least one negative is needed"):
        Impressions.from_clicks(columns(LOG), CATALOG, USERS, **arguments)
