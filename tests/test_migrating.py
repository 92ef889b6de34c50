"""The snippets of docs/migrating.md, on files as Recommenders has them.

The weights and what they give are the library's own (see oracle/README.md); the log is made of the
inputs that they were computed with.
"""

from __future__ import annotations

import json
import pathlib
import pickle
import re

import h5py
import numpy as np
import pytest
import yaml

from tfrs_npa.cli import main
from tfrs_npa.datasets.mind import write_behaviors, write_news
from tfrs_npa.datasets.mind.tsv import NEWS_COLUMNS

pytestmark = [
    pytest.mark.usefixtures("eager_functions"),
    pytest.mark.filterwarnings("ignore:Even though the .tf.config"),
]

ROOT = pathlib.Path(__file__).parents[1]
THEIRS = np.load(ROOT / "tests" / "oracle" / "recommenders_small.npz")
SIZES = json.loads(str(THEIRS["config_json"]))
NAMES = ["word_embedding", "user_embedding", "conv_kernel", "conv_bias"] + [
    f"{tower}_{part}"
    for tower in ("news", "user")
    for part in ("query_kernel", "query_bias", "att_kernel", "att_bias")
]
NPA_YAML = {
    "data": {name: SIZES[name] for name in ("title_size", "his_size", "npratio", "word_emb_dim")},
    "model": {"model_type": "npa", "dropout": 0.0}
    | {n: SIZES[n] for n in ("user_emb_dim", "filter_num", "window_size", "attention_hidden_dim")},
    "train": {"optimizer": "adam", "learning_rate": 0.01, "batch_size": 8, "epochs": 5},
    "info": {"metrics": ["group_auc", "mean_mrr", "ndcg@5;10"], "show_step": 100},
}


def article(tokens):
    """An article of a row of words, whose word 0 is not in their dictionary."""
    title = " ".join(f"w{token}" for token in np.trim_zeros(tokens, "b")) or "w0"
    news = {"news_id": "N" + "_".join(map(str, tokens)), "title": title}
    return dict.fromkeys(NEWS_COLUMNS, "x") | news


def write_log(folder):
    news, behaviors = {}, []
    inputs = (THEIRS[name] for name in ("user_indexes", "his_input_title", "pred_input_title"))
    for number, ((user,), history, shown) in enumerate(zip(*inputs, strict=True), 1):
        clicked = [article(title) for title in history if title.any()]
        candidates = [article(title) for title in shown]
        news |= {row["news_id"]: row for row in clicked + candidates}
        behaviors.append(
            {
                "impression_id": number,
                "user_id": f"U{user}",
                "time": 1_573_000_000 + number,
                "history": [row["news_id"] for row in clicked],
                "candidates": {
                    "news_id": [row["news_id"] for row in candidates],
                    "clicked": THEIRS["labels"][number - 1].astype(int).tolist(),
                },
            }
        )
    for split in ("train", "dev"):
        write_news(folder / split / "news.tsv", iter(news.values()))
        write_behaviors(folder / split / "behaviors.tsv", iter(behaviors))


def write_h5(path):
    """As Keras writes it: two layers share what the first has."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["input_1", "time_distributed_1", "user_encoder"]
        for layer in file.attrs["layer_names"]:
            group = file.create_group(layer)
            names = {"input_1": [], "time_distributed_1": NAMES[:8], "user_encoder": NAMES}[layer]
            group.attrs["weight_names"] = names
            for name in names:
                group[name] = THEIRS[f"w__{name}"]


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """What the snippets define, and the folder they ran in."""
    path = tmp_path_factory.mktemp("migrating")
    write_log(path / "my-folder")
    (path / "npa.yaml").write_text(yaml.safe_dump(NPA_YAML))
    words = {f"w{row}": row for row in range(1, SIZES["vocab"])}
    users = {f"U{row}": row for row in range(1, SIZES["users"] + 1)}
    for name, ids in (("word_dict.pkl", words), ("uid2index.pkl", users)):
        (path / name).write_bytes(pickle.dumps(ids))
    write_h5(path / "npa.h5")
    np.savez(path / "npa.npz", *(THEIRS[f"w__{name}"] for name in NAMES))
    page = (ROOT / "docs" / "migrating.md").read_text("utf-8")
    load, go_on, make_run = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        names = {}
        exec(load, names)
        model, users = names["model"], names["users"]
        valid = names["data"].impressions("validation", names["catalog"], users)
        module = names["tfrs_npa"]
        batches = module.impression_batches(valid, names["catalog"], users, model.config)
        names["logits"] = np.concatenate([model(batch) for batch in batches])
        exec(go_on, names)
        exec(make_run, names)
    return names | {"path": path}


def test_the_scores_are_theirs(names):
    np.testing.assert_allclose(names["logits"], THEIRS["logits"], rtol=1e-5, atol=1e-6)


def test_titles_are_split_as_theirs(names):
    titles = [
        "It's 5 o'clock, isn't it?",
        "nai\u0308ve cafe\u0301s",
        "東京 の天気",
        "A|B;C snake_case",
    ]
    theirs = [re.findall(r"[\w]+|[.,!?;|]", title.lower()) for title in titles]
    ours = names["catalog"].vocabulary.encode(titles)
    assert ours.row_lengths().numpy().tolist() == [len(words) for words in theirs]


def test_it_trains_on(names):
    history = names["model"].history.history
    assert names["before"]["loss"] == pytest.approx(THEIRS["loss_before"], rel=1e-4)
    assert history["val_loss"][1] < history["val_loss"][0] < names["before"]["loss"]


@pytest.mark.slow
def test_the_command_line_goes_on_from_the_run(names, monkeypatch, capsys):
    monkeypatch.chdir(names["path"])
    assert main(["evaluate", "--run", "runs/theirs", "--no-cache"]) == 0
    options = ["--data", "my-folder", "--holdout", "none", "--epochs", "1", "--no-cache"]
    assert main(["train", "--from", "runs/theirs", *options, "--run", "runs/mine"]) == 0
    shown = capsys.readouterr().out
    assert "Started from" in shown and "1 words added, 0 dropped" in shown


def test_other_files_of_weights(names):
    load, model = names["tfrs_npa"].load_recommenders_weights, names["model"]
    load(model, names["path"] / "npa.npz")
    np.testing.assert_array_equal(model.user_embedding.table, THEIRS["w__user_embedding"])
    with pytest.raises(ValueError, match="npa_ckpt is neither .npz nor .h5. Load it there"):
        load(model, "npa_ckpt")
    h5py.File(names["path"] / "other.h5", "w").close()
    with pytest.raises(ValueError, match="other.h5 is not a file that"):
        load(model, names["path"] / "other.h5")
