"""Microsoft Recommenders in a virtual environment and in processes of its own."""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
from typing import Any

RECOMMENDERS = "recommenders==1.2.1"
# Requirements of its NPA; its declared requirements no longer install together.
REQUIREMENTS = (
    "tensorflow-cpu==2.15.1",
    "numpy<2",
    "nltk",
    "pandas",
    "pyyaml",
    "requests",
    "retrying",
    "scikit-learn",
    "scipy",
    "tqdm",
)
PYTHONS = ((3, 9), (3, 10), (3, 11))
_WORKER = pathlib.Path(__file__).with_name("recommenders_worker.py")
_VERSIONS = "from importlib.metadata import version as v; print(v('recommenders'))"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say where the environment is, and which Python creates it."""
    parser.add_argument(
        "--recommenders-venv",
        type=pathlib.Path,
        default=pathlib.Path(".venv-recommenders"),
        help="virtual environment of Recommenders (default: %(default)s)",
    )
    parser.add_argument(
        "--recommenders-python",
        default="python3.10",
        help="interpreter to create it with, 3.9 to 3.11 (default: %(default)s)",
    )


def prepare(directory: pathlib.Path, python: str) -> pathlib.Path:
    """Creates the environment if it does not exist.

    Args:
        directory: Where it is, or is to be.
        python: The interpreter to create it with, 3.9 to 3.11, by name or path.

    Returns:
        The interpreter of the environment.

    Raises:
        RuntimeError: if there is no such interpreter, or it has another version.
        subprocess.CalledProcessError: if something could not be installed.
    """
    interpreter = directory.absolute() / "bin" / "python"
    wanted = RECOMMENDERS.split("==")[1]
    # It is installed last, so an environment that has it is complete.
    if interpreter.exists() and _output(interpreter, _VERSIONS) == wanted:
        return interpreter
    found = shutil.which(python)
    version = _output(found, "import sys; print(*sys.version_info[:2])") if found else ""
    if tuple(map(int, version.split())) not in PYTHONS:
        raise RuntimeError(
            f"{python} is {'Python ' + version.replace(' ', '.') if version else 'missing'}; "
            f"Recommenders {wanted} needs Python 3.9, 3.10 or 3.11: name one with "
            "--recommenders-python"
        )
    print(f"Installing Recommenders {wanted} into {directory}", file=sys.stderr)
    subprocess.run([found, "-m", "venv", directory], check=True)
    install = [interpreter, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    subprocess.run([*install, *REQUIREMENTS], check=True)
    subprocess.run([*install, "--no-deps", RECOMMENDERS], check=True)
    return interpreter


def _output(interpreter: str | os.PathLike, code: str) -> str:
    run = subprocess.run([interpreter, "-c", code], capture_output=True, text=True)
    return run.stdout.strip()


class RecommendersError(RuntimeError):
    """A worker exited instead of answering."""


class Worker:
    """A process with one model of Recommenders; idle, it blocks and uses no processor.

    A process for each model, because a second model breaks the first one of a process.

    Args:
        interpreter: The result of `prepare`.
        data: The folder that `demo_sized_data.write` wrote.
        title_length: Words of a title.
        script: The script to run; by default, `recommenders_worker.py`.
        seed: Seed of its weights, its order of rows and its negatives.

    Example:
        >>> with Worker(prepare(directory, "python3.10"), data, title_length=10) as worker:
        ...     worker("train", steps=3, batch_size=32)["seconds"]
    """

    def __init__(
        self,
        interpreter: str | os.PathLike,
        data: pathlib.Path,
        title_length: int,
        script: pathlib.Path = _WORKER,
        seed: int = 0,
    ):
        self._log = data / f"recommenders_{title_length}.log"
        # Its TensorFlow has Keras 2 inside and fails where TF_USE_LEGACY_KERAS asks for tf_keras.
        left_out = ("PYTHONPATH", "PYTHONHOME", "TF_USE_LEGACY_KERAS")
        environment = {key: value for key, value in os.environ.items() if key not in left_out}
        options = ["--data", data, "--title-length", str(title_length), "--seed", str(seed)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [interpreter, script, *options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
            )

    def __call__(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Runs a command in the process and returns the answer.

        Raises:
            RecommendersError: if the process exits instead; its message has the end of its log.
        """
        answer = ""
        try:
            self._process.stdin.write(json.dumps({"command": command, **arguments}) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            pass
        if not answer:
            status = self._process.wait()
            log = self._log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise RecommendersError(f"Recommenders exited with {status} at {command!r}:\n{log}")
        return json.loads(answer)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exception) -> None:
        self._process.kill()
        self._process.communicate()
