"""The benchmark of the top K, on few articles."""

import json

import pytest


@pytest.fixture
def top_k(benchmark):
    return benchmark("top_k")


def test_json(top_k, run_here, tmp_path, eager_functions):
    file = tmp_path / "top_k.json"
    few = ("--calls", 3, "--batch-calls", 2, "--plain-calls", 1, "--batch-size", 4)
    output, _ = run_here(top_k, "--articles", 300, *few, "--json", file)
    result = json.loads(file.read_text())
    times, memory = result["tables"]
    assert times["title"] == "Top 10 of 300 articles, milliseconds"
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
    assert rows["PersonalizedTopK, float32"][-1] == "1.000"
    assert 0.9 <= float(rows["PersonalizedTopK, bfloat16"][-1]) <= 1
    assert 0 < float(rows["TwoStageTopK, 100 ranked"][-1]) <= 1
    single, half = (float(row[1].replace(",", "")) for row in memory["rows"][1:])
    # The three terms of a title are float32 in both.
    assert half - 12 == pytest.approx((single - 12) / 2, abs=1)
    assert memory["rows"][1][3] == "0" and 0 < float(memory["rows"][2][3].split()[0]) < 5
    plain, ours = (
        float(rows[name][0].replace(",", ""))
        for name in ("plain towers", "PersonalizedTopK, float32")
    )
    assert result["measurements"][0]["value"] == pytest.approx(plain / ours, rel=0.1)


def test_bad_options(top_k, run_here, capsys):
    with pytest.raises(SystemExit, match="2"):
        run_here(top_k, "--articles", 100)
    assert "at least 256 --articles" in capsys.readouterr().err
