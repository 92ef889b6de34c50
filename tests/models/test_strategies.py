from __future__ import annotations

import json
import os
import pathlib
import socket
from concurrent import futures

import numpy as np
import pytest
import tensorflow as tf

pytestmark = pytest.mark.slow

SCRIPT = pathlib.Path(__file__).with_name("train_in_cluster.py")
CLUSTERS = {
    "single": {},
    "mirrored": {},
    "one-device": {},
    "multi-worker": {"worker": 2},
    "parameter-server": {"chief": 1, "worker": 2, "ps": 2},
}


def free_address():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture(scope="module")
def results(fork, tmp_path_factory):
    """What `train_in_cluster.py` keeps, by strategy, of which two are run at a time."""
    folder = tmp_path_factory.mktemp("strategies")

    def run(name):
        sizes = CLUSTERS[name]
        cluster = {job: [free_address() for _ in range(size)] for job, size in sizes.items()}
        tasks = [(job, index) for job, size in sizes.items() for index in range(size)] or [None]
        trains, serves = [], []
        for number, task in enumerate(tasks):
            environment = dict(os.environ, GRPC_FAIL_FAST="use_caller")
            if task:
                config = {"cluster": cluster, "task": {"type": task[0], "index": task[1]}}
                environment["TF_CONFIG"] = json.dumps(config)
            serving = ["serve"] if "chief" in sizes and task[0] != "chief" else []
            file, log = folder / f"{name}{number}", folder / f"{name}{number}.log"
            process = fork([SCRIPT, name, file, folder / "single0", *serving], environment, log)
            (serves if serving else trains).append((process, log))
        try:
            for process, log in trains:
                assert process.wait(timeout=900) == 0, log.read_text()
        finally:
            for process, _ in [*trains, *serves]:
                process.kill()
        return dict(np.load(folder / f"{name}0"))

    with futures.ThreadPoolExecutor(2) as pool:
        single, mirrored = pool.map(run, ("single", "mirrored"))  # others load what it has saved
        others = [name for name in CLUSTERS if name not in ("single", "mirrored")]
        found = dict(zip(others, pool.map(run, others), strict=True))
    return found | {"single": single, "mirrored": mirrored, "folder": folder}


def assert_close(found, expected):
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("strategy", ["one-device", "mirrored", "multi-worker"])
def test_synchronous_training_is_that_of_one_machine(results, strategy):
    found = results[strategy]
    assert {"history loss", "history val_auc", "trained auc", "trained logits 22"} <= found.keys()
    assert len(found["history loss"]) == 2
    assert ({"own steps loss", "resumed loss"} <= found.keys()) == (strategy != "one-device")
    assert strategy != "mirrored" or found["trial"][1] == 3
    assert found["many batches at a time"]
    assert_close(found, results["single"])


@pytest.mark.parametrize("strategy", ["single", "parameter-server"])
def test_callbacks(results, strategy):
    found = results[strategy]
    # Epoch 0 was there before the interruption.
    np.testing.assert_allclose(found["resumed history lr"], [0.01 / 2, 0.01 / 3])
    assert found["best loss"] == pytest.approx(min(found["resumed history val_loss"]), abs=1e-5)


def test_parameter_servers_measure_as_one_machine_does(results):
    found = results["parameter-server"]
    assert not found["many batches at a time"]
    assert_close({name: found[name] for name in found if "untrained" in name}, results["single"])
    assert found["trained impressions"] == 23
    assert found["trained loss"] == found["history val_loss"][-1]
    # Workers that take turns as they like do not always make these few rows better.
    assert abs(found["trained loss"] - found["untrained loss"]) > 1e-4


@pytest.mark.parametrize("suffix", [".h5", ".checkpoint"])
def test_what_one_machine_has_trained_goes_on_parameter_servers(results, suffix):
    found = results["parameter-server"]
    stage = f"loaded {suffix}"
    loaded = {name.replace(stage, "trained"): found[name] for name in found if stage in name}
    assert len(loaded) > 40
    assert_close(loaded, results["single"])


def test_what_parameter_servers_refuse(results):
    reasons = results["parameter-server"]["refused"].tolist()
    assert len(reasons) == 4 and "steps_per_execution has to be 1" in reasons.pop()
    assert all("load it without a strategy" in reason for reason in reasons)


def test_buckets_whose_table_is_on_parameter_servers(results):
    outside, inside = results["parameter-server"]["users"]
    assert 0 < np.count_nonzero(outside) < 40
    np.testing.assert_array_equal(inside, outside)


@pytest.mark.parametrize("suffix", [".weights.h5", ".checkpoint", ".keras"])
def test_what_parameter_servers_have_trained_goes_on_without(results, make_world, suffix):
    world, found = make_world(batch_size=11), results["parameter-server"]
    path = f"{results['folder']}/parameter-server0{suffix}"
    if suffix == ".keras":
        world.model = tf.keras.models.load_model(path)
    else:
        world.model.optimizer.build(world.model.trainable_variables)
        world.model.load_weights(path)
    world.model.run_eagerly = True
    assert world.model.optimizer.iterations.numpy() == 2 * len(world.training_batches())
    assert world.evaluate()["loss"] == pytest.approx(float(found["trained loss"]), abs=1e-5)
