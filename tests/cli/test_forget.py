"""`tfrs-npa forget`."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
import tensorflow as tf

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


@pytest.mark.slow
def test_an_export(run, tmp_path, in_process, capsys):
    """No file of it has the id any more, and what it answers to others is the same."""
    shutil.copytree(run, tmp_path / "run")
    folder = tmp_path / "exports"
    gone, stays = load_run(tmp_path / "run").users.ids[1:3]
    assert in_process("export", "--run", tmp_path / "run", "--to", folder) == 0
    ids = load_run(tmp_path / "run").catalog.ids[2:8]
    before = scores_of(folder / "1", [gone, stays, "nobody"], ids)
    command = ["forget", "--run", tmp_path / "run", "--user", gone, "--export", folder]
    assert in_process(*command) == 0
    assert f"{folder / '2'} replaces all earlier versions" in capsys.readouterr().out
    assert [path.name for path in folder.iterdir()] == ["2"]
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert not any(re.search(rb"\b%s\b" % gone.encode(), path.read_bytes()) for path in files)
    after = scores_of(folder / "2", [gone, stays, "nobody"], ids)
    np.testing.assert_array_equal(after[1:], before[1:])
    np.testing.assert_array_equal(after[0], before[2])


def test_a_folder_without_an_export(forget, tmp_path, in_process, snapshot, capsys):
    before = snapshot(tmp_path / "run")
    user = load_run(tmp_path / "run").users.ids[1]
    command = ["forget", "--run", tmp_path / "run", "--user", user, "--export", tmp_path / "no"]
    assert in_process(*command) == 2
    assert "holds no version of an export" in capsys.readouterr().err
    assert snapshot(tmp_path / "run") == before


def scores_of(version, users, ids):
    signature = tf.saved_model.load(str(version)).signatures["score"]
    lists = {"history": [ids[:2]] * len(users), "candidates": [ids[2:6]] * len(users)}
    inputs = {"user_id": users, **lists}
    return signature(**{name: tf.constant(value) for name, value in inputs.items()})["scores"]


def test_wrong_input(forget, snapshot, tmp_path, capsys):
    before = snapshot(tmp_path)
    assert forget("nobody") == 2
    assert "does not know 'nobody'" in capsys.readouterr().err
    assert forget() == 2
    assert "--user" in capsys.readouterr().err
    assert snapshot(tmp_path) == before
