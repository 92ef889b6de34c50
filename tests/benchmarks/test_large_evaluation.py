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


def test_json(large_evaluation, run_here, tmp_path, caplog, tiny_preset, eager_functions):
    file = tmp_path / "large.json"
    small = ("--preset", "small", "--share", 0.001)
    run_here(large_evaluation, *small, "--encoding-memory", 0.00001, "--json", file)
    assert "152 encoded articles would take" in caplog.text
    assert "more than encoding_memory, 0.00 GiB" in caplog.text
    result = json.loads(file.read_text())
    cells = dict(result["tables"][0]["rows"])
    assert cells["impressions"] == "376"
    before, peak = (float(cell) for name, cell in cells.items() if name.startswith("peak"))
    memory, seconds = (measurement["value"] for measurement in result["measurements"])
    assert 0 < before <= peak == pytest.approx(memory, abs=0.01)
    assert float(cells["seconds, tracing included"]) == pytest.approx(seconds, abs=0.06)


def test_bad_options(large_evaluation, run_here, capsys):
    with pytest.raises(SystemExit, match="2"):
        run_here(large_evaluation, "--share", 2)
    assert "--share" in capsys.readouterr().err.splitlines()[-1]
