"""The evaluation at the size of MIND-large's dev split, on little of it."""

import json

import pytest

pytestmark = pytest.mark.filterwarnings("ignore:Even though the .tf.config")


@pytest.fixture
def large_evaluation(benchmark, monkeypatch):
    module = benchmark("large_evaluation")
    monkeypatch.setattr(module, "ARTICLES", 150)
    monkeypatch.setattr(module, "USERS", 90)
    return module


@pytest.mark.parametrize(
    "case", [("preset", "uniform"), ("dimensions", "known"), ("recipe", "skewed")], ids=" ".join
)
def test_json(
    case, large_evaluation, run_here, tmp_path, tiny_preset, eager_functions, monkeypatch
):
    monkeypatch.setattr(large_evaluation, "CASES", (*large_evaluation.CASES, case))
    file = tmp_path / "large.json"
    run_here(
        large_evaluation, "--preset", "small", "--share", 0.001, "--case", *case, "--json", file
    )
    result = json.loads(file.read_text())
    (cells,) = result["tables"][0]["rows"]
    assert cells[0] == ", ".join(case)
    assert cells[1] == "376"
    seconds, cpu_seconds, memory = (measurement["value"] for measurement in result["measurements"])
    assert 0 < float(cells[6]) <= float(cells[7]) == pytest.approx(memory, abs=0.01)
    assert float(cells[4]) == pytest.approx(cpu_seconds, abs=0.06)
    assert float(cells[3]) == pytest.approx(seconds, abs=0.06)
    assert result["measurements"][0].get("at_most") == (30 if case[1] == "uniform" else None)


def test_skewed_data(large_evaluation):
    """Few articles are shown often, and a user has one history."""
    (piece,) = large_evaluation.skewed_pieces(2000)
    assert piece["candidate_values"].max() <= 151
    counts = sorted(map(piece["candidate_values"].tolist().count, set(piece["candidate_values"])))
    assert counts[-1] > 20 * counts[0]
    assert len(piece["history_values"]) == piece["history_lengths"].sum()
    assert 0.5 < (piece["user_id"] == 0).mean() < 0.8


def test_bad_options(large_evaluation, run_here, capsys):
    for options, word in (({"--share": 2}, "--share"), ({"--case": "preset"}, "--case")):
        with pytest.raises(SystemExit, match="2"):
            run_here(large_evaluation, *(text for pair in options.items() for text in pair))
        assert word in capsys.readouterr().err.splitlines()[-1]
    with pytest.raises(SystemExit, match="2"):
        run_here(large_evaluation, "--case", "preset", "cubic")
    assert "one of preset uniform, preset skewed" in capsys.readouterr().err
