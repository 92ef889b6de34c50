"""`tfrs-npa forget`."""

from __future__ import annotations

import shutil

import pytest

from tfrs_npa.runs.run import load_run


@pytest.fixture
def forget(run, tmp_path, in_process):
    shutil.copytree(run, tmp_path / "run")
    return lambda *users: in_process(
        "forget", "--run", tmp_path / "run", *[word for user in users for word in ("--user", user)]
    )


def test_forget(forget, tmp_path, capsys):
    users = load_run(tmp_path / "run").users.ids
    gone = [users[1], users[7]]
    assert forget(*gone) == 0
    assert load_run(tmp_path / "run").users.ids == [user for user in users if user not in gone]
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith(f"{tmp_path / 'run'} has forgotten {', '.join(gone)}. ")
    assert len(shown) == 5 and all(line.startswith("- ") for line in shown[1:])


def test_wrong_input(forget, snapshot, tmp_path, capsys):
    before = snapshot(tmp_path)
    assert forget("nobody") == 2
    assert "does not know 'nobody'" in capsys.readouterr().err
    assert forget() == 2
    assert "--user" in capsys.readouterr().err
    assert snapshot(tmp_path) == before
