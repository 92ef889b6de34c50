import numpy as np
import pytest

from tfrs_npa.datasets.mind import SyntheticWorld, WorldKnobs
from tfrs_npa.datasets.mind.synthetic_log import _click, _draw

SIZES = {"users": 600, "articles": 3000, "impressions": (1500, 400, 400)}


def world_with(**knobs):
    return SyntheticWorld(WorldKnobs(**knobs), seed=1, **SIZES)


def test_histories_are_old_and_in_order(small_world):
    day = small_world._articles.contents.day
    changed = small_world._log._users.changed
    assert 0.2 < changed.mean() < 0.4
    for history, interests_changed in zip(small_world._log.histories, changed):
        assert (day[history] < 0).all()
        # The clicks from former interests come before those from present ones.
        assert np.count_nonzero(np.diff(day[history]) < 0) <= interests_changed


def test_histories_repeat_few_articles(small_world):
    def repeated(world):
        histories = [history for history in world._log.histories if len(history)]
        return np.mean([1 - len(set(history)) / len(history) for history in histories])

    assert (
        repeated(world_with(history_repeats=0.0, drifting_users=0.0))
        == 0
        < repeated(small_world)
        < 0.1
    )


def test_empty_histories():
    histories = world_with(empty_history=0.3)._log.histories
    assert np.mean([len(history) == 0 for history in histories]) == pytest.approx(0.3, abs=0.06)


def test_nothing_is_shown_before_it_is_published(small_world):
    for impressions in small_world._log.impressions.values():
        published = small_world._articles.contents.day[impressions.candidates]
        assert (published <= impressions.day[impressions.row]).all()


def test_splits_follow_each_other_in_time(small_world):
    last = -1
    for split in ("train", "validation", "test"):
        times = [row["time"] for row in small_world.behaviors(split)]
        assert min(times) > last and times != sorted(times)
        last = max(times)


def test_recent_articles_are_shown_more():
    def age(freshness):
        world = world_with(freshness_days=freshness)
        impressions = world._log.impressions["train"]
        published = world._articles.contents.day[impressions.candidates]
        return (impressions.day[impressions.row] - published).mean()

    assert age(0.5) < age(1.2) < age(5.0)


@pytest.mark.parametrize("share", [0.2, 0.6])
def test_new_candidates_as_many_as_told(share):
    log = world_with(new_candidates=share)._log
    for split in ("validation", "test"):
        new = ~log.seen[log.impressions[split].candidates]
        assert new.mean() == pytest.approx(share, abs=0.06)


def test_new_users(small_world):
    log = small_world._log
    for split in ("validation", "test"):
        new = ~np.isin(log.impressions[split].user, log.impressions["train"].user)
        assert new.mean() == pytest.approx(0.5, abs=0.07)
    new = [
        set(log.impressions[split].user) - set(log.impressions["train"].user)
        for split in ("validation", "test")
    ]
    assert not new[0] & new[1]


def mean_of(values, world, split="train"):
    """The mean of a value of articles: over what was clicked, and over what was shown."""
    impressions = world._log.impressions[split]
    shown = values[impressions.candidates]
    return shown[impressions.clicked == 1].mean(), shown.mean()


def test_appealing_titles_are_clicked(small_world):
    language, articles = small_world._language, small_world._articles
    row = np.repeat(np.arange(len(articles)), np.diff(articles.splits))
    appeal = np.bincount(row, language.appeal[articles.tokens])
    clicked, shown = mean_of(appeal, small_world)
    assert clicked > shown + 0.05


def test_popular_articles_are_clicked(small_world):
    popularity = np.log(small_world._articles.popularity)
    clicked, shown = mean_of(popularity, small_world)
    assert clicked > shown + 0.05


def test_liked_words_are_clicked(small_world):
    impressions = small_world._log.impressions["train"]
    users = small_world._log._users
    liking = np.asarray(users.liking[impressions.user[impressions.row], impressions.candidates])
    assert liking.min() < 0 < liking.max()
    assert liking[impressions.clicked == 1].mean() > 2 * liking.mean() + 0.003


def test_interests_change_during_the_history():
    def distance(world):
        """How much less the first half of a history is to a user's present taste."""
        users, affinity = world._log._users, world._affinity
        early, late = [], []
        for user, history in enumerate(world._log.histories):
            if len(history) < 10 or not users.changed[user]:
                continue
            liked = affinity.pairs(users.tastes, np.full(len(history), user), history)
            early.append(np.log(liked[: len(history) // 2]).mean())
            late.append(np.log(liked[-(len(history) // 2) :]).mean())
        return np.mean(late) - np.mean(early)

    change = [distance(world_with(drifting_users=1.0, new_interests=w)) for w in (0.0, 1.0)]
    assert abs(change[0]) < 0.2 < change[1]


def test_draw_is_without_replacement_and_by_weight():
    rng = np.random.default_rng(0)
    weights = np.array([0.0, 1.0, 2.0, 4.0, 8.0])
    rows, items = _draw(rng, weights, np.array([3, 0, 9] * 1000))
    assert (np.bincount(rows, minlength=3000) == [3, 0, 4] * 1000).all()
    assert len({*zip(rows.tolist(), items.tolist())}) == len(rows)
    share = np.bincount(items[rows % 3 == 0], minlength=5) / 1000
    # Plackett-Luce: the chance to be among the first three of four.
    assert share[0] == 0 and (np.diff(share) > 0).all()
    left_out = _chance_to_be_last(weights[1:])
    np.testing.assert_allclose(1 - share[1:], left_out, atol=0.04)


def _chance_to_be_last(weights):
    """The chance of each item to be the last in a draw of all without replacement."""
    if len(weights) == 1:
        return np.ones(1)
    result = np.zeros(len(weights))
    for first in range(len(weights)):
        others = np.delete(np.arange(len(weights)), first)
        result[others] += weights[first] / weights.sum() * _chance_to_be_last(weights[others])
    return result


@pytest.mark.parametrize("arbitrary", [0.0, 1.0])
def test_click_by_log_odds_or_at_random(arbitrary):
    number = 4000
    splits = np.arange(number + 1) * 3
    log_odds = np.tile(np.log([1.0, 2.0, 5.0]), number)
    rows = np.repeat(np.arange(number), 3)
    clicks = np.ones(number, int)
    clicked = _click(np.random.default_rng(0), log_odds, rows, splits, clicks, arbitrary)
    expected = np.full(3, 1 / 3) if arbitrary else np.array([1, 2, 5]) / 8
    np.testing.assert_allclose(clicked.reshape(-1, 3).mean(axis=0), expected, atol=0.03)


def test_never_everything_is_clicked():
    splits = np.array([0, 2, 5])
    rows = np.array([0, 0, 1, 1, 1])
    clicked = _click(np.random.default_rng(0), np.zeros(5), rows, splits, np.array([5, 5]), 0.5)
    assert np.add.reduceat(clicked, splits[:-1]).tolist() == [1, 2]
