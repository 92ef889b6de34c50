"""The pictures of a training and of an evaluation, as they are drawn."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from tfrs_npa.metrics.reliability import reliability
from tfrs_npa.runs.pictures import (
    OF_AN_EVALUATION,
    plot_evaluation,
    plot_learning_curves,
    plot_reliability,
    plot_slices,
)

HISTORY = [
    {"epoch": 0, "val_auc": 0.5, "val_loss": 3.0},
    {"epoch": 1, "val_auc": 0.7, "val_loss": 2.0, "loss": 1.5},
    {"epoch": 2, "val_auc": 0.6, "val_loss": 2.5, "loss": 1.0},
]


def part(auc, interval, impressions=1_234):
    return {
        "impressions": impressions,
        "metrics": {"auc": auc},
        "intervals": {"auc": interval},
        "baseline_auc": {"cosine": 0.6, "random": 0.5},
    }


# The clicks are 0 or 1 of 2 candidates, so that the probabilities are the shares.
CLICKED, SCORES = np.array([1, 0] * 3 + [0, 1]), np.log([0.75, 0.25] * 4)
EVALUATION = {
    "data": "a-folder/with-a-long-name/" * 5 + "$x$ $",
    "split": "test",
    "metrics": {"npa": {"auc": 0.65}},
    "best_baseline": {"name": "cosine"},
    "slices": {
        "users": {"known": part(0.7, [0.65, 0.75]), "new": part(0.6, None, 1)},
        "category": {"$5 or $6": part(0.55, [0.5, 0.6])},
        "article": {},
    },
    "reliability": reliability(CLICKED, SCORES, np.arange(0, 9, 2)),
}
NOTHING = EVALUATION | {
    "metrics": {"npa": {"auc": None}},
    "best_baseline": None,
    "slices": {"users": {}},
    "reliability": reliability(np.zeros(8), SCORES, np.arange(0, 9, 2)),
}


@pytest.fixture
def saved(monkeypatch):
    """The figures that are saved, `Figure`s of Matplotlib."""
    figures, save = [], Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *a, **b: (figures.append(self), save(self, *a, **b))
    )
    return figures


def lines_of(axes):
    return {line.get_label(): [*map(list, line.get_data())] for line in axes.lines}


def test_learning_curves(saved, tmp_path):
    plot_learning_curves(tmp_path / "curves.png", HISTORY, best=1)
    loss, validation_loss, auc = saved[0].axes
    assert [[1, 2], [1.5, 1.0]] in lines_of(loss).values()
    assert [[0, 1, 2], [3.0, 2.0, 2.5]] in lines_of(validation_loss).values()
    assert lines_of(auc)["all users"] == [[0, 1, 2], [0.5, 0.7, 0.6]]
    for axes in saved[0].axes:
        assert lines_of(axes)["best epoch, 1"][0] == [1, 1]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_learning_curves_without_validation(saved, tmp_path):
    plot_learning_curves(tmp_path / "curves.png", [{"epoch": 1, "loss": 1.5}], best=1)
    (axes,) = saved[0].axes
    assert axes.get_ylabel().startswith("training loss")


def test_slices(saved, tmp_path):
    plot_slices(tmp_path / "slices.png", EVALUATION)
    users, category = saved[0].axes
    assert [text.get_text() for text in users.get_yticklabels()] == ["known  (1,234)", "new  (1)"]
    assert category.get_yticklabels()[0].get_text() == "$5 or $6  (1,234)"
    found = lines_of(users)
    assert found["NPA, with 95 % interval"] == [[0.7, 0.6], [0, 1]]
    assert found["best baseline: cosine"] == [[0.6, 0.6], [0, 1]]
    assert found["NPA, all impressions"][0] == [0.65, 0.65]
    intervals = [line for line in found.values() if line == [[0.65, 0.75], [0, 0]]]
    assert len(intervals) == 1 and len(found) == 4


def test_reliability(saved, tmp_path):
    plot_reliability(tmp_path / "reliability.png", EVALUATION)
    above, below = saved[0].axes
    (points, *_), *_ = above.containers
    np.testing.assert_allclose(points.get_data(), [[0.25, 0.75], [0.25, 0.75]])
    assert [bar.get_height() for bar in below.patches] == [4, 4]
    assert lines_of(above)["calibrated"][0] == lines_of(above)["calibrated"][1]


def test_nothing_to_show(saved, tmp_path):
    plot_evaluation(tmp_path / "plots", NOTHING)
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {*OF_AN_EVALUATION}
    for figure in saved:
        assert "no impression has a click" in figure.texts[0].get_text()
