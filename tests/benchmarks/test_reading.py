"""The benchmark of reading, on few impressions and in this process."""

import json

import pytest

from tfrs_npa.config import PRESETS
from tfrs_npa.datasets.mind import read_behaviors, read_news


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*not in the catalogue")
def test_json(benchmark, run_here, tmp_path, monkeypatch):
    reading, made_up_data = benchmark("reading"), benchmark("made_up_data")
    monkeypatch.setattr(reading, "in_process", lambda function, *arguments: function(*arguments))
    monkeypatch.setattr(made_up_data, "ARTICLES", 300)
    for name in ("word_embedding_dim", "num_filters", "attention_dim", "user_embedding_dim"):
        monkeypatch.setitem(PRESETS["recommenders"], name, 8)
    file, sizes = tmp_path / "reading.json", ("--large", 600, "--large-dev", 50)
    shown, _ = run_here(reading, "--impressions", 300, *sizes, "--json", file)
    result = json.loads(file.read_text())
    impressions, articles, start = result["tables"]
    assert [row[0] for row in impressions["rows"]][:2] == ["TSV", "TSV, by line"]
    assert articles["title"] == "Reading 298 articles" and articles["title"] in shown
    parts = [row[0] for row in start["rows"]]
    assert parts[-3:] == ["evaluation of the untrained model", "first step", "all else"]
    values = {found["name"]: found["value"] for found in result["measurements"]}
    assert values["CPU seconds, TSV, by line / in blocks"] > 0
    assert values["first training step on MIND-large's size, seconds"] > 0


def test_what_is_written_is_what_the_impressions_are(benchmark, tmp_path, monkeypatch):
    made_up_data = benchmark("made_up_data")
    monkeypatch.setattr(made_up_data, "ARTICLES", 300)
    made_up_data.write_split(tmp_path / "train", 20)
    assert len(list(read_news(tmp_path / "train" / "news.tsv"))) == 298
    (piece,) = made_up_data.impression_pieces(20)
    (table,) = made_up_data.tables_of_strings(20)
    rows = list(read_behaviors(tmp_path / "train" / "behaviors.tsv"))
    for row, found in zip(rows, table.to_pylist(), strict=True):
        candidates = row.pop("candidates")
        assert row == {name: found[name] for name in row}
        assert candidates["news_id"] == found["candidates"]
        assert candidates["clicked"] == found["clicked"]
    assert [row["impression_id"] for row in rows] == piece["impression_id"].tolist()
    lengths = [len(row["history"]) for row in rows]
    assert lengths == piece["history_lengths"].tolist()
