"""The benchmark of the optimizer, on small tables."""

import json


def test_json(benchmark, run_here, tmp_path):
    file = tmp_path / "optimizer_step.json"
    options = "--rows 1000 20 --dim 3 --ids 10 --steps 2 --warmup 1 --json".split()
    shown, _ = run_here(benchmark("optimizer_step"), *options, file)
    result = json.loads(file.read_text())
    (table,) = result["tables"]
    assert "10 ids of 3 numbers" in table["title"]
    title, headers, _, *rows = [line.split() for line in shown.splitlines() if line]
    assert " ".join(title) == table["title"]
    assert [headers, *rows] == [table["headers"], *table["rows"]]
    assert [row[0] for row in table["rows"]] == ["1,000", "20"]
    assert all(float(cell) > 0 for row in table["rows"] for cell in row[1:])
    assert "\n## Optimizer step" in benchmark("report").tables([result])
