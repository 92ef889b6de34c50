import warnings

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tfrs_npa.datasets.mind import SyntheticWorld, WorldKnobs
from tfrs_npa.datasets.mind.synthetic_optima import _guess_tastes, _Model, auc

SIZES = {"users": 600, "articles": 3000, "impressions": (1500, 400, 400)}


def model_of(world):
    return _Model(world._affinity, world._language, world._articles)


def test_auc_is_scikit_learns():
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, 20, 50)
    splits = np.concatenate([[0], np.cumsum(lengths)])
    scores, clicked = rng.integers(0, 8, splits[-1]), rng.integers(0, 2, splits[-1])
    for row, value in enumerate(auc(scores, clicked, splits)):
        part = slice(splits[row], splits[row + 1])
        if len(set(clicked[part])) == 2:
            assert value == pytest.approx(roc_auc_score(clicked[part], scores[part]))
        else:
            assert np.isnan(value)


def test_optima_are_ordered(small_world):
    for split, rankings in small_world.reference_auc().items():
        for group in ("all", "known_users", "new_users"):
            true, history = (rankings[name][group] for name in rankings)
            assert 0.6 < history < true < 0.9, (split, group)


def test_users_without_history_are_ranked_by_what_everyone_likes():
    world = SyntheticWorld(WorldKnobs(empty_history=1.0), seed=1, **SIZES)
    without = world.reference_auc()["test"]["history_only"]["all"]
    some = SyntheticWorld(WorldKnobs(), seed=1, **SIZES).reference_auc()["test"]["history_only"]
    assert 0.55 < without < some["all"] - 0.03


def test_the_guess_is_better_with_longer_histories():
    def lost(median):
        world = SyntheticWorld(WorldKnobs(history_median=median), seed=1, **SIZES)
        found = world.reference_auc()["test"]
        return found["true_preferences"]["all"] - found["history_only"]["all"]

    assert lost(60) < lost(15) < lost(3)


def test_without_noise_the_guess_finds_tastes():
    knobs = WorldKnobs(
        habitual=0.0,
        arbitrary=0.0,
        word_liking=0.0,
        drifting_users=0.0,
        strength=1.0,
        history_median=100,
        history_sigma=0.1,
        empty_history=0.0,
    )
    world = SyntheticWorld(knobs, seed=1, **SIZES)
    guess = _guess_tastes(model_of(world), world._log.histories)
    true = world._log._users.tastes
    share = np.corrcoef(guess.names_share, true.names_share)[0, 1]
    assert share > 0.8
    for_subjects = true.names_share < 0.3
    overlap = np.minimum(guess.subjects, true.subjects).sum(axis=1)[for_subjects]
    chance = np.minimum(guess.subjects[::-1], true.subjects).sum(axis=1)[for_subjects]
    assert overlap.mean() > 3 * chance.mean()


def test_the_batches_do_not_matter(small_world, monkeypatch):
    histories = small_world._log.histories
    model = model_of(small_world)
    expected = _guess_tastes(model, histories)
    monkeypatch.setattr("tfrs_npa.datasets.mind.synthetic_optima._CLICKS_AT_ONCE", 5000)
    found = _guess_tastes(model, histories)
    assert len(found.names_share) == len(histories)
    np.testing.assert_allclose(found.subjects, expected.subjects, atol=1e-4)
    np.testing.assert_allclose(found.names_share, expected.names_share, atol=1e-4)


def test_groups_without_impressions():
    world = SyntheticWorld(
        WorldKnobs(new_user_impressions=0.0), users=30, articles=100, impressions=(30, 10, 10)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        groups = world.reference_auc()["test"]["true_preferences"]
    assert np.isnan(groups["new_users"]) and groups["all"] == groups["known_users"]
