"""The benchmark of the top K, on few articles."""

import json

import pytest


@pytest.fixture
def top_k(benchmark):
    return benchmark("top_k")


@pytest.mark.slow
def test_json(top_k, run_here, tmp_path, eager_functions):
    file = tmp_path / "top_k.json"
    few = ("--calls", 3, "--batch-calls", 2, "--plain-calls", 1, "--batch-size", 4)
    output, _ = run_here(top_k, "--articles", 300, *few, "--json", file)
    result = json.loads(file.read_text())
    times, memory, *others = result["tables"]
    assert times["title"] == "Top 10 of 300 articles, recipe, milliseconds"
    assert others[0]["title"] == "Top 10 of 300 articles, recommenders, milliseconds"
    assert "4 users" in times["headers"]
    rows = {name: cells for name, *cells in times["rows"]}
    assert list(rows) == [
        "plain towers",
        "BruteForce, the floor",
        "PersonalizedTopK, float32",
        "PersonalizedTopK, bfloat16",
        "TwoStageTopK, 100 ranked",
    ]
    for name, cells in rows.items():
        assert name in output and all(float(cell.replace(",", "")) > 0 for cell in cells if cell)
    for dtype in ("float32", "bfloat16"):
        assert rows[f"PersonalizedTopK, {dtype}"][-1] == "1.000"
    assert 0 < float(rows["TwoStageTopK, 100 ranked"][-1]) <= 1
    single, half = (float(row[1].replace(",", "")) for row in memory["rows"][1:])
    assert 0.5 < half / single < 0.7
    for row in memory["rows"][1:]:
        assert float(row[3]) >= 0 and float(row[4]) >= 0 and float(row[5]) < 1e-4
    plain, ours = (
        float(rows[name][0].replace(",", ""))
        for name in ("plain towers", "PersonalizedTopK, float32")
    )
    assert result["measurements"][0]["value"] == pytest.approx(plain / ours, rel=0.1)


def test_bad_options(top_k, run_here, capsys):
    with pytest.raises(SystemExit, match="2"):
        run_here(top_k, "--articles", 100)
    assert "at least 256 --articles" in capsys.readouterr().err
