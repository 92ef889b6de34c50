"""Encoded titles taken from where they are stored, against titles encoded when asked for."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import tfrs_npa
from tfrs_npa.models import title_blocks
from tfrs_npa.models.title_blocks import TitleBlocks

TITLES = ["rain in the north", "wins", "", "a b c d e f g h", "rain rain rain", "the final vote"]


def make_tower(**changes):
    fields = {"title_length": 5, "word_embedding_dim": 5, "num_filters": 4, "attention_dim": 6}
    config = tfrs_npa.NPAConfig(**fields | changes)
    news = {"news_id": [f"N{i}" for i in range(len(TITLES))], "title": TITLES}
    model = tfrs_npa.NPA(config, tfrs_npa.NewsCatalog().adapt(news), tfrs_npa.UserIndex())
    generator = np.random.default_rng(3)
    model.set_weights([generator.normal(0, 0.6, w.shape) for w in model.get_weights()])
    return model.candidate_tower


def stored(tower, dtype="float32"):
    titles = TitleBlocks(tower, dtype)
    titles.update(np.array([2, 5, 7]), np.arange(2 + len(TITLES)))
    return titles


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"attention": "paper", "mask_padding": False},
        {"word_attention": "vanilla"},
        {"user_interest": "mean", "item_bias": False},
        {"mean_weight": 0.0},
    ],
    ids=["recipe", "paper", "vanilla", "no terms", "no mean"],
)
def test_same_as_encoded(changes):
    tower = make_tower(**changes)
    articles = tf.constant([7, 1, 3, 4, 3, 0])
    found = stored(tower).features(articles, tf.float32)._asdict()
    expected = tower.with_terms(tower.title_features(articles))
    for name, value in expected._asdict().items():
        if value is None:
            assert found[name] is None
        else:
            np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_no_articles():
    features = stored(make_tower()).features(tf.zeros([0], tf.int32), tf.float32)
    assert features.values.shape == (0, 4) and features.lengths.shape == (0,)


def test_bfloat16():
    tower, articles = make_tower(), tf.constant([2, 7])
    found = stored(tower, "bfloat16").features(articles, tf.float32)
    exact = tower.title_features(articles)
    assert found.values.dtype == tf.float32
    np.testing.assert_array_equal(
        found.values, tf.cast(tf.cast(exact.values, tf.bfloat16), tf.float32)
    )


def test_some_are_listed_and_some_are_scored():
    tower = make_tower()
    titles = TitleBlocks(tower)
    users = tf.random.normal([3, titles.width], seed=1)
    assert titles.block_scores(users).shape == (0, 3)
    titles.update(np.array([2, 3, 5, 7]), np.arange(4, 8))
    every = TitleBlocks(tower)
    every.update(np.arange(8))
    np.testing.assert_allclose(
        titles.scores(users), every.scores(users).numpy()[:, [2, 3, 5, 7]], rtol=1e-5
    )
    found = titles.features(tf.constant([1, 3]), tf.float32)
    expected = every.features(tf.constant([5, 7]), tf.float32)
    np.testing.assert_array_equal(found.values, expected.values)
    np.testing.assert_array_equal(found.terms, expected.terms)


def test_rows_between_titles_are_zero():
    """Memory that nothing was written to would make scores of what completes a group infinite."""
    titles = stored(make_tower())
    for listed in ([2, 3, 5], [3, 4, 6, 7]):
        titles.update(np.array(listed))
        layout = titles._layout(titles.encoding.encoder.title_lengths()[listed], len(listed))
        is_between = np.ones(layout.rows, bool)
        is_between[layout.words(np.arange(len(listed)))] = False
        assert is_between.any()
        for part in titles._words.values():
            rows = tf.reshape(part, [-1, part.shape[-1]]).numpy()
            assert not rows[is_between].any() and rows[~is_between].any()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_in_many_parts(dtype, monkeypatch):
    """What stays is copied, and what comes encoded, in threads: as if all were encoded at once."""
    monkeypatch.setattr(title_blocks, "_CHUNK", 2)
    tower = make_tower()
    titles, users = stored(tower, dtype), tf.random.normal([3, TitleBlocks(tower).width], seed=1)
    for listed in (np.arange(2, 8), np.array([2, 3, 4, 6, 7]), np.arange(8)):
        titles.update(listed)
        expected = TitleBlocks(tower, dtype)
        expected.update(listed, from_scratch=True)
        np.testing.assert_array_equal(titles.scores(users), expected.scores(users))
        found, again = (
            part.features(tf.range(len(listed)), tf.float32) for part in (titles, expected)
        )
        np.testing.assert_array_equal(found.values, again.values)
        np.testing.assert_array_equal(found.terms, again.terms)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("changes", [{}, {"user_interest": "mean", "unit_vectors": False}])
def test_spare_memory(changes, dtype, monkeypatch):
    """From the first copy on titles stay where they are, as long as there is room."""
    monkeypatch.setattr(title_blocks, "_WASTE", 0.75)
    tower = make_tower(**changes)
    titles, copied = TitleBlocks(tower, dtype, spare=4.0), []
    users, copy = tf.random.normal([3, titles.width], seed=1), titles._copy
    monkeypatch.setattr(titles, "_copy", lambda *args: copied.append(len(args[-1])) or copy(*args))
    for scored, listed, number in [
        ([2, 3, 4], [2, 3, 4], 0),
        ([2, 3], [2, 3], 0),
        ([2, 5], [2, 3, 5], 2),  # there is no room yet
        ([3, 5, 6, 7], [3, 5, 6, 7], 1),  # one is scored that was only listed
        ([2, 3], [2, 3], 0),
        ([2, 3, 4], [2, 3, 4], 0),
        ([5], [5], 0),
        ([5, 6], [5, 6], 1),
        ([6], [6], 1),  # too much is of others
    ]:
        scored, listed = np.array(scored), np.array(listed)
        if list(scored) == [6]:
            monkeypatch.setattr(title_blocks, "_WASTE", 0.25)
        # What is prepared and not kept leaves no trace.
        titles.prepare(np.array([6]))
        copied.clear()
        titles.update(scored, listed)
        assert copied == [number]
        expected = TitleBlocks(tower, dtype)
        expected.update(scored, listed)
        # Encoded with others, and in other blocks, so other last bits.
        close = {"rtol": 1e-5, "atol": 1e-6}
        np.testing.assert_allclose(titles.scores(users), expected.scores(users), **close)
        if titles.is_rounded:
            for found, part in zip(
                titles.rounded_scores(users), expected.rounded_scores(users), strict=True
            ):
                np.testing.assert_allclose(found, part, **close)
        found, again = (
            part.features(tf.range(len(listed)), tf.float32) for part in (titles, expected)
        )
        np.testing.assert_allclose(found.values, again.values, **close)
        np.testing.assert_allclose(found.terms, again.terms, **close)


@pytest.mark.parametrize(
    "some, blocks, places",
    [
        ([2, 3, 6, 7], 2 * 3 + 4, 100),  # words of three lengths
        ([1, 2, 3, 4], 100, 2 * 4),  # titles without words, which share a block
    ],
)
def test_blocks_and_places_stay_few(some, blocks, places, monkeypatch):
    """However often a few titles come and go."""
    monkeypatch.setattr(title_blocks, "_BLOCKS", blocks - 2 * 3)
    monkeypatch.setattr(title_blocks, "_WASTE", 1 - 4 / places)
    titles, most_blocks, most_places = TitleBlocks(make_tower(), spare=1000.0), 0, 0
    for step in range(40):
        titles.update(np.array(some if step % 2 else [2, 3]))
        layout = titles._untracked.layout
        most_blocks = max(most_blocks, len(layout.blocks))
        most_places = max(most_places, layout.places)
    assert most_blocks <= blocks and most_places <= places
    # Some were left where they were.
    assert most_places > len(some)


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("changes", [{}, {"attention": "paper"}, {"user_interest": "mean"}])
def test_rounded_scores_and_their_bounds(changes, number):
    """The bounds hold, and are no wider than rounding explains."""
    tower = make_tower(**changes)
    rounded, exact = (TitleBlocks(tower, dtype) for dtype in ("bfloat16", "float32"))
    users = tf.random.normal([number, exact.width], seed=1)
    for titles in (rounded, exact):
        titles.update(np.arange(2, 8))
    scores, bounds = (part.numpy() for part in rounded.rounded_scores(users))
    errors = np.abs(scores - exact.scores(users).numpy())
    assert (errors <= bounds).all() and errors.max() > 1e-4
    # That of a title without words may be wide.
    assert np.median(bounds) < 0.1 * np.abs(scores).max()
