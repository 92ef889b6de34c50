from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

NEWS = np.array([4, 2, 7, 2, 1, 6])  # articles 1 and 4 have no words


@pytest.mark.parametrize("kind", ["personalized", "vanilla", "mean"])
@pytest.mark.parametrize("mask_padding", [True, False], ids=["masked", "unmasked"])
def test_packed_words_of_titles(mask_padding, kind, random_model):
    model = random_model(word_attention=kind, mask_padding=mask_padding)
    features = model.candidate_tower.title_features(NEWS)
    values, keys, starts, lengths = features[:4]
    if kind == "personalized":
        words = np.count_nonzero(model.catalog.tokens(5)[NEWS], axis=1)
        np.testing.assert_array_equal(lengths, words if mask_padding else [5] * len(NEWS))
        assert keys.shape == (sum(lengths), 6)
    else:
        np.testing.assert_array_equal(lengths, np.ones(len(NEWS)))
        assert keys is None
    assert values.shape == (sum(lengths), 4)
    np.testing.assert_array_equal(starts, np.cumsum(lengths) - lengths)


@pytest.mark.parametrize("kind", ["personalized", "vanilla", "mean"])
@pytest.mark.parametrize("attention", ["recommenders", "paper"])
@pytest.mark.parametrize("mask_padding", [True, False], ids=["masked", "unmasked"])
def test_score_is_the_product_with_what_is_pooled(mask_padding, attention, kind, random_model):
    """Also with repeated pairs and users without a pair."""
    model = random_model(True, word_attention=kind, attention=attention, mask_padding=mask_padding)
    tower = model.candidate_tower
    features = tower.title_features(NEWS)
    titles, rows = tf.constant([1, 1, 0, 5, 3, 2, 4]), tf.constant([0, 0, 0, 2, 2, 3, 3])
    query = tower.attention.query(model.user_embedding(tf.range(4)))
    user = tf.random.stateless_normal([4, 4], [1, 2])
    vectors = tower.pool(features, titles, rows, query)
    one_by_one = tower({"user_id": rows, "news_id": NEWS[titles]})
    np.testing.assert_allclose(vectors, one_by_one, rtol=1e-5, atol=1e-5)
    expected = tf.reduce_sum(one_by_one * tf.gather(user, rows), axis=1)
    scores = tower.score(features, titles, rows, query, user)
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", ["personalized", "vanilla"])
def test_score_of_several_user_vectors(kind, training, random_model):
    """The log of the sum of the exponentials of the products with each."""
    model = random_model(word_attention=kind)
    tower = model.candidate_tower
    features = tower.title_features(NEWS)
    titles, rows = tf.constant([1, 1, 0, 5, 3, 2, 4]), tf.constant([0, 0, 0, 2, 2, 3, 3])
    query = tower.attention.query(model.user_embedding(tf.range(4)))
    users = tf.random.stateless_normal([4, 3, 4 + tower.num_terms], [1, 2])
    articles = tower({"user_id": rows, "news_id": NEWS[titles]})
    products = tf.einsum("pf,pif->pi", articles, tf.gather(users, rows))
    scores = tower.score(features, titles, rows, query, users, training)
    np.testing.assert_allclose(scores, tf.reduce_logsumexp(products, 1), rtol=1e-5, atol=1e-5)


def test_untrained_title_is_the_mean_of_its_word_vectors(make_world):
    """With `residual`, and `num_filters` more or fewer than the dimensions of the words."""
    for filters in (4, 9):
        world = make_world(num_filters=filters, word_attention="mean")
        table = world.model.candidate_tower.word_table.numpy()
        tokens = world.catalog.tokens(6)[2:]
        features = world.model.candidate_tower.title_features(np.arange(2, len(world.catalog)))
        for title, found in zip(tokens, features.values.numpy(), strict=True):
            mean = np.pad(table[title[title != 0]].mean(axis=0), [0, filters])[:filters]
            np.testing.assert_allclose(found, mean / np.linalg.norm(mean), rtol=1e-4, atol=1e-6)


def test_titles_that_are_in_no_catalogue(random_model):
    """The same titles, given as words beside articles of the catalogue, make the same features."""
    tower = random_model().candidate_tower
    known, titles = len(tower.tokens.numpy()), [6, 2, 7, 3, 2, 7, 6, 3, 7, 5]
    further = tf.gather(tower.tokens, titles[:-1])
    news_id = tf.constant([*range(known, known + 9), titles[-1]])
    found = tower.title_features(news_id, further=further)._asdict()
    expected = tower.title_features(tf.constant(titles))._asdict()
    for name in ("values", "keys", "starts", "lengths"):
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def test_equal_titles_have_equal_vectors_to_the_last_bit(random_model):
    """Wherever they are in a call, in a graph too; ties depend on it."""
    tower = random_model().candidate_tower
    encode = tf.function(lambda news: tower.with_terms(tower.title_features(news)))
    features = encode(tf.constant([2, 3, 5, 6, 7] * 41))
    titles = tf.range(len(features.lengths))
    query = tower.attention.query(tower.user_embedding(tf.constant([1])))
    pool = tf.function(lambda: tower.pool(features, titles, tf.zeros_like(titles), query))
    for rows in (pool().numpy(), features.terms.numpy()):
        for first in range(5):
            assert np.ptp(rows[first::5], axis=0).max() == 0


def test_dropout_of_words_and_of_what_is_made_of_them_are_independent(make_world):
    """In a graph, where one layer called twice draws the same twice."""
    world = make_world(
        published=True,
        word_embedding_dim=9,
        window_size=1,
        dropout=0.5,
        pooling_dropout=0.0,
        mask_padding=True,
    )
    tower = world.model.candidate_tower
    tower.word_table.assign(tf.ones_like(tower.word_table))
    tower.convolution_kernel.assign(tf.eye(9)[tf.newaxis])
    tower.convolution_bias.assign(tf.ones([9]))
    tokens = tower.tokens.numpy()
    # One title without repeated words, so that a word is at the same place of both.
    longest = np.argmax(np.count_nonzero(tokens, axis=1))
    assert len(set(tokens[longest])) == 6
    step = tf.function(lambda: tower.title_features([longest], training=True).values)
    values = np.concatenate([step() for _ in range(5)])
    # 0: dropped after the convolution; 2: before it only; 6: not at all.
    assert set(np.unique(values)) == {0.0, 2.0, 6.0}
    assert 0.25 < np.mean(values[values > 0] == 2) < 0.75


def test_contextual_words(random_model):
    """By the formula, a word at a time."""
    tower = random_model(published=True).candidate_tower
    tokens = tower.tokens.numpy()
    table, bias = tower.word_table.numpy(), tower.convolution_bias.numpy()
    before, here, after = tower.convolution_kernel.numpy()
    expected = []
    for title in tokens:
        words = [np.zeros(5), *table[title[title != 0]], np.zeros(5)]
        for i in range(1, len(words) - 1):
            total = words[i - 1] @ before + words[i] @ here + words[i + 1] @ after + bias
            expected.append(np.maximum(total, 0))
    for words in (None, tower.word_products(tokens)):
        found, lengths = tower.contextual_words(tf.constant(tokens), words=words)
        assert lengths.numpy().tolist() == np.count_nonzero(tokens, axis=1).tolist()
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_products_of_other_words_are_refused(random_model):
    tower = random_model(published=True).candidate_tower
    tokens = tower.tokens.numpy()
    products = tower.word_products(tokens[tokens != tokens.max()])
    with pytest.raises(tf.errors.InvalidArgumentError):
        tower.contextual_words(tf.constant(tokens), words=products)
