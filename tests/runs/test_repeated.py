import sys

import numpy as np
import pytest

from tfrs_npa.runs.repeated import (
    at_least_one,
    begin,
    mean_and_deviation,
    parser,
    read_rows,
    train_each,
    values,
)


class Trainings:
    """Two seeds of one configuration, and how often they were trained."""

    def __init__(self, fail=False):
        self.trained = []
        self.fail = fail

    def each(self, path, epochs=1):
        trainings = [
            (f"seed {seed}", {"seed": seed, "epochs": epochs}, self._of(seed)) for seed in (1, 2)
        ]
        return train_each(trainings, path, "own")

    def _of(self, seed):
        def train():
            if self.fail and seed == 2:
                raise KeyboardInterrupt
            self.trained.append(seed)
            return {"auc": 0.6 + 0.01 * seed, "own": seed}

        return train


def test_rows_hold_settings_and_figures(tmp_path, capsys):
    rows = Trainings().each(tmp_path / "rows.csv")
    assert rows == [
        {"seed": "1", "epochs": "1", "auc": "0.61", "own": "1"},
        {"seed": "2", "epochs": "1", "auc": "0.62", "own": "2"},
    ]
    assert read_rows(tmp_path / "rows.csv", "own") == rows
    assert capsys.readouterr().err == "1 of 2: seed 1\n  AUC 0.6100\n2 of 2: seed 2\n  AUC 0.6200\n"


def test_what_is_there_is_not_trained_again(tmp_path, capsys):
    path = tmp_path / "rows.csv"
    interrupted = Trainings(fail=True)
    with pytest.raises(KeyboardInterrupt):
        interrupted.each(path)
    resumed = Trainings()
    rows = resumed.each(path)
    assert (interrupted.trained, resumed.trained) == ([1], [2])
    assert [row["own"] for row in rows] == ["1", "2"]
    assert "1 of 2: seed 1 (done before)" in capsys.readouterr().err
    others = Trainings()
    others.each(path, epochs=9)
    assert others.trained == [1, 2] and len(read_rows(path, "own")) == 4


def test_without_a_file():
    again = Trainings()
    assert again.each(None) == again.each(None)
    assert again.trained == [1, 2, 1, 2]


def test_values_and_their_mean():
    rows = [{"path": "a", "auc": "0.5"}, {"path": "b", "auc": "9"}, {"path": "a", "auc": "0.7"}]
    np.testing.assert_array_equal(values(rows, "auc", path="a"), [0.5, 0.7])
    assert mean_and_deviation(values(rows, "auc", path="a")) == "0.6000 ± 0.1414"
    assert mean_and_deviation(values(rows, "auc", path="b"), digits=1) == "9.0"


def test_begin(mind_folder, monkeypatch, tmp_path):
    given = [
        "--data",
        str(mind_folder),
        "--seeds",
        "3",
        "1",
        "3",
        "--output",
        str(tmp_path / "new.csv"),
    ]
    monkeypatch.setattr(sys, "argv", ["script", *given])
    args, catalog, parts = begin(parser("What it does."), "own")
    assert args.seeds == [3, 1]
    assert parts.names == {"train": "train", "stopping": None, "report": "test"}
    assert len(parts.report) == 40
    assert (parts.report.candidate_values > 1).all()  # the catalogue has the articles of all splits
    assert parts.report.candidate_values.max() < len(catalog)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--epochs", "0"], "--epochs: 0 is below 1"),
        (["--seeds", "-1"], "-1"),
        (["--data", "mind/tiny"], "there is no data set mind/tiny"),
        (["--data", "mind/tiny", "--output", "{other}"], "something else than results"),
    ],
)
def test_bad_options(tmp_path, monkeypatch, capsys, options, expected):
    # Of another comparison: AUCs, but not the figure of this one.
    other = tmp_path / "other.csv"
    other.write_text("recipe,auc\nours,0.6\n")
    monkeypatch.setattr(
        sys, "argv", ["script", *(option.format(other=other) for option in options)]
    )
    script = parser("What it does.")
    script.add_argument("--epochs", type=at_least_one, default=1)
    with pytest.raises(SystemExit) as stopped:
        begin(script, "own")
    assert stopped.value.code == 2
    assert expected in capsys.readouterr().err.splitlines()[-1]
    assert other.read_text() == "recipe,auc\nours,0.6\n"
