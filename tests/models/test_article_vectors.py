"""Articles that bring vectors: every way to a score adds them to the words."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import tfrs_npa

IDS = [f"N{i}" for i in range(6)]
TITLES = ["rain in the north", "team wins", "", "a b c d e f", "rain rain rain", "wins the a b"]
FIELDS = {
    "title_length": 5,
    "history_length": 4,
    "word_embedding_dim": 5,
    "user_embedding_dim": 3,
    "num_filters": 4,
    "attention_dim": 6,
}
REQUEST = {"user_id": ["U1", "new"], "history": [["N0", "N3", "", ""], ["N5", "", "", ""]]}


def make(vectors=True, weights=True, **changes):
    """A model with random weights; N1 and N4 have no vector."""
    generator = np.random.default_rng(2)
    given = None
    if vectors:
        given = tfrs_npa.ArticleVectors(
            ["N0", "N2", "N3", "N5", "N9"], generator.normal(size=(5, 3)).astype(np.float32)
        )
    catalog = tfrs_npa.NewsCatalog(article_vectors=given)
    catalog.adapt({"news_id": IDS, "title": TITLES})
    users = tfrs_npa.UserIndex().adapt({"user_id": ["U1", "U2"]})
    model = tfrs_npa.NPA(tfrs_npa.NPAConfig(**FIELDS | changes), catalog, users)
    if weights:
        values = [generator.normal(0, 0.6, weight.shape) for weight in model.get_weights()]
        model.set_weights(values)
    return model


def batch_of(model):
    return {
        "impression_id": np.arange(2),
        "user_id": model.users.index(REQUEST["user_id"]),
        "history": model.catalog.index(REQUEST["history"]),
        "candidates": np.tile(np.arange(2, 8), (2, 1)),
        "clicked": np.tile([1, 0, 0, 0, 1, 0], (2, 1)),
    }


FORMS = {
    "own": {},
    "published": {**tfrs_npa.NPAConfig.preset("paper").to_dict(), **FIELDS},
    "vanilla words": {"word_attention": "vanilla"},
    "padding counts": {"mask_padding": False, "user_interest": "mean"},
}


@pytest.mark.slow
@pytest.mark.parametrize("changes", FORMS.values(), ids=FORMS)
def test_every_way_to_a_score(changes):
    """The call, the towers, an evaluation, the explanation and the index."""
    model = make(**changes)
    batch = batch_of(model)
    expected = model(batch).numpy()
    users = model.query_tower(batch)
    pairs = {"user_id": np.repeat(batch["user_id"], 6), "news_id": batch["candidates"].ravel()}
    articles = tf.reshape(model.candidate_tower(pairs), [2, 6, -1])
    close = {"rtol": 1e-4, "atol": 1e-5}
    np.testing.assert_allclose(model.query_tower.scores(users, articles), expected, **close)
    (scored,) = model.predict_batches(tf.data.Dataset.from_tensors(batch))
    np.testing.assert_allclose(scored.flat_values, expected.ravel(), **close)
    found = tfrs_npa.explain(model, *(batch[k] for k in ("user_id", "history", "candidates")))
    np.testing.assert_allclose(found.scores, expected, **close)
    words = [4, 2, 0, 5, 3, 4]
    shown = np.count_nonzero(found.candidate_word_weights[0], axis=1).tolist()
    assert shown == words or not model.config.mask_padding

    scores, ids = tfrs_npa.PersonalizedTopK(model, k=6).index()(REQUEST)
    for row in range(2):
        order = model.catalog.index(ids[row].numpy()) - 2
        np.testing.assert_allclose(scores[row], expected[row, order], **close)
    model.candidate_tower.vector_kernel.assign(tf.zeros_like(model.candidate_tower.vector_kernel))
    assert np.abs(model(batch) - expected).max() > 1e-2


@pytest.mark.slow
def test_an_export_scores_with_them(tmp_path):
    model = make(user_interest="mean")
    served = tf.saved_model.load(str(tfrs_npa.export(model, tmp_path))).signatures
    asked = {k: tf.constant(v) for k, v in (REQUEST | {"candidates": [IDS, IDS]}).items()}
    for name in ("score", "explain"):
        scores = served[name](**asked)["scores"]
        np.testing.assert_allclose(scores, model(batch_of(model)), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_model_starts_as_if_there_were_none():
    """And articles without a vector stay as they are, whatever is learned."""
    model, plain = make(weights=False), make(vectors=False, weights=False)
    batch = batch_of(model) | {"history": model.catalog.index([["N1", "N4"]] * 2)}
    np.testing.assert_array_equal(model(batch), plain(batch))
    assert len(model.weights) == len(plain.weights) + 1
    model.compile(optimizer="sgd", run_eagerly=True)
    model.train_step({name: tf.constant(value) for name, value in batch.items()})
    kernel = model.candidate_tower.vector_kernel.numpy()
    assert np.abs(kernel).max() > 0
    others = [w for w in model.weights if w is not model.candidate_tower.vector_kernel]
    plain.set_weights([weight.numpy() for weight in others])
    has_none = [1, 2, 4]  # N1, N2 without words, N4
    found, expected = model(batch).numpy(), plain(batch).numpy()
    np.testing.assert_array_equal(found[:, has_none], expected[:, has_none])
    assert np.abs(found - expected).max() > 0


@pytest.mark.slow
def test_new_articles_bring_theirs():
    model = make()
    with pytest.raises(ValueError, match="the vectors have 3 numbers, the new ones 2"):
        model.catalog.article_vectors.extend(["N8"], np.ones((1, 2)))
    model.catalog.article_vectors.extend(["N8"], np.ones((1, 3)))
    news = {"news_id": ["N7", "N8", "N9"], "title": ["team wins"] * 3}
    articles = model.add_articles(news)
    pairs = {"user_id": np.ones(4, np.int32), "news_id": np.append(3, articles)}
    found = model.candidate_tower(pairs).numpy()
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)
    assert all(np.abs(found[0] - found[row]).max() > 1e-3 for row in (2, 3))
    index = tfrs_npa.PersonalizedTopK(model, k=9).index()
    scores, ids = index({"user_id": ["U1"], "history": [["N0"]]})
    by_id = dict(zip(ids[0].numpy().tolist(), scores[0].numpy().tolist(), strict=True))
    assert by_id[b"N1"] == by_id[b"N7"] != by_id[b"N8"]
    # Too late for an article that is there.
    model.catalog.article_vectors.extend(["N7"], np.ones((1, 3)))
    model.add_articles({"news_id": ["N7"], "title": ["team wins"]})
    assert not model.catalog.vectors()[articles[0]].any()
    np.testing.assert_array_equal(model.candidate_tower(pairs), found)


def test_another_catalogue():
    plain, model = make(vectors=False), make()
    with pytest.raises(ValueError, match="have vectors of 3 numbers, but the model was made witho"):
        plain.set_catalog(model.catalog)
    assert plain.catalog is not model.catalog
    model.set_catalog(plain.catalog)
    assert not model.candidate_tower.article_tables[1].numpy().any()


def test_a_keras_file_holds_them_and_weights_do_not(tmp_path):
    model = make()
    model.save(tmp_path / "model.keras")
    copy = tf.keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(copy.catalog.vectors(), model.catalog.vectors())
    np.testing.assert_array_equal(copy(batch_of(model)), model(batch_of(model)))
    shapes = {tuple(weight.shape) for weight in model.weights}
    assert (3, 4) in shapes and (8, 3) not in shapes
    plain = make(vectors=False)
    plain.save(tmp_path / "plain.keras")
    loaded = tf.keras.models.load_model(tmp_path / "plain.keras")
    np.testing.assert_array_equal(loaded(batch_of(plain)), plain(batch_of(plain)))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_index_and_its_model_have_the_same_vectors(dtype):
    """Also if the catalogue got others, for the articles that were there."""
    model = make()
    index = tfrs_npa.PersonalizedTopK(model, k=6, dtype=dtype).index()
    generator = np.random.default_rng(5)
    others = tfrs_npa.ArticleVectors(IDS, generator.normal(size=(6, 3)).astype(np.float32))
    model.catalog.set_article_vectors(others)
    index.index()
    scores, ids = index(REQUEST)
    expected = dict(zip(model.catalog.ids[2:], model(batch_of(model)).numpy()[0], strict=True))
    for score, news_id in zip(scores.numpy()[0], ids.numpy()[0], strict=True):
        np.testing.assert_allclose(score, expected[news_id.decode()], rtol=1e-4, atol=1e-5)
