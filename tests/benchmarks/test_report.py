import importlib
import json
import pathlib
import sys

import pytest

RESULT = {
    "title": "Speed",
    "about": "Made up.",
    "command": "python benchmarks/speed.py",
    "environment": {
        "cores": 2,
        "cpu": "Some CPU",
        "day": "2020-01-01",
        "tensorflow": "2.0",
        "recommenders": {"recommenders": "1.2", "tensorflow": "1.9"},
    },
    "tables": [{"title": "Rows", "headers": ["", "rows/s"], "rows": [["ours", "1,234"]]}],
    "figures": [
        {"name": "training", "value": 5.5, "aim": 4, "compared": True},
        {"name": "memory", "value": 1234, "at_most": 2000},
        {"name": "b", "value": 2, "aim": None},
        {"name": "c", "value": 0.00012, "aim": -0.0071},
    ],
}


@pytest.fixture
def report(monkeypatch):
    monkeypatch.syspath_prepend(pathlib.Path(__file__).parents[2] / "benchmarks")
    return importlib.import_module("report")


@pytest.fixture
def run(report, tmp_path, monkeypatch):
    """Runs the command on a folder and a README; returns what the README then holds."""
    results, readme = tmp_path / "benchmarks" / "results", tmp_path / "README.md"
    results.mkdir(parents=True)

    def run(text, *files):
        for number, content in enumerate(files):
            (results / f"{number}.json").write_text(json.dumps(content))
        readme.write_text(text)
        arguments = ["report.py", "--results", str(results), "--readme", str(readme)]
        monkeypatch.setattr(sys, "argv", arguments)
        report.main()
        return readme.read_text()

    return run


def test_the_section_is_replaced(run, report, tmp_path):
    text = run(f"Before\n{report.BEGIN}\nold\n{report.END}\nAfter\n", RESULT)
    assert text.startswith(f"Before\n{report.BEGIN}\n") and text.endswith(f"{report.END}\nAfter\n")
    assert "old" not in text
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    command = "`python benchmarks/speed.py`"
    assert ["training", "5.50", "at least 4", command] in rows
    assert ["memory", "1,234", "at most 2,000", command] in rows
    assert ["b", "2.00", "", command] in rows
    assert ["c", "0.0001", "at least -0.0071", command] in rows
    assert "](benchmarks/results/performance.png)" in text
    assert "](benchmarks/results/README.md)" in text
    assert (tmp_path / "benchmarks/results/performance.png").read_bytes()[1:4] == b"PNG"
    everything = (tmp_path / "benchmarks/results/README.md").read_text()
    assert "| ours | 1,234" in everything
    environment = (
        "2 cores of Some CPU, 2020-01-01, TensorFlow 2.0 (Recommenders 1.2: TensorFlow 1.9)"
    )
    assert environment in everything
    assert run(text, RESULT) == text


def test_several_results_and_no_plot(run, report, tmp_path):
    alone = {name: RESULT["environment"][name] for name in ("cores", "cpu", "day")}
    figures = [{"name": "training", "value": 5.5}]
    first, second = (
        {**RESULT, "title": title, "environment": alone, "figures": figures} for title in "AB"
    )
    text = run(f"{report.BEGIN}\n{report.END}", first, second)
    assert text.count("| training") == 2 and "![" not in text
    everything = (tmp_path / "benchmarks/results/README.md").read_text()
    assert everything.index("## A") < everything.index("## B")


@pytest.mark.parametrize("figure", [{"value": 3.9, "aim": 4}, {"value": 6.1, "at_most": 6}])
def test_a_missed_aim(run, report, tmp_path, figure):
    figures = [{"name": "hit", "value": 5, "aim": 4, "at_most": 6}, {"name": "speed", **figure}]
    with pytest.raises(SystemExit, match="^aims missed: speed$"):
        run(f"{report.BEGIN}\n{report.END}", {**RESULT, "figures": figures})
    lines = (tmp_path / "README.md").read_text().splitlines()
    assert any("| at least 4 and at most 6 |" in line for line in lines if "hit" in line)
    assert ["(missed)" in line for line in lines if "hit" in line or "speed" in line] == [0, 1]


def test_a_readme_without_markers(run, report):
    for text in ("none", report.BEGIN, f"{report.END} {report.BEGIN}"):
        with pytest.raises(ValueError, match="performance: begin"):
            run(text, {**RESULT, "figures": []})


def test_no_results(run):
    with pytest.raises(FileNotFoundError, match="no results"):
        run("anything")
