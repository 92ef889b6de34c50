"""Users who are added to a model, and models that start from another one's weights."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import tfrs_npa

NEWS = {
    "news_id": [f"N{i}" for i in range(12)],
    "title": [f"{a} {b}" for a in ("rain", "sun", "vote", "team") for b in ("north", "wins", "")],
}


def make_model(users="AB", news=NEWS, optimizer=tfrs_npa.LazyAdam, buckets=None, **changes):
    fields = {
        "title_length": 4,
        "history_length": 3,
        "word_embedding_dim": 4,
        "user_embedding_dim": 3,
        "num_filters": 5,
        "attention_dim": 4,
        "background_titles": 3,
        "user_dropout": 0.0,
        "dropout": 0.0,
        "pooling_dropout": 0.0,
        "user_initializer": "uniform",
        "batch_size": 2,
        "negatives_per_positive": 1,
    }
    catalog = tfrs_npa.NewsCatalog().adapt(news)
    index = tfrs_npa.UserIndex() if buckets is None else tfrs_npa.UserIndex.hashed(buckets)
    index.adapt({"user_id": list(users)})
    model = tfrs_npa.NPA(tfrs_npa.NPAConfig(**fields | changes), catalog, index)
    model.compile(optimizer(1e-2), run_eagerly=True)
    return model


def batches_of(model):
    """Two batches in which A, B, C and D click."""
    columns = {
        "user_id": model.users.index(["A", "B", "C", "D"]),
        "history": model.catalog.index([["N1", "N2"], ["N3", ""], ["N4", "N5"], ["N7", "N0"]]),
        "candidates": model.catalog.index([["N0", "N3"], ["N1", "N2"], ["N8", "N9"], ["N2", "N0"]]),
        "clicked": np.array([[1, 0], [0, 1], [1, 0], [0, 1]]),
    }
    return tf.data.Dataset.from_tensor_slices(columns).batch(2)


def trained(**arguments):
    model = make_model(**arguments)
    model.fit(batches_of(model), verbose=0)
    return model


def moments(model, table):
    """The two moments of a table, by row."""
    names = (f"m/{table}", f"v/{table}")
    return [v.numpy() for v in model.optimizer.variables if v.name.split(":")[0] in names]


def test_a_new_user_starts_as_the_unknown_user():
    model = trained()
    before, moments_before = model.user_embedding.table.numpy(), moments(model, "user_table")
    scores = model.predict(batches_of(model), verbose=0)
    model.add_users({"user_id": ["C", "B", "", "D"]})
    assert model.users.ids == ["[UNK]", "A", "B", "C", "D"]
    np.testing.assert_array_equal(model.user_embedding.table, before[[0, 1, 2, 0, 0]])
    for old, new in zip(moments_before, moments(model, "user_table"), strict=True):
        assert old[0].any()
        np.testing.assert_array_equal(new, old[[0, 1, 2, 0, 0]])
    assert model.optimizer.iterations == 2
    again = model.predict(batches_of(model), verbose=0)
    np.testing.assert_allclose(again.flat_values, scores.flat_values, rtol=1e-5, atol=1e-6)


def test_only_a_row_of_their_own_is_trained_from_then_on():
    model = trained()
    model.add_users({"user_id": ["C", "D"]})
    before = model.user_embedding.table.numpy()
    model.fit(batches_of(model).skip(1), verbose=0)
    moved = np.any(model.user_embedding.table.numpy() != before, axis=1)
    assert moved.tolist()[1:] == [False, False, True, True]  # 0: for all titles


@pytest.mark.parametrize("optimizer", [tf.keras.optimizers.Adam, tf.keras.optimizers.Adagrad])
def test_any_optimizer(optimizer):
    model = trained(optimizer=optimizer)
    model.add_users({"user_id": ["C"]})
    assert isinstance(model.optimizer, optimizer) and model.optimizer.iterations == 2
    model.fit(batches_of(model), verbose=0)


def test_a_legacy_optimizer_is_refused():
    model = make_model(optimizer=tf.keras.optimizers.legacy.Adam)
    with pytest.raises(ValueError, match="legacy"):
        model.add_users({"user_id": ["C"]})
    assert model.users.ids == ["[UNK]", "A", "B"]


def test_users_by_which_the_index_was_extended():
    model = make_model()
    model.users.extend({"user_id": ["C"]})
    model.add_users()
    assert model.user_embedding.table.shape == (4, 3)
    table = model.user_embedding.table
    model.add_users({"user_id": ["A"]})
    assert model.user_embedding.table is table


@pytest.mark.slow
def test_graphs_of_keras_follow():
    model = make_model()
    model.compile(tfrs_npa.LazyAdam(1e-2))
    model.fit(batches_of(model), verbose=0)
    model.predict(batches_of(model), verbose=0)
    model.add_users({"user_id": ["C", "D"]})
    model.fit(batches_of(model), epochs=3, verbose=0)
    graph = model.predict(batches_of(model), verbose=0).flat_values
    model.run_eagerly, model.predict_function = True, None
    eager = model.predict(batches_of(model), verbose=0).flat_values
    np.testing.assert_allclose(graph, eager, rtol=1e-5)


def test_new_users_in_buckets_start_as_the_unknown_user():
    model = trained(buckets=97)
    before, moments_before = model.user_embedding.table.numpy(), moments(model, "user_table")
    scores = model.predict(batches_of(model), verbose=0)
    table, old_users = model.user_embedding.table, model.users.known
    model.add_users({"user_id": ["C", "B", "", "D"]})
    assert model.user_embedding.table is table and model.optimizer.iterations == 2
    rows = np.where(model.users.known & ~old_users, 0, np.arange(98))
    assert np.flatnonzero(rows == 0).tolist() == [0, *sorted(model.users.index(["C", "D"]))]
    np.testing.assert_array_equal(table, before[rows])
    for old, new in zip(moments_before, moments(model, "user_table"), strict=True):
        assert old[0].any()
        np.testing.assert_array_equal(new, old[rows])
    again = model.predict(batches_of(model), verbose=0)
    np.testing.assert_allclose(again.flat_values, scores.flat_values, rtol=1e-6)
    with pytest.raises(ValueError, match="users in buckets have to be given to add_users"):
        model.add_users()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make_index", "buckets"),
    [
        (tfrs_npa.PersonalizedTopK, None),
        (tfrs_npa.TwoStageTopK, None),
        (tfrs_npa.PersonalizedTopK, 97),
    ],
)
def test_an_index_follows(make_index, buckets):
    model = trained(buckets=buckets)
    index = make_index(model, k=3).index()
    queries = {"user_id": ["C", "A"], "history": [["N1", "N2"], ["N4"]]}
    before = index(queries)[0].numpy()
    model.add_users({"user_id": ["C"]})
    np.testing.assert_allclose(index(queries)[0], before, rtol=1e-5)
    table = model.user_embedding.table
    table.assign(np.random.default_rng(0).normal(0, 2, table.shape))
    expected = make_index(model, k=3).index()
    np.testing.assert_allclose(index.index()(queries)[0], expected(queries)[0], rtol=1e-5)
    assert np.abs(index(queries)[0] - before).max() > 1e-3


@pytest.mark.parametrize("buckets", [None, 97])
def test_a_saved_model_has_the_users(tmp_path, buckets):
    model = trained(buckets=buckets)
    model.add_users({"user_id": ["C"]})
    model.save(tmp_path / "npa.keras")
    loaded = tf.keras.models.load_model(tmp_path / "npa.keras")
    assert loaded.users == model.users
    np.testing.assert_array_equal(loaded.user_embedding.table, model.user_embedding.table)


# Warm start.
LATER = {
    "news_id": ["N7", "N100", "N1"],
    "title": [NEWS["title"][7], "snow wins", NEWS["title"][1]],
}


def test_words_and_users_are_matched_by_their_strings():
    source, target = trained(), make_model(["D", "B"], LATER)
    tfrs_npa.warm_start(source, target, follow_titles=False)
    words = source.catalog.vocabulary
    rows = words.index(target.catalog.vocabulary.words)
    assert rows[target.catalog.vocabulary.words.index("snow")] == 1
    for old, new, chosen in (
        (source.candidate_tower.word_table, target.candidate_tower.word_table, rows),
        (source.user_embedding.table, target.user_embedding.table, [0, 0, 2]),
    ):
        np.testing.assert_array_equal(new, old.numpy()[chosen])
    for table, chosen in (("word_table", rows), ("user_table", [0, 0, 2])):
        for old, new in zip(moments(source, table), moments(target, table), strict=True):
            np.testing.assert_array_equal(new, old[chosen])


def test_an_index_of_buckets_that_is_extended_directly():
    """A bucket has a row before it has users: such a user is known, by a row that never learnt."""
    model = make_model(buckets=97)
    before = model.user_embedding.table.numpy()
    model.fit(batches_of(model), verbose=0)
    model.users.extend({"user_id": ["C"]})
    row = int(model.users.index("C"))
    assert row and int(model.users.table.lookup(tf.constant(["C"]))[0]) == row
    table = model.user_embedding.table.numpy()
    np.testing.assert_array_equal(table[row], before[row])
    assert np.any(table[0] != before[0])


def test_users_are_matched_by_their_bucket():
    source, target = trained(buckets=97), make_model(["D", "B"], LATER, buckets=97)
    tfrs_npa.warm_start(source, target, follow_titles=False)
    rows = np.zeros(98, int)
    rows[target.users.index("B")] = source.users.index("B")
    table = source.user_embedding.table.numpy()
    np.testing.assert_array_equal(target.user_embedding.table, table[rows])
    with pytest.raises(ValueError, match="in 96 buckets cannot be found in 97 others"):
        tfrs_npa.warm_start(source, make_model(buckets=96))
    with pytest.raises(ValueError, match="in 97 buckets have no ids to find elsewhere"):
        tfrs_npa.warm_start(make_model(), target)


def test_the_same_words_and_users_give_the_same_model():
    source, target = trained(), make_model()
    tfrs_npa.warm_start(source, target)
    for model in (source, target):
        model.fit(batches_of(model), verbose=0)
    for old, new in zip(source.get_weights(), target.get_weights(), strict=True):
        np.testing.assert_allclose(old, new, rtol=1e-4, atol=1e-7)


def test_a_new_word_is_near_those_of_its_titles():
    titles = ["rain north", "rain sea", "rain wind", "vote poll", "vote bank", "vote rate"]
    ids = [f"N{i}" for i in range(len(titles))]
    source = make_model(news={"news_id": ids, "title": titles}, word_initializer="titles")
    more = ["snow north", "snow sea", "snow wind", "vote tax", "rain north"]
    catalog = source.catalog.with_news({"news_id": list("abcde"), "title": more})
    target = tfrs_npa.NPA(source.config, catalog, source.users)
    tfrs_npa.warm_start(source, target)
    table = target.candidate_tower.word_table.numpy()
    snow, rain, vote = table[catalog.vocabulary.index(["snow", "rain", "vote"])]
    assert cosine(snow, rain) > cosine(snow, vote) + 0.3
    before = source.candidate_tower.word_table.numpy()
    words = source.catalog.vocabulary.words
    assert cosine(before[words.index("rain")], rain) > 0.7
    tfrs_npa.warm_start(source, target, follow_titles=False)
    unknown = target.candidate_tower.word_table.numpy()[catalog.vocabulary.index(["snow"])[0]]
    np.testing.assert_array_equal(unknown, before[1])


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def test_a_model_that_is_not_compiled():
    source, target = trained(), make_model()
    target.optimizer = None
    tfrs_npa.warm_start(source, target)
    np.testing.assert_array_equal(source.user_embedding.table, target.user_embedding.table)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_filters": 6}, "shapes of layers"),
        ({"word_attention": "mean"}, "shapes of layers"),
        ({"optimizer": tf.keras.optimizers.Adagrad}, "LazyAdam and is now Adagrad"),
    ],
)
def test_models_that_do_not_fit(arguments, message):
    source, target = trained(), make_model(**arguments)
    before = target.get_weights()
    with pytest.raises(ValueError, match=message):
        tfrs_npa.warm_start(source, target)
    assert all(map(np.array_equal, before, target.get_weights()))


@pytest.mark.parametrize("tokenizers", [("mind", "unicode"), ("unicode", "mind")])
def test_words_of_other_tokenizers(tokenizers):
    config, users = trained().config, tfrs_npa.UserIndex().adapt({"user_id": ["A"]})
    catalogs = [tfrs_npa.NewsCatalog(tokenizer=name).adapt(NEWS) for name in tokenizers]
    models = [tfrs_npa.NPA(config, catalog, users) for catalog in catalogs]
    with pytest.raises(ValueError, match="tokenizers {} and {}".format(*tokenizers)):
        tfrs_npa.warm_start(*models)
