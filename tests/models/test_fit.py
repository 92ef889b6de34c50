from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import tfrs_npa


def assert_equal_weights(left, right):
    for a, b in zip(left.get_weights(), right.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_loss_of_an_epoch_is_the_mean_over_rows(make_world):
    # A rate this small leaves the weights, so the rows can be scored afterwards.
    rates = {"table_learning_rate": None, "user_learning_rate": None}
    world = make_world(learning_rate=1e-12, without_dropout=True, **rates)
    logged = world.fit()["loss"][0]
    losses = []
    for batch in world.training_batches():
        for logits in world.model(batch).numpy():  # the click comes first
            softened = logits[logits > -1e8] / world.config.temperature
            losses.append(np.log(np.exp(softened).sum()) - softened[0])
    assert len(losses) % world.config.batch_size != 0
    assert logged == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.mark.slow
def test_fit_learns(make_world):
    losses = make_world(graph=True, learning_rate=0.03, without_dropout=True).fit(20)["loss"]
    assert losses[-1] < 0.7 * losses[0]


def test_missing_negatives_are_left_out_of_the_softmax(make_world, behaviors_of):
    """An impression with one negative where two are wanted trains on two candidates."""
    world = make_world(without_dropout=True)
    behaviors = behaviors_of(["U1"], [["N1"]], [["N2", "N3"]], [[0, 1]])
    (batch,) = world.training_batches(behaviors)
    assert batch["candidates"].numpy()[0, 2] == 0
    two = {"candidates": batch["candidates"][:, :2], "clicked": batch["clicked"][:, :2]}
    padded, plain = (world.model.compute_loss(b, training=True) for b in (batch, batch | two))
    np.testing.assert_allclose(padded, plain, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", tf.keras.optimizers.Adam(0.01)])
def test_any_optimizer(optimizer, make_world):
    world = make_world()
    world.model.compile(optimizer=optimizer)
    before = world.model.get_weights()
    world.fit()
    assert all(np.any(a != b) for a, b in zip(before, world.model.get_weights(), strict=True))


def test_steps_per_epoch(make_world):
    world = make_world()
    batches = world.training_batches().repeat()
    logs = world.model.fit(batches, steps_per_epoch=2, epochs=3, verbose=0).history
    assert int(world.model.optimizer.iterations) == 6
    assert len(logs["loss"]) == 3


# What is trained


@pytest.mark.parametrize("published", [True, False])
def test_user_rows_move_and_only_those_of_the_batch(published, make_world, behaviors_of):
    world = make_world(without_dropout=True, published=published, user_initializer="zeros")
    rows = world.model.user_embedding.table.numpy()
    world.fit(behaviors=behaviors_of(["U3"], [["N1"]], [["N2", "N3"]], [[0, 1]]))
    moved = np.any(world.model.user_embedding.table.numpy() != rows, axis=1)
    # Everyone's density is that of the unknown user.
    expected = world.users.index(["U3"] if published else ["nobody", "U3"])
    assert np.flatnonzero(moved).tolist() == expected.tolist()


def test_users_learn_at_a_rate_of_their_own(make_world):
    world = make_world(learning_rate=0.01, table_learning_rate=0.03, user_learning_rate=0.02)
    tables = world.model.user_embedding.table, world.model.candidate_tower.word_table
    optimizer = tfrs_npa.default_optimizer(world.config)
    rates = [float(optimizer.learning_rate_of(table)) for table in tables]
    assert rates == pytest.approx([0.02, 0.03])
    optimizer = tfrs_npa.default_optimizer(world.config.replace(user_learning_rate=None))
    rates = [float(optimizer.learning_rate_of(table)) for table in tables]
    assert rates == pytest.approx([0.03, 0.03])


@pytest.mark.parametrize("user_dropout", [0.0, 0.5])
def test_user_dropout_trains_the_unknown_user(user_dropout, make_world):
    world = make_world(user_dropout=user_dropout, published=True)
    before = world.model.user_embedding.table.numpy()[0]
    known = world.train_behaviors.filter(
        lambda row: tf.reduce_any(row["user_id"] == world.user_ids)
    )
    world.fit(2, known)
    moved = np.any(world.model.user_embedding.table.numpy()[0] != before)
    assert moved == (user_dropout > 0)


def test_all_users_may_be_unknown(make_world):
    world, nobody = make_world(), tfrs_npa.UserIndex()
    model = tfrs_npa.NPA(world.config, world.catalog, nobody)
    model.compile(tfrs_npa.default_optimizer(world.config), run_eagerly=True)
    batches = tfrs_npa.training_batches(world.train_behaviors, world.catalog, nobody, world.config)
    assert np.isfinite(model.fit(batches, verbose=0).history["loss"][0])


def test_default_history_is_trained_by_users_without_clicks(make_world, behaviors_of):
    world = make_world(without_dropout=True, user_interest="mean")
    tower = world.model.query_tower
    before = tower.default_history.numpy()
    with_clicks = behaviors_of(["U3"], [["N1"]], [["N2", "N3"]], [[0, 1]])
    world.fit(behaviors=with_clicks)
    np.testing.assert_array_equal(tower.default_history, before)
    without = behaviors_of(["U3"], [[]], [["N2", "N3"]], [[0, 1]])
    world.fit(behaviors=without)
    assert np.any(tower.default_history != before)


def test_masked_padding_words_are_not_trained(make_world):
    world = make_world()
    before = world.model.candidate_tower.word_table.numpy()[0]
    world.fit()
    np.testing.assert_array_equal(world.model.candidate_tower.word_table[0], before)


@pytest.mark.parametrize("preset", ["recommenders", "paper"])
@pytest.mark.parametrize("changes", [{}, {"word_attention": "mean", "news_attention": "vanilla"}])
def test_presets_train(preset, changes, make_world):
    small = make_world().config
    names = ("title_length", "history_length", "batch_size", "word_embedding_dim")
    names += ("user_embedding_dim", "num_filters", "attention_dim")
    config = tfrs_npa.NPAConfig.preset(preset).replace(
        **{name: getattr(small, name) for name in names}, **changes
    )
    world = make_world(**config.to_dict())
    assert world.config == config
    before = world.model.get_weights()
    world.fit()
    assert np.isfinite(world.evaluate()["loss"])
    moved = [np.any(a != b) for a, b in zip(before, world.model.get_weights(), strict=True)]
    assert sum(moved) >= len(moved) - 1  # the user table has no say with mean and vanilla


# Seeds, and two models in one process


@pytest.mark.slow
def test_same_seed_same_training(make_world):
    first, second = make_world(graph=True), make_world(graph=True)
    assert_equal_weights(first.model, second.model)
    for world in (first, second):
        world.fit(steps_per_epoch=3)
    assert_equal_weights(first.model, second.model)
    other = make_world(seed=8)
    assert any(
        np.any(a != b) for a, b in zip(other.model.get_weights(), make_world().model.get_weights())
    )


@pytest.mark.slow
def test_two_models_do_not_disturb_each_other(make_world):
    alone = make_world(graph=True)
    alone.fit(2)
    first = make_world(graph=True)
    first.fit()
    second = make_world(graph=True, num_filters=7, attention="paper", mask_padding=False)
    second.fit()
    first.model.fit(first.training_batches(initial_epoch=1), verbose=0)
    assert_equal_weights(first.model, alone.model)


# Callbacks


@pytest.mark.slow
def test_learning_rate_callbacks(make_world):
    world = make_world()
    rates = []
    callbacks = [
        tf.keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.5),
        tf.keras.callbacks.ReduceLROnPlateau("val_auc", factor=0.1, patience=1, min_delta=9),
        tf.keras.callbacks.LambdaCallback(
            on_epoch_end=lambda *_: rates.append(float(world.model.optimizer.learning_rate))
        ),
    ]
    logs = world.fit(3, validation_data=world.impression_batches(), callbacks=callbacks)
    np.testing.assert_allclose(rates, [0.005, 0.00025, 0.0000125], rtol=1e-5)
    assert len(logs["lr"]) == 3


@pytest.mark.slow
def test_early_stopping_and_best_checkpoint(tmp_path, make_world):
    world = make_world()
    best = str(tmp_path / "best.weights.h5")
    callbacks = [
        tf.keras.callbacks.EarlyStopping("val_auc", mode="max", patience=1, min_delta=2),
        tf.keras.callbacks.ModelCheckpoint(
            best, "val_auc", mode="max", save_best_only=True, save_weights_only=True
        ),
    ]
    logs = world.fit(9, validation_data=world.impression_batches(), callbacks=callbacks)
    assert len(logs["val_auc"]) == 2
    world.model.load_weights(best)
    assert world.evaluate()["auc"] == pytest.approx(max(logs["val_auc"]))


@pytest.mark.slow
@pytest.mark.parametrize("trained", [0, 4])
def test_backup_and_restore(tmp_path, make_world, trained):
    """The same call after an interruption in its second epoch ends as if there had been none."""

    class Interrupted(tf.keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations == len(batches) + 2:
                raise KeyboardInterrupt

    def fit(*callbacks):
        world = make_world(without_dropout=True)
        options = {"epochs": trained + 3, "initial_epoch": trained, "verbose": 0}
        batches = world.training_batches(initial_epoch=trained)
        world.model.fit(batches, callbacks=list(callbacks), **options)
        return world.model

    batches = make_world().training_batches()
    whole = fit()
    with pytest.raises(KeyboardInterrupt):
        fit(tf.keras.callbacks.BackupAndRestore(str(tmp_path)), Interrupted())
    restored = fit(tf.keras.callbacks.BackupAndRestore(str(tmp_path)))
    assert restored.optimizer.iterations == whole.optimizer.iterations
    assert_equal_weights(restored, whole)


@pytest.mark.slow
def test_fit_again_after_backup_and_restore(tmp_path, make_world):
    """Keras 2 raises an AttributeError in the second fit of other models."""
    world = make_world()
    world.fit(callbacks=[tf.keras.callbacks.BackupAndRestore(str(tmp_path))])
    world.fit()
    world.fit(callbacks=[tf.keras.callbacks.BackupAndRestore(str(tmp_path))])
    assert int(world.model.optimizer.iterations) == 3 * len(world.training_batches())


def test_users_who_register_after_the_model_was_made(make_world, behaviors_of, tmp_path):
    """They are unknown to it in training, evaluation, prediction and what is saved."""
    world = make_world()
    catalog, config = world.catalog, world.config
    users = tfrs_npa.UserIndex().adapt({"user_id": world.user_ids})
    model = tfrs_npa.NPA(config, catalog, users)
    model.compile(optimizer=tfrs_npa.default_optimizer(config, 100), run_eagerly=True)
    users.extend({"user_id": ["new"]})

    def batches(make, user):
        candidates = [["N2", "N3", "N4"]] * 2
        behaviors = behaviors_of([user] * 2, [["N1"], []], candidates, [[0, 1, 0]] * 2)
        return make(behaviors, catalog, users, config)

    history = model.fit(batches(tfrs_npa.training_batches, "new"), verbose=0).history
    assert np.isfinite(history["loss"]).all()
    new, unknown = (batches(tfrs_npa.impression_batches, user) for user in ("new", "nobody"))
    metrics = model.evaluate(new, verbose=0, return_dict=True)
    assert metrics["auc_new_users"] == metrics["auc"] and np.isnan(metrics["auc_known_users"])
    scores = model.predict(new, verbose=0).flat_values
    np.testing.assert_array_equal(scores, model.predict(unknown, verbose=0).flat_values)
    model.save(tmp_path / "model.keras")
    assert tf.keras.models.load_model(tmp_path / "model.keras").users.ids == users.ids[:-1]
