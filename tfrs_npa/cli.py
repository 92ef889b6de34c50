"""Runs a command of `tfrs-npa` and reports what it says and what goes wrong.

What a command does is in `tfrs_npa.commands`; its options are in `tfrs_npa_cli`, which needs no
TensorFlow.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import logging
import sys
import warnings
from collections.abc import Iterator

import tensorflow_datasets as tfds

from tfrs_npa_cli import main as main


def run(options: argparse.Namespace) -> int:
    """Runs a command.

    Args:
        options: what `tfrs_npa_cli.parser` made of the command line.

    Returns:
        The exit code: 0 for success, 2 for input that is not as it should be, 130 for Ctrl-C.
    """
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    with _plain_messages():
        return _run(options)


def _run(options: argparse.Namespace) -> int:
    try:
        importlib.import_module(f"tfrs_npa.commands.{options.command}").run(options)
    except KeyboardInterrupt as interrupt:
        print("; ".join(["\ntfrs-npa: interrupted", *map(str, interrupt.args)]), file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"tfrs-npa: error: {_message(error)}", file=sys.stderr)
        return 2
    return 0


@contextlib.contextmanager
def _plain_messages() -> Iterator[None]:
    """Has warnings and logs appear as single lines, each of them once."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter())
    handler.addFilter(_Once())
    # TensorFlow: Keras grumbles at every checkpoint that a tower has no config of its own.
    levels = {"tfrs_npa": logging.INFO, "absl": logging.WARNING, "tensorflow": logging.ERROR}
    loggers = [logging.getLogger(name) for name in levels]
    before = [(logger.handlers, logger.propagate, logger.level) for logger in loggers]
    for logger, level in zip(loggers, levels.values(), strict=True):
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)

    def show(message, category, filename, lineno, file=None, line=None):
        loggers[0].warning(" ".join(str(message).split()))

    try:
        with warnings.catch_warnings():
            warnings.showwarning = show
            yield
    finally:
        for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)


class _Formatter(logging.Formatter):
    def format(self, record):
        prefix = "tfrs-npa: warning: " if record.levelno >= logging.WARNING else ""
        return prefix + record.getMessage()


class _Once(logging.Filter):
    """Lets the same words through once: a file that is read twice is as odd the second time."""

    def __init__(self):
        super().__init__()
        self._seen = set()

    def filter(self, record):
        message = record.getMessage()
        seen = message in self._seen
        self._seen.add(message)
        return not seen


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)
