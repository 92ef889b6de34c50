"""`tfrs-npa explain`."""

from __future__ import annotations

import json

import pytest
import tensorflow as tf

from tfrs_npa.runs.run import load_run


@pytest.fixture
def explain(run, in_process, capfd, tmp_path):
    """Runs the command op by op; returns the file that it writes and what it prints."""

    def explain(*options, to="report.html"):
        path = tmp_path / to
        tf.config.run_functions_eagerly(True)
        try:
            assert in_process("explain", "--run", run, "--to", path, *options) == 0
        finally:
            tf.config.run_functions_eagerly(False)
        output, messages = capfd.readouterr()
        assert not messages
        return path, output

    return explain


@pytest.fixture(scope="module")
def model(run):
    return load_run(run)


@pytest.mark.slow
def test_readers_that_are_named(explain, model):
    first, second = model.users.ids[1:3]
    options = ["--user", first, "--user", second, "--k", 3]
    path, output = explain(*options, to="folder/report.json")
    assert output.splitlines() == [
        f"Explained {first}, {second} among {len(model.catalog) - 2:,} articles:",
        str(path),
    ]
    report = json.loads(path.read_text())
    assert [reader["user_id"] for reader in report["readers"]] == [first, second]
    for reader in report["readers"]:
        assert len(reader["best"]) == len(reader["compared"]) == 3 and reader["is_known"]
        assert reader["best"][0]["article"]["category"]


@pytest.mark.slow
def test_readers_if_none_are_named(explain, model):
    path, output = explain("--k", 2)
    text = path.read_text()
    assert text.startswith("<!doctype html>") and text.count('class="reader"') == 2
    readers = output.split(" among ")[0].removeprefix("Explained ").split(", ")
    assert len(readers) == 2 and all(model.users.index(readers) > 0)


@pytest.mark.slow
def test_histories_that_are_given(explain, model):
    articles = model.catalog.ids[2:8]
    options = ["--history", ",".join(articles[:3]), "--news", *articles[2:5], "--k", 1]
    path, _ = explain(*options, to="report")
    assert "An anonymous reader" in path.read_text()
    path, _ = explain(*options, "--format", "json", to="report.txt")
    (reader,) = json.loads(path.read_text())["readers"]
    assert [click["article"]["news_id"] for click in reader["clicks"]] == articles[:3]
    assert [shown["article"]["news_id"] for shown in reader["compared"]] == articles[2:5]
    assert [shown["rank"] is None for shown in reader["compared"]] == [True, False, False]


def test_a_picture(explain, model):
    path, _ = explain("--history", model.catalog.ids[2], "--k", 2, to="report.PNG")
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_an_export(run, model, in_process, tmp_path, capfd, explain):
    exports, to = tmp_path / "exports", tmp_path / "of_export.json"
    assert in_process("export", "--run", run, "--to", exports) == 0
    capfd.readouterr()
    options = ["--user", model.users.ids[1], "--history", ",".join(model.catalog.ids[2:5])]
    assert in_process("explain", "--export", exports, *options, "--to", to) == 0
    capfd.readouterr()
    found = json.loads(to.read_text())["readers"][0]
    path, _ = explain(*options, to="of_run.json")
    expected = json.loads(path.read_text())["readers"][0]
    assert [shown["article"]["news_id"] for shown in found["best"]] == [
        shown["article"]["news_id"] for shown in expected["best"]
    ]
    for ours, theirs in zip(found["best"], expected["best"]):
        assert ours["contributions"] == pytest.approx(theirs["contributions"], abs=1e-4)


def test_a_reader_without_an_impression(in_process, run, capfd, tmp_path):
    options = ["--run", run, "--to", tmp_path / "report.html"]
    assert in_process("explain", *options, "--user", "nobody") == 2
    assert "has no impression of nobody: give their clicks with --hist" in capfd.readouterr().err
    assert not (tmp_path / "report.html").exists()
