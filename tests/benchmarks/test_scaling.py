"""How costs grow, on little data."""

import json

import pytest

pytestmark = pytest.mark.filterwarnings("ignore:Even though the .tf.config")


@pytest.fixture(scope="module")
def scaling(benchmark):
    return benchmark("scaling")


@pytest.mark.slow
def test_json(scaling, run_here, tmp_path, monkeypatch, tiny_preset, eager_functions):
    monkeypatch.setattr(scaling, "ARTICLES", 100)
    monkeypatch.setattr(scaling, "KNOWN_USERS", 50)
    monkeypatch.setattr(scaling, "SMALLEST", 1000)
    monkeypatch.setattr(scaling, "REPEATS", 2)
    file, plot = tmp_path / "scaling.json", tmp_path / "plot.png"
    small = ("--preset", "small", "--users", 50, 5000, "--steps", 3, "--largest", 1e3)
    output, _ = run_here(scaling, *small, "--json", file, "--plot", plot)
    result = json.loads(file.read_text())
    steps, evaluations = result["tables"]
    (ratio,) = result["measurements"]
    first, second = (float(row[1]) for row in steps["rows"][:2])
    assert ratio["value"] == pytest.approx(second / first, rel=0.1) and ratio["at_most"] == 1.2
    assert [row[0] for row in evaluations["rows"]] == ["1,036"]  # 28 impressions
    seconds, encoding = map(float, evaluations["rows"][0][1:3])
    assert 0 < encoding < seconds
    assert [row[0] for row in steps["rows"]] == ["50", "5,000", "times"]
    assert "5,000" in output and "1,036" in output
    assert plot.read_bytes()[1:4] == b"PNG"


def test_linearity(scaling):
    """Encoding the catalogue, 2 seconds, is left out."""
    points = [(10, 5.0, 2.0), (100, 6.0, 2.0), (1000, 62.0, 2.0)]
    (ratio,) = scaling.linearity(points)
    assert ratio["value"] == pytest.approx(1.5) and ratio["at_most"] == 1.2
    assert ratio["name"] == (
        "evaluation without encoding, seconds a candidate, 1,000 / 100 candidates"
    )
    assert scaling.linearity(points[:1]) == []


@pytest.mark.parametrize(("option", "value"), [("--largest", "1000"), ("--steps", "0")])
def test_bad_options(scaling, run_here, option, value, capsys):
    with pytest.raises(SystemExit, match="2"):
        run_here(scaling, option, value)
    assert option in capsys.readouterr().err.splitlines()[-1]
