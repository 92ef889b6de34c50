"""The top-K layer against all articles scored by the towers and sorted."""

from __future__ import annotations

import collections
import functools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_recommenders as tfrs
from hypothesis import given, settings
from hypothesis import strategies as st

import tfrs_npa
import tfrs_npa.models.title_blocks
import tfrs_npa.models.title_layout
import tfrs_npa.retrieval.top_k

ARTICLES = 40
IDS = [f"N{i}" for i in range(ARTICLES)]
DTYPES = ("float32", "bfloat16")
PUBLISHED = {
    "residual": False,
    "unit_vectors": False,
    "user_interest": "mean",
    "item_bias": False,
}
FORMS = {
    "recommenders": {},
    "paper": {"attention": "paper"},
    "unmasked": {"mask_padding": False},
    "paper unmasked": {"attention": "paper", "mask_padding": False},
    "vanilla": {"word_attention": "vanilla"},
    "mean": {"word_attention": "mean", "news_attention": "mean"},
    "published": PUBLISHED,
    "published vanilla": {**PUBLISHED, "word_attention": "vanilla"},
    "item bias": {**PUBLISHED, "item_bias": True},
    "unit vectors": {"user_interest": "mean"},
    "unit vectors, no bias": {"user_interest": "mean", "item_bias": False},
    "no bias": {"item_bias": False},
}


@functools.cache
def _index_of(model, dtype="float32"):
    """An index of several blocks of titles of each length, for tests that do not change it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tfrs_npa.models.title_layout, "BLOCK", 16)
        patch.setattr(tfrs_npa.models.title_blocks, "_CHUNK", 7)
        patch.setattr(tfrs_npa.retrieval.top_k, "_CHUNK", 9)
        index = tfrs_npa.PersonalizedTopK(model, dtype=dtype).index()
        # Traced here, with these chunks.
        index({"user_id": ["U1"], "history": [["N1"]]})
        return index


@pytest.fixture
def index(model_of):
    return _index_of(model_of())


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_all_articles(dtype, form, model_of, queries, plain_scores, assert_best):
    model = model_of(**FORMS[form])
    plain, index = plain_scores(model, queries), _index_of(model, dtype)
    assert np.ptp(plain) > 0.1
    assert index.num_articles == ARTICLES and index.is_exact()
    assert_best(index(queries, k=ARTICLES), plain, ARTICLES)
    assert_best(index(queries), plain, 10)


def test_blocks_of_one_title(model_of, queries, plain_scores, monkeypatch, assert_best):
    monkeypatch.setattr(tfrs_npa.models.title_layout, "BLOCK", 1)
    model = model_of()
    index = tfrs_npa.PersonalizedTopK(model).index()
    assert_best(index(queries), plain_scores(model, queries), 10)


lists = st.lists(st.sampled_from([*IDS, "", "never seen"]), max_size=7)
requests = st.lists(
    st.tuples(st.sampled_from(["U1", "U2", "U3", "new", ""]), lists, lists, lists),
    min_size=1,
    max_size=4,
)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(list(FORMS)),
    st.sampled_from(DTYPES),
    requests,
    st.integers(1, ARTICLES),
    st.sampled_from(["", "for all", "for each"]),
    st.booleans(),
)
def test_any_request(
    model_of, plain_scores, assert_best, strings, form, dtype, rows, k, subset, exclude_history
):
    model = model_of(**FORMS[form])
    users, histories, exclusions, candidates = map(list, zip(*rows))
    queries = {"user_id": users, "history": histories}
    keywords = {"k": k, "exclude_history": exclude_history}
    allowed = np.array([[id not in row for id in IDS] for row in exclusions])
    if exclude_history:
        allowed &= np.array([[id not in row for id in IDS] for row in histories])
    if subset == "for all":
        keywords["candidates"] = candidates[0]
        allowed &= np.array([id in candidates[0] for id in IDS])
    elif subset:
        keywords["candidates"] = candidates
        allowed &= np.array([[id in row for id in IDS] for row in candidates])
    index = _index_of(model, dtype)
    found = index.query_with_exclusions(queries, exclusions, **keywords)
    assert_best(found, plain_scores(model, queries), k, allowed)
    if not any(exclusions):
        again = index(queries, **keywords)
        assert strings(again[1]) == strings(found[1])


@pytest.mark.parametrize("form", ["recommenders", "paper unmasked", "mean", "published"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_ties_go_to_the_lower_index(dtype, form, make_model, queries, monkeypatch, strings):
    """Equal titles have equal scores wherever their blocks, or a refresh, have put them."""
    monkeypatch.setattr(tfrs_npa.models.title_layout, "BLOCK", 130)
    model = make_model(1, **FORMS[form])
    titles = ["rain sun", "vote poll bank rate", "", "team wins final", "unheard", "", "rain"]

    def news(first, last):
        numbers = range(first, last)
        return {
            "news_id": [f"M{i}" for i in numbers],
            "title": [titles[i % 7] for i in numbers],
        }

    index = tfrs_npa.PersonalizedTopK(model, dtype=dtype).index_from_dataset(news(0, 550))
    blocks = tfrs_npa.models.title_blocks.TitleBlocks
    copied, copy = [], blocks._copy

    def note(*args):
        copied.append(len(args[-1]))
        copy(*args)

    monkeypatch.setattr(blocks, "_copy", note)
    for first, last in [(550, 650), (650, 700)]:
        index.refresh(news(first, last))
    assert copied == [550, 0]
    scores, names = index(queries, k=700)
    for row_scores, row_names in zip(scores.numpy(), strings(names)):
        numbers = np.array([int(name[1:]) for name in row_names])
        assert sorted(numbers) == list(range(700))
        # As many scores as titles, and articles of one score in the order of the catalogue.
        assert len(set(row_scores)) <= 6
        for score in set(row_scores):
            assert np.all(np.diff(numbers[row_scores == score]) > 0)


def test_forms_of_input(index, queries, strings):
    expected = strings(index(queries, k=3)[1])
    width = max(map(len, queries["history"]))
    # Padding may be anywhere.
    left = [[""] * (width - len(row)) + row for row in queries["history"]]
    for history in (
        tf.ragged.constant(queries["history"], tf.string),
        tf.ragged.constant(queries["history"], tf.string).to_tensor(""),
        np.array(left),
        np.array(left, object),
        left,
    ):
        for convert in (list, np.array, tf.constant):
            features = {"user_id": convert(queries["user_id"]), "history": history, "time": [1.0]}
            assert strings(index(features, k=3)[1]) == expected
    for k in (np.int64(3), tf.constant(3), tf.constant(3, tf.int64)):
        assert strings(index(queries, k)[1]) == expected


def test_nobody_has_clicked(index, model_of, plain_scores, assert_best):
    for history in ([[], []], [[""], [""]], np.zeros([2, 0], object)):
        queries = {"user_id": ["U1", "new"], "history": history}
        assert_best(index(queries), plain_scores(model_of(), queries), 10)


def test_padding_and_the_unknown_article_never_come(index, queries, strings):
    for names in strings(index(queries, k=ARTICLES)[1]):
        assert set(names) == set(IDS)
    # Nor can they be asked for.
    scores, names = index(queries, k=2, candidates=["", "[UNK]", "N3"])
    assert strings(names) == [["N3", ""]] * 6 and np.all(scores.numpy()[:, 1] == -1e9)


def test_few_are_left(index, queries, strings):
    exclusions = [IDS[: ARTICLES - 1 - row] + ["never seen"] * row for row in range(6)]
    for k in (1, 3, ARTICLES):
        _, names = index.query_with_exclusions(queries, exclusions, k)
        for row, row_names in enumerate(strings(names)):
            left = set(IDS[ARTICLES - 1 - row :])
            assert set(row_names) - {""} <= left
            assert row_names.count("") == max(0, k - len(left))
    scores, names = index.query_with_exclusions(queries, [IDS] * 6, 2)
    assert strings(names) == [["", ""]] * 6 and np.all(scores == -1e9)


def test_no_trace_for_other_widths(make_model, make_news, queries, monkeypatch):
    """Python runs while a function is traced, and not again."""
    model, traces = make_model(), collections.Counter()

    def counted(function):
        def call(*args, **kwargs):
            traces[function.__name__] += 1
            return function(*args, **kwargs)

        return call

    tower, module = model.candidate_tower, tfrs_npa.retrieval.personalized_top_k
    monkeypatch.setattr(tower, "title_features", counted(tower.title_features))
    monkeypatch.setattr(module, "best", counted(module.best))
    index = tfrs_npa.PersonalizedTopK(model).index()
    index(queries)
    # The titles of the catalogue and those of histories.
    assert traces == {"title_features": 2, "best": 1}
    index.query_with_exclusions({"user_id": ["U1"], "history": [["N1"] * 9]}, [["N1"] * 3], 4)
    index({"user_id": ["U1"] * 9, "history": [[]] * 9}, k=7, candidates=["N1", "N2"])
    index.refresh(make_news(1, 9, "M"), withdraw=["N3"])
    index(queries, k=2)
    assert traces == {"title_features": 2, "best": 1}


def test_index_again_after_training(make_model, queries, plain_scores, assert_best):
    model = make_model()
    index = tfrs_npa.PersonalizedTopK(model).index()
    model.set_weights([-0.7 * weight for weight in model.get_weights()])
    assert_best(index.index()(queries), plain_scores(model, queries), 10)


def _site_of(form, seed, spread, model_of):
    """A model with other weights, some of them large, and titles of which some hardly differ."""
    model = model_of(**FORMS[form])
    generator = np.random.default_rng(seed)
    weights = [generator.normal(0, spread, w.shape) for w in model.get_weights()]
    # Words that differ by less than bfloat16 can tell.
    place = [weight.name for weight in model.weights].index(model.candidate_tower.word_table.name)
    table = weights[place]
    table[3:] = table[2] + generator.choice([0, 1e-5, 1e-3, 1], [len(table) - 3, 1]) * table[3:]
    model.set_weights(weights)
    return model


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(list(FORMS)),
    st.integers(0, 1000),
    st.sampled_from([1e-3, 0.1, 0.6, 2.0]),
    st.integers(1, 12),
)
def test_rounded_words_and_near_ties(make_other, queries, form, seed, spread, k):
    """The bound holds, and the answer is that of scoring all, however close articles are."""
    model = _site_of(form, seed, spread, make_other)
    exact, rounded = (_indexed_again(model, dtype) for dtype in DTYPES)
    users, blocks = exact.query_embeddings(queries), rounded.resources.blocks
    scores = exact.resources.blocks.scores(users).numpy()
    rough, bounds = (part.numpy() for part in blocks.rounded_scores(users))
    assert np.all(np.abs(rough - scores) <= bounds)
    found, expected = rounded(queries, k), exact(queries, k)
    # Equal but for the rounding of float32, which decides between scores that are as close.
    tolerance = 2e-6 * max(1, np.abs(scores).max())
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=tolerance)
    place = {id.encode(): number for number, id in enumerate(IDS)}
    columns = np.vectorize(place.get)(found[1].numpy())
    own = np.take_along_axis(scores, columns, axis=1)
    np.testing.assert_allclose(own, expected[0], rtol=1e-5, atol=tolerance)


@functools.cache
def _layer_of(model, dtype):
    return tfrs_npa.PersonalizedTopK(model, dtype=dtype)


def _indexed_again(model, dtype):
    return _layer_of(model, dtype).index()


@pytest.fixture(scope="module")
def make_other(make_model):
    """As `model_of`, models for one test alone, which changes their weights."""
    return functools.cache(make_model)


def test_few_articles_are_scored_again(make_model, monkeypatch):
    """Of articles with scores that are not close, those that may be among the best alone."""
    model, scored = make_model(400, **PUBLISHED), []
    index = tfrs_npa.PersonalizedTopK(model, k=5, dtype="bfloat16").index()
    blocks = index.resources.blocks
    exact_scores = blocks.exact_scores

    def note(places, articles, titles, rows, users):
        scored.append(len(titles))
        return exact_scores(places, articles, titles, rows, users)

    monkeypatch.setattr(blocks, "exact_scores", note)
    tf.config.run_functions_eagerly(True)
    try:
        index({"user_id": ["U1", "U2", "U3"], "history": [["N3"], ["N5", "N9"], []]})
    finally:
        tf.config.run_functions_eagerly(False)
    assert 3 * 5 <= sum(scored) < 3 * 400 / 4


def test_logits_out_of_range(make_model, queries, plain_scores, assert_best):
    """Exponentials of logits would be infinite."""
    model = make_model(**PUBLISHED)
    tower = model.candidate_tower.attention
    tower.query_kernel.assign(300 * tower.query_kernel)
    for dtype in DTYPES:
        index = tfrs_npa.PersonalizedTopK(model, dtype=dtype).index()
        assert_best(index(queries), plain_scores(model, queries), 10)


@pytest.mark.parametrize("form", ["recommenders", "published"])
@pytest.mark.parametrize("dtype, size, numbers", [("float32", 4, 0), ("bfloat16", 2, 2)])
def test_bytes_per_article(dtype, size, numbers, form, make_model):
    model = make_model(400, **FORMS[form])
    index = tfrs_npa.PersonalizedTopK(model, dtype=dtype).index()
    words = np.count_nonzero(model.candidate_tower.tokens.numpy())
    # Keys are folded.
    width = size * model.config.num_filters + 4 * (model.config.user_embedding_dim + 1)
    # All but the blocks and the order of titles.
    held = [v.numpy() for v in index.resources.blocks.variables]
    held = [array for array in held if array.dtype != np.int32 or array.shape == (400, 4)]
    total = 400 * index.bytes_per_article
    assert total == pytest.approx(sum(array.nbytes for array in held if array.ndim))
    # Titles of 1 to 6 words; the block of each length begins with a new group of rows. Where titles
    # are pooled, it has whole groups of titles.
    slack = 31 * (sum(range(1, 7)) if model.config.unit_vectors else 6)
    of_titles = 400 * 4 * (4 + model.candidate_tower.num_terms + numbers)
    assert words * width <= total - of_titles <= (words + slack) * width


def test_mixed_precision(make_model, queries):
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = make_model()
        index = tfrs_npa.PersonalizedTopK(model).index()
        scores, _ = index(queries)
        assert scores.dtype == tf.float32 and np.all(np.isfinite(scores))
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")


@pytest.mark.parametrize("form", ["recommenders", "published", "unit vectors"])
def test_factorized_top_k(form, model_of, queries, plain_scores):
    """Recall in the whole catalogue, against ranks in plain scores; weights count."""
    model = model_of(**FORMS[form])
    index, ks = _index_of(model), (1, 5, 20)
    clicked, weights = ["N0", "N17", "N3", "N30", "N39", "N8"], np.array([1.0, 2, 3, 1, 1, 4])
    plain = plain_scores(model, queries)
    place = [IDS.index(id) for id in clicked]
    own = plain[range(6), place][:, np.newaxis]
    earlier = np.isclose(plain, own, rtol=0, atol=1e-5) & (np.arange(ARTICLES) < np.c_[place])
    ranks = ((plain > own + 1e-5) | earlier).sum(axis=1)
    metric = tfrs.metrics.FactorizedTopK(candidates=index, ks=ks)
    embeddings = index.query_embeddings(queries)
    seconds = [tf.zeros_like(embeddings)]
    if model.config.user_interest == "mean":
        seconds.append(_right_factors(model, queries, clicked, embeddings, plain[range(6), place]))
    for second in seconds:
        metric.reset_states()
        metric.update_state(
            embeddings, second, true_candidate_ids=tf.constant(clicked), sample_weight=weights
        )
        expected = [np.average(ranks < k, weights=weights) for k in ks]
        np.testing.assert_allclose(metric.result(), expected, rtol=1e-6)
    assert 0 < expected[1] < 1


def _right_factors(model, queries, clicked, embeddings, scores):
    """The vectors of articles whose products with embeddings are scores."""
    users = model.users.index(queries["user_id"])
    vectors = model.candidate_tower({"user_id": users, "news_id": model.catalog.index(clicked)})
    width = model.config.num_filters + model.candidate_tower.num_terms
    assert embeddings.shape == (6, width + model.config.user_embedding_dim + 1)
    articles = tf.pad(vectors, [[0, 0], [0, embeddings.shape[1] - width]])
    products = tf.reduce_sum(embeddings * articles, axis=1)
    np.testing.assert_allclose(products, scores, rtol=1e-5, atol=1e-5)
    return articles


def test_inside_a_model(model_of):
    """A model that has the layer has neither the weights of NPA nor the titles for its own."""
    outer = tfrs.Model()
    outer.metric = tfrs.metrics.FactorizedTopK(candidates=_index_of(model_of()), ks=(1, 5))
    (layer,) = [m for m in outer.submodules if isinstance(m, tfrs_npa.PersonalizedTopK)]
    assert layer.weights == []
    assert not [w for w in outer.weights if w.shape.rank > 1]


@pytest.mark.slow
def test_in_a_graph_and_saved(model_of, queries, tmp_path, strings):
    index = _index_of(model_of())
    module = tf.Module()
    module.resources = index.resources
    matrix = tf.TensorSpec([None, None], tf.string)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string),
            matrix,
            matrix,
            tf.TensorSpec([], tf.int32),
        ]
    )
    def recommend(user_id, history, exclusions, k):
        features = {"user_id": user_id, "history": history}
        scores, ids = index.query_with_exclusions(features, exclusions, k)
        return {"scores": scores, "ids": ids}

    module.recommend = recommend
    tf.saved_model.save(module, tmp_path)
    history = tf.ragged.constant(queries["history"], tf.string).to_tensor("")
    arguments = tf.constant(queries["user_id"]), history, tf.constant([["N1", "N2"]] * 6)
    expected = index.query_with_exclusions(queries, [["N1", "N2"]] * 6, 5)
    loaded = tf.saved_model.load(tmp_path)
    for function in (recommend, loaded.recommend):
        found = function(*arguments, tf.constant(5))
        np.testing.assert_allclose(found["scores"], expected[0], rtol=1e-5, atol=1e-5)
        assert strings(found["ids"]) == strings(expected[1])
        for k in (0, ARTICLES + 1):
            with pytest.raises(tf.errors.InvalidArgumentError, match=rf"k:.*{k}.*of:.*40"):
                function(*arguments, tf.constant(k))


def test_bad_requests(index, model_of, queries):
    def refused(message, request=queries, method=index, **keywords):
        with pytest.raises(ValueError, match=message):
            method(request, **keywords)

    users, history = queries["user_id"], queries["history"]
    refused("k is 41; it has to be between 1 and 40, the number of indexed articles", k=41)
    refused("k is 0; it has to be between 1 and 40", k=0)
    refused("queries lack 'history'; they have 'user_id'", {"user_id": users})
    refused("queries lack 'user_id' and 'history'; they have 'user'", {"user": users})
    refused("history has 1 rows; there are 6 users", {"user_id": users, "history": [["N1"]]})
    refused(r"history has to have the shape \[batch, art", {"user_id": users, "history": ["N1"]})
    refused(r"user_id has to have the shape \[batch\]", {"user_id": "U1", "history": history})
    refused("user_id has to be strings", {"user_id": np.arange(6), "history": history})
    refused(r"embeddings \[batch, 54\]; found \(2, 3\)", tf.zeros([2, 3]))
    refused(r"embeddings \[batch, 54\]; found", [["U1"]])
    refused("hold no history", tf.zeros([2, 54]), exclude_history=True)
    exclude = index.query_with_exclusions
    refused("exclusions has 2 rows; there are 6 users", method=exclude, exclusions=[["N1"]] * 2)
    refused(r"exclusions has to have the shape", method=exclude, exclusions=["N1"])
    refused(r"candidates has to have .* or \[articles\]", candidates="N1")
    with pytest.raises(ValueError, match="a dict of user_id and history"):
        index.query_embeddings(["U1"])
    with pytest.raises(TypeError, match="integer"):
        index(queries, k=2.5)
    model = model_of()
    fresh = tfrs_npa.PersonalizedTopK(model)
    for method in (fresh, fresh.query_embeddings, lambda _: fresh.refresh()):
        refused("call `index` or `index_from_dataset` first", method=method)
    for news, message in (
        ({"news_id": [], "title": []}, "no articles"),
        ({"news_id": ["X"]}, "lacks the feature title"),
    ):
        with pytest.raises(ValueError, match=message):
            fresh.index_from_dataset(news)
    with pytest.raises(ValueError, match="k is 0; it has to be at least 1"):
        tfrs_npa.PersonalizedTopK(model, k=0)
    with pytest.raises(ValueError, match="dtype is 'float16'; .* float32, bfloat16"):
        tfrs_npa.PersonalizedTopK(model, dtype="float16")


def test_clicked_articles_that_are_held_are_not_encoded_again(
    make_model, queries, plain_scores, assert_best, monkeypatch, eager_functions
):
    model = make_model()
    news = {"news_id": IDS[:6], "title": model.catalog.titles[2:8]}
    index = tfrs_npa.PersonalizedTopK(model).index_from_dataset(news)
    encoded, title_features = [], model.candidate_tower.title_features

    def note(articles, *args, **keywords):
        encoded.extend(articles.numpy())
        return title_features(articles, *args, **keywords)

    plain = plain_scores(model, queries)
    monkeypatch.setattr(model.candidate_tower, "title_features", note)
    # Some clicks are on articles that are not indexed, or that nobody knows.
    assert_best(index(queries, k=6), plain[:, :6], 6, ids=IDS[:6])
    assert encoded and not set(encoded) & set(model.catalog.index(IDS[:6]))
    encoded.clear()
    index({"user_id": ["U1"], "history": [IDS[:3]]}, k=6)
    assert not encoded
