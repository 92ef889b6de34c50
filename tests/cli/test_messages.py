from __future__ import annotations

import logging
import subprocess
import sys
import warnings

import pytest

from tfrs_npa.cli import COMMANDS, main
from tfrs_npa.cli.messages import OUT_OF_MEMORY, error_message, import_tensorflow, plain_messages


def test_messages_are_single_lines_each_of_them_once(capsys):
    with plain_messages():
        for _ in range(2):
            logging.getLogger("tfrs_npa.data").info("read %d lines", 3)
            logging.getLogger("tfrs_npa.data").warning("a line is odd")
            warnings.warn("of a\n  library", stacklevel=1)
        logging.getLogger("tfrs_npa").debug("a detail")
        logging.getLogger("absl").info("a detail")
        logging.getLogger("tensorflow").warning("a detail")
    output, messages = capsys.readouterr()
    assert not output and messages.splitlines() == [
        "read 3 lines",
        "tfrs-npa: warning: a line is odd",
        "tfrs-npa: warning: of a library",
    ]


def test_other_loggers_are_left_alone(tmp_path):
    # A handler that was closed would write no more.
    handler = logging.FileHandler(tmp_path / "log", mode="w")
    other = logging.getLogger("another")
    other.addHandler(handler)
    ours = [logging.getLogger(name) for name in ("tfrs_npa", "absl", "tensorflow")]
    before = [(logger.handlers, logger.propagate, logger.level) for logger in ours]
    show = warnings.showwarning
    with pytest.raises(KeyError), plain_messages():
        raise KeyError
    other.warning("still here")
    other.removeHandler(handler)
    handler.close()
    assert (tmp_path / "log").read_text() == "still here\n"
    assert [(logger.handlers, logger.propagate, logger.level) for logger in ours] == before
    assert warnings.showwarning is show


def test_tensorflow_tells_errors_only_and_once(capfd):
    """Not that a search traces every model, nor that a tower has no config of its own."""
    with plain_messages():
        import_tensorflow()
        logging.getLogger("tensorflow").warning("5 out of the last 6 calls triggered retracing")
        logging.getLogger("tensorflow").error("a failure")
    assert capfd.readouterr().err.splitlines() == ["tfrs-npa: warning: a failure"]


FAILING = """
import os, sys
from tfrs_npa.cli.messages import import_tensorflow

class Finder:
    def find_spec(self, name, *_):
        if name == "tensorflow":
            os.write(2, b"what TensorFlow says of it\\n")
            raise ImportError("no TensorFlow here")

sys.meta_path.insert(0, Finder())
try:
    import_tensorflow()
except ImportError as error:
    print(error)
"""


def test_what_is_written_during_an_import_that_fails_is_shown():
    process = subprocess.run([sys.executable, "-c", FAILING], capture_output=True, text=True)
    assert process.stdout == "no TensorFlow here\n", process.stderr
    assert process.stderr == "what TensorFlow says of it\n"


def test_an_error_of_the_system_names_its_file(tmp_path):
    with pytest.raises(OSError) as caught:
        open(tmp_path / "none")
    assert error_message(caught.value) == f"{tmp_path / 'none'}: No such file or directory"
    assert error_message(OSError(28, "No space left on device")) == "No space left on device"
    assert error_message(OSError("of a library")) == "of a library"
    assert error_message(ValueError("line 3: no")) == "line 3: no"


def test_a_message_is_a_line_of_at_most_500_characters():
    text = error_message(ValueError("news.tsv, line 3:\n" + "x" * 10**6 + ": mend it"))
    assert len(text) == 500 and "\n" not in text
    assert text.startswith("news.tsv, line 3: xxx") and text.endswith("xxx: mend it")


@pytest.mark.parametrize("kind", ["numpy", "tensorflow"])
def test_no_memory_is_a_line(kind, monkeypatch, capsys):
    import numpy as np
    import tensorflow as tf

    def run(options):
        if kind == "numpy":
            return np.ones((10**9, 10**9))
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    monkeypatch.setattr(COMMANDS["forget"], "run", run)
    assert main(["forget", "--run", "r", "--user", "U1"]) == 2
    assert capsys.readouterr().err == f"tfrs-npa: error: {OUT_OF_MEMORY}\n"


@pytest.mark.parametrize("writes", ["an op", "Python"])
def test_a_full_disk_is_no_lack_of_memory(writes, monkeypatch, capsys):
    """TensorFlow has the same error for both."""
    import tensorflow as tf

    def run(options):
        if writes == "an op":
            tf.io.write_file("/dev/full", "x")
        else:
            tf.io.gfile.GFile("/dev/full", "w").write("x" * 10**6)

    monkeypatch.setattr(COMMANDS["forget"], "run", run)
    assert main(["forget", "--run", "r", "--user", "U1"]) == 2
    assert capsys.readouterr().err == "tfrs-npa: error: /dev/full: No space left on device\n"


def test_other_errors_keep_their_trace(monkeypatch):
    def run(options):
        raise KeyError("a bug")

    monkeypatch.setattr(COMMANDS["forget"], "run", run)
    with pytest.raises(KeyError, match="a bug"):
        main(["forget", "--run", "r", "--user", "U1"])
