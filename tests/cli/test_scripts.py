from __future__ import annotations

import sys

import pytest

from tfrs_npa.cli.scripts import at_least_one, begin, comparison_parser


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
    args, catalog, splits = begin(comparison_parser("What it does."), "own")
    assert args.seeds == [3, 1]
    assert splits.names == {"train": "train", "stopping": None, "report": "test"}
    assert len(splits.test) == 40
    assert (splits.test.candidate_values > 1).all()  # the catalogue has the articles of all splits
    assert splits.test.candidate_values.max() < len(catalog)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--epochs", "0"], "--epochs: 0 is below 1"),
        (["--seeds", "-1"], "-1"),
        (["--data", "mind/tiny"], "there is no data set mind/tiny"),
        (["--data", "mind/tiny", "--output", "{other}"], "holds no results of this comparison"),
    ],
)
def test_bad_options(tmp_path, monkeypatch, capsys, options, expected):
    # Of another comparison: AUCs, but not the column of this one.
    other = tmp_path / "other.csv"
    other.write_text("recipe,auc\nours,0.6\n")
    monkeypatch.setattr(
        sys, "argv", ["script", *(option.format(other=other) for option in options)]
    )
    script = comparison_parser("What it does.")
    script.add_argument("--epochs", type=at_least_one, default=1)
    with pytest.raises(SystemExit) as stopped:
        begin(script, "own")
    assert stopped.value.code == 2
    assert expected in capsys.readouterr().err.splitlines()[-1]
    assert other.read_text() == "recipe,auc\nours,0.6\n"
