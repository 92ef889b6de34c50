import numpy as np
import pytest

from tfrs_npa.datasets.mind import WorldKnobs
from tfrs_npa.datasets.mind.synthetic_language import Contents, Language, bags


def make(seed=0, articles=3000, **knobs):
    return Language(WorldKnobs(**knobs), articles, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def language():
    return make()


def write(language, day, number=20_000, seed=1):
    """Writes sentences on one day; returns what they are about, and their bags of words."""
    rng = np.random.default_rng(seed)
    contents = language.draw_contents(np.full(number, day), rng)
    tokens, splits = language.write(contents, language.lengths(number, rng), rng)
    return contents, bags(tokens, splits, len(language.words))


def test_words_are_distinct(language):
    words = language.words.tolist()
    assert len(set(words)) == len(words)
    assert all(word.isalpha() and word == word.lower() for word in words)
    assert not all(word.isascii() for word in words)


def test_fewer_articles_have_fewer_topics_and_words():
    sizes = [
        (len(language.words), len(language.subject_sizes), len(language.name_sizes))
        for language in (make(articles=articles) for articles in (100, 1000, 26_000))
    ]
    assert sizes == sorted(sizes)
    assert sizes[-1][1:] == (260, 60) and sizes[0][1:] == (12, 6)


def test_sizes_are_shares(language):
    for sizes in (language.category_sizes, language.subject_sizes, language.name_sizes):
        assert sizes.sum() == pytest.approx(1) and (sizes >= 0).all()
    assert np.unique(language.category).tolist() == list(range(len(language.category_sizes)))


def test_affinity_is_highest_within_a_category(language):
    affinity = language.affinity
    np.testing.assert_allclose(np.diag(affinity), 1)
    same = language.category[:, None] == language.category
    other = ~np.eye(len(affinity), dtype=bool)
    assert affinity.max() < 1 + 1e-9
    assert affinity[same & other].mean() > 3 * affinity[~same].mean()


@pytest.mark.parametrize("day", [-1, 3])
def test_no_word_before_its_day(language, day):
    used = write(language, day)[1].sum(axis=0) > 0
    assert (language.word_day[used] <= day).all()
    coined = (language.word_day >= 0) & (language.word_day <= day)
    assert used[coined].mean() > 0.5 if day >= 0 else not coined.any()


def test_words_tell_the_subject(language):
    contents, words = write(language, day=0)
    # Nearest mean bag of the other half of the sentences.
    means = np.stack(
        [
            words[:10_000][contents.subject[:10_000] == subject].sum(axis=0)
            for subject in range(len(language.subject_sizes))
        ]
    )
    means[:, : language.knobs.function_words] = 0
    means = means / (np.linalg.norm(means, axis=1, keepdims=True) + 1e-9)
    found = (words[10_000:] @ means.T).argmax(axis=1)
    right = found == contents.subject[10_000:]
    # Blurred or left out in some titles.
    assert 0.4 < right.mean() < 0.9


@pytest.mark.parametrize(
    ("knob", "low", "high"), [("function_share", 0.1, 0.5), ("function_words", 50, 400)]
)
def test_function_words(knob, low, high):
    def share(language):
        counts = write(language, day=0, number=3000)[1].sum(axis=0)
        return counts[: language.knobs.function_words].sum() / counts.sum()

    shares = [share(make(named=0.0, **{knob: value})) for value in (low, high)]
    assert shares == pytest.approx(
        [low, high] if knob == "function_share" else [0.3, 0.3], abs=0.03
    )


def test_few_words_are_repeated_in_a_sentence(language):
    contents, words = write(language, day=0, number=3000)
    assert np.mean(words.data > 1) < 0.03


def test_bags_leave_their_arguments_alone():
    tokens, splits = np.array([3, 1, 3, 2]), np.array([0, 3, 4])
    assert bags(tokens, splits, 5).toarray().tolist() == [[0, 1, 0, 2, 0], [0, 0, 1, 0, 0]]
    assert tokens.tolist() == [3, 1, 3, 2] and splits.tolist() == [0, 3, 4]


def test_topics_can_be_left_out():
    def topical(language):
        _, words = write(language, day=0, number=3000)
        first = language._starts[language._of_category]
        return np.mean(words[:, first:].sum(axis=1) > 0)

    with_topic, without = (
        topical(make(topic_left_out=share, named=0.0, random_share=0.0)) for share in (0.0, 1.0)
    )
    assert with_topic > 0.95 and without == 0


def test_names_and_second_subjects_as_often_as_told():
    contents, _ = write(make(named=0.7, second_subject=0.2), day=0)
    assert np.mean(contents.name >= 0) == pytest.approx(0.7, abs=0.02)
    assert np.mean(contents.second >= 0) == pytest.approx(0.2, abs=0.02)
    assert (contents.second != contents.subject).all()


def test_subjects_drift():
    def change(drift):
        language = make(drift=drift, size_sigma=0.0)
        first, last = (
            np.bincount(write(language, day, number=5000)[0].subject, minlength=75)
            for day in (-28, 7)
        )
        return np.abs(first - last).sum() / 10_000

    assert change(0.0) < 0.1 < 0.2 < change(0.15) < change(0.5)


def test_hooks_are_words_that_occur():
    language = make(hook_words=10, hook_appeal=2.0, word_appeal=0.0)
    counts = write(language, day=0)[1].sum(axis=0)
    assert len(language.hooks) == 10 and np.count_nonzero(language.appeal) == 10
    assert (counts[language.hooks] > 0).all()
    assert not language.appeal[: language.knobs.function_words].any()


def test_a_sentence_about_one_thing():
    language = make(function_share=0.0, random_share=0.0, topic_left_out=0.0, sibling_share=0.0)
    about = Contents(np.zeros(1, int), np.array([3]), np.array([-1]), np.array([-1]))
    tokens, splits = language.write(about, np.array([12]), np.random.default_rng(0))
    start = language._starts[language._of_subject + 3]
    assert splits.tolist() == [0, 12]
    assert (
        (start <= tokens) & (tokens < start + language._lengths[language._of_subject + 3])
    ).all()
    text = language.text(tokens, splits)[0]
    assert text.lower().split() == language.words[tokens].tolist() and text[0].isupper()
