"""Pictures of a search."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from tfrs_npa._figures import new_figure, save_figure
from tfrs_npa.search.oracle import OBJECTIVE
from tfrs_npa.search.trials import COMPLETED, FAILED, TrialRecord, searched

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = 4


def plot_objective(path: str | os.PathLike[str], trials: Sequence[TrialRecord]) -> None:
    """Draws the objective of each trial, and the best so far, as PNG.

    Args:
        path: The file.
        trials: The trials, in the order in which they were started; one of them is completed.
    """
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(7, 4)
    axes = figure.subplots()
    numbered = list(enumerate(trials, start=1))
    completed = [(number, trial) for number, trial in numbered if trial.score is not None]
    numbers = [number for number, _ in completed]
    scores = [float(trial.score) for _, trial in completed if trial.score is not None]
    so_far = [max(scores[: end + 1]) for end in range(len(scores))]
    axes.step(numbers, so_far, where="post", color="grey", label="best so far")
    _scatter(axes, numbers, [trial for _, trial in completed])
    failed = [number for number, trial in numbered if trial.status == FAILED]
    if failed:
        axes.plot(failed, [min(scores)] * len(failed), "rx", label="failed")
    axes.set_xlabel("trial")
    axes.set_ylabel(OBJECTIVE)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="lower right")
    _save(figure, path, trials)


def plot_hyperparameters(
    path: str | os.PathLike[str], trials: Sequence[TrialRecord], logarithmic: Collection[str] = ()
) -> None:
    """Draws the objective against each hyper-parameter that was searched, as PNG.

    Args:
        path: The file.
        trials: The trials, one of which is completed.
        logarithmic: The hyper-parameters that get a logarithmic axis.
    """
    from matplotlib.ticker import MaxNLocator

    completed = [trial for trial in trials if trial.status == COMPLETED]
    names = searched(completed)
    columns = min(_COLUMNS, max(len(names), 1))
    rows = max(math.ceil(len(names) / columns), 1)
    figure = new_figure(3 * columns, 2.6 * rows)
    panels = list(figure.subplots(rows, columns, sharey=True, squeeze=False).flat)
    for axes in panels[max(len(names), 1) :]:
        axes.remove()
    if not names:
        panels[0].set_title("one combination of values only")
    for axes, name in zip(panels, names):
        chosen = [trial for trial in completed if name in trial.values]
        values = [trial.values[name] for trial in chosen]
        if not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
            kinds = sorted({str(value) for value in values})
            axes.set_xticks(range(len(kinds)), kinds)
            axes.margins(x=0.3)
            values = [kinds.index(str(value)) for value in values]
        elif name in logarithmic:
            axes.set_xscale("log")
        elif all(isinstance(value, int) for value in values):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _scatter(axes, values, chosen)
        axes.set_xlabel(name)
    for row in range(rows):
        panels[row * columns].set_ylabel(OBJECTIVE)
    _save(figure, path, trials)


def _scatter(axes: Any, xs: Sequence[Any], trials: Sequence[TrialRecord]) -> None:
    """Draws trials as points, those of few epochs paler."""
    most = max(trial.epochs for trial in trials)
    alphas = [0.25 + 0.75 * trial.epochs / most for trial in trials]
    axes.scatter(xs, [trial.score for trial in trials], alpha=alphas)


def _save(figure: Figure, path: str | os.PathLike[str], trials: Sequence[TrialRecord]) -> None:
    if len({trial.epochs for trial in trials}) > 1:
        figure.suptitle("the paler, the fewer epochs", fontsize="small")
    save_figure(figure, path)
