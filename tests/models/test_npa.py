from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import tfrs_npa
from tfrs_npa.layers.packed import packed_rows, packed_softmax
from tfrs_npa.layers.sparse_products import inner_products


def test_predict_is_ragged_and_in_order(trained):
    """Batches of different widths, each impression as the model scores it alone."""
    assert len({batch["candidates"].shape[1] for batch in trained.impression_batches()}) > 1
    scores = trained.predict()
    rows = list(trained.valid_behaviors.as_numpy_iterator())
    assert isinstance(scores, tf.RaggedTensor)
    assert scores.shape.as_list() == [23, None]
    assert scores.row_lengths().numpy().tolist() == [len(r["candidates"]["news_id"]) for r in rows]
    for row, alone in zip(scores, trained.impression_batches(batch_size=1)):
        np.testing.assert_allclose(row, trained.model(alone)[0], rtol=1e-5, atol=1e-6)


def test_predict_of_one_batch_and_with_steps(trained):
    whole = trained.predict(batch_size=100)
    assert whole.shape[0] == 23
    first = trained.model.predict(trained.impression_batches(), steps=2, verbose=0)
    np.testing.assert_allclose(first.flat_values, whole[:12].flat_values, rtol=1e-5, atol=1e-6)


def test_unknown_articles_are_scored(trained, behaviors_of):
    behaviors = behaviors_of(
        ["U1", "U99"], [["N1", "gone"], ["gone"]], [["N2", "new"]] * 2, [[0, 1]] * 2
    )
    with pytest.warns(UserWarning, match="not in the catalogue"):
        scores = trained.predict(behaviors)
    first, second = scores.to_list()
    assert first[0] == first[1] and second[0] == second[1]
    # The second user's history is as good as empty.
    nothing = trained.predict(behaviors_of(["U99"], [[]], [["N2"]], [[1]]))
    np.testing.assert_allclose(second[0], nothing.to_list()[0][0], rtol=1e-5, atol=1e-6)


def test_lists_are_accepted(trained):
    """As in the class's example."""
    features = {"user_id": [1], "history": [[2, 3]], "candidates": [[2, 3, 4]]}
    assert trained.model(features).shape == (1, 3)
    # A vector for the prior and for each click; two terms of the density and the item bias.
    query = trained.model.query_tower({"user_id": [1], "history": [[2, 3]]})
    assert query.shape == (1, 1 + 2, 9 + 3)
    assert trained.model.candidate_tower({"user_id": [1], "news_id": [2]}).shape == (1, 9 + 3)


@pytest.mark.parametrize("mask_padding", [True, False])
@pytest.mark.parametrize(
    "widths",
    [
        ("int32", "int32", "int64", "int64"),
        ("int64", "int64", "int32", "int32"),
        ("int64", "int32", "int64", "int32"),
        ("int32", "int64", "int32", "int64"),
    ],
)
def test_integers_of_any_width(random_model, odd_batch, widths, mask_padding):
    """As NumPy and a data set give them: int64 here, int32 there."""
    model = random_model(mask_padding=mask_padding)
    names = ("user_id", "history", "candidates", "clicked")
    batch = {name: odd_batch[name].astype(width) for name, width in zip(names, widths)}
    expected = {name: odd_batch[name].astype("int32") for name in names}
    np.testing.assert_array_equal(model(batch), model(expected))
    np.testing.assert_array_equal(model(batch, training=True), model(expected, training=True))
    np.testing.assert_array_equal(model.query_tower(batch), model.query_tower(expected))
    pairs, expected_pairs = (
        {"user_id": b["user_id"], "news_id": b["candidates"][:, 0]} for b in (batch, expected)
    )
    towers = model.candidate_tower(pairs), model.candidate_tower(expected_pairs)
    np.testing.assert_array_equal(*towers)
    for found, part in zip(
        tfrs_npa.explain(model, *(batch[name] for name in names[:3])),
        tfrs_npa.explain(model, *(expected[name] for name in names[:3])),
        strict=True,
    ):
        np.testing.assert_array_equal(found, part)
    model.reset_metrics()
    assert np.isfinite(model.compute_loss(batch))


@pytest.mark.slow
def test_integers_of_mixed_width_in_every_step(make_world):
    world = make_world()

    def widened(batch, names):
        return batch | {name: tf.cast(batch[name], tf.int64) for name in names}

    for names in (["history", "clicked"], ["candidates", "user_id"]):
        train, valid = (
            batches.map(lambda batch: widened(batch, names))  # noqa: B023
            for batches in (world.training_batches(), world.impression_batches())
        )
        history = world.model.fit(train, validation_data=valid, verbose=0).history
        assert np.isfinite(history["val_auc"][-1])
        scores = world.model.predict(valid, verbose=0)
        np.testing.assert_allclose(scores.flat_values, world.predict().flat_values, atol=1e-6)


def test_every_user_has_a_row(trained):
    """The last one too: the reference's table is one row short."""
    table = trained.model.user_embedding.table
    assert table.shape[0] == len(trained.user_ids) + 1
    ids = trained.users.index([*trained.user_ids, "nobody"])
    np.testing.assert_array_equal(trained.model.user_embedding(ids), table.numpy()[ids])


def test_poolings_start_with_unequal_weights(make_world):
    """In the reference both start alike, because user embeddings start at zero."""
    world = make_world()
    (batch,) = world.impression_batches(batch_size=23).take(1)
    users = world.model.user_embedding(batch["user_id"])
    tower = world.model.candidate_tower
    _, keys, _, lengths, _ = tower.title_features(tf.range(2, 12))
    rows = packed_rows(lengths)
    logits = inner_products(tower.attention.query(users), keys, rows, tf.range(tf.size(rows)))
    weights = tf.RaggedTensor.from_row_lengths(packed_softmax(logits, lengths), lengths)
    weights = [row for row in weights.to_list() if len(row) > 1]
    assert weights and all(np.ptp(row) > 0 for row in weights)
    kernels = [
        tower.attention.query_kernel.numpy()
        for tower in (world.model.candidate_tower, world.model.query_tower)
    ]
    assert np.any(kernels[0] != kernels[1])


def test_pooling_dropout_is_a_setting(make_world):
    (batch,) = make_world().training_batches().take(1)
    for rate, same in ((0.0, True), (0.5, False)):
        model = make_world(without_dropout=True, pooling_dropout=rate).model
        assert np.allclose(model(batch, training=True), model(batch), atol=1e-6) == same


def test_set_catalog_scores_new_articles(trained, behaviors_of):
    model = tfrs_npa.NPA(trained.config, trained.catalog, trained.users)
    model.compile()
    model.set_weights(trained.model.get_weights())
    before = model.predict(trained.impression_batches(), verbose=0)
    catalog = tfrs_npa.NewsCatalog(vocabulary=trained.catalog.vocabulary).extend(trained.news)
    catalog.extend({"news_id": ["M1", "M2"], "title": ["team wins", "rain"]})
    model.set_catalog(catalog)
    assert model.catalog is catalog
    for ours, kept in zip(model.get_weights(), trained.model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, kept)
    # The articles of before as before.
    after = model.predict(trained.impression_batches(), verbose=0)
    np.testing.assert_array_equal(after.flat_values, before.flat_values)
    behaviors = behaviors_of(["U1"], [["N1", "M2"]], [["M1", "M2"]], [[1, 0]])
    batches = tfrs_npa.impression_batches(behaviors, catalog, trained.users, trained.config)
    scores = model.predict(batches, verbose=0).to_list()[0]
    assert scores[0] != scores[1]


@pytest.mark.parametrize("directly", [False, True])
def test_add_articles(trained, directly):
    """Through the model, or first to its catalogue."""
    catalog = tfrs_npa.NewsCatalog(vocabulary=trained.catalog.vocabulary).extend(trained.news)
    model = tfrs_npa.NPA(trained.config, catalog, trained.users)
    news = {"news_id": ["M1", "N1"], "title": ["rain wins", trained.catalog.titles[3]]}
    if directly:
        catalog.extend(news)
        model.add_articles()
    else:
        model.add_articles(news)
    assert model.catalog is catalog and catalog.ids[-1] == "M1"
    tokens = model.candidate_tower.tokens.numpy()
    assert len(tokens) == len(catalog) == len(trained.catalog) + 1
    words = [catalog.vocabulary.words[word] for word in tokens[-1]]
    assert [word for word in words if word] == ["rain", "wins"]
    model.add_articles()
    assert len(model.candidate_tower.tokens.numpy()) == len(catalog)


def test_set_catalog_with_another_vocabulary(trained):
    other = tfrs_npa.NewsCatalog().adapt({"news_id": ["N1"], "title": ["unheard words"]})
    with pytest.raises(ValueError, match="another vocabulary"):
        trained.model.set_catalog(other)
    assert trained.model.catalog is trained.catalog


@pytest.mark.slow
@pytest.mark.parametrize(
    "attention, kind",
    [("recommenders", "personalized"), ("paper", "personalized"), ("paper", "mean")],
)
def test_mixed_bfloat16(attention, kind, make_world):
    fields = {"attention": attention, "word_attention": kind, "news_attention": kind}
    exact = make_world(**fields, without_dropout=True)
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        rough = make_world(graph=attention == "recommenders", **fields, without_dropout=True)
        rough.model.set_weights(exact.model.get_weights())
        for weight in rough.model.trainable_variables:
            assert weight.dtype == tf.float32
        (batch,) = rough.impression_batches().take(1)
        assert rough.model.query_tower(batch).dtype == tf.bfloat16
        scores = rough.predict().flat_values
        assert scores.dtype == tf.float32
        difference = np.abs(scores - exact.predict().flat_values)
        assert 0 < difference.max() < 0.05
        assert np.isfinite(rough.fit()["loss"][0])
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")


def test_mixed_bfloat16_rounds_only_rows_that_are_looked_up(make_world):
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        world = make_world(published=True)
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")
    (batch,) = world.impression_batches().take(1)
    graph = tf.function(world.model.__call__).get_concrete_function(batch, training=True).graph
    handles = {inside.name: handle for handle, inside in graph.captures}

    def readers_of(table):
        of = [op for op in graph.get_operations() if op.inputs]
        return [op.type for op in of if handles.get(op.inputs[0].name) is table.handle]

    for table in (world.model.user_embedding.table, world.model.candidate_tower.word_table):
        assert set(readers_of(table)) == {"ResourceGather"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "form",
    [{}, {"published": True}, {"published": True, "attention": "paper"}],
    ids=["recipe", "recommenders", "paper"],
)
def test_mixed_bfloat16_trains_as_float32_does(form, make_world):
    losses = {}
    for policy in ("float32", "mixed_bfloat16"):
        tf.keras.mixed_precision.set_global_policy(policy)
        try:
            world = make_world(without_dropout=True, **form)
            losses[policy] = [world.fit()["loss"][0] for _ in range(3)]
            losses[policy].append(world.evaluate()["loss"])
        finally:
            tf.keras.mixed_precision.set_global_policy("float32")
        assert all(np.isfinite(weight).all() for weight in world.model.get_weights())
    np.testing.assert_allclose(losses["mixed_bfloat16"], losses["float32"], rtol=0.02)
    first, second, third, _ = losses["mixed_bfloat16"]
    assert first > second > third
