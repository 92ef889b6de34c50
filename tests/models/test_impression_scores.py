"""Evaluation and prediction many batches at a time, against the model called batch by batch."""

from __future__ import annotations

import itertools
import threading
import weakref

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import tfrs_npa
from tfrs_npa.models import encoded_titles, impression_scores
from tfrs_npa.models.title_encoding import TitleEncoding

FORMS = ["recommenders", "paper"]
KINDS = ["personalized", "vanilla", "mean"]
DENSITY = {
    "user_interest": "density",
    "unit_vectors": True,
    "mean_weight": 0.7,
    "item_bias": True,
    "background_titles": 5,
}


class Encodings:
    """Counts the titles that are encoded, and apart from them the graphs that encode some."""

    def __init__(self, model, monkeypatch):
        self.titles, self.calls_in_graphs, self._lock = 0, 0, threading.Lock()
        self._encode = model.candidate_tower.title_features
        monkeypatch.setattr(model.candidate_tower, "title_features", self._count)

    def _count(self, news_id, *args, **keywords):
        with self._lock:
            if tf.is_symbolic_tensor(news_id):
                self.calls_in_graphs += 1
            else:
                self.titles += len(news_id)
        return self._encode(news_id, *args, **keywords)


@pytest.fixture
def small_parts(monkeypatch):
    """Everything that is done in parts is done in many."""
    for module, names in {
        encoded_titles: {
            "_TITLES": 7,
            "_FEW": 2,
            "_MULTIPLIED": 16,
            "_PAIRS": 16,
            "_USERS": (2, 3),
        },
        impression_scores: {
            "_FIRST": 9,
            "_MOST": 15,
            "_PAIRS": 20,
            "_CLICKS": 5,
            "_CANDIDATES": 11,
        },
    }.items():
        for name, value in names.items():
            monkeypatch.setattr(module, name, value)


def randomize(model, seed=0):
    """Random weights, so that scores differ and nothing keeps its initial value."""
    generator = np.random.default_rng(seed)
    model.set_weights([generator.normal(0, 0.4, w.shape) for w in model.get_weights()])


def plain_scores(world, batches=None):
    """Scores of the real candidates, by calls of the model."""
    rows = []
    for batch in batches or world.impression_batches():
        real = batch["candidates"] != 0
        rows.append(tf.boolean_mask(world.model(batch), real).numpy())
    return np.concatenate(rows)


def plain_metrics(world, batches=None):
    """Means over batches that are measured one by one, each of which encodes its titles."""
    world.model.reset_metrics()
    for batch in batches or world.impression_batches():
        metrics = world.model.test_on_batch(batch, reset_metrics=False, return_dict=True)
    return metrics


def assert_close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        np.testing.assert_allclose(value, theirs[name], rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("mask_padding", [True, False], ids=["masked", "unmasked"])
@pytest.mark.parametrize("attention", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_same_as_batch_by_batch(kind, attention, mask_padding, make_world, small_parts):
    """With users and clicked articles of all sorts."""
    world = make_world(
        word_attention=kind,
        news_attention=kind,
        attention=attention,
        mask_padding=mask_padding,
        user_interest="mean",
        unit_vectors=False,
        item_bias=False,
    )
    randomize(world.model)
    batches = world.impression_batches(batch_size=4)
    scores, metrics = plain_scores(world, batches), plain_metrics(world, batches)
    assert np.ptp(scores) > 0.1
    assert_close(world.model.predict(batches, verbose=0).flat_values, scores)
    assert_same(world.model.evaluate(batches, verbose=0, return_dict=True), metrics)


@pytest.mark.parametrize(
    "changes",
    [
        DENSITY,
        DENSITY | {"mask_padding": False},
        DENSITY | {"attention": "paper"},
        DENSITY | {"word_attention": "vanilla"},
        DENSITY | {"news_attention": "mean", "item_bias": False},
        {"unit_vectors": True, "item_bias": True, "user_interest": "mean"},
        {"item_bias": True, "user_interest": "mean", "mask_padding": False},
        {"word_attention": "mean"},
        {"news_attention": "vanilla"},
        {"user_embedding_dim": 2, "attention_dim": 6},
        {"user_embedding_dim": 6, "attention_dim": 2},
    ],
    ids=lambda changes: ", ".join(f"{k} {v}" for k, v in changes.items() if DENSITY.get(k) != v),
)
def test_every_form(changes, make_world, small_parts):
    """Densities, unit vectors, terms of articles, and queries longer and shorter than keys."""
    world = make_world(**changes)
    randomize(world.model)
    scores = plain_scores(world)
    assert np.ptp(scores) > 0.1
    assert_close(world.predict().flat_values, scores)


def test_in_one_part(make_world):
    """As it is with few impressions."""
    world = make_world(**DENSITY)
    randomize(world.model)
    assert_close(world.predict().flat_values, plain_scores(world))


@pytest.mark.parametrize(
    "words, parts, is_held", [(10**6, 1, False), (0, 1, True), (10**6, 2, True)]
)
def test_words_are_projected_unless_there_are_fewer_clicks(
    words, parts, is_held, make_world, monkeypatch
):
    """What comes later is not known while there may be another part."""
    world = make_world(user_interest="mean")
    randomize(world.model)
    scores = plain_scores(world)
    number = sum(len(batch["user_id"]) for batch in world.impression_batches())
    monkeypatch.setattr(encoded_titles.EncodedTitles, "words_of", lambda *_: words)
    monkeypatch.setattr(impression_scores, "_FIRST", number if parts == 2 else number + 1)
    names, of = [], TitleEncoding.of

    def kept(*args):
        names.extend(of(*args))
        return of(*args)

    monkeypatch.setattr(TitleEncoding, "of", kept)
    assert_close(world.predict().flat_values, scores)
    assert "values" in names and ("projected" in names) == is_held


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_impressions(data, trained):
    """Users, histories and candidates that repeat, or are missing."""
    article = st.integers(0, len(trained.catalog) - 1)
    rows = data.draw(st.integers(1, 6))
    batch = {
        "user_id": np.array(data.draw(st.lists(st.integers(0, 14), min_size=rows, max_size=rows))),
        "history": np.array(
            data.draw(
                st.lists(st.lists(article, min_size=3, max_size=3), min_size=rows, max_size=rows)
            )
        ),
        "candidates": np.array(
            data.draw(
                st.lists(st.lists(article, min_size=4, max_size=4), min_size=rows, max_size=rows)
            )
        ),
    }
    batch = {name: array.astype(np.int32) for name, array in batch.items()}
    (found,) = trained.model.predict_batches(tf.data.Dataset.from_tensors(batch))
    assert_close(found.flat_values, trained.model(batch).numpy()[batch["candidates"] != 0])


def test_equal_titles_have_equal_scores(make_world, behaviors_of):
    """To the last bit, wherever they are."""
    world = make_world()
    randomize(world.model)
    catalog = tfrs_npa.NewsCatalog(vocabulary=world.catalog.vocabulary).extend(world.news)
    ids = [f"M{i}" for i in range(40)]
    catalog.extend({"news_id": ids, "title": ["team wins", "rain in the north"] * 20})
    world.model.set_catalog(catalog)
    behaviors = behaviors_of(["U1", "nobody"], [["N1", "M2"]] * 2, [ids] * 2, [[0] * 40] * 2)
    batches = tfrs_npa.impression_batches(behaviors, catalog, world.users, world.config)
    scores = world.model.predict(batches, verbose=0).to_tensor().numpy()
    for row in scores:
        assert len(np.unique(row)) == 2


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"word_attention": "mean"}, DENSITY])
def test_memory(changes, make_world, monkeypatch, caplog, small_parts):
    """Words that do not fit are encoded again, with the same result."""
    world = make_world(**changes)
    randomize(world.model)
    encodings = Encodings(world.model, monkeypatch)
    scores, metrics = world.predict().flat_values, world.evaluate()
    needed = encodings.titles / 2
    assert needed <= len(world.catalog)
    monkeypatch.setattr(encoded_titles, "_LEAST", 20)
    for memory in (0, 2000, float("inf")):
        encodings.titles, world.model.encoding_memory = 0, memory
        np.testing.assert_allclose(world.predict().flat_values, scores, rtol=1e-6, atol=1e-6)
        again = changes.get("word_attention") != "mean" and memory != float("inf")
        assert (encodings.titles > needed) == again
        assert_same(world.evaluate(), metrics)
        warnings = ["more than encoding_memory" in message for message in caplog.messages]
        # Of predict and of evaluate; 0 asks for it.
        assert warnings == ([True, True] if memory and again else [])
        caplog.clear()


def test_only_titles_that_occur_are_encoded(make_world, behaviors_of, monkeypatch):
    """Once, though several articles may have one title."""
    world = make_world()
    encodings = Encodings(world.model, monkeypatch)
    behaviors = behaviors_of(["U1"] * 3, [["N1"]] * 3, [["N2", "N3"]] * 3, [[0, 1]] * 3)
    batches = tfrs_npa.impression_batches(
        behaviors, world.catalog, world.users, world.config, batch_size=1
    )
    world.model.predict(batches, verbose=0)
    assert encodings.titles == 3


def test_new_articles_and_new_users(make_world, behaviors_of):
    world = make_world()
    randomize(world.model)
    before = world.predict()
    news = {"news_id": ["M1", "M2", "M3"], "title": ["team wins", "rain vote unheard", ""]}
    catalog = tfrs_npa.NewsCatalog(vocabulary=world.catalog.vocabulary)
    catalog.extend(world.news).extend(news)
    world.model.set_catalog(catalog)
    behaviors = behaviors_of(
        ["U1", "nobody", "nobody either"],
        [["N1", "M2"], ["M1"], []],
        [["M1", "N2", "M2"], ["M3", "N3"], ["M2", "M1", "N4", "M3"]],
        [[1, 0, 0], [0, 1], [0, 1, 0, 1]],
    )
    batches = tfrs_npa.impression_batches(
        behaviors, catalog, world.users, world.config, batch_size=2
    )
    scores = plain_scores(world, batches)
    assert np.ptp(scores) > 0.1
    assert_close(world.model.predict(batches, verbose=0).flat_values, scores)
    metrics = world.model.evaluate(batches, verbose=0, return_dict=True)
    assert_same(metrics, plain_metrics(world, batches))
    assert_close(world.predict().flat_values, before.flat_values)


def test_growing_needs_no_trace(make_world, monkeypatch):
    """Neither of the step of an evaluation, nor of anything else."""
    world, traces = make_world(graph=True), []
    monkeypatch.setattr(world.model, "test_step", noted(world.model.test_step, traces))
    first = world.evaluate()
    catalog = tfrs_npa.NewsCatalog(vocabulary=world.catalog.vocabulary).extend(world.news)
    catalog.extend({"news_id": [f"M{i}" for i in range(9)], "title": ["team wins", "rain", ""] * 3})
    world.model.set_catalog(catalog)
    assert_same(world.evaluate(), first)
    assert len(traces) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [{}, {"word_attention": "mean"}, DENSITY | {"residual": True}, {"mask_padding": False}],
    ids=["personalized", "mean", "density", "unmasked"],
)
def test_titles_encoded_in_a_graph(changes, make_world, monkeypatch, small_parts):
    """As many are; the graph is traced once, and reads the weights and users of the moment."""
    monkeypatch.setattr(encoded_titles, "_TRACED", 3)
    world, traces = make_world(**changes), []
    encode = world.model.candidate_tower.title_features
    monkeypatch.setattr(world.model.candidate_tower, "title_features", noted(encode, traces))
    for seed in (0, 1):
        randomize(world.model, seed)
        scores = world.predict().flat_values
        number = len(traces)
        assert_close(scores, plain_scores(world))
        del traces[number:]
        assert_same(world.evaluate(), plain_metrics(world))
        del traces[number:]
    # With users of their own and without, with words to hold and without.
    assert 1 <= len(traces) <= 3
    world.model.add_users({"user_id": ["U99"]})
    assert_close(world.predict().flat_values, plain_scores(world))


def test_towers_of_another_model(make_world, monkeypatch, small_parts):
    """One is scored as the model is called; both have graphs of their own."""
    monkeypatch.setattr(encoded_titles, "_TRACED", 3)
    world, other = make_world(), make_world()
    randomize(world.model)
    randomize(other.model, 1)
    before = world.predict().flat_values
    encoding = world.model.title_encoding
    world.model.candidate_tower = other.model.candidate_tower
    found = world.predict().flat_values
    assert np.abs(found - before).max() > 0.1
    assert_close(found, plain_scores(world))
    world.model.query_tower = other.model.query_tower
    assert_close(world.predict().flat_values, plain_scores(world))
    world.model.user_embedding = other.model.user_embedding
    assert_close(world.predict().flat_values, other.predict().flat_values)
    other_encoding = world.model.title_encoding
    assert other_encoding is not encoding
    world.model.candidate_tower.attention = make_world().model.candidate_tower.attention
    assert world.model.title_encoding is not other_encoding


@pytest.mark.parametrize("memory", [0, float("inf")])
def test_many_titles_are_encoded_in_a_graph_whatever_the_memory(
    memory, make_world, monkeypatch, small_parts
):
    monkeypatch.setattr(encoded_titles, "_TRACED", 12)
    monkeypatch.setattr(encoded_titles, "_LEAST", 20)
    world = make_world()
    randomize(world.model)
    world.model.encoding_memory = memory
    encodings = Encodings(world.model, monkeypatch)
    scores = world.predict().flat_values
    assert encodings.calls_in_graphs and not encodings.titles
    assert_close(scores, plain_scores(world))


def test_nothing_but_padding(make_world):
    """No title is encoded, and terms are there nevertheless."""
    world = make_world(user_interest="mean", item_bias=True)
    batch = {
        "user_id": np.zeros(2, np.int32),
        "history": np.zeros([2, 3], np.int32),
        "candidates": np.zeros([2, 4], np.int32),
    }
    (found,) = world.model.predict_batches(tf.data.Dataset.from_tensors(batch))
    assert found.shape[0] == 2 and not len(found.flat_values)


def noted(function, calls):
    def call(*args, **keywords):
        calls.append(args)
        return function(*args, **keywords)

    return call


@pytest.mark.slow
def test_weights_of_the_moment_count(make_world):
    """What training changes between two evaluations shows in the second."""
    world = make_world()
    before = world.predict().flat_values
    world.fit()
    after = world.predict().flat_values
    assert np.abs(after - before).max() > 1e-3
    assert_close(after, plain_scores(world))
    assert_same(world.evaluate(), plain_metrics(world))


@pytest.mark.slow
def test_validation_of_fit(make_world, monkeypatch):
    """Titles are encoded once for each validation."""
    world = make_world()
    encodings = Encodings(world.model, monkeypatch)
    world.fit(2)
    trained = encodings.titles
    world = make_world()
    encodings = Encodings(world.model, monkeypatch)
    logs = world.fit(2, validation_data=world.impression_batches())
    assert 0 < encodings.titles - trained <= 2 * len(world.catalog)
    last = {name[4:]: values[-1] for name, values in logs.items() if name.startswith("val_")}
    assert_same(last, plain_metrics(world))


def test_steps(trained):
    """Only as many batches as asked for, of a data set without an end."""
    endless = trained.impression_batches().repeat()
    found = trained.model.predict(endless, steps=2, verbose=0)
    assert_close(found.flat_values, trained.predict()[:12].flat_values)
    metrics = trained.model.evaluate(endless, steps=2, verbose=0, return_dict=True)
    assert metrics["impressions"] == 12


@pytest.mark.slow
def test_steps_of_batches_alone(trained):
    """What `test_on_batch` is given is no part of an evaluation."""
    batch = next(iter(trained.impression_batches()))
    expected = trained.predict()[:6]
    assert_close(trained.model.predict_on_batch(batch).flat_values, expected.flat_values)
    trained.evaluate()
    assert trained.model.test_on_batch(batch, return_dict=True)["impressions"] == 6


class Doubled(tfrs_npa.NPA):
    """Twice the scores."""

    def call(self, features, training=False):
        return 2 * super().call(features, training)


def test_a_subclass_with_a_call_of_its_own(make_world):
    world = make_world()
    model = Doubled(world.config, world.catalog, world.users)
    model.set_weights(world.model.get_weights())
    model.compile(optimizer="sgd")
    scores = model.predict(world.impression_batches(), verbose=0).flat_values
    assert_close(scores, 2 * world.predict().flat_values.numpy())


class Backwards(tfrs_npa.NewsEncoder):
    """Reads titles from right to left."""

    def contextual_words(self, tokens, vectors=None, training=False):
        return super().contextual_words(tf.reverse(tokens, [1]), vectors, training)


def test_a_tower_of_ones_own(make_world):
    world = make_world(mask_padding=False)
    randomize(world.model)
    before = world.predict().flat_values.numpy()
    world.model.candidate_tower.__class__ = Backwards
    world.model.predict_function = None
    after = world.predict().flat_values
    assert_close(after, plain_scores(world))
    assert np.abs(after - before).max() > 0.1


@pytest.mark.parametrize("method", ["evaluate", "predict"])
def test_nothing_is_kept_after_an_error(method, make_world, monkeypatch):
    world, held = make_world(), []
    made = world.model._impression_scores

    def noted_scores():
        scores = made()
        held.append(weakref.ref(scores))
        return scores

    monkeypatch.setattr(world.model, "_impression_scores", noted_scores)

    def fail(*_):
        raise KeyboardInterrupt

    callback = tf.keras.callbacks.LambdaCallback()
    callback.on_test_batch_end = callback.on_predict_batch_end = fail
    with pytest.raises(KeyboardInterrupt):
        getattr(world.model, method)(world.impression_batches(), verbose=0, callbacks=[callback])
    world.predict()
    assert [reference() for reference in held] == [None, None]
    assert_same(world.evaluate(), plain_metrics(world))


@pytest.mark.parametrize("changes", [{}, DENSITY], ids=["mean", "density"])
def test_users_who_are_as_the_unknown_one(changes, make_world, monkeypatch):
    world = make_world(**changes)
    randomize(world.model)
    table = world.model.user_embedding.table
    table.assign(tf.broadcast_to(table[0], table.shape))
    expected = plain_scores(world)
    scores, seen = impression_scores.ImpressionScores._scores, []
    monkeypatch.setattr(
        impression_scores.ImpressionScores,
        "_scores",
        lambda self, of, is_only: seen.append(of) or scores(self, of, is_only),
    )
    np.testing.assert_allclose(world.predict().flat_values, expected, atol=1e-5)
    assert all(of.shared == len(of.users) for of in seen) and seen


@pytest.mark.parametrize("traced", [8192, 3], ids=["eagerly", "in a graph"])
def test_mixed_bfloat16(traced, make_world, monkeypatch):
    monkeypatch.setattr(encoded_titles, "_TRACED", traced)
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        for changes in ({}, DENSITY):
            world = make_world(**changes)
            randomize(world.model)
            np.testing.assert_allclose(
                world.predict().flat_values, plain_scores(world), rtol=0.05, atol=0.1
            )
            assert np.isfinite(world.evaluate()["loss"])
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")


def test_rows_with_equal_hashes(monkeypatch):
    """Two rows that differ are never taken for one."""
    rows = np.array([[1, 2], [2, 1], [1, 2]])
    distinct, back = impression_scores._distinct_rows(rows)
    assert len(distinct) == 2
    np.testing.assert_array_equal(distinct[back], rows)

    class Same:
        def integers(self, *_, dtype, **__):
            return np.ones(2, dtype)

    monkeypatch.setattr(np.random, "default_rng", lambda _: Same())
    distinct, back = impression_scores._distinct_rows(rows)
    np.testing.assert_array_equal(distinct[back], rows)


@pytest.mark.parametrize("lengths", [[1, 5, 6], [0, 2, 2, 3, 4, 9, 9], [2] * 7, [0, 0], []])
def test_rectangles(lengths):
    """Each holds as much as the limit allows, and a length beyond it is alone."""
    lengths, end = np.array(lengths, int), 0
    for part in itertools.islice(impression_scores._rectangles(lengths, 4), len(lengths)):
        own = lengths[part]
        assert part.start == end and (own.max() * len(own) <= 4 or len(own) == 1)
        following = lengths[part.stop : part.stop + 1]
        assert not len(following) or following[0] * (len(own) + 1) > 4
        end = part.stop
    assert not lengths[end:].any()
