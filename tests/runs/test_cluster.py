"""What `TF_CONFIG` says."""

from __future__ import annotations

import json

import pytest

from tfrs_npa.runs.cluster import Cluster
from tfrs_npa.settings import MIRRORED, MULTI_WORKER, PARAMETER_SERVER

SERVERS = {"chief": ["a:1"], "worker": ["b:2", "c:3"], "ps": ["[::1]:4"]}
WORKERS = {"worker": ["b:2", "c:3"]}


@pytest.fixture
def cluster_of(monkeypatch):
    """Reads a cluster from the environment."""

    def cluster_of(strategy, tasks, job, index):
        task = {"type": job, "index": index}
        monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": tasks, "task": task}))
        return Cluster.from_environment(strategy)

    return cluster_of


@pytest.mark.parametrize("strategy", [None, MIRRORED])
def test_one_process_needs_no_cluster(monkeypatch, strategy):
    monkeypatch.setenv("TF_CONFIG", "nonsense")
    assert Cluster.from_environment(strategy) is None


def test_an_unknown_strategy():
    with pytest.raises(ValueError, match="no strategy 'multi_worker': mirrored, multi-worker, "):
        Cluster.from_environment("multi_worker")


def test_a_coordinator_and_its_servers(cluster_of):
    chief = cluster_of(PARAMETER_SERVER, SERVERS, "chief", 0)
    assert chief.is_chief and not chief.is_server
    others = {name: str(address) for name, address in chief.others("worker", "ps").items()}
    assert others == {"worker 0": "b:2", "worker 1": "c:3", "ps 0": "[::1]:4"}
    for job, index in (("worker", 0), ("worker", "1"), ("ps", 0)):
        task = cluster_of(PARAMETER_SERVER, SERVERS, job, index)
        assert task.is_server and not task.is_chief
        assert f"{job} {index}" not in task.others("worker", "ps") and task.others("chief")


def test_the_first_worker_is_the_chief_unless_there_is_one(cluster_of):
    assert cluster_of(MULTI_WORKER, WORKERS, "worker", 0).is_chief
    assert not cluster_of(MULTI_WORKER, WORKERS, "worker", 1).is_chief
    with_chief = WORKERS | {"chief": ["a:1"]}
    assert not cluster_of(MULTI_WORKER, with_chief, "worker", 0).is_chief
    chief = cluster_of(MULTI_WORKER, with_chief, "chief", 0)
    assert chief.is_chief and not chief.is_server


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", '{"cluster": []}'])
@pytest.mark.parametrize("strategy", [MULTI_WORKER, PARAMETER_SERVER])
def test_no_cluster(monkeypatch, strategy, text):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if text is not None:
        monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match=f"--strategy {strategy} needs it in .* for") as error:
        Cluster.from_environment(strategy)
    # The example is right.
    monkeypatch.setenv("TF_CONFIG", str(error.value).split("TF_CONFIG='")[1].rstrip("'"))
    assert Cluster.from_environment(strategy).is_chief


@pytest.mark.parametrize(
    ("tasks", "job", "index", "message"),
    [
        ({"worker": ["b:2"], "ps": ["d:4"]}, "worker", 0, "has no task 'chief'"),
        (SERVERS | {"ps": []}, "chief", 0, "has no task 'ps'"),
        (SERVERS | {"chief": ["a:1", "b:1"]}, "chief", 0, "more than one address"),
        (SERVERS | {"evaluator": ["e:1"]}, "chief", 0, "has 'evaluator'"),
        (SERVERS | {"ps": "d:4"}, "chief", 0, r'\["ps"\] is not a list'),
        (SERVERS | {"ps": ["d"]}, "chief", 0, "has 'd', which is not HOST:PORT"),
        (SERVERS | {"ps": ["d:70000"]}, "chief", 0, "is not HOST:PORT"),
        (SERVERS, "master", 0, r"""\["type"\] is 'master', which is not in"""),
        (SERVERS, "worker", 2, r"""\["index"\] is 2, and 'worker' has 2 tasks"""),
        (SERVERS, "worker", None, r"""\["index"\] is None"""),
    ],
)
def test_a_malformed_cluster(cluster_of, tasks, job, index, message):
    with pytest.raises(ValueError, match=message):
        cluster_of(PARAMETER_SERVER, tasks, job, index)
