import json


def test_a_row_for_each_script(benchmark, run_here, tmp_path):
    module, file = benchmark("tokenizers"), tmp_path / "tokenizers.json"
    run_here(module, "--titles", 20, "--rounds", 1, "--json", file)
    (table,) = json.loads(file.read_text())["tables"]
    assert [row[0] for row in table["rows"]] == [*module.SCRIPTS, "the same, marks apart"]
    assert all(float(row[1]) >= 0 and float(row[3]) > 0 for row in table["rows"])
