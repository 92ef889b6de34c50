"""Two stages: exact when the shortlist has everything, and honest when it has not."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_recommenders as tfrs

import tfrs_npa
import tfrs_npa.retrieval.two_stage

ARTICLES = 40
FORMS = {
    "recommenders": {},
    "paper": {"attention": "paper", "mask_padding": False},
    "vanilla": {"word_attention": "vanilla"},
}


class Repeating(tfrs.layers.factorized_top_k.BruteForce):
    """Finds half as many and says each twice, as an approximate index may."""

    def call(self, queries, k=None):
        scores, ids = super().call(queries, (k + 1) // 2)
        return tf.repeat(scores, 2, axis=1)[:, :k], tf.repeat(ids, 2, axis=1)[:, :k]


@functools.cache
def _exact(model):
    return tfrs_npa.PersonalizedTopK(model).index()


def strings(ids):
    return [[id.decode() for id in row] for row in ids.numpy()]


def shortlists(model, queries, exact, length):
    """The articles with the largest products of unknown-user vector and average user vector."""
    numbers = np.arange(2, len(model.catalog))
    articles = model.candidate_tower({"user_id": np.zeros_like(numbers), "news_id": numbers})
    tower, users = model.query_tower, exact.query_embeddings(queries)
    vectors = users[:, : users.shape[1] - exact.resources.blocks.encoding.query_dim]
    if model.config.user_interest == "density":
        vectors = tf.reshape(vectors, [len(vectors), 1 + model.config.history_length, -1])
    vectors = tower.average(vectors).numpy()
    order = np.argsort(-vectors @ articles.numpy().T, axis=1, kind="stable")[:, :length]
    return [[model.catalog.ids[2 + place] for place in row] for row in order]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["recommenders", "vanilla"])
def test_a_shortlist_of_everything_is_exact(form, model_of, queries):
    model = model_of(**FORMS[form])
    exact = _exact(model)
    index = tfrs_npa.TwoStageTopK(model, shortlist=1000).index()
    assert not index.is_exact() and index.num_articles == ARTICLES
    keywords = {"k": 12, "exclude_history": True, "candidates": [f"N{i}" for i in range(20)]}
    exclusions = [["N3", "N4", ""]] * 6
    for ours, theirs in (
        (index(queries), exact(queries)),
        (index(queries, k=ARTICLES), exact(queries, k=ARTICLES)),
        (
            index.query_with_exclusions(queries, exclusions, **keywords),
            exact.query_with_exclusions(queries, exclusions, **keywords),
        ),
    ):
        np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-5, atol=1e-5)
    # The last had fewer than it asked for.
    assert strings(ours[1])[1].count("") == strings(theirs[1])[1].count("") > 0
    assert index.recall(queries, 10) == pytest.approx(1, abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["recommenders", "paper"])
def test_what_the_first_stage_finds_is_ranked(form, model_of, queries, monkeypatch):
    monkeypatch.setattr(tfrs_npa.retrieval.two_stage, "_CHUNK", 9)
    model = model_of(**FORMS[form])
    exact = _exact(model)
    index = tfrs_npa.TwoStageTopK(model, k=5, shortlist=8).index()
    found = index(queries)
    lists = shortlists(model, queries, exact, 8)
    expected = exact(queries, k=5, candidates=lists)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=1e-5)
    everything = strings(exact(queries, k=5)[1])
    shares = [len(set(a) & set(b)) / 5 for a, b in zip(strings(found[1]), everything)]
    assert index.recall(queries) == pytest.approx(np.mean(shares))


def off_the_shortlist(model, queries):
    """Of each user, the articles that a shortlist of 8 lacks, worst first."""
    everything = shortlists(model, queries, _exact(model), ARTICLES)
    return [row[:7:-1] for row in everything]


def assert_equal(found, expected):
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=1e-5)
    assert strings(found[1]) == strings(expected[1])


@pytest.mark.slow
def test_candidates_are_ranked_wherever_they_are(model_of, queries):
    model = model_of()
    exact, off = _exact(model), off_the_shortlist(model, queries)
    index = tfrs_npa.TwoStageTopK(model, k=5, shortlist=8).index()
    ragged = [[*row[: 3 * user], row[0], "never seen"] for user, row in enumerate(off)]
    for candidates in (off[0][:2], off[0], [row[:12] for row in off], ragged, ["never seen"], []):
        assert_equal(index(queries, candidates=candidates), exact(queries, 5, candidates))
    keywords = {"candidates": off[0], "exclude_history": True}
    exclusions = [[row[1], "", "N3"] for row in off]
    assert_equal(
        index.query_with_exclusions(queries, exclusions, **keywords),
        exact.query_with_exclusions(queries, exclusions, k=5, **keywords),
    )


def test_exclusions_do_not_shorten_the_shortlist(model_of, queries):
    model = model_of()
    exact = _exact(model)
    index = tfrs_npa.TwoStageTopK(model, k=8, shortlist=8).index()
    order = shortlists(model, queries, exact, ARTICLES)
    # Each user has lost another number of articles; the last but one keeps five, the last none.
    lost = (0, 1, 8, 20, 35, 40)
    exclusions = [[*row[:n], "", "never seen"] for row, n in zip(order, lost)]
    expected = exact(queries, 8, [row[n : n + 8] for row, n in zip(order, lost)])
    assert_equal(index.query_with_exclusions(queries, exclusions), expected)
    clicked = [set(row) for row in queries["history"]]
    left = [[id for id in row if id not in gone][:8] for row, gone in zip(order, clicked)]
    assert_equal(index(queries, exclude_history=True), exact(queries, 8, left))


@pytest.mark.slow
def test_in_a_graph(model_of, queries):
    model = model_of()
    index = tfrs_npa.TwoStageTopK(model, k=5, shortlist=8).index()
    off = off_the_shortlist(model, queries)[0]
    matrix = tf.TensorSpec([None, None], tf.string)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string), matrix, matrix])
    def recommend(user_id, history, exclusions):
        features = {"user_id": user_id, "history": history}
        without = index.query_with_exclusions(features, exclusions, exclude_history=True)
        return without, index.query_with_exclusions(features, exclusions, candidates=off)

    history = tf.ragged.constant(queries["history"], tf.string).to_tensor("")
    exclusions = shortlists(model, queries, _exact(model), 9)
    without, chosen = recommend(tf.constant(queries["user_id"]), history, tf.constant(exclusions))
    query = index.query_with_exclusions
    assert_equal(without, query(queries, exclusions, exclude_history=True))
    assert_equal(chosen, query(queries, exclusions, candidates=off))
    nobody = recommend(tf.zeros([0], tf.string), tf.zeros([0, 0], tf.string), history[:0])
    assert [part.shape for part in nobody[0]] == [(0, 5)] * 2


def test_own_first_stage(model_of, queries):
    """Repeated articles come back once."""
    model = model_of()
    index = tfrs_npa.TwoStageTopK(model, k=8, shortlist=8, retrieval=Repeating(k=8)).index()
    scores, ids = index(queries)
    expected = _exact(model)(queries, k=8, candidates=shortlists(model, queries, _exact(model), 4))
    np.testing.assert_allclose(scores, expected[0], rtol=1e-5, atol=1e-5)
    assert strings(ids) == strings(expected[1])
    assert all(row[4:] == [""] * 4 for row in strings(ids))


def test_index_from_dataset(make_model, make_news, queries, plain_scores):
    model = make_model()
    news = make_news(1, 20, "M")
    index = tfrs_npa.TwoStageTopK(model, k=20).index_from_dataset(news)
    scores, _ = index(queries)
    plain = plain_scores(model, queries, model.catalog.index(news["news_id"]))
    np.testing.assert_allclose(scores, -np.sort(-plain, axis=1), rtol=1e-5, atol=1e-5)


def test_bad_requests(model_of, queries):
    model = model_of()
    index = tfrs_npa.TwoStageTopK(model, shortlist=12)
    with pytest.raises(ValueError, match="call `index` or `index_from_dataset` first"):
        index(queries)
    index.index()
    with pytest.raises(ValueError, match="k is 13; .* between 1 and 12, the length of the sho"):
        index(queries, k=13)
    with pytest.raises(ValueError, match="queries have to be a dict"):
        index(tf.zeros([2, 13]))
    with pytest.raises(ValueError, match="k is 10; the shortlist has only 5"):
        tfrs_npa.TwoStageTopK(model, shortlist=5)
