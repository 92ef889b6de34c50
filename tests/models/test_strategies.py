from __future__ import annotations

import json
import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest

SCRIPT = pathlib.Path(__file__).with_name("train_in_cluster.py")
SERVER = """
import json, os, tensorflow as tf
config = json.loads(os.environ["TF_CONFIG"])
task = config["task"]
tf.distribute.Server(config["cluster"], task["type"], task["index"], protocol="grpc").join()
"""
CLUSTERS = {
    "single": {},
    "mirrored": {},
    "multi-worker": {"worker": 2},
    "parameter-server": {"chief": 1, "worker": 2, "ps": 2},
}


def free_address():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What `train_in_cluster.py` keeps, by strategy."""
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
            is_server = "chief" in sizes and task[0] != "chief"
            arguments = ["-c", SERVER] if is_server else [SCRIPT, name, folder / f"{name}{number}"]
            process = subprocess.Popen(
                [sys.executable, *arguments], env=environment, stderr=subprocess.PIPE, text=True
            )
            (serves if is_server else trains).append(process)
        try:
            for process in trains:
                assert process.wait(timeout=240) == 0, process.stderr.read()
        finally:
            for process in [*trains, *serves]:
                process.kill()
        return dict(np.load(folder / f"{name}0"))

    return {name: run(name) for name in CLUSTERS} | {"folder": folder}


def assert_close(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("strategy", ["mirrored", "multi-worker"])
def test_synchronous_training_is_that_of_one_machine(results, strategy):
    assert_close(results[strategy], results["single"])
