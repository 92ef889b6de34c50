"""`tfrs-npa evaluate`."""

from __future__ import annotations

import json
import os
import shutil
import stat

import pytest

pytestmark = pytest.mark.usefixtures("untraced")


def test_preprocessed_data_is_kept_on_request(run, cache_folder, tmp_path, in_process):
    shutil.rmtree(cache_folder, ignore_errors=True)
    assert in_process("evaluate", "--run", run, "--no-cache") == 0
    assert not cache_folder.exists()
    assert in_process("evaluate", "--run", run, "--cache-dir", tmp_path / "mine") == 0
    assert any((tmp_path / "mine").iterdir()) and not cache_folder.exists()
    assert in_process("evaluate", "--run", run) == 0
    assert len([*cache_folder.iterdir()]) == len([*(tmp_path / "mine").iterdir()])


def test_other_data_and_splits(run, without_labels, in_process, capsys):
    evaluate = ["evaluate", "--run", run]
    assert in_process(*evaluate, "--split", "train") == 0
    assert "split train: 150 impressions" in capsys.readouterr().out
    evaluate += ["--data", without_labels]
    assert in_process(*evaluate, "--split", "test") == 2
    assert "has no labels" in capsys.readouterr().err
    assert in_process(*evaluate) == 0
    assert "split validation: 40 impressions" in capsys.readouterr().out


def test_the_memory_for_encoded_titles_changes_no_metric(run, tmp_path, in_process, capsys):
    files = [tmp_path / name for name in ("none.json", "all.json")]
    for file, memory in zip(files, (0, "inf")):
        assert (
            in_process("evaluate", "--run", run, "--encoding-memory", memory, "--json", file) == 0
        )
    assert not capsys.readouterr().err
    none, all_ = (json.loads(file.read_text())["metrics"]["npa"] for file in files)
    assert none == pytest.approx(all_, abs=1e-5)


@pytest.fixture
def evaluate(mind_folder, run, ranks, in_process):
    """Evaluates the run, or its predictions, with more options."""
    subjects = {
        "run": ["--run", run],
        "predictions": ["--predictions", ranks, "--truth", mind_folder / "test" / "behaviors.tsv"],
    }
    return lambda subject, *options: in_process("evaluate", *subjects[subject], *options)


@pytest.fixture(scope="session")
def ranks(mind_folder, tmp_path_factory):
    """Predictions for the test split: its candidates in file order."""
    file = tmp_path_factory.mktemp("predictions") / "prediction.txt"
    lines = []
    for line in (mind_folder / "test" / "behaviors.tsv").read_text().splitlines():
        number, *_, candidates = line.split("\t")
        order = ",".join(str(rank + 1) for rank in range(len(candidates.split())))
        lines.append(f"{number} [{order}]\n")
    file.write_text("".join(lines))
    return file


@pytest.mark.parametrize("subject", ["run", "predictions"])
def test_json_goes_to_a_file(evaluate, subject, tmp_path, capsys):
    file = tmp_path / "new" / "metrics.json"
    assert evaluate(subject, "--json", file) == 0
    table, messages = capsys.readouterr()
    assert "nDCG@10" in table and not messages
    metrics = json.loads(file.read_text())
    assert metrics["impressions"]["all"] == 40
    # An earlier file is replaced, also where a link leads to it.
    link = tmp_path / "link.json"
    link.symlink_to(file)
    file.write_text("of yesterday")
    assert evaluate(subject, "--json", link) == 0
    assert link.is_symlink() and json.loads(file.read_text()) == metrics
    assert [path.name for path in file.parent.iterdir()] == ["metrics.json"]


@pytest.mark.parametrize("subject", ["run", "predictions"])
def test_json_alone_on_standard_output(evaluate, subject, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert evaluate(subject, "--json", "-") == 0
    output, messages = capfd.readouterr()
    assert json.loads(output)["impressions"]["all"] == 40
    assert "nDCG@10" in messages
    assert not [*tmp_path.iterdir()]


def identity(path):
    status = os.lstat(path)
    return status.st_dev, status.st_ino, status.st_mode


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


@pytest.mark.parametrize("subject", ["run", "predictions"])
@pytest.mark.parametrize("what", ["folder", "fifo", "device", "link to a device", "pipe"])
def test_json_replaces_regular_files_only(
    evaluate, subject, what, pipe, tmp_path, monkeypatch, capsys
):
    """It refuses before any work."""
    monkeypatch.setattr("tfrs_npa.cli.evaluate.import_tensorflow", None)
    path = tmp_path / "there"
    if what == "folder":
        path.mkdir()
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "device":
        path = "/dev/null"
    elif what == "pipe":  # as /dev/stdout often is
        path = f"/dev/fd/{pipe[1]}"
    else:
        path.symlink_to("/dev/null")
    before = identity(path)
    assert evaluate(subject, "--json", path) == 2
    output, messages = capsys.readouterr()
    assert messages.startswith(f"tfrs-npa: error: {path} exists and is not a regular file")
    assert not output and len(messages.splitlines()) == 1
    assert identity(path) == before and stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert len([*tmp_path.iterdir()]) == (what not in ("device", "pipe"))
