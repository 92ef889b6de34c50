"""Trains and measures a small model under a strategy, as each process of a cluster does.

    train_in_cluster.py STRATEGY FILE SINGLE

TF_CONFIG says which cluster and which process of it. The results are kept in FILE.
SINGLE is the FILE of a training without a strategy, which is loaded into parameter servers.
"""

from __future__ import annotations

import pathlib
import sys

import numpy as np

import tfrs_npa  # noqa: F401  chooses Keras 2 before TensorFlow is imported

WITHOUT_DROPOUT = {"dropout": 0.0, "pooling_dropout": 0.0, "user_dropout": 0.0}


def make_strategy(name):
    """Makes a strategy, before TensorFlow has used any device."""
    import tensorflow as tf

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
    return tf.distribute.get_strategy()


def main(name, path, single):
    strategy = make_strategy(name)
    import tensorflow as tf
    from conftest import World

    from tfrs_npa._shards import read_whole, whole_variables

    with strategy.scope():
        world = World(graph=True, batch_size=8, **WITHOUT_DROPOUT)
    results = {}

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
    if name in ("single", "mirrored"):
        results["steps"] = own_steps(tf, strategy, world)
        measure("own steps")
    with open(path, "wb") as file:
        np.savez(file, **results)


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

    batches = strategy.experimental_distribute_dataset(world.training_batches())
    return [float(whole_step(batch)) for batch in batches]


if __name__ == "__main__":
    main(*sys.argv[1:])
