"""Generated data of MINDdemo's size, with the extra files that Microsoft Recommenders needs.

Users, histories and impressions are those of `SyntheticWorld`. Titles keep their lengths but their
words are drawn from a vocabulary as large as MINDdemo's, by Zipf's law: encoding each word once
must not gain more here than it does there.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import pickle
import shutil
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import made_up_data
import numpy as np
import yaml

import tfrs_npa
from tfrs_npa.datasets.mind import SyntheticWorld, write_behaviors, write_news

# The npa.yaml that Recommenders ships, without file names.
NPA_YAML = {
    "data": {
        "title_size": 10,
        "his_size": 50,
        "npratio": 4,
        "data_format": "news",
        "word_emb_dim": 300,
    },
    "model": {
        "model_type": "npa",
        "user_emb_dim": 100,
        "filter_num": 400,
        "cnn_activation": "relu",
        "window_size": 3,
        "attention_hidden_dim": 200,
        "dropout": 0.2,
    },
    "train": {
        "loss": "cross_entropy_loss",
        "learning_rate": 1e-4,
        "optimizer": "adam",
        "epochs": 1,
        "batch_size": 32,
    },
    "info": {"show_step": 1_000_000, "metrics": ["group_auc", "mean_mrr", "ndcg@5;10"]},
}
TITLE_LENGTH = NPA_YAML["data"]["title_size"]


@dataclasses.dataclass(frozen=True)
class Size:
    """Size of the data.

    Attributes:
        users: Users of all splits.
        articles: Articles of the site.
        training_impressions: Impressions of `train`.
        impressions: Impressions of `valid`.
        words: Words that titles are drawn from.
        scored_candidates: `scored` holds the first impressions of `valid` that have at least as
            many candidates.
        seed: Seed of all draws.
    """

    users: int = 5_000
    articles: int = 27_000
    training_impressions: int = 22_000
    impressions: int = 7_500
    words: int = 30_000
    scored_candidates: int = 3_000
    seed: int = 0


def write(folder: pathlib.Path, size: Size, title_lengths: Sequence[int]) -> None:
    """Writes the data, unless the folder holds the same from an earlier call.

    The folder then has `train/` and `valid/` in MIND's format; `scored/behaviors.tsv`, some of
    `valid`; `npa_<title length>.yaml`, `word_dict.pkl`, `uid2index.pkl` and `embedding.npy` as
    Recommenders reads them; and `weights.npz`, twelve arrays in the order of
    `NPAModel.model.get_weights()`.

    Raises:
        ValueError: if the folder holds data of another size.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for length in title_lengths:
        write_yaml(folder, length)
    complete = folder / "size.json"
    if complete.exists():
        if json.loads(complete.read_text(encoding="utf-8")) != dataclasses.asdict(size):
            raise ValueError(f"{folder} holds data of another size: remove it or name another")
        return
    world = SyntheticWorld(
        seed=size.seed,
        users=size.users,
        articles=size.articles,
        impressions=(size.training_impressions, size.impressions, 0),
    )
    words = [f"w{rank}" for rank in range(1, size.words + 1)]
    rewrite = _Titles(words, size.seed)
    for split, name in (("train", "train"), ("validation", "valid")):
        write_news(folder / name / "news.tsv", rewrite(world.news(split)))
        write_behaviors(folder / name / "behaviors.tsv", world.behaviors(split))
    user_ids = dict.fromkeys(row["user_id"] for row in world.behaviors("train"))
    scored = _first(world.behaviors("validation"), size.scored_candidates)
    write_behaviors(folder / "scored" / "behaviors.tsv", scored)
    shutil.copy(folder / "valid" / "news.tsv", folder / "scored" / "news.tsv")

    write_dictionaries(folder, words, user_ids)
    config = tfrs_npa.NPAConfig.from_yaml(folder / f"npa_{title_lengths[0]}.yaml")
    weights = made_up_data.recommenders_weights(config, len(words), len(user_ids), size.seed)
    np.save(folder / "embedding.npy", weights[0])
    np.savez(folder / "weights.npz", *weights)
    complete.write_text(json.dumps(dataclasses.asdict(size)), encoding="utf-8")


def write_yaml(folder: pathlib.Path, title_length: int) -> None:
    """Writes `npa_<title length>.yaml`."""
    settings = {**NPA_YAML, "data": {**NPA_YAML["data"], "title_size": title_length}}
    (folder / f"npa_{title_length}.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")


def write_dictionaries(folder: pathlib.Path, words: Iterable[str], user_ids: Iterable[str]) -> None:
    """Writes `word_dict.pkl` and `uid2index.pkl`, which count words and users from 1."""
    _pickle(folder / "word_dict.pkl", {word: row for row, word in enumerate(words, 1)})
    # Theirs makes a user table of as many rows as there are entries, but counts users from 1: an
    # entry for the unknown user keeps the last one inside the table.
    uid2index = {"": 0} | {user_id: row for row, user_id in enumerate(user_ids, 1)}
    _pickle(folder / "uid2index.pkl", uid2index)


def read_weights(folder: pathlib.Path) -> list[np.ndarray]:
    """Returns the arrays of `weights.npz`, in order."""
    with np.load(folder / "weights.npz") as arrays:
        return [arrays[f"arr_{number}"] for number in range(len(arrays.files))]


class _Titles:
    """Replaces titles with others of the same length, the same one for an article in all splits."""

    def __init__(self, words: list[str], seed: int):
        self._words = np.array(words)
        weights = 1 / np.arange(1, len(words) + 1)
        self._weights = weights / weights.sum()
        self._rng = np.random.default_rng([seed, 1])
        self._known: dict[str, str] = {}

    def __call__(self, news: Iterable[dict[str, str]]) -> Iterator[dict[str, str]]:
        for article in news:
            news_id = article["news_id"]
            if news_id not in self._known:
                number = len(article["title"].split())
                drawn = self._rng.choice(self._words, number, p=self._weights)
                self._known[news_id] = " ".join(drawn)
            yield {**article, "title": self._known[news_id]}


def _first(behaviors: Iterable[dict[str, Any]], candidates: int) -> Iterator[dict[str, Any]]:
    for row in behaviors:
        if candidates <= 0:
            return
        candidates -= len(row["candidates"]["news_id"])
        yield row


def _pickle(path: pathlib.Path, value: dict[str, int]) -> None:
    with path.open("wb") as file:
        pickle.dump(value, file)
