"""Reports against the model that they are of, asked directly."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

import tfrs_npa
from tfrs_npa.data.tokenizers import tokenize
from tfrs_npa.explaining.explainer import Explainer
from tfrs_npa.explaining.report import explain_readers, spans


@pytest.fixture(scope="module", params=["model", "export"])
def report(request, model, histories, tmp_path_factory):
    if request.param == "model":
        explainer = Explainer.of_model(model)
    else:
        folder = tmp_path_factory.mktemp("exports")
        tfrs_npa.export(model, folder)
        explainer = Explainer.of_export(folder)
    return explain_readers(
        explainer, histories, "test", k=4, compared=["N6", "N7"], categories={"N7": "sports"}
    )


def scores(model, user, history, articles):
    """The scores of articles, by the model itself."""
    features = {
        "user_id": model.users.index([user]),
        "history": model.catalog.index([history]),
        "candidates": model.catalog.index([articles]),
    }
    return model(features).numpy()[0]


def ranks(model, user, history, clicks):
    """The articles that are not clicked, the best first."""
    others = [news_id for news_id in model.catalog.ids[2:] if news_id not in clicks]
    order = np.argsort(-scores(model, user, history, others), kind="stable")
    return [others[place] for place in order]


def test_the_best_articles(report, model, histories):
    for reader in report.readers:
        clicks = histories[reader.user_id]
        ordered = ranks(model, reader.user_id, clicks, clicks)
        assert [shown.article.news_id for shown in reader.best] == ordered[:4]
        assert [shown.rank for shown in reader.best] == [1, 2, 3, 4]
        expected = scores(model, reader.user_id, clicks, ordered[:4])
        np.testing.assert_allclose([shown.score for shown in reader.best], expected, atol=1e-5)
    assert [reader.is_known for reader in report.readers] == [True, False]


def test_scores_are_the_sum_of_contributions(report):
    for reader in report.readers:
        for shown in (*reader.best, *reader.compared):
            assert len(shown.contributions) == len(reader.clicks)
            total = shown.base_score + sum(shown.contributions)
            assert total == pytest.approx(shown.score, abs=1e-5)


def test_weights_sum_to_one(report):
    for reader in report.readers:
        assert sum(click.weight for click in reader.clicks) == pytest.approx(1, abs=1e-5)
        titles = [shown.article for shown in (*reader.best, *reader.clicks)]
        for title in titles:
            if title.words:
                assert sum(word.weight for word in title.words) == pytest.approx(1, abs=1e-5)


def test_clicks_that_are_read(report):
    first, second = report.readers
    assert [click.article.news_id for click in first.clicks] == ["N1", "N6", "N2"]
    assert first.num_clicks == 4 and second.num_clicks == 1


def test_without_a_click_is_computed_again(report, model, histories):
    for reader in report.readers:
        clicks = histories[reader.user_id]
        for number, click in enumerate(reader.clicks):
            without = [news_id for news_id in clicks if news_id != click.article.news_id]
            ordered = ranks(model, reader.user_id, without, clicks)
            for shown in reader.best:
                news_id = shown.article.news_id
                expected = scores(model, reader.user_id, without, [news_id])[0]
                assert shown.without[number].score == pytest.approx(expected, abs=1e-5)
                assert shown.without[number].rank == 1 + ordered.index(news_id)


def test_effects_of_words_are_computed_again(report, model, histories):
    reader = report.readers[0]
    clicks = model.catalog.index([histories["U1"]])
    for shown in reader.best:
        texts = [word.text for word in shown.article.words]
        for place, word in enumerate(shown.article.words):
            titles = [" ".join(texts), " ".join(texts[:place] + texts[place + 1 :]) or " "]
            further = model.title_tokens(titles)
            tower, user = model.candidate_tower, model.user_embedding(model.users.index(["U1"]))
            features = tower.encode_titles(further)
            packed = model.query_tower.clicks(clicks)
            history, numbers = tower.distinct_features(packed.news_id)
            users = model.query_tower.encode(packed, history, numbers, user)
            both, without = tower.score(
                features, tf.range(2), tf.zeros(2, tf.int32), users["word_query"], users["output"]
            ).numpy()
            assert word.effect == pytest.approx(both - without, abs=1e-4)
    assert all(word.effect is None for click in reader.clicks for word in click.article.words)


def test_articles_to_compare_on(report):
    for reader in report.readers:
        assert [shown.article.news_id for shown in reader.compared] == ["N6", "N7"]
    clicked = report.readers[0].compared[0]
    assert clicked.rank is None and clicked.without[0].rank is None
    assert report.readers[0].compared[1].article.category == "sports"


def test_words_are_where_they_are_in_the_title(report):
    titles = {shown.article.news_id: shown.article for shown in report.readers[1].best}
    titles |= {click.article.news_id: click.article for click in report.readers[0].clicks}
    found = {
        news_id: [title.title[word.start : word.end] for word in title.words]
        for news_id, title in titles.items()
    }
    assert found["N1"] == ["Rain", "in", "the", "North"]
    assert found["N2"] == ["Team", "wins", ",", "team", "celebrates"]
    assert found["N6"] == ["Rain", "rain", "Café"]


def test_json(report):
    read = json.loads(json.dumps(report.to_dict()))
    assert read["readers"][0]["best"][0]["rank"] == 1 and read["num_articles"] == 8


def test_the_best_of_each_are_compared(model, histories):
    report = explain_readers(Explainer.of_model(model), histories, "test", k=3)
    first, second = report.readers
    compared = [shown.article.news_id for shown in first.compared]
    assert compared == [shown.article.news_id for shown in second.compared]
    assert len(compared) == 3
    assert {first.best[0].article.news_id, second.best[0].article.news_id} <= {*compared}


def test_one_reader_is_compared_with_nobody(model):
    (reader,) = explain_readers(Explainer.of_model(model), {"": []}, "test", k=2).readers
    assert reader.compared == () and reader.clicks == () and len(reader.best) == 2
    assert reader.best[0].base_score == pytest.approx(reader.best[0].score)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"histories": {}}, "no reader"),
        ({"k": 0}, "k is 0"),
        ({"compared": ["N1", "missing"]}, "1 of the articles .* such as 'missing'"),
    ],
)
def test_errors(changes, message, model):
    arguments = {"histories": {"U1": ["N1"]}, "source": "test"} | changes
    with pytest.raises(ValueError, match=message):
        explain_readers(Explainer.of_model(model), **arguments)


@pytest.mark.parametrize("folder", ["", "exports"])
def test_no_export(folder, tmp_path):
    with pytest.raises(ValueError, match="is no export"):
        Explainer.of_export(tmp_path / folder)


@given(
    st.lists(st.sampled_from(["Rain", "ＡＩ", "Straße", "Café", "ﬁnal", "ok!", "東京"]), max_size=6)
)
def test_spans_cover_the_words(parts):
    title = " — ".join(parts)
    words = [word.decode() for word in tokenize([title]).to_list()[0]]
    found = spans(title, words)
    pieces = [title[start:end] for start, end in found]
    assert "".join(pieces).replace("!", "") == "".join(parts).replace("!", "")
    assert [end for _, end in found] == sorted(end for _, end in found)


def test_spans_of_words_that_are_not_in_the_title():
    assert spans("Rain", ["rain", "sun"]) == [(None, None)] * 2
