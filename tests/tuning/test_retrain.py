from __future__ import annotations

import pytest

from tfrs_npa.search.folder import SearchFolder
from tfrs_npa.search.settings import SearchSettings


@pytest.fixture(scope="module")
def script(make_script):
    return make_script("tuning/retrain.py")


@pytest.fixture
def ended(mind_folder, tmp_path):
    """A search that has ended, as far as the script looks at it."""
    folder = SearchFolder.create(tmp_path / "search", SearchSettings(str(mind_folder), epochs=1))
    config = "{num_filters: 4, word_embedding_dim: 4, attention_dim: 4, learning_rate: 0.01}"
    (folder.path / "config.yaml").write_text(config)
    return folder.path


def test_both_are_trained_with_each_seed(script, ended, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    shown, messages = script.run("--run", ended, "--seeds", 5, 6)
    rows = script.read(ended / "retrained.csv")
    trained = [(row["configuration"], row["seed"], row["num_filters"]) for row in rows]
    assert trained == [
        (name, seed, n) for seed in "56" for name, n in (("small", "128"), ("found", "4"))
    ]
    assert {row["epochs"] for row in rows} == {"1"}
    assert "split test: 40 impressions" in shown and "1 epochs; mean ± standard" in shown
    for before, found in zip(rows[::2], rows[1::2]):
        answer = "yes" if float(found["auc"]) > float(before["auc"]) else "no"
        aucs = f"({float(found['auc']):.4f}, {float(before['auc']):.4f})"
        assert f"seed {found['seed']}: better than preset small: {answer} {aucs}" in shown
    mean = (float(rows[0]["auc"]) + float(rows[2]["auc"])) / 2
    assert f"{mean:.4f} ±" in shown
    again, messages = script.run("--run", ended, "--seeds", 5, 6)
    assert again == shown and messages.count("(done before)") == 4


@pytest.mark.parametrize("missing", ["config.yaml", "search.yaml"])
def test_not_a_search_that_has_ended(script, ended, missing, monkeypatch, capsys):
    (ended / missing).unlink()
    monkeypatch.setattr("sys.argv", ["retrain.py", "--run", str(ended)])
    with pytest.raises(SystemExit) as refused:
        script.names()["main"]()
    assert refused.value.code == 2
    expected = {"config.yaml": "not come to its end", "search.yaml": "not the folder of a search"}
    assert expected[missing] in capsys.readouterr().err
