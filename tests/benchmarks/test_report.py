import importlib
import json
import pathlib
import sys

import pytest

RESULT = {
    "title": "Speed",
    "about": "Made up.",
    "command": "python benchmarks/speed.py",
    "environment": {"cores": 2, "cpu": "Some CPU", "day": "2020-01-01", "tensorflow": "2.0"},
    "tables": [{"title": "Rows", "headers": ["", "rows/s"], "rows": [["ours", "1,234"]]}],
    "ratios": [
        {"name": "training", "ratio": 5.5, "aim": 4},
        {"name": "b", "ratio": 2, "aim": None},
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
    assert "| ours | 1,234" in text and "2 cores of Some CPU, 2020-01-01, TensorFlow 2.0" in text
    assert "](benchmarks/results/performance.png)" in text
    assert (tmp_path / "benchmarks/results/performance.png").read_bytes()[1:4] == b"PNG"
    assert run(text, RESULT) == text


def test_several_results_and_no_plot(run, report):
    first, second = ({**RESULT, "title": title, "ratios": []} for title in ("A", "B"))
    text = run(f"{report.BEGIN}\n{report.END}", first, second)
    assert text.index("### A") < text.index("### B") and "![" not in text


def test_a_readme_without_markers(run, report):
    for text in ("none", report.BEGIN, f"{report.END} {report.BEGIN}"):
        with pytest.raises(ValueError, match="performance: begin"):
            run(text, {**RESULT, "ratios": []})


def test_no_results(run):
    with pytest.raises(FileNotFoundError, match="no results"):
        run("anything")
