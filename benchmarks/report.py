"""Writes the figures in benchmarks/results/ into the README, and draws them.

Each `*.json` there is an object with `title`, `about`, `command`, `environment` (cores, cpu, day,
versions), `tables` (each with `title`, `headers` and `rows` of strings) and, for the plot, `ratios`
(each with `name`, `ratio` and `aim`, which may be null). The README holds a line
`<!-- performance: begin -->` and a line `<!-- performance: end -->`; what is between is replaced.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
from typing import Any

from tabulate import tabulate

from tfrs_npa.data.files import replacing

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
    if any(result.get("ratios") for result in results):
        plot = args.results / "performance.png"
        draw(results, plot)
    text = args.readme.read_text(encoding="utf-8")
    text = insert(text, markdown(results, plot and os.path.relpath(plot, args.readme.parent)))
    with replacing(args.readme) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read(folder: pathlib.Path) -> list[dict[str, Any]]:
    """Returns the results of a folder, by name of the file.

    Raises:
        FileNotFoundError: if there are none.
    """
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise FileNotFoundError(f"no results in {folder}: run a benchmark with --json first")
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def markdown(results: list[dict[str, Any]], plot: str | None) -> str:
    """Returns the section of the README: tables, and the plot if there is one."""
    parts = []
    for result in results:
        parts += [f"### {result['title']}", result["about"]]
        parts.append(f"`{result['command']}`, {_environment(result['environment'])}.")
        for table in result["tables"]:
            parts += [f"**{table['title']}**", _table(table)]
    if plot:
        parts.append(f"![Speed, times Microsoft Recommenders]({plot})")
    return "\n\n".join(parts)


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
    """Draws all ratios as bars, and a mark where each aims."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    ratios = [ratio for result in results for ratio in result.get("ratios", [])]
    figure, axes = plt.subplots(figsize=(8, 1 + 0.35 * len(ratios)), layout="constrained")
    bars = axes.barh([r["name"] for r in ratios], [r["ratio"] for r in ratios], color="#4472a8")
    axes.bar_label(bars, fmt="{:,.3g}", padding=4)
    for row, ratio in enumerate(ratios):
        if ratio["aim"] is not None:
            label = "aim" if row == 0 else None
            axes.plot([ratio["aim"]] * 2, [row - 0.4, row + 0.4], color="black", label=label)
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.set_xscale("log")
    axes.margins(x=0.15)
    axes.invert_yaxis()
    axes.set_xlabel("times Microsoft Recommenders, logarithmic")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower right", frameon=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
