"""What is kept of titles, against what the candidate tower makes of them."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import tfrs_npa
from tfrs_npa.models.title_encoding import TitleEncoding

TITLES = ["rain in the north", "wins", "", "a b c d e f g h", "rain rain rain"]
FORMS = {
    "folded": {"user_embedding_dim": 3},
    "not shorter": {"user_embedding_dim": 9},
    "paper": {"attention": "paper"},
    "vanilla": {"word_attention": "vanilla"},
    "mean": {"word_attention": "mean", "news_attention": "mean"},
    "no terms": {"user_interest": "mean", "item_bias": False},
}


def make_model(**changes):
    fields = {"title_length": 5, "word_embedding_dim": 5, "num_filters": 4, "attention_dim": 6}
    news = {"news_id": [f"N{i}" for i in range(len(TITLES))], "title": TITLES}
    users = tfrs_npa.UserIndex().adapt({"user_id": ["U1", "U2"]})
    catalog = tfrs_npa.NewsCatalog().adapt(news)
    model = tfrs_npa.NPA(tfrs_npa.NPAConfig(**fields | changes), catalog, users)
    draws = np.random.default_rng(3)
    model.set_weights([draws.normal(0, 0.6, weight.shape) for weight in model.get_weights()])
    return model


@pytest.mark.parametrize("form", FORMS)
def test_what_is_kept_gives_the_same_vectors(form):
    model = make_model(**FORMS[form])
    tower, users = model.candidate_tower, model.user_embedding(tf.constant([0, 1, 2]))
    encoding = TitleEncoding(tower)
    features = tower.title_features(tf.range(7))
    pairs = tf.range(7), tf.constant([0, 0, 1, 1, 2, 2, 2])
    expected = tower.vectors(features, *pairs, tower.attention.query(users))
    terms = tower.with_terms(features).terms
    kept = encoding.features(encoding.of(features), features.lengths, terms, tf.float32)
    for found in (kept, encoding.folded(features)):
        vectors = tower.vectors(found, *pairs, encoding.query(users))
        np.testing.assert_allclose(vectors, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_graphs_encode_as_functions_do(form):
    """For the unknown user, and of each word; with the words' products made before, and without."""
    model, articles = make_model(**FORMS[form]), tf.range(7)
    tower = model.candidate_tower
    encoding = TitleEncoding(tower, news_attention=model.query_tower.attention)
    vectors = tower.for_everyone(tower.title_features(articles))
    words = encoding.of(tower.title_features(articles))
    products = tower.word_products(tower.tokens.numpy())
    names = tuple(encoding.words)
    results = [encoding.encoded(articles, None, True, names)]
    results += [encoding.encoded(articles, products, True, names)]
    results += [encoding.traced(True, names)(articles, products)]
    for of_titles, of_words in results:
        assert ("terms" in of_titles) == (tower.num_terms > 0)
        np.testing.assert_allclose(of_titles["vectors"], vectors, rtol=1e-5, atol=1e-6)
        assert of_words.keys() == words.keys()
        for name, part in words.items():
            np.testing.assert_allclose(of_words[name], part, rtol=1e-5, atol=1e-6)
    assert encoding.of(tower.title_features(articles), ["values"]).keys() == {"values"}
    assert encoding.traced(False, names)(articles, products)[0] == {}
    assert encoding.traced(True, ())(articles, products)[1] == {}
    assert encoding.traced(True, ()) is encoding.traced(True, ())


@pytest.mark.parametrize("form", FORMS)
def test_size_and_types_of_a_word(form):
    model = make_model(**FORMS[form])
    attention = model.query_tower.attention
    encoding = TitleEncoding(model.candidate_tower, "bfloat16", "float32", attention)
    words = encoding.of(model.candidate_tower.title_features(tf.range(7)))
    assert words.keys() == encoding.words.keys()
    for name, spec in encoding.words.items():
        assert spec.is_compatible_with(words[name])
    number = len(words["values"])
    assert number * encoding.word_size() == sum(
        part.shape[0] * part.shape[1] * part.dtype.size for part in words.values()
    )
    assert ("projected" in words) == (attention.projected(words["values"]) is not None)
