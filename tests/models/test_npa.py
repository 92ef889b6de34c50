from __future__ import annotations

import functools
import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import tfrs_npa

import tensorflow as tf  # isort: skip

WORDS = "rain sun north team wins final vote poll bank rate game song film star road".split()
ARTICLES = [f"N{i}" for i in range(30)]
USERS = [f"U{i}" for i in range(8)]


def make_news(ids, seed):
    generator = np.random.default_rng(seed)
    lengths = generator.integers(2, 8, len(ids))
    titles = [" ".join(generator.choice(WORDS, n, replace=False)) for n in lengths]
    return {"news_id": ids, "title": titles}


def make_behaviors(seed, impressions=23, labelled=True, widths=(2, 9)):
    """Impressions with 0 to 6 clicks of history and one or two clicked candidates."""
    generator = np.random.default_rng(seed)
    histories, candidates, labels = [], [], []
    for i in range(impressions):
        histories.append(generator.choice(ARTICLES, i % 7).tolist())
        width = int(generator.integers(*widths))
        candidates.append(generator.choice(ARTICLES, width, replace=False).tolist())
        clicks = 2 if width > 3 and i % 3 == 0 else 1
        clicked = generator.permutation([1] * clicks + [0] * (width - clicks)).tolist()
        labels.append(clicked if labelled else [-1] * width)
    return behaviors_of(
        [f"U{i}" for i in generator.integers(0, 12, impressions)], histories, candidates, labels
    )


def behaviors_of(user_ids, histories, candidates, labels):
    return tf.data.Dataset.from_tensor_slices(
        {
            "impression_id": np.arange(100, 100 + len(user_ids)),
            "user_id": user_ids,
            "history": tf.ragged.constant(histories, tf.string),
            "candidates": {
                "news_id": tf.ragged.constant(candidates, tf.string),
                "clicked": tf.ragged.constant(labels, tf.int64),
            },
        }
    )


NEWS = make_news(ARTICLES, seed=0)
TRAIN, VALID = make_behaviors(seed=1), make_behaviors(seed=2)


def make_config(**changes):
    fields = {
        "title_length": 6,
        "history_length": 5,
        "word_embedding_dim": 6,
        "user_embedding_dim": 4,
        "num_filters": 9,
        "attention_dim": 4,
        "user_initializer": "uniform",
        "dropout": 0.2,
        "user_dropout": 0.3,
        "negatives_per_positive": 2,
        "batch_size": 6,
        "learning_rate": 0.01,
        "schedule": "constant",
        "seed": 7,
    }
    return tfrs_npa.NPAConfig(**fields | changes)


WITHOUT_DROPOUT = {"dropout": 0.0, "pooling_dropout": 0.0, "user_dropout": 0.0}


CATALOG = tfrs_npa.NewsCatalog().adapt(NEWS)
INDEX = tfrs_npa.UserIndex().adapt({"user_id": USERS})


@functools.lru_cache
def impressions(behaviors):
    return tfrs_npa.Impressions.from_dataset(behaviors, CATALOG, INDEX)


class World:
    """A model and its batches.

    Tracing takes longer than all the steps of a test, so steps run eagerly where `graph` is false.
    """

    def __init__(self, graph=False, **changes):
        self.config = make_config(**changes)
        self.model = tfrs_npa.NPA(self.config, CATALOG, INDEX)
        self.model.compile(
            optimizer=tfrs_npa.default_optimizer(self.config, 100), run_eagerly=not graph
        )

    def train(self, behaviors=TRAIN, **kwargs):
        return tfrs_npa.training_batches(
            impressions(behaviors), CATALOG, INDEX, self.config, **kwargs
        )

    def valid(self, behaviors=VALID, **kwargs):
        return tfrs_npa.impression_batches(
            impressions(behaviors), CATALOG, INDEX, self.config, **kwargs
        )

    def fit(self, epochs=1, **kwargs):
        return self.model.fit(self.train(), epochs=epochs, verbose=0, **kwargs).history

    def evaluate(self, behaviors=VALID, **kwargs):
        return self.model.evaluate(self.valid(behaviors, **kwargs), verbose=0, return_dict=True)

    def predict(self, behaviors=VALID, **kwargs):
        return self.model.predict(self.valid(behaviors, **kwargs), verbose=0)


def assert_equal_weights(left, right):
    for a, b in zip(left.get_weights(), right.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def assert_same_results(left, right, **tolerance):
    assert left.keys() == right.keys()
    for name, value in left.items():
        np.testing.assert_allclose(value, right[name], err_msg=name, **tolerance)


@pytest.fixture(scope="module")
def trained():
    world = World(graph=True)
    world.history = world.fit(2, validation_data=world.valid())
    return world


# Fitting and evaluating


def plain_metrics(scores, behaviors):
    """Loss and AUC of each impression, computed one at a time."""
    losses, aucs = [], []
    for row, example in zip(scores, behaviors.as_numpy_iterator(), strict=True):
        labels = np.asarray(example["candidates"]["clicked"])
        row = np.asarray(row, np.float64)
        assert row.shape == labels.shape
        total = np.log(np.exp(row).sum())
        losses.append(np.mean(total - row[labels == 1]))
        aucs.append(roc_auc_score(labels, row))
    return np.array(losses), np.array(aucs)


def test_evaluation_is_the_mean_over_impressions(trained):
    """Not of the last batch, which is smaller than the others: 23 impressions in batches of 6."""
    losses, aucs = plain_metrics(trained.predict(), VALID)
    known = np.array([row["user_id"].decode() in USERS for row in VALID.as_numpy_iterator()])
    assert 0 < known.sum() < len(known)
    found = trained.evaluate()
    assert found["loss"] == pytest.approx(losses.mean(), rel=1e-5)
    assert found["auc"] == pytest.approx(aucs.mean(), rel=1e-6)
    assert found["auc_known_users"] == pytest.approx(aucs[known].mean(), rel=1e-6)
    assert found["auc_new_users"] == pytest.approx(aucs[~known].mean(), rel=1e-6)
    assert (found["impressions"], found["skipped_impressions"]) == (23, 0)


def test_names_of_validation_metrics(trained):
    names = {
        name + users
        for name in ("auc", "mrr", "ndcg_5", "ndcg_10")
        for users in ("", "_known_users", "_new_users")
    } | {"loss", "impressions", "skipped_impressions"}
    assert trained.evaluate().keys() == names
    assert trained.history.keys() == {"loss"} | {f"val_{name}" for name in names}
    assert trained.history["val_auc"][-1] == pytest.approx(trained.evaluate()["auc"])


def test_loss_of_an_epoch_is_the_mean_over_rows():
    # A rate this small leaves the weights, so the rows can be scored afterwards.
    world = World(learning_rate=1e-12, **WITHOUT_DROPOUT)
    logged = world.fit()["loss"][0]
    losses = []
    for batch in world.train():
        for logits in world.model(batch).numpy():  # the click comes first
            losses.append(np.log(np.exp(logits[logits > -1e8]).sum()) - logits[0])
    assert len(losses) % world.config.batch_size != 0
    assert logged == pytest.approx(np.mean(losses), rel=1e-5)


def test_fit_learns():
    losses = World(graph=True, learning_rate=0.03, **WITHOUT_DROPOUT).fit(20)["loss"]
    assert losses[-1] < 0.7 * losses[0]


def test_evaluating_twice_gives_the_same(trained):
    assert_same_results(trained.evaluate(), trained.evaluate(), rtol=0)
    np.testing.assert_array_equal(trained.predict().flat_values, trained.predict().flat_values)


def test_second_data_set_is_the_one_evaluated(trained):
    other = make_behaviors(seed=3, impressions=9)
    _, aucs = plain_metrics(trained.predict(other), other)
    before = trained.evaluate()
    found = trained.evaluate(other)
    assert found["impressions"] == 9
    assert found["auc"] == pytest.approx(aucs.mean(), rel=1e-6)
    assert found["auc"] != before["auc"]
    assert_same_results(trained.evaluate(), before, rtol=0)


@pytest.mark.parametrize("mask_padding", [True, False], ids=["masked", "unmasked"])
def test_batch_size_changes_no_result(mask_padding):
    world = World(mask_padding=mask_padding)
    assert_same_results(
        world.evaluate(batch_size=5), world.evaluate(batch_size=23), rtol=1e-5, atol=1e-6
    )


def test_unlabelled_data(trained):
    unlabelled = make_behaviors(seed=2, labelled=False)
    found = trained.evaluate(unlabelled)
    assert found["skipped_impressions"] == found["impressions"] == 23
    assert np.isnan(found["auc"])
    np.testing.assert_array_equal(
        trained.predict(unlabelled).flat_values, trained.predict().flat_values
    )


def test_impressions_with_one_label_only(trained):
    """Without a click: no loss, no metric. With clicks only: a loss, no metric."""
    ids = [["N1", "N2", "N3"], ["N4", "N5"], ["N6", "N7"]]
    labels = [[0, 1, 0], [0, 0], [1, 1]]
    behaviors = behaviors_of(["U1", "U2", "U3"], [["N1"]] * 3, ids, labels)
    first, _, third = trained.predict(behaviors).to_list()
    expected = [
        np.log(np.exp(first).sum()) - first[1],
        np.log(np.exp(third).sum()) - np.mean(third),
    ]
    found = trained.evaluate(behaviors)
    assert found["loss"] == pytest.approx(np.mean(expected), rel=1e-5)
    assert (found["impressions"], found["skipped_impressions"]) == (3, 2)
    assert found["auc"] == pytest.approx(roc_auc_score(labels[0], first))


def test_missing_negatives_are_left_out_of_the_softmax():
    """An impression with one negative where two are wanted trains on two candidates."""
    world = World(**WITHOUT_DROPOUT)
    behaviors = behaviors_of(["U1"], [["N1"]], [["N2", "N3"]], [[0, 1]])
    (batch,) = world.train(behaviors)
    assert batch["candidates"].numpy()[0, 2] == 0
    two = {"candidates": batch["candidates"][:, :2], "clicked": batch["clicked"][:, :2]}
    padded, plain = (world.model.compute_loss(b, training=True) for b in (batch, batch | two))
    np.testing.assert_allclose(padded, plain, rtol=1e-6)


# Predicting


def test_predict_is_ragged_and_in_order(trained):
    """Batches of different widths, each impression as the model scores it alone."""
    assert len({batch["candidates"].shape[1] for batch in trained.valid()}) > 1
    scores = trained.predict()
    rows = list(VALID.as_numpy_iterator())
    assert isinstance(scores, tf.RaggedTensor)
    assert scores.shape.as_list() == [23, None]
    assert scores.row_lengths().numpy().tolist() == [len(r["candidates"]["news_id"]) for r in rows]
    for row, alone in zip(scores, trained.valid(batch_size=1)):
        np.testing.assert_allclose(row, trained.model(alone)[0], rtol=1e-5, atol=1e-6)


def test_predict_of_one_batch_and_with_steps(trained):
    whole = trained.predict(batch_size=100)
    assert whole.shape[0] == 23
    first = trained.model.predict(trained.valid(), steps=2, verbose=0)
    np.testing.assert_allclose(first.flat_values, whole[:12].flat_values, rtol=1e-5, atol=1e-6)


def test_unknown_articles_are_scored(trained):
    behaviors = behaviors_of(
        ["U1", "U99"], [["N1", "gone"], ["gone"]], [["N2", "new"]] * 2, [[0, 1]] * 2
    )
    with pytest.warns(UserWarning, match="not in the catalogue"):
        scores = trained.predict(behaviors)
    assert scores.row_lengths().numpy().tolist() == [2, 2]
    assert np.all(np.isfinite(scores.flat_values))


def test_lists_are_accepted(trained):
    """As in the class's example."""
    features = {"user_id": [1], "history": [[2, 3]], "candidates": [[2, 3, 4]]}
    assert trained.model(features).shape == (1, 3)
    assert trained.model.query_tower({"user_id": [1], "history": [[2, 3]]}).shape == (1, 9)
    assert trained.model.candidate_tower({"user_id": [1], "news_id": [2]}).shape == (1, 9)


def test_other_features_pass_through(trained):
    behaviors = VALID.map(lambda row: row | {"source": "web"})
    batches = tfrs_npa.impression_batches(
        behaviors, CATALOG, INDEX, trained.config, features=["source"]
    )
    assert next(iter(batches))["source"][0] == b"web"
    assert_same_results(
        trained.model.evaluate(batches, verbose=0, return_dict=True), trained.evaluate(), rtol=0
    )


# What is trained


def test_every_user_has_a_row(trained):
    """The last one too: the reference's table is one row short."""
    table = trained.model.user_embedding.table
    assert table.shape[0] == len(USERS) + 1
    ids = INDEX.index([*USERS, "nobody"])
    np.testing.assert_array_equal(trained.model.user_embedding(ids), table.numpy()[ids])


def test_user_rows_move_and_only_those_of_the_batch():
    world = World(**WITHOUT_DROPOUT)
    rows = world.model.user_embedding.table.numpy()
    world.model.fit(
        world.train(behaviors_of(["U3"], [["N1"]], [["N2", "N3"]], [[0, 1]])), verbose=0
    )
    moved = np.any(world.model.user_embedding.table.numpy() != rows, axis=1)
    assert np.flatnonzero(moved).tolist() == INDEX.index(["U3"]).tolist()


@pytest.mark.parametrize("user_dropout", [0.0, 0.5])
def test_user_dropout_trains_the_unknown_user(user_dropout):
    world = World(user_dropout=user_dropout)
    before = world.model.user_embedding.table.numpy()[0]
    known = TRAIN.filter(lambda row: tf.reduce_any(row["user_id"] == USERS))
    world.model.fit(world.train(known), epochs=2, verbose=0)
    moved = np.any(world.model.user_embedding.table.numpy()[0] != before)
    assert moved == (user_dropout > 0)


def test_all_users_may_be_unknown():
    config, nobody = make_config(), tfrs_npa.UserIndex()
    model = tfrs_npa.NPA(config, CATALOG, nobody)
    model.compile(tfrs_npa.default_optimizer(config), run_eagerly=True)
    batches = tfrs_npa.training_batches(TRAIN, CATALOG, nobody, config)
    assert np.isfinite(model.fit(batches, verbose=0).history["loss"][0])


def test_default_history_is_trained_by_users_without_clicks():
    world = World(**WITHOUT_DROPOUT)
    tower = world.model.query_tower
    before = tower.default_history.numpy()
    with_clicks = behaviors_of(["U3"], [["N1"]], [["N2", "N3"]], [[0, 1]])
    world.model.fit(world.train(with_clicks), verbose=0)
    np.testing.assert_array_equal(tower.default_history, before)
    without = behaviors_of(["U3"], [[]], [["N2", "N3"]], [[0, 1]])
    world.model.fit(world.train(without), verbose=0)
    assert np.any(tower.default_history != before)


def test_masked_padding_words_are_not_trained():
    world = World()
    before = world.model.candidate_tower.word_table.numpy()[0]
    world.fit()
    np.testing.assert_array_equal(world.model.candidate_tower.word_table[0], before)


@pytest.mark.parametrize("preset", ["recommenders", "paper"])
@pytest.mark.parametrize("changes", [{}, {"word_attention": "mean", "news_attention": "vanilla"}])
def test_presets_train(preset, changes):
    fields = {
        n: getattr(make_config(), n) for n in ("title_length", "history_length", "batch_size")
    }
    for name in ("word_embedding_dim", "user_embedding_dim", "num_filters", "attention_dim"):
        fields[name] = getattr(make_config(), name)
    config = tfrs_npa.NPAConfig.preset(preset).replace(**fields, **changes)
    world = World(**config.to_dict())
    assert world.config == config
    before = world.model.get_weights()
    world.fit()
    assert np.isfinite(world.evaluate()["loss"])
    moved = [np.any(a != b) for a, b in zip(before, world.model.get_weights(), strict=True)]
    assert sum(moved) >= len(moved) - 1  # the user table has no say with mean and vanilla


# Seeds, and two models in one process


def test_same_seed_same_training():
    first, second = World(graph=True), World(graph=True)
    assert_equal_weights(first.model, second.model)
    for world in (first, second):
        world.fit(steps_per_epoch=3)
    assert_equal_weights(first.model, second.model)
    other = World(seed=8)
    assert any(
        np.any(a != b) for a, b in zip(other.model.get_weights(), World().model.get_weights())
    )


def test_two_models_do_not_disturb_each_other():
    alone = World(graph=True)
    alone.fit(2)
    first = World(graph=True)
    first.fit()
    second = World(graph=True, num_filters=7, attention="paper", mask_padding=False)
    second.fit()
    first.model.fit(first.train(initial_epoch=1), verbose=0)
    assert_equal_weights(first.model, alone.model)


def test_poolings_start_with_unequal_weights(trained):
    """In the reference both start alike, because user embeddings start at zero."""
    world = World()
    (batch,) = world.valid(batch_size=23).take(1)
    users = world.model.user_embedding(batch["user_id"])
    features = world.model.candidate_tower.encode(tf.range(2, 12), tf.range(10), users)
    weights = [row for row in features["attention"].to_list() if len(row) > 1]
    assert weights and all(np.ptp(row) > 0 for row in weights)
    kernels = [
        tower.attention.query_kernel.numpy()
        for tower in (world.model.candidate_tower, world.model.query_tower)
    ]
    assert np.any(kernels[0] != kernels[1])


def test_pooling_dropout_is_a_setting():
    (batch,) = World().train().take(1)
    for rate, same in ((0.0, True), (0.5, False)):
        model = World(**WITHOUT_DROPOUT | {"pooling_dropout": rate}).model
        assert np.allclose(model(batch, training=True), model(batch), atol=1e-6) == same


@pytest.mark.parametrize("optimizer", ["sgd", tf.keras.optimizers.Adam(0.01)])
def test_any_optimizer(optimizer):
    world = World()
    world.model.compile(optimizer=optimizer)
    before = world.model.get_weights()
    world.fit()
    assert all(np.any(a != b) for a, b in zip(before, world.model.get_weights(), strict=True))


# Callbacks


def test_learning_rate_callbacks():
    world = World()
    rates = []
    callbacks = [
        tf.keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.5),
        tf.keras.callbacks.ReduceLROnPlateau("val_auc", factor=0.1, patience=1, min_delta=9),
        tf.keras.callbacks.LambdaCallback(
            on_epoch_end=lambda *_: rates.append(float(world.model.optimizer.learning_rate))
        ),
    ]
    logs = world.fit(3, validation_data=world.valid(), callbacks=callbacks)
    np.testing.assert_allclose(rates, [0.005, 0.00025, 0.0000125], rtol=1e-5)
    assert len(logs["lr"]) == 3


def test_early_stopping_and_best_checkpoint(tmp_path):
    world = World()
    best = str(tmp_path / "best.weights.h5")
    callbacks = [
        tf.keras.callbacks.EarlyStopping("val_auc", mode="max", patience=1, min_delta=2),
        tf.keras.callbacks.ModelCheckpoint(
            best, "val_auc", mode="max", save_best_only=True, save_weights_only=True
        ),
    ]
    logs = world.fit(9, validation_data=world.valid(), callbacks=callbacks)
    assert len(logs["val_auc"]) == 2
    world.model.load_weights(best)
    assert world.evaluate()["auc"] == pytest.approx(max(logs["val_auc"]))


def test_steps_per_epoch():
    world = World()
    logs = world.model.fit(world.train().repeat(), steps_per_epoch=2, epochs=3, verbose=0).history
    assert int(world.model.optimizer.iterations) == 6
    assert len(logs["loss"]) == 3


def test_backup_and_restore(tmp_path):
    """An interrupted fit goes on where it was."""

    class Interrupted(Exception):
        pass

    def interrupt(epoch, logs):
        if epoch == 1:
            raise Interrupted

    whole = World(**WITHOUT_DROPOUT)
    whole.fit(3)

    first = World(**WITHOUT_DROPOUT)
    backup = tf.keras.callbacks.BackupAndRestore(str(tmp_path))
    stop = tf.keras.callbacks.LambdaCallback(on_epoch_begin=interrupt)
    with pytest.raises(Interrupted):
        first.fit(3, callbacks=[backup, stop])

    second = World(**WITHOUT_DROPOUT)
    backup = tf.keras.callbacks.BackupAndRestore(str(tmp_path))
    second.model.fit(second.train(initial_epoch=1), epochs=3, verbose=0, callbacks=[backup])
    assert_equal_weights(second.model, whole.model)


def test_fit_again_after_backup_and_restore(tmp_path):
    """Keras 2 raises an AttributeError in the second fit of other models."""
    world = World()
    world.fit(callbacks=[tf.keras.callbacks.BackupAndRestore(str(tmp_path))])
    world.fit()
    world.fit(callbacks=[tf.keras.callbacks.BackupAndRestore(str(tmp_path))])
    assert int(world.model.optimizer.iterations) == 3 * len(world.train())


# Saving


def test_config_round_trip(trained):
    model = trained.model
    config = json.loads(json.dumps(model.get_config()))
    copy = tfrs_npa.NPA.from_config(config)
    assert copy.config == model.config
    assert copy.catalog == model.catalog
    assert copy.users == model.users
    assert copy.name == model.name
    assert copy.get_config() == model.get_config()
    copy.set_weights(model.get_weights())
    (batch,) = trained.valid().take(1)
    np.testing.assert_array_equal(copy(batch), model(batch))


def test_config_round_trip_without_articles_and_users():
    catalog = tfrs_npa.NewsCatalog(vocabulary=tfrs_npa.Vocabulary.from_words(["rain"]))
    model = tfrs_npa.NPA(make_config(), catalog, tfrs_npa.UserIndex())
    copy = tfrs_npa.NPA.from_config(model.get_config())
    assert copy.catalog == catalog
    assert len(copy.users) == 1


def two_rates(**changes):
    return World(table_learning_rate=0.02, **WITHOUT_DROPOUT | changes)


class Saved:
    """A model after one epoch, its files, and the weights after two more epochs."""

    def __init__(self, folder):
        self.world = two_rates()
        self.world.fit()
        self.weights, self.scores = self.world.model.get_weights(), self.world.predict()
        self.h5 = str(folder / "model.weights.h5")
        self.checkpoint = str(folder / "checkpoint")
        self.keras = str(folder / "model.keras")
        for path in (self.h5, self.checkpoint):
            self.world.model.save_weights(path)
        self.world.model.save(self.keras)
        self.continue_training(self.world.model)

    def continue_training(self, model):
        model.run_eagerly = True
        model.fit(self.world.train(initial_epoch=1), epochs=2, verbose=0)

    def check(self, model):
        """Checks that `model` is what was saved and trains on as if it had never been."""
        for ours, saved in zip(model.get_weights(), self.weights, strict=True):
            np.testing.assert_array_equal(ours, saved)
        self.continue_training(model)
        assert_equal_weights(model, self.world.model)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return Saved(tmp_path_factory.mktemp("saved"))


def test_weights_h5(saved):
    model = two_rates(seed=99).model
    model.optimizer.build(model.trainable_variables)
    model.load_weights(saved.h5)
    saved.check(model)


def test_checkpoint(saved):
    model = two_rates(seed=99).model
    model.load_weights(saved.checkpoint)
    saved.check(model)


def test_checkpoint_holds_every_weight_and_no_titles(saved):
    model = two_rates().model
    model.optimizer.build(model.trainable_variables)
    model.load_weights(saved.checkpoint).assert_existing_objects_matched()
    assert not any("tokens" in name for name, _ in tf.train.list_variables(saved.checkpoint))


def test_keras_file(saved):
    model = tf.keras.models.load_model(saved.keras)
    assert isinstance(model, tfrs_npa.NPA)
    assert model.get_config() == saved.world.model.get_config()
    assert type(model.optimizer) is tfrs_npa.LazyAdam
    assert float(model.optimizer.table_learning_rate) == pytest.approx(0.02)
    scores = model.predict(saved.world.valid(), verbose=0)
    np.testing.assert_array_equal(scores.flat_values, saved.scores.flat_values)
    saved.check(model)


def test_pretrained_vectors_are_saved_as_weights(tmp_path):
    vectors = tfrs_npa.WordVectors(WORDS, np.random.default_rng(0).normal(size=[len(WORDS), 6]))
    catalog = tfrs_npa.NewsCatalog(vectors).adapt(NEWS)
    model = tfrs_npa.NPA(make_config(), catalog, tfrs_npa.UserIndex())
    rain = int(catalog.vocabulary.index("rain"))
    np.testing.assert_allclose(
        model.candidate_tower.word_table[rain], vectors.matrix(["rain"], 0)[0], rtol=1e-6
    )
    path = str(tmp_path / "model.keras")
    model.save(path)
    assert_equal_weights(tf.keras.models.load_model(path), model)


# Other articles


def test_set_catalog_scores_new_articles(trained):
    model = tfrs_npa.NPA(trained.config, CATALOG, INDEX)
    model.compile()
    model.set_weights(trained.model.get_weights())
    before = model.predict(trained.valid(), verbose=0)
    catalog = tfrs_npa.NewsCatalog(vocabulary=CATALOG.vocabulary).extend(NEWS)
    catalog.extend({"news_id": ["M1", "M2"], "title": ["team wins", "rain"]})
    model.set_catalog(catalog)
    assert model.catalog is catalog
    for ours, kept in zip(model.get_weights(), trained.model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, kept)
    # No retracing, and the articles of before as before.
    function = model.predict_function
    after = model.predict(trained.valid(), verbose=0)
    np.testing.assert_array_equal(after.flat_values, before.flat_values)
    behaviors = behaviors_of(["U1"], [["N1", "M2"]], [["M1", "M2"]], [[1, 0]])
    batches = tfrs_npa.impression_batches(behaviors, catalog, INDEX, trained.config)
    scores = model.predict(batches, verbose=0).to_list()[0]
    assert scores[0] != scores[1]
    assert model.predict_function is function
    assert function.experimental_get_tracing_count() == 1


def test_set_catalog_with_another_vocabulary(trained):
    other = tfrs_npa.NewsCatalog().adapt({"news_id": ["N1"], "title": ["unheard words"]})
    with pytest.raises(ValueError, match="another vocabulary"):
        trained.model.set_catalog(other)
    assert trained.model.catalog is CATALOG


# Precision


@pytest.mark.parametrize(
    "attention, kind",
    [("recommenders", "personalized"), ("paper", "personalized"), ("paper", "mean")],
)
def test_mixed_bfloat16(attention, kind):
    fields = {"attention": attention, "word_attention": kind, "news_attention": kind}
    exact = World(**fields, **WITHOUT_DROPOUT)
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        rough = World(graph=attention == "recommenders", **fields, **WITHOUT_DROPOUT)
        rough.model.set_weights(exact.model.get_weights())
        for weight in rough.model.trainable_variables:
            assert weight.dtype == tf.float32
        (batch,) = rough.valid().take(1)
        assert rough.model.query_tower(batch).dtype == tf.bfloat16
        scores = rough.predict().flat_values
        assert scores.dtype == tf.float32
        difference = np.abs(scores - exact.predict().flat_values)
        assert 0 < difference.max() < 0.02
        assert np.isfinite(rough.fit()["loss"][0])
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")
