"""The cluster that `TF_CONFIG` describes, and the task of this process in it."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any

from tfrs_npa.runs.processes import Address
from tfrs_npa.settings import MULTI_WORKER, PARAMETER_SERVER, STRATEGIES

CHIEF, WORKER, PS = "chief", "worker", "ps"
_VARIABLE = "TF_CONFIG"
# The jobs that each strategy needs, and what its processes are.
_JOBS = {MULTI_WORKER: (WORKER,), PARAMETER_SERVER: (CHIEF, WORKER, PS)}
_EXAMPLES = {
    MULTI_WORKER: '{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, '
    '"task": {"type": "worker", "index": 0}}',
    PARAMETER_SERVER: '{"cluster": {"chief": ["10.0.0.1:2222"], "worker": ["10.0.0.2:2222"], '
    '"ps": ["10.0.0.3:2222"]}, "task": {"type": "chief", "index": 0}}',
}


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The tasks of a cluster, each of them a process.

    Attributes:
        strategy: `multi-worker` or `parameter-server`.
        tasks: For each job (`chief`, `worker`, `ps`), the addresses of its tasks.
        job: The job of this process.
        index: Its task in that job.
    """

    strategy: str
    tasks: dict[str, tuple[Address, ...]]
    job: str
    index: int

    @classmethod
    def from_environment(cls, strategy: str | None) -> Cluster | None:
        """Returns the cluster of `TF_CONFIG`; None if the strategy has one process.

        Args:
            strategy: One of `tfrs_npa.settings.STRATEGIES`, or None.

        Raises:
            ValueError: if the variable is missing or malformed, or lacks what the strategy needs;
                says which key, and gives an example.
        """
        if strategy not in (None, *STRATEGIES):
            raise ValueError(f"there is no strategy {strategy!r}: {', '.join(STRATEGIES)}")
        if strategy not in _JOBS:
            return None
        try:
            return cls(strategy, *_parsed(strategy))
        except ValueError as error:
            raise ValueError(
                f"{error}. --strategy {strategy} needs it in each process, for example "
                f"{_VARIABLE}='{_EXAMPLES[strategy]}'"
            ) from error

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the run: the chief, or the first worker without one."""
        return self.index == 0 and self.job == (CHIEF if CHIEF in self.tasks else WORKER)

    @property
    def is_server(self) -> bool:
        """Whether this process does what the chief tells it."""
        return self.strategy == PARAMETER_SERVER and self.job != CHIEF

    def others(self, *jobs: str) -> dict[str, Address]:
        """Returns the addresses of the other tasks of some jobs, by names such as `worker 0`."""
        return {
            f"{job} {index}": address
            for job in jobs
            for index, address in enumerate(self.tasks.get(job, ()))
            if (job, index) != (self.job, self.index)
        }


def _parsed(strategy: str) -> tuple[dict[str, tuple[Address, ...]], str, int]:
    """Returns tasks, job and index; errors are a phrase that says what is wrong with what."""
    text = os.environ.get(_VARIABLE)
    if not text:
        raise ValueError(f"{_VARIABLE} is not set")
    try:
        config = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{_VARIABLE} is not JSON ({error})") from error
    cluster, task = _object(config, "cluster"), _object(config, "task")
    unknown = sorted({*cluster} - {CHIEF, *_JOBS[strategy]})
    if unknown:
        raise ValueError(f'{_VARIABLE}["cluster"] has {unknown[0]!r}, which has nothing to do here')
    tasks = {job: _addresses(job, addresses) for job, addresses in cluster.items()}
    missing = [job for job in _JOBS[strategy] if not tasks.get(job)]
    if missing:
        raise ValueError(f'{_VARIABLE}["cluster"] has no task {missing[0]!r}')
    if len(tasks.get(CHIEF, ())) > 1:
        raise ValueError(f'{_VARIABLE}["cluster"]["chief"] has more than one address')
    job, index = task.get("type"), str(task.get("index"))  # some launchers write a string
    if job not in tasks:
        raise ValueError(f'{_VARIABLE}["task"]["type"] is {job!r}, which is not in the cluster')
    if not index.isdecimal() or int(index) >= len(tasks[job]):
        raise ValueError(
            f'{_VARIABLE}["task"]["index"] is {index}, and {job!r} has {len(tasks[job])} tasks'
        )
    return tasks, job, int(index)


def _object(config: Any, key: str) -> dict[str, Any]:
    found = config.get(key) if isinstance(config, dict) else None
    if not isinstance(found, dict):
        raise ValueError(f"{_VARIABLE} has no object {key!r}")
    return found


def _addresses(job: str, addresses: Any) -> tuple[Address, ...]:
    if not isinstance(addresses, list):
        raise ValueError(f'{_VARIABLE}["cluster"]["{job}"] is not a list of addresses')
    found = []
    for text in addresses:
        host, _, port = str(text).rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
            raise ValueError(
                f'{_VARIABLE}["cluster"]["{job}"] has {text!r}, which is not HOST:PORT'
            )
        found.append(Address(host, int(port)))
    return tuple(found)
