"""Trains and measures a small model under a strategy, as each process of a cluster does.

    train_in_cluster.py STRATEGY FILE SINGLE [serve]

TF_CONFIG says which cluster and which process of it. The results are kept in FILE.
SINGLE is the FILE of a training without a strategy, which is loaded into parameter servers.
With `serve`, the process is one of those that the chief uses.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys

import numpy as np

import tfrs_npa  # noqa: F401  chooses Keras 2 before TensorFlow is imported

WITHOUT_DROPOUT = {"dropout": 0.0, "pooling_dropout": 0.0, "user_dropout": 0.0}


def make_strategy(name):
    """Makes a strategy, before TensorFlow has used any device."""
    import tensorflow as tf

    # It takes a fifth of the time; tests/runs/test_strategies.py has it at work in clusters.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    if name == "parameter-server":
        partitioner = tf.distribute.experimental.partitioners.FixedShardsPartitioner(2)
        return tf.distribute.ParameterServerStrategy(
            tf.distribute.cluster_resolver.TFConfigClusterResolver(), partitioner
        )
    if name == "multi-worker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    if name == "mirrored":
        cpus = 2 * [tf.config.LogicalDeviceConfiguration()]
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], cpus)
        return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    if name == "one-device":
        return tf.distribute.OneDeviceStrategy("CPU:0")
    tf.config.run_functions_eagerly(True)  # tracing takes longer
    return tf.distribute.get_strategy()


def serve():
    """Does what the chief asks, until this process is killed."""
    import tensorflow as tf

    config = json.loads(os.environ["TF_CONFIG"])
    task = config["task"]
    tf.distribute.Server(config["cluster"], task["type"], task["index"], protocol="grpc").join()


def main(name, path, single):
    strategy = make_strategy(name)
    import tensorflow as tf
    from conftest import World

    from tfrs_npa._shards import read_whole, whole_variables

    with strategy.scope():
        world = World(graph=True, batch_size=11, **WITHOUT_DROPOUT)
    results = {}
    shared = path.rstrip("0123456789")  # by all workers

    def measure(stage):
        for metric, value in world.evaluate().items():
            results[f"{stage} {metric}"] = value
        for number, logits in enumerate(world.predict()):
            results[f"{stage} logits {number}"] = logits
        for number, weight in enumerate(whole_variables(world.model.trainable_weights)):
            results[f"{stage} weight {number}"] = read_whole(weight).numpy()

    measure("untrained")
    for metric, values in world.fit(2, validation_data=world.impression_batches()).items():
        results[f"history {metric}"] = values
    measure("trained")
    world.model.save_weights(f"{path}.weights.h5")
    world.model.save(f"{path}.keras")
    world.model.save_weights(f"{path}.checkpoint")
    if name == "parameter-server":
        results["refused"] = refused(world.model, path)
        results["users"] = users_in_scope(strategy)
        for file in (f"{single}.weights.h5", f"{single}.checkpoint"):
            world.model.load_weights(file)
            measure(f"loaded {pathlib.Path(file).suffix}")
    if name not in ("parameter-server", "one-device"):
        results["steps"] = own_steps(tf, strategy, world)
        measure("own steps")
    if name != "one-device":  # on which Keras cannot restore
        for metric, values in with_callbacks(tf, world, shared).items():
            results[f"resumed history {metric}"] = values
        measure("resumed")
        world.model.load_weights(f"{shared}.best.weights.h5")
        measure("best")
    if name in ("single", "mirrored"):
        results["trial"] = trial_score(world, strategy, f"{path}.trials")
    with open(path, "wb") as file:
        np.savez(file, **results)


def with_callbacks(tf, world, path):
    """Trains with callbacks, is interrupted, and resumes; returns the history after that."""
    kinds = tf.keras.callbacks

    class Interrupt(kinds.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    def fit(*more):
        chosen = [
            kinds.LearningRateScheduler(lambda epoch: 0.01 / (1 + epoch)),
            kinds.EarlyStopping("lr", mode="max", patience=1),  # after two epochs
            kinds.ModelCheckpoint(
                f"{path}.best.weights.h5", "val_loss", save_best_only=True, save_weights_only=True
            ),
            kinds.BackupAndRestore(f"{path}.backup"),
        ]
        return world.fit(9, validation_data=world.impression_batches(), callbacks=[*chosen, *more])

    try:
        fit(Interrupt())
    except KeyboardInterrupt:
        for weight in world.model.trainable_weights:
            weight.assign(tf.zeros_like(weight))
    return fit()


def trial_score(world, strategy, folder):
    """Returns the score of a trial of KerasTuner under a strategy, and its best model's steps."""
    import keras_tuner

    data = world.catalog, world.train_behaviors, world.valid_behaviors
    base = world.config.replace(schedule="linear")
    space = tfrs_npa.SearchSpace({"num_filters": [4, 8]}, base, others="pinned")
    tuner = keras_tuner.RandomSearch(
        tfrs_npa.NPAHyperModel(*data, space, users=world.users),
        keras_tuner.Objective("val_auc", "max"),
        max_trials=1,
        seed=0,
        directory=folder,
        distribution_strategy=strategy if strategy.num_replicas_in_sync > 1 else None,
    )
    tuner.search(epochs=1, verbose=0)
    (trial,) = tuner.oracle.get_best_trials()
    return trial.score, tuner.get_best_models()[0].optimizer.iterations.numpy()


def refused(model, folder):
    """Tries what is not done with tables on parameter servers; returns why."""
    news = {"news_id": ["new"], "title": ["rain"]}
    attempts = {
        "add_articles": lambda: model.add_articles(news),
        "export": lambda: tfrs_npa.export(model, folder),
        "top K": lambda: tfrs_npa.PersonalizedTopK(model),
        "steps": lambda: model.compile("sgd", steps_per_execution=2),
    }
    reasons = []
    for name, attempt in attempts.items():
        try:
            attempt()
        except ValueError as error:
            reasons.append(f"{name}: {error}")
    return reasons


def users_in_scope(strategy):
    """Looks users up in buckets whose table is made in the scope of a strategy."""
    ids = [f"U{i}" for i in range(40)]
    users = tfrs_npa.UserIndex.hashed(100).adapt({"user_id": ids[:20]})
    outside = tfrs_npa.UserIndex.hashed(100).adapt({"user_id": ids[:20]}).index(ids)
    with strategy.scope():
        inside = users.index(ids[::-1])[::-1]
    return np.stack([outside, inside])


def own_steps(tf, strategy, world):
    """Takes plain SGD steps in a loop of one's own; returns their losses."""
    model = world.model
    with strategy.scope():
        optimizer = tf.keras.optimizers.SGD(0.5)
        optimizer.build(model.trainable_variables)

    def step(batch):
        with tf.GradientTape() as tape:
            loss = model.compute_loss(batch, training=True)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    @tf.function
    def whole_step(batch):
        return strategy.reduce("SUM", strategy.run(step, args=(batch,)), axis=None)

    batches = strategy.distribute_datasets_from_function(world.training_batches().of_pipeline)
    return [float(whole_step(batch)) for batch in batches]


if __name__ == "__main__":
    serve() if sys.argv[4:] else main(*sys.argv[1:])
