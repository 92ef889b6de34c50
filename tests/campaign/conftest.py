"""Hostile and damaged files: the rule that holds for all of them, and the report of a campaign.

Bad input never gives a stack trace, never hangs, and never takes memory that it does not deserve;
the message names the file and has at most 500 characters. `make campaign` runs these tests with
more examples, and writes what they did into `build/campaign.md`.
"""

from __future__ import annotations

import collections
import contextlib
import os
import pathlib
import resource
import signal
import threading

import pytest
from hypothesis import HealthCheck, settings

from tfrs_npa.cli.messages import error_message

LONGEST_MESSAGE, SECONDS, BYTES = 500, 60, 2 << 30
REPORT = os.environ.get("TFRS_NPA_CAMPAIGN")
settings.register_profile(
    "campaign",
    max_examples=int(os.environ.get("TFRS_NPA_CAMPAIGN_EXAMPLES", 40)),
    deadline=None,
    # Fixtures hold what is read and never changed.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
# By test file: how many cases were read well, how many gave a clear message, which tests failed.
_cases = collections.defaultdict(collections.Counter)
_failed = collections.defaultdict(list)


class Hang(BaseException):
    """Reading takes too long."""


def _hangs(*_):
    raise Hang


@contextlib.contextmanager
def _bounds():
    """What is done in it can neither hang nor take gigabytes."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
    taken = pages * resource.getpagesize()
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGALRM, _hangs) if in_main else None
    try:
        resource.setrlimit(resource.RLIMIT_AS, (taken + BYTES, before[1]))
        signal.alarm(SECONDS if in_main else 0)
        yield
    finally:
        signal.alarm(0)
        if in_main:
            signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture
def attempt(request):  # noqa: D417
    """Reads a file by the rule.

    It is a function of `read`, which raises nothing but ValueErrors and OSErrors, and of the file
    or folder that the message has to name; it returns the message, None if there was no error.
    """
    module = request.node.path.name

    def check(read, file):
        try:
            with _bounds():
                read()
        except (ValueError, OSError) as error:
            message = error_message(error)
            assert str(file) in str(error), f"names no file: {message}"
            beyond = len(message) - len(str(file))
            assert beyond <= LONGEST_MESSAGE and "\n" not in message, message
            assert len(str(error)) <= LONGEST_MESSAGE + 2 * len(str(file)), "too long"
            _cases[module]["clear message"] += 1
            return message
        _cases[module]["read"] += 1
        return None

    return check


def pytest_runtest_logreport(report):
    if report.failed and "tests/campaign/" in report.nodeid:
        _failed[pathlib.PurePath(report.nodeid.partition("::")[0]).name].append(report.nodeid)


def pytest_sessionfinish():
    if not REPORT:
        return
    path = pathlib.Path(REPORT)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        "# Campaign: damaged and hostile files",
        "",
        "| tests | cases | read | clear message | failed tests |",
        "|---|---|---|---|---|",
    ]
    for module in sorted({*_cases, *_failed}):
        counts = _cases[module]
        numbers = [counts.total(), counts["read"], counts["clear message"], len(_failed[module])]
        lines.append(f"| `{module}` | {' | '.join(f'{number:,}' for number in numbers)} |")
    failures = [f"- `{node}`" for nodes in _failed.values() for node in nodes]
    if failures:
        lines += ["", "Failed:", "", *failures]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
