import numpy as np
import pytest

from tfrs_npa.datasets.mind import WorldKnobs
from tfrs_npa.datasets.mind.synthetic_language import Contents, Language
from tfrs_npa.datasets.mind.synthetic_users import Affinity, Tastes, taste_sizes

KNOBS = WorldKnobs(indifference=0.01, affinity_names=0.2, second_weight=0.3)


@pytest.fixture(scope="module")
def language():
    return Language(KNOBS, 3000, np.random.default_rng(0))


def test_tastes_are_mixtures(language):
    tastes = Tastes.draw(KNOBS, language, 500, np.random.default_rng(1))
    for weights, most in ((tastes.subjects, 6), (tastes.names, 3)):
        np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
        number = np.count_nonzero(weights, axis=1)
        assert number.min() == 1 and 1 < number.mean() and number.max() == most
    categories = [
        len(set(language.category[np.flatnonzero(weights)])) for weights in tastes.subjects
    ]
    assert max(categories) == KNOBS.categories_of_user


def test_small_topics_have_readers_of_their_own(language):
    for exponent in (1.0, 0.5, 0.0):
        subjects, names = taste_sizes(WorldKnobs(taste_by_size=exponent), language)
        assert [subjects.sum(), names.sum()] == pytest.approx([1, 1])
        sizes = language.name_sizes**exponent
        np.testing.assert_allclose(names, sizes / sizes.sum())
    readers = [
        taste_sizes(WorldKnobs(taste_by_size=exponent), language)[0] / language.subject_sizes
        for exponent in (1.0, 0.5)
    ]
    assert np.ptp(readers[0]) < np.ptp(readers[1])


def test_mixed_tastes(language):
    one, other = (Tastes.draw(KNOBS, language, 3, np.random.default_rng(n)) for n in (0, 1))
    mixed = one.mixed_with(other, np.array([0.0, 0.25, 1.0]))
    np.testing.assert_allclose(mixed.subjects[0], one.subjects[0])
    np.testing.assert_allclose(mixed.subjects[1], 0.75 * one.subjects[1] + 0.25 * other.subjects[1])
    np.testing.assert_allclose(mixed.names[2], other.names[2])


@pytest.fixture(scope="module")
def affinity(language):
    contents = Contents(
        day=np.zeros(3, int),
        subject=np.array([0, 1, 2]),
        second=np.array([-1, 5, -1]),
        name=np.array([-1, 3, 0]),
    )
    return Affinity(KNOBS, language, contents)


def test_affinity(language, affinity):
    tastes = Tastes.draw(KNOBS, language, 4, np.random.default_rng(2))
    of_subjects = tastes.subjects @ language.affinity
    same = language.name_category[:, None] == language.name_category
    of_names = tastes.names @ np.where(np.eye(len(same), dtype=bool), 1.0, 0.2 * same)
    subjects = [
        of_subjects[:, 0],
        0.7 * of_subjects[:, 1] + 0.3 * of_subjects[:, 5],
        of_subjects[:, 2],
    ]
    names = [0, of_names[:, 3], of_names[:, 0]]
    share = tastes.names_share
    expected = np.stack(
        [(1 - share) * s + share * n + 0.01 for s, n in zip(subjects, names)], axis=1
    )
    found = affinity.matrix(tastes, np.arange(3))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(affinity.matrix(tastes, np.array([2])), expected[:, [2]], rtol=1e-5)
    users, articles = np.array([3, 0, 0]), np.array([1, 1, 2])
    np.testing.assert_allclose(
        affinity.pairs(tastes, users, articles), expected[users, articles], rtol=1e-5
    )
    np.testing.assert_allclose(affinity.log_odds(expected), KNOBS.strength * np.log(expected))


def test_what_many_like_is_shown_more(language, affinity):
    subjects, names = taste_sizes(KNOBS, language)
    mean = Tastes(subjects[None], names[None], np.array([0.5]))
    np.testing.assert_allclose(
        affinity.crowding(language), affinity.log_odds(affinity.matrix(mean, np.arange(3)))[0]
    )
