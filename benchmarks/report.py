"""Writes the results of the benchmarks into README and docs, and plots them.

Reads `results/*.json`, whose format is in `results_file.py`. Between a line
`<!-- performance: begin -->` and a line `<!-- performance: end -->`, README.md gets a table of
the measurements in `README_MEASUREMENTS`, and docs/performance.md one of all measurements; both get
a plot of the ratios to Microsoft Recommenders. All other tables go into results/README.md. When
everything is written, ends with an error if a measurement misses its target, or one of
`README_MEASUREMENTS` is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys
from collections.abc import Collection
from typing import Any

from tabulate import tabulate

from tfrs_npa._files import atomic_file

HERE = pathlib.Path(__file__).parent
BEGIN, END = "<!-- performance: begin -->", "<!-- performance: end -->"
README_MEASUREMENTS = (
    "evaluation, times Recommenders, title length 10 (preset)",
    "training, times Recommenders, title length 10, batch 32 (recipe)",
    "training, times Recommenders, title length 30, batch 256 (recipe)",
    "evaluation of MIND-large's dev size (dimensions, uniform), seconds",
    "AUC, fast minus plain path, mean of 3 seeds",
    "top 10 of 65,000, one user: plain towers / ours",
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=pathlib.Path, default=HERE / "results")
    parser.add_argument("--readme", type=pathlib.Path, default=HERE.parent / "README.md")
    parser.add_argument(
        "--page", type=pathlib.Path, default=HERE.parent / "docs" / "performance.md"
    )
    args = parser.parse_args()
    results = read(args.results)
    names = [m["name"] for result in results for m in result["measurements"]]
    texts = {
        page: insert(page.read_text(encoding="utf-8"), section(results, args.results, page, shown))
        for page, shown in ((args.readme, README_MEASUREMENTS), (args.page, names))
    }
    texts[args.results / "README.md"] = tables(results)
    if any(map(compared, results)):
        plot(results, args.results / "performance.png")
    for path, text in texts.items():
        with atomic_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    missed = [m["name"] for result in results for m in result["measurements"] if misses(m)]
    missing = [name for name in README_MEASUREMENTS if name not in names]
    if missed or missing:
        problems = {"targets missed": missed, "not measured": missing}
        sys.exit("\n".join(f"{what}: {'; '.join(of)}" for what, of in problems.items() if of))


def read(folder: pathlib.Path) -> list[dict[str, Any]]:
    """Returns the results of a folder, by name of the file.

    Raises:
        FileNotFoundError: if there are none.
    """
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise FileNotFoundError(f"no results in {folder}: run a benchmark with --json first")
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def compared(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the measurements of a result that are ratios to Microsoft Recommenders."""
    return [measurement for measurement in result["measurements"] if measurement.get("compared")]


def misses(measurement: dict[str, Any]) -> bool:
    """Whether a measurement misses its target."""
    least, most = measurement.get("target"), measurement.get("at_most")
    value = measurement["value"]
    return (least is not None and value < least) or (most is not None and value > most)


def section(
    results: list[dict[str, Any]],
    folder: pathlib.Path,
    page: pathlib.Path,
    names: Collection[str],
) -> str:
    """Returns what a page shows: a table of measurements, a link to all results, and the plot.

    Args:
        results: The results.
        folder: Their folder, which the links lead to.
        page: The page.
        names: The measurements of the table.
    """
    rows = []
    for result in results:
        for measurement in result["measurements"]:
            if measurement["name"] in names:
                value, command = _number(measurement["value"]), f"`{result['command']}`"
                rows.append([measurement["name"], value, _target(measurement), command])
    table = {"headers": ["", "result", "target", "command"], "rows": rows}
    link = os.path.relpath(folder, page.parent)
    title = f"{folder.parent.name}/{folder.name}/README.md"
    parts = [
        _table(table),
        f"All results, and how they were measured:\n[{title}]({link}/README.md).",
    ]
    if any(map(compared, results)):
        parts.append(f"![Speed, times Microsoft Recommenders]({link}/performance.png)")
    return "\n\n".join(parts)


def tables(results: list[dict[str, Any]]) -> str:
    """Returns all the tables, as a page of their own."""
    parts = ["# Results", "Written by `benchmarks/report.py`."]
    for result in results:
        parts += [f"## {result['title']}", result["about"]]
        parts.append(f"`{result['command']}`, {_environment(result['environment'])}.")
        for table in result["tables"]:
            parts += [f"**{table['title']}**", _table(table)]
    return "\n\n".join(parts) + "\n"


def _number(value: float) -> str:
    if abs(value) >= 20:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.1g}"


def _target(measurement: dict[str, Any]) -> str:
    bounds = {"at least": measurement.get("target"), "at most": measurement.get("at_most")}
    given = [f"{word} {bound:,.6g}" for word, bound in bounds.items() if bound is not None]
    return " and ".join(given) + (" (missed)" if misses(measurement) else "")


def _table(table: dict[str, Any]) -> str:
    return tabulate(table["rows"], table["headers"], "pipe", disable_numparse=True)


def _environment(environment: dict[str, Any]) -> str:
    text = f"{environment['cores']} cores of {environment['cpu']}, {environment['day']}"
    if "tensorflow" in environment:
        text += f", TensorFlow {environment['tensorflow']}"
    if "recommenders" in environment:
        theirs = environment["recommenders"]
        text += f" (Recommenders {theirs['recommenders']}: TensorFlow {theirs['tensorflow']})"
    return text


def insert(text: str, section: str) -> str:
    """Returns `text` with `section` between the two markers.

    Raises:
        ValueError: if there is not one of each marker, in order.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"the page needs one line {BEGIN} and, after it, one line {END}")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    return f"{before}{BEGIN}\n\n{section}\n\n{END}{after}"


def plot(results: list[dict[str, Any]], path: pathlib.Path) -> None:
    """Plots the ratios to Microsoft Recommenders as bars, and a mark at each target."""
    from matplotlib.figure import Figure

    ratios = [ratio for result in results for ratio in compared(result)]
    figure = Figure(figsize=(8, 1 + 0.35 * len(ratios)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh([r["name"] for r in ratios], [r["value"] for r in ratios], color="#4472a8")
    axes.bar_label(bars, fmt="{:,.3g}", padding=4)
    for row, ratio in enumerate(ratios):
        if ratio.get("target") is not None:
            label = None if axes.get_legend_handles_labels()[0] else "target"
            axes.plot([ratio["target"]] * 2, [row - 0.4, row + 0.4], color="black", label=label)
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.set_xscale("log")
    axes.margins(x=0.15)
    axes.invert_yaxis()
    axes.set_xlabel("times Microsoft Recommenders, logarithmic")
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside upper right", frameon=False)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)


if __name__ == "__main__":
    main()
