"""Which articles are indexed: from a data set, after a refresh, with another catalogue."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import tfrs_npa
import tfrs_npa.models.title_blocks

ARTICLES = 40
IDS = [f"N{i}" for i in range(ARTICLES)]
FORMS = {
    "recommenders": {},
    "paper": {"attention": "paper"},
    "mean": {"word_attention": "mean", "news_attention": "mean"},
}


def as_dataset(news):
    return tf.data.Dataset.from_tensor_slices(news | {"category": ["news"] * len(news["title"])})


@pytest.mark.slow
def test_index_from_dataset(make_model, make_news, queries, plain_scores, assert_best):
    """Known articles and new ones, in the order of the catalogue; the others do not come back."""
    model = make_model()
    new = make_news(1, 6, "M")
    known = dict(zip(model.catalog.ids, model.catalog.titles))
    ids = ["N9", "N2", *new["news_id"], "N2"]
    news = {"news_id": ids, "title": [known["N9"], known["N2"], *new["title"], known["N2"]]}
    rows = [dict(zip(news, row)) for row in zip(*news.values())]
    there = ["N2", "N9", *new["news_id"]]
    # Histories know the new ones too.
    queries = queries | {"history": [[*row, "M3"] for row in queries["history"]]}
    index = tfrs_npa.PersonalizedTopK(model, k=3)
    for source in (iter(rows), news, as_dataset(news), as_dataset(news).batch(4)):
        assert index.index_from_dataset(source) is index
        assert len(model.catalog) == ARTICLES + 2 + 6
        assert len(model.candidate_tower.tokens.numpy()) == len(model.catalog)
        plain = plain_scores(model, queries, model.catalog.index(there))
        assert_best(index(queries, k=8), plain, 8, ids=there)
        index.index()
        assert index.num_articles == ARTICLES + 6


@pytest.fixture
def eagerly():
    """Functions run as Python, so that a test sees what they are called with."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "form, dtype",
    [
        ("recommenders", "float32"),
        ("recommenders", "bfloat16"),
        ("paper", "float32"),
        ("mean", "float32"),
    ],
)
def test_refresh_is_a_rebuild(
    form, dtype, make_model, make_news, queries, monkeypatch, strings, eagerly
):
    monkeypatch.setattr(tfrs_npa.models.title_blocks, "_CHUNK", 5)
    model = make_model(**FORMS[form])
    index = tfrs_npa.PersonalizedTopK(model, dtype=dtype).index()
    other = tfrs_npa.PersonalizedTopK(model, dtype=dtype)
    encoded = []
    title_features = model.candidate_tower.title_features

    def note(articles, *args):
        encoded.extend(articles.numpy())
        return title_features(articles, *args)

    monkeypatch.setattr(model.candidate_tower, "title_features", note)
    there, generator = dict(zip(IDS, model.catalog.titles[2:])), np.random.default_rng(0)
    for step in range(4):
        news = make_news(step, 7, "ABCD"[step])
        leaving = generator.choice(list(there), 9, replace=False).tolist()
        # One that stays, one that leaves and comes again.
        again = [next(id for id in there if id not in leaving), leaving[0]]
        for id in again:
            news["news_id"].append(id)
            news["title"].append(there[id])
        titles = there | dict(zip(news["news_id"], news["title"]))
        assert index.refresh(news, withdraw=leaving) is index
        there = {id: titles[id] for id in titles if id not in leaving or id in news["news_id"]}
        # Each once, by two threads.
        assert sorted(encoded) == model.catalog.index(news["news_id"][:7]).tolist()
        other.index_from_dataset({"news_id": list(there), "title": list(there.values())})
        assert index.num_articles == other.num_articles == len(there)
        # A quarter of room for others, and up to a quarter that is taken by those that left.
        assert 1 <= index.bytes_per_article / other.bytes_per_article <= 1.25 / 0.75
        ours, theirs = index(queries, k=len(there)), other(queries, k=len(there))
        np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-5, atol=1e-5)
        if form != "mean":
            assert strings(ours[1]) == strings(theirs[1])
        encoded.clear()


@pytest.mark.slow
def test_refresh_adds_or_withdraws(make_model, queries, strings):
    model = make_model()
    index = tfrs_npa.PersonalizedTopK(model, k=1).index()
    (best, *_), *_ = strings(index(queries)[1])
    index.refresh(withdraw=[best])
    assert index.num_articles == ARTICLES - 1
    assert best not in strings(index(queries, k=ARTICLES - 1)[1])[0]
    with pytest.raises(ValueError, match="k is 40; it has to be between 1 and 39"):
        index(queries, k=ARTICLES)
    # It stays in histories.
    assert best in model.catalog.ids
    index.refresh({"news_id": [best], "title": [model.catalog.titles[IDS.index(best) + 2]]})
    assert strings(index(queries)[1])[0] == [best]
    with pytest.raises(ValueError, match="2 of the articles to withdraw are not indexed.*'X1'"):
        index.refresh({"news_id": ["new"], "title": ["rain"]}, withdraw=["N1", "X1", "X2"])
    assert index.num_articles == ARTICLES and "new" not in model.catalog.ids
    index.refresh(withdraw=IDS)
    with pytest.raises(ValueError, match="k is 1; it has to be between 1 and 0"):
        index(queries)


@pytest.mark.slow
@pytest.mark.parametrize("layer", [tfrs_npa.PersonalizedTopK, tfrs_npa.TwoStageTopK])
def test_another_catalogue(layer, make_model, queries, plain_scores, assert_best):
    """The same ids in another order, some of them gone, some new."""
    model = make_model()
    index = layer(model).index()
    titles = dict(zip(IDS, model.catalog.titles[2:])) | {"X1": "rain wins", "X2": "vote sun"}
    ids = ["X1", *IDS[:4:-1], "X2"]
    news = {"news_id": ids, "title": [titles[id] for id in ids]}
    model.set_catalog(tfrs_npa.NewsCatalog(vocabulary=model.catalog.vocabulary).extend(news))
    # N3 and N4 are unknown articles now.
    plain = plain_scores(model, queries)
    if layer is tfrs_npa.PersonalizedTopK:
        with pytest.raises(ValueError, match="another catalogue .*: call `index` or"):
            index.refresh({"news_id": ["X3"], "title": ["rain"]}, withdraw=["N9"])
        assert "X3" not in model.catalog.ids
    assert_best(index.index()(queries, k=len(ids)), plain, len(ids), ids=ids)
    found = index(queries, k=3, candidates=["N4", "N7", "X2"])
    allowed = np.tile(np.isin(ids, ["N7", "X2"]), [len(plain), 1])
    assert_best(found, plain, 3, allowed, ids)
    index.index_from_dataset({name: column[:9] for name, column in news.items()})
    assert_best(index(queries, k=9), plain[:, :9], 9, ids=ids[:9])
    if layer is tfrs_npa.PersonalizedTopK:
        index.refresh({name: column[9:] for name, column in news.items()})
        assert_best(index(queries), plain, 10, ids=ids)


@pytest.mark.slow
@pytest.mark.parametrize("layer", [tfrs_npa.PersonalizedTopK, tfrs_npa.TwoStageTopK])
def test_catalogue_that_was_extended(
    layer, make_model, make_news, queries, plain_scores, assert_best
):
    """The model need not be told."""
    model = make_model()
    model.catalog.extend(make_news(1, 5, "A"))
    index, ids = layer(model).index(), [*IDS, *[f"A{i}" for i in range(5)]]
    assert_best(index(queries), plain_scores(model, queries), 10, ids=ids)
    model.catalog.extend(make_news(2, 5, "B"))
    titles = [model.catalog.titles[number] for number in model.catalog.index(["B4", "N1"])]
    index.index_from_dataset({"news_id": ["B4", "N1"], "title": titles})
    plain = plain_scores(model, queries, model.catalog.index(["N1", "B4"]))
    assert_best(index(queries, k=2), plain, 2, ids=["N1", "B4"])
    if layer is tfrs_npa.PersonalizedTopK:
        model.catalog.extend(make_news(3, 5, "C"))
        index.refresh(withdraw=["N1"])
        queries = queries | {"history": [["C1", "C2"]] * 6}
        plain = plain_scores(model, queries, model.catalog.index(["B4"]))
        assert_best(index(queries, k=1), plain, 1, ids=["B4"])


def test_clicks_that_are_not_known_are_not_counted(make_model, strings):
    """Clicks on articles newer than the catalogue do not push older ones out of the history."""
    model = make_model()
    index = tfrs_npa.PersonalizedTopK(model, k=5).index()
    known = [f"N{i}" for i in range(model.config.history_length)]
    fresh = [id for click in known for id in (click, f"fresh {click}")]
    expected, found = index({"user_id": ["U1"] * 2, "history": [known, fresh + ["one more"]]})[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    # Nobody gets the same articles as everyone because all of their clicks are fresh.
    nothing, unknown = index({"user_id": ["U1"] * 2, "history": [[], ["one more"]]})[0]
    np.testing.assert_allclose(unknown, nothing, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("layer", [tfrs_npa.PersonalizedTopK, tfrs_npa.TwoStageTopK])
def test_clicks_that_have_a_title(layer, make_model, strings):
    """They count as if the catalogue had them; an article that it has keeps its own title."""
    model = make_model()
    index = layer(model, k=5).index()
    clicks = ["N1", "fresh", "never seen", "N2", "newer", "fresh", "N3"]
    titles = ["ignored", "rain wins", "", "", "final vote", "rain wins", ""]
    queries = {"user_id": ["U1"], "history": [clicks], "history_titles": [titles]}
    assert strings(index({**queries, "history_titles": [[""] * 7]})[1]) == strings(
        index({"user_id": ["U1"], "history": [clicks]})[1]
    )
    found = index(queries)
    model.add_articles({"news_id": ["fresh", "newer"], "title": ["rain wins", "final vote"]})
    expected = index.index_from_dataset(
        {"news_id": IDS, "title": model.catalog.titles[2 : 2 + ARTICLES]}
    )({"user_id": ["U1"], "history": [clicks]})
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=1e-5)
    assert strings(found[1]) == strings(expected[1])
    with pytest.raises(ValueError, match="history_titles has the shape .* each click needs"):
        index({**queries, "history_titles": [["rain"]]})


@pytest.mark.slow
def test_a_user_who_came_later(make_model):
    model = make_model()
    index = tfrs_npa.PersonalizedTopK(model, k=5).index()
    model.users.extend({"user_id": ["later"]})
    later, nobody = index({"user_id": ["later", "nobody"], "history": [["N3"]] * 2})[0]
    np.testing.assert_array_equal(later, nobody)
