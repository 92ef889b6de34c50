"""The benchmark of the first answer, on few articles."""

import json

import pytest


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_preset")
def test_json(benchmark, run_here, tmp_path):
    file = tmp_path / "recommend.json"
    options = ("--models", "small", "--articles", 100, "--times", 1, "--json", file)
    shown, _ = run_here(benchmark("recommend"), *options)
    result = json.loads(file.read_text())
    (table,), (measurement,) = result["tables"], result["measurements"]
    assert table["title"] == "tfrs-npa recommend, 100 articles, CPU seconds"
    assert table["title"] in shown
    ((name, traced, eager, _),) = table["rows"]
    assert name == "small" and float(traced) > 0 and float(eager) > 0
    assert measurement["value"] == pytest.approx(float(eager) / float(traced), rel=0.2)


def test_bad_options(benchmark, run_here, capsys):
    with pytest.raises(SystemExit, match="2"):
        run_here(benchmark("recommend"), "--articles", 3)
    assert "at least 25 --articles" in capsys.readouterr().err
