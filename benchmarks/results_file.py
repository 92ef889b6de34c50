"""What all benchmarks share: the option `--json`, tables, and the file of results.

A file of results holds an object of

- `title`, `about` (what was measured, and how), `command`, and `environment` (cores, CPU model,
  load before the benchmark, Python, TensorFlow, day);
- `tables`, each with a `title`, `headers` and `rows` of strings;
- `measurements`, each with a `name`, a `value` and, if there is one, its target: `target`, the
  least it should be, or `at_most`; `compared` marks ratios to Microsoft Recommenders;
- whatever else a benchmark keeps.

`report.py` reads these files.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import pathlib
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

from tabulate import tabulate

from tfrs_npa._files import atomic_file

# Of options that say where files are.
_PATHS = ("--json", "--output", "--plot", "--data", "--recommenders-venv", "--recommenders-python")
# Taken when a benchmark starts: later, the load is its own.
_LOAD_BEFORE = os.getloadavg()[0]


def result_parser(description: str) -> argparse.ArgumentParser:
    """Returns a parser with the option of every benchmark: `--json`."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_json(parser)
    return parser


def add_json(parser: argparse.ArgumentParser) -> None:
    """Adds the option `--json`."""
    parser.add_argument(
        "--json", type=pathlib.Path, metavar="FILE", help="also write the results to this file"
    )


def about(description: str) -> str:
    """Returns a description without its first paragraph, in one line."""
    return " ".join(description.split("\n\n", 1)[1].split())


def table(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Returns a table of a file of results."""
    return {"title": title, "headers": list(headers), "rows": [list(row) for row in rows]}


def show(shown: Mapping[str, Any]) -> None:
    """Prints a table."""
    cells = tabulate(shown["rows"], shown["headers"], disable_numparse=True)
    print(f"{shown['title']}\n{cells}\n", flush=True)


def measurement(
    name: str,
    value: float,
    *,
    target: float | None = None,
    at_most: float | None = None,
    compared: bool = False,
) -> dict[str, Any]:
    """Returns a measurement of a file of results.

    Args:
        name: What was measured.
        value: The result.
        target: The least it should be.
        at_most: The most it should be.
        compared: Whether it is a ratio to Microsoft Recommenders.
    """
    targets = {"target": target, "at_most": at_most}
    given = {key: bound for key, bound in targets.items() if bound is not None}
    return {"name": name, "value": value} | given | ({"compared": True} if compared else {})


def write(
    path: pathlib.Path | None,
    *,
    title: str,
    about: str,
    tables: Sequence[Mapping[str, Any]],
    measurements: Sequence[Mapping[str, Any]] = (),
    command: str | None = None,
    versions: Mapping[str, Any] | None = None,
    **others: Any,
) -> None:
    """Writes the file of results.

    Args:
        path: The file; None: writes nothing.
        title: Title of the benchmark.
        about: What was measured, and how.
        tables: Results of `table`.
        measurements: Results of `measurement`.
        command: The command; None: that of this process, without the options that say where files
            are.
        versions: Other versions of the environment.
        **others: Whatever else to keep.
    """
    if path is None:
        return
    result = {
        "title": title,
        "about": about,
        "command": command or _command(),
        "environment": _environment() | dict(versions or {}),
        "tables": list(tables),
        "measurements": list(measurements),
        **others,
    }
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def report(
    path: pathlib.Path | None,
    title: str,
    description: str,
    tables: Sequence[Mapping[str, Any]],
    measurements: Sequence[Mapping[str, Any]],
) -> None:
    """Prints tables and measurements, and writes them as `write`; `description` is the script's."""
    for shown in tables:
        show(shown)
    for found in measurements:
        print(f"{found['name']}: {found['value']:.3f}")
    described = about(description)
    write(path, title=title, about=described, tables=tables, measurements=measurements)


def _environment() -> dict[str, Any]:
    has_affinity = hasattr(os, "sched_getaffinity")
    return {
        "cores": len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count(),
        "cpu": _cpu_model(),
        "load_before": round(_LOAD_BEFORE, 2),
        "python": platform.python_version(),
        "tensorflow": metadata.version("tensorflow"),
        "day": datetime.date.today().isoformat(),
    }


def _command() -> str:
    script, *given = sys.argv
    words = ["python", f"benchmarks/{pathlib.Path(script).name}"]
    at_path = False
    for word in given:
        if word.startswith("-"):
            at_path = word.split("=")[0] in _PATHS
        if not at_path:
            words.append(word)
    return shlex.join(words)


def _cpu_model() -> str:
    information = pathlib.Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
