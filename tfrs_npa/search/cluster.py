"""A search on many machines: how its chief and its workers keep track of each other.

KerasTuner's chief hands out the trials and its workers ask for them. By itself, a worker waits an
hour for a chief that is gone. Here the chief keeps a record in the folder of the search, which says
whether the search has ended, and a worker watches that record and the chief's port.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pathlib
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

from tfrs_npa._files import atomic_file
from tfrs_npa.runs.processes import (
    ATTEMPTS,
    CONNECT_TIMEOUT,
    GONE,
    PAUSE,
    Address,
    end_process,
)
from tfrs_npa.search.supervisor import ANOTHER_CHIEF, SUPERVISOR
from tfrs_npa.settings import CHIEF_TIMEOUT

ALONE, CHIEF, WORKER = "alone", "chief", "worker"

_VARIABLES = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")
_RECORD = "chief_process.json"
_ORPHANED = "the process that supervises this worker is gone"

logger = logging.getLogger(__name__)


class ChiefGone(ConnectionError):
    """A worker has no chief to ask for trials."""


def role() -> str:
    """Returns the role that KerasTuner gives this process: `ALONE`, `CHIEF` or `WORKER`.

    Raises:
        ValueError: if its environment variables are not all set.
    """
    if "KERASTUNER_ORACLE_IP" not in os.environ:
        return ALONE
    missing = {"KERASTUNER_ORACLE_PORT", "KERASTUNER_TUNER_ID"} - set(os.environ)
    if missing:
        raise ValueError(
            f"KERASTUNER_ORACLE_IP is set and {', '.join(sorted(missing))} is not: a search on "
            "many machines needs all three"
        )
    return CHIEF if "chief" in os.environ["KERASTUNER_TUNER_ID"] else WORKER


def chief_address() -> Address:
    """Returns the address in `KERASTUNER_ORACLE_IP` and `KERASTUNER_ORACLE_PORT`.

    Raises:
        ValueError: if the port is not one.
    """
    port = os.environ["KERASTUNER_ORACLE_PORT"]
    if not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ValueError(f"KERASTUNER_ORACLE_PORT is {port!r}; a port is a number from 1 to 65535")
    return Address(os.environ["KERASTUNER_ORACLE_IP"], int(port))


def check_environment() -> None:
    """Makes sure that this process can play the role that KerasTuner's variables give it.

    Raises:
        ValueError: if not all three are set, the port is not one, or a chief cannot listen there.
    """
    missing = [name for name in _VARIABLES if name not in os.environ]
    if len(missing) == len(_VARIABLES):
        return
    if missing:
        raise ValueError(
            f"{', '.join(missing)} is not set: a chief and its workers need all of "
            f"{', '.join(_VARIABLES)}, and a search in one process none of them"
        )
    address = chief_address()
    if role() == CHIEF:
        _require_free_port(address)


def _require_free_port(address: Address) -> None:
    try:
        family, kind, _, _, where = socket.getaddrinfo(
            address.host.strip("[]"), address.port, type=socket.SOCK_STREAM
        )[0]
        # gRPC would share a port with another chief and get some of its workers' requests.
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except OSError as error:
        raise ValueError(
            f"the chief cannot listen at {address}: {error.strerror}; KERASTUNER_ORACLE_IP is an "
            "address of the chief's machine that the workers reach, KERASTUNER_ORACLE_PORT a port "
            "that nothing uses there (another chief?)"
        ) from error


@contextlib.contextmanager
def announce_chief(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Tells workers of this chief while it hands out trials, and then that the search has ended.

    Args:
        folder: The folder of the search.
    """
    record = {"id": uuid.uuid4().hex, "ended": False}
    _write(folder, record)
    yield
    _write(folder, record | {"ended": True})


@contextlib.contextmanager
def watch_chief(folder: str | os.PathLike[str], timeout: float = CHIEF_TIMEOUT) -> Iterator[bool]:
    """Waits for the chief of this worker, and ends the process when the chief is gone.

    The process exits with `GONE`; with 0 if the search has ended; with `ANOTHER_CHIEF` if the
    chief was restarted, which then hands out the trial of this worker again.

    Args:
        folder: The folder of the search; it need not exist yet.
        timeout: Seconds to wait for the chief.

    Yields:
        Whether there is a chief. If not, the search has ended.

    Raises:
        ChiefGone: if none has started in time.
    """
    folder = pathlib.Path(folder)
    chief = chief_address()
    # gRPC would ask a proxy that is set for HTTP, also for an address of this machine.
    direct = os.environ.get("no_grpc_proxy", os.environ.get("no_proxy", ""))
    os.environ["no_grpc_proxy"] = f"{direct},{chief.host}".lstrip(",")
    record = _await_chief(folder, chief, timeout)
    if record["ended"]:
        logger.info("the search in %s has ended", folder)
        yield False
        return
    left = threading.Event()
    watch = threading.Thread(
        target=_watch, args=(folder, chief, record["id"], left), name="chief watch", daemon=True
    )
    watch.start()
    try:
        yield True
    except Exception:
        # Raised by KerasTuner if the chief goes away during a request: the watch ends the process.
        if not chief.answers():
            watch.join(2 * ATTEMPTS * (PAUSE + CONNECT_TIMEOUT))
        raise
    finally:
        left.set()
        watch.join()


def _await_chief(folder: pathlib.Path, chief: Address, timeout: float) -> dict[str, Any]:
    """Waits for a chief; returns its record, or that of an earlier one whose search has ended."""
    deadline = time.monotonic() + timeout
    is_logged = False
    while True:
        answers, record = chief.answers(), _read(folder)
        # A chief that answers has created its folder, and will not replace it.
        if answers and record is not None and not record["ended"]:
            return record
        if time.monotonic() >= deadline:
            break
        if not is_logged:
            logger.info("waiting for the chief at %s, for up to %g seconds", chief, timeout)
            is_logged = True
        time.sleep(PAUSE / 2)
        if _orphaned():
            end_process(1, _ORPHANED)
    if record is not None and record["ended"]:
        return record
    if answers:
        raise ChiefGone(
            f"something answers at {chief}, but no chief has started in {folder}: chief and "
            "workers need one shared folder"
        )
    raise ChiefGone(f"no chief has answered at {chief} for {timeout:g} seconds; start it first")


def _watch(folder: pathlib.Path, chief: Address, chief_id: str, left: threading.Event) -> None:
    misses = 0
    while not left.wait(PAUSE):
        misses = 0 if chief.answers() else misses + 1
        why = _why_end(folder, chief, chief_id, misses)
        if why is not None and not left.is_set():
            return end_process(*why)


def _why_end(
    folder: pathlib.Path, chief: Address, chief_id: str, misses: int
) -> tuple[int, str] | None:
    """Returns the exit code with which a worker should end now, and a message; None to continue."""
    if _orphaned():
        return 1, _ORPHANED
    record = _read(folder)
    if record is not None and record["id"] != chief_id:
        return ANOTHER_CHIEF, f"the chief at {chief} was restarted, and so is this worker"
    if misses < ATTEMPTS:
        return None
    if record is not None and record["ended"]:
        return 0, f"the search in {folder} has ended"
    return GONE, (
        f"the chief at {chief} is gone; `tfrs-npa tune --run {folder} --resume` in its place "
        "resumes the search, with restarted workers; the trial of this worker then starts over"
    )


def _orphaned() -> bool:
    supervisor = os.environ.get(SUPERVISOR)
    return supervisor is not None and int(supervisor) != os.getppid()


def _read(folder: str | os.PathLike[str]) -> dict[str, Any] | None:
    try:
        return json.loads(pathlib.Path(folder, _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _write(folder: str | os.PathLike[str], record: dict[str, Any]) -> None:
    with atomic_file(pathlib.Path(folder, _RECORD)) as temporary:
        temporary.write_text(json.dumps(record), encoding="utf-8")
