"""Restarts a worker of a search when it was killed, so that the search does not wait for it.

KerasTuner's chief keeps the trial of a worker open until a worker with the same id has ended it,
and does not end before. The supervisor is a process of its own, and needs no TensorFlow.
"""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType

SUPERVISOR = "TFRS_NPA_SUPERVISOR"
"""Environment variable of a worker: the id of the process that restarts it."""
DIED = "TFRS_NPA_WORKER_DIED"
"""Environment variable of a worker: why its open trial is to be given up."""
ANOTHER_CHIEF = 75
"""Exit code of a worker that is to be restarted: `EX_TEMPFAIL` of sysexits.h."""

# Deaths of a worker in the same trial before the trial is given up.
_DEATHS = 3
_FORWARDED = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


def supervise(run: str | os.PathLike[str]) -> int | None:
    """Runs the command of this process in a child if it is a worker without a supervisor.

    Args:
        run: The folder of the search.

    Returns:
        The exit code; None if there is nothing to supervise.
    """
    is_cluster = all(f"KERASTUNER_{name}" in os.environ for name in ("ORACLE_IP", "ORACLE_PORT"))
    tuner_id = os.environ.get("KERASTUNER_TUNER_ID", "chief")
    if not is_cluster or "chief" in tuner_id or SUPERVISOR in os.environ:
        return None
    # KerasTuner's worker writes it at the end of each trial.
    progress = pathlib.Path(run, "trials", f"{tuner_id}.json")
    return Supervisor([sys.executable, *sys.orig_argv[1:]], progress, tuner_id).run()


class Supervisor:
    """Runs a worker, and restarts it when it was killed or has crashed.

    It stops when the worker exits of its own accord: success, bad input, no chief, interrupted.
    After three deaths in a row without a finished trial, the fourth worker is told to give its
    trial up as failed; if that one dies too, the supervisor exits with its code.

    Args:
        command: The command of the worker.
        progress: A file that is written whenever a trial has finished.
        name: The name of the worker.
    """

    def __init__(self, command: Sequence[str], progress: pathlib.Path, name: str):
        self._command = command
        self._progress = progress
        self._name = name
        self._child: subprocess.Popen[bytes] | None = None
        self._signal: int | None = None
        self._death = ""

    def run(self) -> int:
        """Returns the exit code of the last worker; 128 and the signal if it was killed."""
        # Signals that the parent of this process chose to ignore (nohup) stay ignored.
        forwarded = [number for number in _FORWARDED if signal.getsignal(number) != signal.SIG_IGN]
        before = {number: signal.signal(number, self._forward) for number in forwarded}
        try:
            return self._run()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _run(self) -> int:
        deaths = 0
        while True:
            finished = self._finished()
            code = self._run_once(deaths)
            exit_code = code if code >= 0 else 128 - code
            # 1 is the code of an uncaught exception.
            if self._signal is not None or not (code < 0 or code in (1, ANOTHER_CHIEF)):
                return exit_code
            if self._finished() != finished:
                deaths = 0
            if code == ANOTHER_CHIEF:
                continue
            deaths += 1
            self._death = _death(code)
            if deaths > _DEATHS:
                self._warn(
                    f"{self._death} {deaths} times in a row without a finished trial: not "
                    "restarted. The chief waits for it: start a worker with this id where it can "
                    "run"
                )
                return exit_code
            action = "repeats its trial" if deaths < _DEATHS else "gives its trial up as failed"
            self._warn(f"{self._death}; restarted, it {action}")

    def _run_once(self, deaths: int) -> int:
        environment = {**os.environ, SUPERVISOR: str(os.getpid())}
        if deaths == _DEATHS:
            environment[DIED] = f"its worker {self._death} {deaths} times in a row"
        # In a session of its own, so that Ctrl-C reaches it once, from here.
        self._child = subprocess.Popen(  # noqa: S603 - the user's own command again, by no shell
            self._command, env=environment, start_new_session=True
        )
        if self._signal is not None:
            self._child.send_signal(self._signal)
        return self._child.wait()

    def _forward(self, number: int, frame: FrameType | None) -> None:
        self._signal = number
        if self._child is not None:
            self._child.send_signal(number)

    def _finished(self) -> int | None:
        try:
            return self._progress.stat().st_mtime_ns
        except FileNotFoundError:
            return None

    def _warn(self, message: str) -> None:
        print(f"tfrs-npa: warning: {self._name} {message}", file=sys.stderr, flush=True)


def _death(code: int) -> str:
    if code >= 0:
        return "crashed"
    # SIGKILL is what Linux sends when it runs out of memory.
    return f"was killed by signal {-code}" + (" (out of memory?)" if code == -9 else "")
