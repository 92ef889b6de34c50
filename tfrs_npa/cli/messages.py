"""The command line's messages: one line each, and TensorFlow's own log kept out of them."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from typing import Any

from tfrs_npa._quoting import shortened

OUT_OF_MEMORY = (
    "there is not enough memory; give a smaller batch_size, title_length, history_length or "
    "dimensions (--set), fewer --user-buckets, or less --encoding-memory"
)
_OF_FILES = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE)
_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_ERRORS_ONLY = "3"

# TensorFlow: Keras complains at every checkpoint that a tower has no config of its own.
_LEVELS = {
    "tfrs_npa": "INFO",
    "absl": "WARNING",
    "tensorflow": "ERROR",
    # What a worker logs comes again as the error of the pipeline.
    "apache_beam": "CRITICAL",
}


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        prefix = "tfrs-npa: warning: " if record.levelno >= logging.WARNING else ""
        return prefix + record.getMessage()


class _Once(logging.Filter):
    """Lets the same message through once: a file that is read twice warns of the same thing."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        seen = message in self._seen
        self._seen.add(message)
        return not seen


@contextlib.contextmanager
def plain_messages() -> Iterator[None]:
    """Shows warnings and logs as single lines on standard error, each of them once."""
    # Not by `logging.config`, which closes every other handler of the process.
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter())
    handler.addFilter(_Once())
    loggers = [logging.getLogger(name) for name in _LEVELS]
    before = [(logger.handlers, logger.propagate, logger.level) for logger in loggers]
    for logger, level in zip(loggers, _LEVELS.values(), strict=True):
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)

    def show(message: Warning | str, *where: Any, **more: Any) -> None:
        loggers[0].warning(" ".join(str(message).split()))

    try:
        with warnings.catch_warnings():
            warnings.showwarning = show
            yield
    finally:
        for logger, (handlers, propagate, old_level) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(old_level)


def import_tensorflow() -> None:
    """Imports TensorFlow without a line of its log, and its data sets without their bars.

    Progress bars are for terminals. With `TF_CPP_MIN_LOG_LEVEL` set to 0, 1 or 2, TensorFlow's log
    is shown.
    """
    logger = logging.getLogger("tensorflow")
    handlers = [*logger.handlers]
    with _quiet_import():
        import tensorflow  # noqa: F401
        import tensorflow_datasets as tfds
    # Importing TensorFlow resets the level of its logger, and adds a handler.
    logger.handlers = handlers
    logger.setLevel(_LEVELS["tensorflow"])
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()


def import_beam() -> None:
    """Imports Apache Beam without a line of its log.

    Raises:
        ValueError: if it is not installed.
    """
    try:
        with _quiet_import():
            import tfrs_npa.datasets.mind.on_beam  # noqa: F401
    except ImportError as error:
        raise ValueError(str(error)) from error


@contextlib.contextmanager
def _quiet_import() -> Iterator[None]:
    if os.environ.setdefault(_LOG_LEVEL, _ERRORS_ONLY) != _ERRORS_ONLY:
        yield
        return
    # Some lines are written before TensorFlow has read the variable, and not through Python.
    try:
        temporary = tempfile.TemporaryFile()
    except OSError:  # without a temporary folder, TensorFlow's lines are shown
        yield
        return
    stderr = os.dup(2)
    with temporary as written:
        os.dup2(written.fileno(), 2)
        try:
            yield
        except BaseException:
            written.seek(0)
            os.write(stderr, written.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def exhausted_message(error: Exception) -> str | None:
    """Returns a line on memory or disk that an error says is used up; None for other errors.

    TensorFlow, which need not be imported, has one error for both.
    """
    is_tensorflows = type(error).__name__ == "ResourceExhaustedError"
    if is_tensorflows:
        for reason in map(os.strerror, _OF_FILES):
            file, found, _ = str(error).partition(f"; {reason}")
            if found:  # before the name of the file, TensorFlow may have that of an op, in braces
                return shortened(f"{file.rpartition('}} ')[2]}: {reason}")
    return OUT_OF_MEMORY if is_tensorflows or isinstance(error, MemoryError) else None


def error_message(error: Exception) -> str:
    """Returns a line that says what went wrong, with the file of an error of the system.

    Of a long message, which is one that quotes a file, the middle is left out.
    """
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return shortened(" ".join(text.split("\n")))
