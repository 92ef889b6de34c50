from __future__ import annotations

import pytest
import tensorflow as tf

from tfrs_npa.config import PRESETS
from tfrs_npa.search.folder import SearchFolder
from tfrs_npa.settings import SearchSettings

pytestmark = pytest.mark.filterwarnings("ignore:Even though the .tf.config")


@pytest.fixture(scope="module")
def script(make_script):
    return make_script("tuning/retrain.py")


@pytest.fixture
def ended(mind_folder, tmp_path):
    """A search that has ended, with the files that the script reads."""
    folder = SearchFolder.create(tmp_path / "search", SearchSettings(str(mind_folder), epochs=1))
    config = "{num_filters: 4, word_embedding_dim: 4, attention_dim: 4, learning_rate: 0.01}"
    (folder.path / "config.yaml").write_text(config)
    return folder.path


@pytest.fixture
def quick():
    """Saves the tracing, and makes preset "small" smaller still."""
    tf.config.run_functions_eagerly(True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS["small"], "num_filters", 8)
        yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def retrain(script, ended, quick, monkeypatch, tmp_path):
    """Runs the script in this process."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    main = script.names()["main"]

    def run(*options):
        monkeypatch.setattr("sys.argv", ["retrain.py", "--run", str(ended), *options])
        main()

    return run


@pytest.mark.slow
def test_both_are_trained_with_each_seed(script, retrain, ended, capsys):
    retrain("--seeds", "5")
    shown, _ = capsys.readouterr()
    small, found = script.read(ended / "retrained.csv")
    assert (small["configuration"], small["num_filters"]) == ("small", "8")
    assert (found["configuration"], found["num_filters"]) == ("found", "4")
    for row in (small, found):
        assert (row["seed"], row["epochs"]) == ("5", "1")
    assert "split test: 40 impressions" in shown and "1 epoch; mean ± standard" in shown
    answer = "yes" if float(found["auc"]) > float(small["auc"]) else "no"
    aucs = f"({float(found['auc']):.4f}, {float(small['auc']):.4f})"
    assert f"seed 5: better than preset small: {answer} {aucs}" in shown
    table = {line[:15].strip(): line[15:].split() for line in shown.splitlines()}
    assert table["AUC"] == [f"{float(row['auc']):.4f}" for row in (small, found)]
    assert table["nDCG@10"] == [f"{float(row['ndcg_10']):.4f}" for row in (small, found)]
    retrain("--seeds", "5")
    again, messages = capsys.readouterr()
    assert again == shown and messages.count("(done before)") == 2


@pytest.mark.parametrize("missing", ["config.yaml", "search.yaml"])
def test_a_search_that_has_not_ended(retrain, ended, missing, capsys):
    (ended / missing).unlink()
    with pytest.raises(SystemExit) as refused:
        retrain()
    assert refused.value.code == 2
    expected = {"config.yaml": "has not ended", "search.yaml": "not the folder of a search"}
    assert expected[missing] in capsys.readouterr().err
