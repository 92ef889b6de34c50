"""Writes the figures in benchmarks/results/ into the README, and draws them.

Each `*.json` there is an object with `title`, `about`, `command`, `environment` (cores, cpu, day,
versions), `tables` (each with `title`, `headers` and `rows` of strings) and `figures` (each with
`name`, `value`, and what it aims at, `aim`: at least, or `at_most`; either may be null or missing;
`compared` is true of ratios to Microsoft Recommenders). The README gets one table with all figures,
and a plot of those ratios, between a line `<!-- performance: begin -->` and a line
`<!-- performance: end -->`. All the tables go into `README.md` beside the results. Ends with an
error if a figure misses its aim, after everything is written.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys
from typing import Any

from tabulate import tabulate

from tfrs_npa._files import atomic_file

HERE = pathlib.Path(__file__).parent
BEGIN, END = "<!-- performance: begin -->", "<!-- performance: end -->"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=pathlib.Path, default=HERE / "results")
    parser.add_argument("--readme", type=pathlib.Path, default=HERE.parent / "README.md")
    args = parser.parse_args()
    results = read(args.results)
    plot = None
    if any(compared(result) for result in results):
        plot = args.results / "performance.png"
        draw(results, plot)
    everything = args.results / "README.md"
    links = [path and os.path.relpath(path, args.readme.parent) for path in (everything, plot)]
    text = insert(args.readme.read_text(encoding="utf-8"), summary(results, *links))
    for path, content in ((everything, tables(results)), (args.readme, text)):
        with atomic_file(path) as temporary:
            temporary.write_text(content, encoding="utf-8")
    misses = [
        figure["name"] for result in results for figure in result["figures"] if missed(figure)
    ]
    if misses:
        sys.exit("aims missed: " + "; ".join(misses))


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
    """Returns the figures of a result that are ratios to Microsoft Recommenders."""
    return [figure for figure in result["figures"] if figure.get("compared")]


def missed(figure: dict[str, Any]) -> bool:
    """Whether a figure misses its aim."""
    least, most = figure.get("aim"), figure.get("at_most")
    value = figure["value"]
    return (least is not None and value < least) or (most is not None and value > most)


def summary(results: list[dict[str, Any]], everything: str, plot: str | None) -> str:
    """Returns the section of the project's README: a table of all figures, and the plot."""
    rows = []
    for result in results:
        for figure in result["figures"]:
            bounds = {"at least": figure.get("aim"), "at most": figure.get("at_most")}
            aims = [f"{word} {bound:,.6g}" for word, bound in bounds.items() if bound is not None]
            aim = " and ".join(aims) + (" (missed)" if missed(figure) else "")
            rows.append([figure["name"], _number(figure["value"]), aim, f"`{result['command']}`"])
    table = {"headers": ["", "figure", "aim", "command"], "rows": rows}
    parts = [_table(table), f"All figures, and how they came about: [{everything}]({everything})."]
    if plot:
        parts.append(f"![Speed, times Microsoft Recommenders]({plot})")
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
        raise ValueError(f"the README needs one line {BEGIN} and, after it, one line {END}")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    return f"{before}{BEGIN}\n\n{section}\n\n{END}{after}"


def draw(results: list[dict[str, Any]], path: pathlib.Path) -> None:
    """Draws the ratios to Microsoft Recommenders as bars, and a mark where each aims."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    ratios = [figure for result in results for figure in compared(result)]
    figure, axes = plt.subplots(figsize=(8, 1 + 0.35 * len(ratios)), layout="constrained")
    bars = axes.barh([r["name"] for r in ratios], [r["value"] for r in ratios], color="#4472a8")
    axes.bar_label(bars, fmt="{:,.3g}", padding=4)
    for row, ratio in enumerate(ratios):
        if ratio.get("aim") is not None:
            label = None if axes.get_legend_handles_labels()[0] else "aim"
            axes.plot([ratio["aim"]] * 2, [row - 0.4, row + 0.4], color="black", label=label)
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.set_xscale("log")
    axes.margins(x=0.15)
    axes.invert_yaxis()
    axes.set_xlabel("times Microsoft Recommenders, logarithmic")
    if axes.get_legend_handles_labels()[0]:
        axes.figure.legend(loc="outside upper right", frameon=False)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
