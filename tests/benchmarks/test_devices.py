"""The benchmark of devices, at small dimensions."""

import json

import pytest


@pytest.mark.slow
def test_json(benchmark, run_here, tiny_preset, tmp_path, monkeypatch):
    script = benchmark("devices")
    monkeypatch.setattr(script.made_up_data, "ARTICLES", 500)
    file = tmp_path / "devices.json"
    options = "--models small --batch-sizes 8 --steps 3 --impressions 64 --evaluated 20".split()
    run_here(script, *options, "--json", file)
    result = json.loads(file.read_text())
    table, sizes = result["tables"]
    assert [row[0] for row in table["rows"]] == ["small"] * len(table["rows"])
    assert [row[1:3] for row in table["rows"]][:2] == [
        ["/device:CPU:0", "training, batch 8"],
        ["/device:CPU:0", "evaluation"],
    ]
    assert all(measured["value"] > 0 for measured in result["measurements"])
    numbers = {name: int(number.replace(",", "")) for name, number in sizes["rows"]}
    assert numbers["candidates"] == 8 * 5
    assert numbers["distinct words"] <= numbers["words of these"]
    assert numbers["words of these"] <= numbers["pairs of a user and a word"]
    assert "CPU" in result["environment"]["devices"]
