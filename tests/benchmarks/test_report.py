import json
import re

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
    "measurements": [
        {"name": "training", "value": 5.5, "target": 4, "compared": True},
        {"name": "memory", "value": 1234, "at_most": 2000},
        {"name": "b", "value": 2, "target": None},
        {"name": "c", "value": 0.00012, "target": -0.0071},
    ],
}


@pytest.fixture
def report(benchmark, monkeypatch):
    module = benchmark("report")
    monkeypatch.setattr(module, "README_MEASUREMENTS", ("training",))
    return module


@pytest.fixture
def empty(report):
    """A page whose section is empty."""
    return f"Before\n{report.BEGIN}\nold\n{report.END}\nAfter\n"


@pytest.fixture
def run(report, run_here, tmp_path):
    """Runs the command on a folder and two pages of the same text; returns the two pages."""
    results, pages = tmp_path / "benchmarks" / "results", tmp_path / "docs"
    results.mkdir(parents=True)
    pages.mkdir()
    readme, page = tmp_path / "README.md", pages / "performance.md"

    def run(text, *files):
        for number, content in enumerate(files):
            (results / f"{number}.json").write_text(json.dumps(content))
        for path in (readme, page):
            path.write_text(text)
        run_here(report, "--results", results, "--readme", readme, "--page", page)
        return readme.read_text(), page.read_text()

    return run


def rows(text):
    """The cells of a page's tables."""
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]


def test_the_sections_are_replaced(run, report, empty, tmp_path):
    readme, page = run(empty, RESULT)
    for text in (readme, page):
        assert text.startswith(f"Before\n{report.BEGIN}\n")
        assert text.endswith(f"{report.END}\nAfter\n") and "old" not in text
    command = "`python benchmarks/speed.py`"
    expected = [
        ["training", "5.50", "at least 4", command],
        ["memory", "1,234", "at most 2,000", command],
        ["b", "2.00", "", command],
        ["c", "0.0001", "at least -0.0071", command],
    ]
    assert [row for row in rows(page) if command in row] == expected
    assert [row for row in rows(readme) if command in row] == expected[:1]
    for text, prefix in ((readme, ""), (page, "../")):
        links = re.findall(r"\]\((.*?)\)", text)
        assert links == [
            f"{prefix}benchmarks/results/README.md",
            f"{prefix}benchmarks/results/performance.png",
        ]
    assert (tmp_path / "benchmarks/results/performance.png").read_bytes()[1:4] == b"PNG"
    everything = (tmp_path / "benchmarks/results/README.md").read_text()
    assert "| ours | 1,234" in everything
    environment = (
        "2 cores of Some CPU, 2020-01-01, TensorFlow 2.0 (Recommenders 1.2: TensorFlow 1.9)"
    )
    assert environment in everything
    assert run(page, RESULT)[1] == page


def test_several_results_and_no_plot(run, empty, tmp_path):
    alone = {name: RESULT["environment"][name] for name in ("cores", "cpu", "day")}
    measurements = [{"name": "training", "value": 5.5}]
    first, second = (
        {**RESULT, "title": title, "environment": alone, "measurements": measurements}
        for title in "AB"
    )
    for text in run(empty, first, second):
        assert text.count("| training") == 2 and "![" not in text
    everything = (tmp_path / "benchmarks/results/README.md").read_text()
    assert everything.index("## A") < everything.index("## B")


@pytest.mark.parametrize("measurement", [{"value": 3.9, "target": 4}, {"value": 6.1, "at_most": 6}])
def test_a_missed_target(run, empty, tmp_path, measurement):
    measurements = [
        {"name": "training", "value": 5, "target": 4, "at_most": 6},
        {"name": "speed", **measurement},
    ]
    with pytest.raises(SystemExit, match="^targets missed: speed$"):
        run(empty, {**RESULT, "measurements": measurements})
    lines = (tmp_path / "docs" / "performance.md").read_text().splitlines()
    assert any("| at least 4 and at most 6 |" in line for line in lines if "training" in line)
    missed = ["(missed)" in line for line in lines if "training" in line or "speed" in line]
    assert missed == [False, True]


def test_a_row_of_the_readme_that_was_not_measured(run, empty):
    with pytest.raises(SystemExit, match="^not measured: training$"):
        run(empty, {**RESULT, "measurements": RESULT["measurements"][1:]})


def test_a_page_without_markers(run, report):
    for text in ("none", report.BEGIN, f"{report.END} {report.BEGIN}"):
        with pytest.raises(ValueError, match="performance: begin"):
            run(text, {**RESULT, "measurements": []})


def test_no_results(run):
    with pytest.raises(FileNotFoundError, match="no results"):
        run("anything")
