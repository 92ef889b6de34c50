"""Evaluation and prediction with titles encoded once, against the model called batch by batch."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import tfrs_npa
import tfrs_npa.models.encoded_catalog

FORMS = ["recommenders", "paper"]
KINDS = ["personalized", "vanilla", "mean"]


class Watch(tf.keras.callbacks.Callback):
    """Notes, before each batch, whether the catalogue is encoded, and its bytes."""

    def __init__(self):
        super().__init__()
        self.train, self.test, self.predict, self.bytes = [], [], [], set()

    def _note(self, notes):
        encoded = self.model.encoded_catalog
        notes.append(bool(encoded.ready))
        features = encoded.features()
        parts = [features.values, features.terms]
        if features.keys is not features.values:
            parts.append(features.keys)
        self.bytes.add(sum(part.numpy().nbytes for part in parts if part is not None))

    def on_train_batch_begin(self, batch, logs=None):
        self._note(self.train)

    def on_test_batch_begin(self, batch, logs=None):
        self._note(self.test)

    def on_predict_batch_begin(self, batch, logs=None):
        self._note(self.predict)


class Encodings:
    """Counts how often titles are encoded: in a graph, how often that is traced."""

    def __init__(self, model, monkeypatch):
        self.number = 0
        self._title_features = model.candidate_tower.title_features
        monkeypatch.setattr(model.candidate_tower, "title_features", self._count)

    def _count(self, *args):
        self.number += 1
        return self._title_features(*args)


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


def assert_nothing_is_kept(model):
    encoded = model.encoded_catalog
    assert not encoded.ready
    for part in encoded.features():
        assert part is None or len(part) == 0


@pytest.mark.parametrize("mask_padding", [True, False], ids=["masked", "unmasked"])
@pytest.mark.parametrize("attention", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_same_as_batch_by_batch(kind, attention, mask_padding, make_world, monkeypatch):
    """With users and clicked articles of all sorts, and a catalogue that is encoded in chunks."""
    monkeypatch.setattr(tfrs_npa.models.encoded_catalog, "_CHUNK", 7)
    world = make_world(
        word_attention=kind, news_attention=kind, attention=attention, mask_padding=mask_padding
    )
    randomize(world.model)
    batches = world.impression_batches(batch_size=12)
    scores, metrics = plain_scores(world, batches), plain_metrics(world, batches)
    assert np.ptp(scores) > 0.1
    encodings, watch = Encodings(world.model, monkeypatch), Watch()
    predicted = world.model.predict(batches, verbose=0, callbacks=[watch])
    assert_close(predicted.flat_values, scores)
    assert_nothing_is_kept(world.model)
    found = world.model.evaluate(batches, verbose=0, return_dict=True, callbacks=[watch])
    assert_same(found, metrics)
    assert_nothing_is_kept(world.model)
    assert watch.predict == watch.test == [True] * 2
    # A trace for all chunks, and none of the batches encodes anything.
    assert encodings.number == 1
    assert watch.bytes == {world.model.encoded_catalog.size()}


@pytest.mark.parametrize("kind", ["personalized", "mean"])
def test_memory(kind, make_world, monkeypatch, caplog):
    """What does not fit is encoded by each batch, with the same result."""
    world = make_world(word_attention=kind)
    randomize(world.model)
    scores, metrics = world.predict().flat_values, world.evaluate()
    encodings, size = Encodings(world.model, monkeypatch), world.model.encoded_catalog.size()
    for memory, fits in ((0, False), (size - 1, False), (size, True)):
        world.model.encoding_memory = memory
        encodings.number, watch = 0, Watch()
        batches = world.impression_batches()
        predicted = world.model.predict(batches, verbose=0, callbacks=[watch])
        assert_close(predicted.flat_values, scores)
        assert_same(world.evaluate(), metrics)
        assert watch.predict == [fits] * 4
        assert encodings.number == (0 if fits else 8)
        warnings = ["more than encoding_memory" in message for message in caplog.messages]
        # Of predict and of evaluate; 0 asks for it.
        assert warnings == ([True, True] if memory == size - 1 else [])
        caplog.clear()
        assert_nothing_is_kept(world.model)


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
    world = make_world(graph=True)
    encodings = Encodings(world.model, monkeypatch)
    first = world.predict()
    traces = encodings.number
    assert traces > 0
    catalog = tfrs_npa.NewsCatalog(vocabulary=world.catalog.vocabulary).extend(world.news)
    catalog.extend({"news_id": [f"M{i}" for i in range(9)], "title": ["team wins", "rain", ""] * 3})
    world.model.set_catalog(catalog)
    np.testing.assert_array_equal(world.predict().flat_values, first.flat_values)
    world.model.encoding_memory = 0
    assert_close(world.predict().flat_values, first.flat_values)
    assert encodings.number == traces
    # Calls outside find nothing encoded.
    batch = next(iter(world.impression_batches()))
    scores = world.model.predict_on_batch(batch)
    assert_close(scores.flat_values, first[: len(batch["user_id"])].flat_values)


def test_weights_of_the_moment_count(make_world):
    """What training changes between two evaluations shows in the second."""
    world = make_world()
    before = world.predict().flat_values
    world.fit()
    after = world.predict().flat_values
    assert np.abs(after - before).max() > 1e-3
    assert_close(after, plain_scores(world))
    assert_same(world.evaluate(), plain_metrics(world))


def test_validation_of_fit(make_world):
    """Encoded for each validation and not for the steps between."""
    world, watch = make_world(), Watch()
    logs = world.fit(2, validation_data=world.impression_batches(), callbacks=[watch])
    assert watch.test == [True] * 8
    assert len(watch.train) > 4 and not any(watch.train)
    last = {name[4:]: values[-1] for name, values in logs.items() if name.startswith("val_")}
    assert_same(last, plain_metrics(world))
    assert_nothing_is_kept(world.model)


@pytest.mark.parametrize("method", ["evaluate", "predict"])
def test_nothing_is_kept_after_an_error(method, make_world):
    world = make_world()

    def fail(*_):
        assert world.model.encoded_catalog.ready
        raise KeyboardInterrupt

    callback = tf.keras.callbacks.LambdaCallback()
    callback.on_test_batch_end = callback.on_predict_batch_end = fail
    with pytest.raises(KeyboardInterrupt):
        getattr(world.model, method)(world.impression_batches(), verbose=0, callbacks=[callback])
    assert_nothing_is_kept(world.model)


def test_nothing_is_kept_after_an_error_of_encoding(make_world, monkeypatch):
    """As if memory did not suffice for the last chunk."""
    world = make_world()
    update, updates = tf.raw_ops.InplaceUpdate, []

    def fail(**arguments):
        updates.append(arguments)
        if len(updates) > 3:
            raise MemoryError
        return update(**arguments)

    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(tfrs_npa.models.encoded_catalog, "_CHUNK", 7)
        patch.setattr(tf.raw_ops, "InplaceUpdate", fail)
        world.evaluate()
    assert_nothing_is_kept(world.model)
    assert_same(world.evaluate(), plain_metrics(world))


def test_mixed_bfloat16(make_world):
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        world, watch = make_world(), Watch()
        randomize(world.model)
        batches = world.impression_batches()
        scores = world.model.predict(batches, verbose=0, callbacks=[watch]).flat_values
        assert watch.bytes == {world.model.encoded_catalog.size()}
        np.testing.assert_allclose(scores, plain_scores(world), rtol=0.05, atol=0.05)
        assert np.isfinite(world.evaluate()["loss"])
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")
