"""Pictures of a training and of an evaluation."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfrs_npa._figures import BLUE, GREEN, GREY, ORANGE, new_figure, save_figure
from tfrs_npa.metrics.table import ROWS
from tfrs_npa.metrics.table import SLICES as WAYS
from tfrs_npa.runs.run import Run

LEARNING_CURVES, SLICES, RELIABILITY = "learning_curves.png", "slices.png", "reliability.png"
OF_AN_EVALUATION = (SLICES, RELIABILITY)
_NOTHING = "no impression has a click and a candidate without one"
# Letters of names; more are left out.
_NAME, _DATA = 28, 60


def plot_run(run: Run, evaluation: Mapping[str, Any]) -> None:
    """Draws a training, and its evaluation, into `plots/` of the run.

    Args:
        run: The run.
        evaluation: The result of `evaluate_model`, of what `train` reports on.
    """
    # Here, so that the names of the files are known without TensorFlow.
    from tfrs_npa.runs.callbacks import best_epoch

    history = run.history
    if history:  # else the training was interrupted before it had any
        plot_learning_curves(run.plots / LEARNING_CURVES, history, best_epoch(history))
    plot_evaluation(run.plots, evaluation)


def plot_evaluation(folder: str | os.PathLike[str], evaluation: Mapping[str, Any]) -> None:
    """Draws an evaluation.

    Args:
        folder: Where `OF_AN_EVALUATION`, the files, are written, or replaced.
        evaluation: The result of `evaluate_model`.
    """
    plot_slices(pathlib.Path(folder, SLICES), evaluation)
    plot_reliability(pathlib.Path(folder, RELIABILITY), evaluation)


def plot_learning_curves(
    path: str | os.PathLike[str], history: Sequence[Mapping[str, float]], best: int
) -> None:
    """Draws losses and the AUC by epoch, and marks the best epoch, as PNG.

    The two losses have a panel each: that of training is of a click among a few sampled candidates,
    that of validation of a click in a whole impression.

    Args:
        path: The file.
        history: As `Run.history`, not empty.
        best: The best epoch.
    """
    from matplotlib.ticker import MaxNLocator

    panels: dict[str, dict[str, str]] = {
        "training loss\n(cross-entropy, nats)": {"loss": ""},
        "validation loss\n(cross-entropy, nats)": {"val_loss": ""},
        "validation AUC": {
            "val_auc": "all users",
            "val_auc_known_users": "known users",
            "val_auc_new_users": "new users",
        },
    }
    panels = {
        label: names
        for label, names in panels.items()
        if any(name in row for name in names for row in history)
    }
    figure = new_figure(7, 0.8 + 2.2 * len(panels))
    for axes, (label, names) in zip(
        figure.subplots(len(panels), sharex=True, squeeze=False).flat, panels.items()
    ):
        styles = zip(names.items(), ((BLUE, "o-"), (GREEN, "^--"), (ORANGE, "v:")))
        for (name, title), (colour, style) in styles:
            rows = [row for row in history if name in row]
            epochs, values = [row["epoch"] for row in rows], [row[name] for row in rows]
            axes.plot(epochs, values, style, color=colour, markersize=4, label=title or None)
        axes.axvline(best, color=GREY, linestyle="-.", label=f"best epoch, {best}")
        axes.set_ylabel(label)
        axes.legend(fontsize="small")
        axes.grid(alpha=0.3)
    axes.set_xlabel("epoch (0: before the first step)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    save_figure(figure, path)


def plot_slices(path: str | os.PathLike[str], evaluation: Mapping[str, Any]) -> None:
    """Draws the AUC of each slice with its 95 % interval, next to the best baseline, as PNG.

    Args:
        path: The file.
        evaluation: The result of `evaluate_model`.
    """
    slices = {way: found for way, found in evaluation["slices"].items() if found}
    baseline = (evaluation["best_baseline"] or {}).get("name")
    lines = sum(map(len, slices.values()))
    figure = new_figure(7, 1.6 + 0.24 * lines + 0.45 * len(slices))
    if not slices:
        _say(figure, _NOTHING)
    ratios = [len(found) + 0.8 for found in slices.values()]
    panels = figure.subplots(
        max(len(slices), 1), sharex=True, squeeze=False, height_ratios=ratios or None
    ).flat
    for axes, (way, found) in zip(panels, slices.items()):
        places = np.arange(len(found))
        aucs = [part["metrics"]["auc"] for part in found.values()]
        if baseline is not None:
            theirs = [part["baseline_auc"][baseline] for part in found.values()]
            label = f"best baseline: {ROWS[baseline]}"
            axes.plot(theirs, places, "D", color=ORANGE, fillstyle="none", label=label)
        for place, part in zip(places, found.values()):
            if part["intervals"]["auc"] is not None:
                axes.plot(part["intervals"]["auc"], [place, place], "-", color=BLUE, linewidth=2)
        axes.plot(aucs, places, "o", color=BLUE, label="NPA, with 95 % interval")
        axes.axvline(evaluation["metrics"]["npa"]["auc"], color=GREY, label="NPA, all impressions")
        names = [f"{_short(name)}  ({part['impressions']:,})" for name, part in found.items()]
        axes.set_yticks(places, names, fontsize="small", parse_math=False)
        axes.set_ylim(len(found) - 0.4, -0.6)
        axes.set_title(WAYS[way], loc="left", fontsize="small", weight="bold")
        axes.grid(axis="x", alpha=0.3)
    if slices:
        axes.set_xlabel("AUC (in brackets: impressions)")
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize="small")
    _entitle(figure, evaluation)
    save_figure(figure, path)


def plot_reliability(path: str | os.PathLike[str], evaluation: Mapping[str, Any]) -> None:
    """Draws how often articles are clicked by how often the model expects it, as PNG.

    The model is calibrated where the points lie on the diagonal; it is too sure of a click where
    they lie below. What is compared, and where this is from, is said in
    `tfrs_npa.metrics.reliability`. A share of 0 is below the axis; its interval is not shown.

    Args:
        path: The file.
        evaluation: The result of `evaluate_model`.
    """
    found = evaluation["reliability"]
    bins = found["bins"]
    figure = new_figure(6, 6.6)
    above, below = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    if bins:
        predicted = np.array([part["predicted"] for part in bins])
        clicked = np.array([part["clicked"] for part in bins])
        low, high = np.array([part["interval"] for part in bins]).T
        counts = [part["candidates"] for part in bins]
        least = 0.7 * min(predicted.min(), clicked[clicked > 0].min())
        above.plot([least, 1], [least, 1], "--", color=GREY, label="calibrated")
        shown = clicked > 0
        above.errorbar(
            predicted[shown],
            clicked[shown],
            np.stack([clicked - low, high - clicked])[:, shown],
            fmt="o-",
            color=BLUE,
            capsize=3,
            label="NPA, with 95 % interval",
        )
        above.set_xscale("log")
        above.set_yscale("log")
        above.set_xlim(least, 1.1)
        above.set_ylim(least, 1.1)
        above.legend(loc="upper left")
        above.text(
            0.98,
            0.03,
            f"expected calibration error {found['expected_error']:.4f}",
            transform=above.transAxes,
            horizontalalignment="right",
        )
        left = [max(part["from"], least) for part in bins]
        widths = [part["to"] - start for part, start in zip(bins, left)]
        below.bar(left, counts, widths, align="edge", color=BLUE, edgecolor="white")
        below.set_yscale("log")
    else:
        _say(figure, _NOTHING)
    above.set_ylabel("share of the impression's clicks")
    below.set_ylabel("candidates")
    below.set_xlabel("predicted probability: softmax of the scores of an impression")
    for axes in (above, below):
        axes.grid(alpha=0.3)
    _entitle(figure, evaluation)
    save_figure(figure, path)


def _entitle(figure, evaluation: Mapping[str, Any]) -> None:
    data = evaluation["data"]
    if len(data) > _DATA:
        data = "…" + data[1 - _DATA :]
    figure.suptitle(f"{data}, split {evaluation['split']}", fontsize="medium", parse_math=False)


def _say(figure, text: str) -> None:
    figure.text(0.5, 0.5, text, horizontalalignment="center")


def _short(name: str) -> str:
    return name if len(name) <= _NAME else name[: _NAME - 1] + "…"
