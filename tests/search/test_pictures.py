"""The plots of a search, as they are drawn."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from tfrs_npa.search.pictures import plot_hyperparameters, plot_objective
from tfrs_npa.search.trials import TrialRecord


def record(number, score=None, epochs=5, **values):
    status = "failed" if score is None else "completed"
    return TrialRecord(str(number), status, score, 1, epochs, 1, 1.0, values, None)


TRIALS = [
    record(0, 0.60, 2, filters=64, rate=0.001, form="paper", masked=True, window=3),
    record(1, None, 2, filters=512, rate=0.9, form="paper", masked=True, window=3),
    record(2, 0.58, 2, filters=128, rate=0.01, form="recommenders", masked=False, window=3),
    record(3, 0.65, 5, filters=96, rate=0.1, form="paper", masked=True, window=3),
]


@pytest.fixture
def saved(monkeypatch):
    """The plots that are saved, `Figure`s of Matplotlib."""
    figures, save = [], Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *a, **b: (figures.append(self), save(self, *a, **b))
    )
    return figures


def points(axes):
    return np.asarray(axes.collections[0].get_offsets()).tolist()


def test_objective(saved, tmp_path):
    plot_objective(tmp_path / "objective.png", TRIALS)
    assert (tmp_path / "objective.png").read_bytes().startswith(b"\x89PNG")
    (axes,) = saved[0].axes
    assert points(axes) == [[1, 0.60], [3, 0.58], [4, 0.65]]
    lines = {line.get_label(): line for line in axes.lines}
    assert lines["best so far"].get_ydata().tolist() == [0.60, 0.60, 0.65]
    assert list(lines["failed"].get_xdata()) == [2]
    paler, full = axes.collections[0].get_alpha()[[0, 2]]
    assert paler < full == 1


def test_hyperparameters(saved, tmp_path):
    plot_hyperparameters(tmp_path / "hyperparameters.png", TRIALS, {"rate"})
    assert (tmp_path / "hyperparameters.png").read_bytes().startswith(b"\x89PNG")
    panels = {axes.get_xlabel(): axes for axes in saved[0].axes}
    assert list(panels) == ["filters", "rate", "form", "masked"]
    assert points(panels["filters"]) == [[64, 0.60], [128, 0.58], [96, 0.65]]
    assert [axes.get_xscale() for axes in panels.values()] == ["linear", "log", "linear", "linear"]
    labels = [text.get_text() for text in panels["form"].get_xticklabels()]
    assert labels == ["paper", "recommenders"]
    assert points(panels["form"]) == [[0, 0.60], [1, 0.58], [0, 0.65]]


@pytest.mark.parametrize("number", [1, 4, 5, 9])
def test_a_panel_for_each_hyperparameter(saved, tmp_path, number):
    trials = [record(i, 0.6, **{f"h{n}": i for n in range(number)}) for i in range(2)]
    plot_hyperparameters(tmp_path / "hyperparameters.png", trials)
    assert [axes.get_xlabel() for axes in saved[0].axes] == [f"h{n}" for n in range(number)]


def test_nothing_varied(saved, tmp_path):
    plot_hyperparameters(tmp_path / "hyperparameters.png", TRIALS[:1])
    (axes,) = saved[0].axes
    assert "one combination" in axes.get_title()
