"""The command `tfrs-npa`: what it can be given.

It is a package of its own because importing anything of `tfrs_npa` imports TensorFlow, which takes
seconds: too long to wait for `--help`, and too late to choose how much TensorFlow logs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib import metadata

from tfrs_npa_cli import evaluate, export, predict, recommend, train, tune
from tfrs_npa_cli.supervisor import supervised


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    main_parser = argparse.ArgumentParser(
        prog="tfrs-npa",
        description="NPA (Neural News Recommendation with Personalized Attention).",
        epilog="Exit codes: 0 done, 2 something about the input is wrong, 130 interrupted.",
    )
    main_parser.add_argument("--version", action="version", version=f"tfrs-npa {_version()}")
    commands = main_parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (train, evaluate, predict, recommend, tune, export):
        command.add(commands)
    return main_parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: the command line without the program's name; None: that of the process.

    Returns:
        The exit code: 0 for success, 2 for input that is not as it should be, 130 for Ctrl-C.
    """
    options = parser().parse_args(arguments)
    if options.command == "tune":
        code = supervised(options.run)
        if code is not None:
            return code
    try:
        with _quiet_tensorflow():
            from tfrs_npa import cli
        return cli.run(options)
    except KeyboardInterrupt:
        print("tfrs-npa: interrupted", file=sys.stderr)
        return 130


@contextlib.contextmanager
def _quiet_tensorflow() -> Iterator[None]:
    """Keeps to itself what TensorFlow says on import, unless the user chose what it logs."""
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        yield
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    # Some of it is written before TensorFlow has looked at the variable, and not through Python.
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        except BaseException:
            said.seek(0)
            os.write(stderr, said.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def _version() -> str:
    try:
        return metadata.version("tfrs-npa")
    except metadata.PackageNotFoundError:  # a checkout that is on the path
        return "(not installed)"
