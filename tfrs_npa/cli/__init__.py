"""The command `tfrs-npa`: a file for each subcommand, with its options and what it does.

Importing this package needs no TensorFlow, which takes seconds: `--help` and errors in options
answer at once. A subcommand imports it once its options are valid.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType

from tfrs_npa import __version__
from tfrs_npa.cli import evaluate, explain, export, forget, predict, recommend, train, tune
from tfrs_npa.cli.messages import error_message, exhausted_message, plain_messages

COMMANDS = {
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "recommend": recommend,
    "explain": explain,
    "tune": tune,
    "export": export,
    "forget": forget,
}


class Terminated(KeyboardInterrupt):
    """The process was asked to end by SIGTERM, as schedulers do."""


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    main_parser = argparse.ArgumentParser(
        prog="tfrs-npa",
        description="NPA (Neural News Recommendation with Personalized Attention).",
        epilog="Exit codes: 0 success, 2 bad input, 130 interrupted, 143 terminated.",
    )
    main_parser.add_argument("--version", action="version", version=f"tfrs-npa {__version__}")
    subparsers = main_parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        subparser = subparsers.add_parser(
            name,
            help=command.SUMMARY,
            description=command.DESCRIPTION,
            epilog=command.EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_options(subparser)
    return main_parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: The command line without the program's name; None: that of the process.

    Returns:
        The exit code: 0 for success, 2 for bad input, 130 for Ctrl-C, 143 for SIGTERM, and those
        that a subcommand documents.
    """
    options = parser().parse_args(arguments)
    with plain_messages(), _terminated_like_interrupted():
        try:
            return COMMANDS[options.command].run(options) or 0
        except KeyboardInterrupt as interrupt:
            is_terminated = isinstance(interrupt, Terminated)
            what = "tfrs-npa: terminated" if is_terminated else "\ntfrs-npa: interrupted"
            print("; ".join([what, *map(str, interrupt.args)]), file=sys.stderr)
            return 143 if is_terminated else 130
        except (ValueError, OSError) as error:
            print(f"tfrs-npa: error: {error_message(error)}", file=sys.stderr)
            return 2
        except Exception as error:
            message = exhausted_message(error)
            if message is None:
                raise
            print(f"tfrs-npa: error: {message}", file=sys.stderr)
            return 2


@contextlib.contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Has SIGTERM raise `Terminated`, so that what is temporary is removed, and a line says so."""

    def terminate(number: int, frame: FrameType | None) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
