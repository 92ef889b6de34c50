"""Time to quality on a tiny world, with a worker in place of Microsoft Recommenders."""

from __future__ import annotations

import json
import pathlib
import pickle
import re
import types

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import tfrs_npa
from tfrs_npa.datasets.mind import SyntheticWorld, read_behaviors, read_news

pytestmark = pytest.mark.filterwarnings("ignore:Even though the .tf.config")

SIZES = ["--users", 60, "--articles", 150, "--impressions", 120, 40, 40]
# npa.yaml with dimensions of the tiny preset "small".
TINY = {
    "data": {"his_size": 5, "word_emb_dim": 8, "npratio": 2},
    "model": {"user_emb_dim": 4, "filter_num": 8, "attention_hidden_dim": 4},
}


@pytest.fixture(scope="module")
def module(benchmark, tiny_preset):
    """The benchmark, with few dimensions."""
    module, data = (
        benchmark(n) for n in ("time_to_quality", "against_recommenders.demo_sized_data")
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "DIM", 8)
        for section, values in TINY.items():
            for key, value in values.items():
                patch.setitem(data.NPA_YAML[section], key, value)
        yield module


@pytest.fixture(scope="module")
def fake_worker(benchmark):
    """The class of a worker that trains 20 rows a second and saves made-up weights."""
    made_up_data = benchmark("made_up_data")

    class Worker:
        def __init__(self, interpreter, data, title_length, seed):
            self.data, self.seed = data, seed
            self.config = tfrs_npa.NPAConfig.from_yaml(data / f"npa_{title_length}.yaml")

        def __call__(self, command, **arguments):
            if command == "continue_training":
                rows = arguments["steps"] * self.config.batch_size
                return {"rows": rows, "seconds": rows / 40, "cpu_seconds": rows / 20}
            if command == "save":
                self.seed += 1
                words, users = (
                    len(pickle.loads((self.data / name).read_bytes()))
                    for name in ("word_dict.pkl", "uid2index.pkl")
                )
                weights = made_up_data.recommenders_weights(
                    self.config, words, users - 1, self.seed
                )
                np.savez(arguments["path"], *weights)
                return {}
            return {"recommenders": "1.2.1", "tensorflow": "2.15.1"}

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            pass

    return Worker


@pytest.fixture(scope="module")
def loaded(module, tmp_path_factory):
    """The folder of a world with their files, its catalogue and its splits."""
    from tfrs_npa.data.splits import load_splits
    from tfrs_npa.settings import DataSettings

    path = tmp_path_factory.mktemp("data")
    world = SyntheticWorld(seed=5, users=60, articles=150, impressions=(120, 40, 40))
    world.write(path, word_vector_dim=8)
    vectors = str(path / "word_vectors.txt")
    catalog, splits = load_splits(DataSettings(str(path), word_vectors=vectors))
    module.write_their_files(path, catalog, splits.users)
    return path, catalog, splits


@pytest.mark.slow
def test_results(module, fake_worker, run_here, eager_functions, monkeypatch, tmp_path):
    environment = module.recommenders_environment
    monkeypatch.setattr(environment, "prepare", lambda directory, python: pathlib.Path("python"))
    monkeypatch.setattr(environment, "Worker", fake_worker)
    options = ["--sides", "recommenders", "small", "small-none"]
    options += ["--json", tmp_path / "results.json"]
    _, messages = run_here(module, *options, "--plot", tmp_path / "plot.png", *SIZES)
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert messages.count("validation AUC") == 15
    result = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert result["environment"]["recommenders"]["recommenders"] == "1.2.1"
    bests, checkpoints = (table["rows"] for table in result["tables"])
    sides = ["Recommenders", "ours, small", "ours, small, no vectors"]
    assert [row[0] for row in bests] == [*sides, "cosine", "density ratio"]
    untrained = {row[0]: row[-1] for row in checkpoints if row[1] == "0"}
    assert len(set(untrained.values())) == 3
    for title, val_auc, *training, test_auc, interval, reached in bests[:3]:
        rows = [row[1:] for row in checkpoints if row[0] == title]
        assert [row[0] for row in rows] == ["0", "0.5", "1", "1.5", "2"]
        assert val_auc == max(row[4] for row in rows)
        assert [*training, val_auc, test_auc] in rows
        for column in (1, 2, 3):  # steps, rows, CPU seconds
            numbers = [float(row[column].replace(",", "")) for row in rows]
            assert numbers[0] == 0 and numbers == sorted(numbers)
        assert len({row[1] for row in rows}) == len(rows)
        low, high = map(float, interval.split(" to "))
        assert low < float(test_auc) < high
        assert reached == "-" or float(reached) >= 0
    difference = result["measurements"][0]
    assert difference["value"] == pytest.approx(float(bests[1][6]) - float(bests[0][6]), abs=2e-4)


@pytest.mark.slow
def test_a_training_in_pieces_is_the_same(module, loaded):
    """As `tfrs-npa train` trains without a pause."""
    from tfrs_npa.runs.evaluation import model_logits
    from tfrs_npa.runs.repeated import train

    _, catalog, splits = loaded
    config = module.config_of("small", seed=3)
    whole = train(config, catalog, splits, epochs=2)
    side = module.Ours(config, catalog, splits, epochs=2)
    steps = [1, side.epoch_steps, side.epoch_steps - 1]
    spent, rows = zip(*(side.train(number) for number in steps))
    assert sum(rows) == whole.rows_seen and rows[0] == config.batch_size and min(spent) > 0
    np.testing.assert_array_equal(
        model_logits(side.model, splits.test), model_logits(whole.model, splits.test)
    )


def their_titles(folder, split):
    """Words of titles by id, as Recommenders finds them: `[10]`, 0 for unknown words."""
    words = pickle.loads((folder / "word_dict.pkl").read_bytes())
    titles = {}
    for article in read_news(folder / split / "news.tsv"):
        found = re.findall(r"[\w]+|[.,!?;|]", article["title"].lower())[:10]
        titles[article["news_id"]] = [words.get(word, 0) for word in found] + [0] * (
            10 - len(found)
        )
    return titles


def their_scores(weights, user, history, candidates):
    """The logits of `NPAModel`."""
    words, users, kernel, bias, *attentions = weights

    def pooled(values, level):
        query_kernel, query_bias, key_kernel, key_bias = attentions[4 * level : 4 * level + 4]
        query = users[user] @ query_kernel + query_bias
        share = np.exp(np.tanh(values @ key_kernel + key_bias) @ query)
        return share @ values / share.sum()

    def encoded(title):
        padded = np.pad(words[title], [(1, 1), (0, 0)])
        windows = np.stack([padded[place : place + 3] for place in range(len(title))])
        return pooled(np.maximum(np.einsum("twe,wef->tf", windows, kernel) + bias, 0), 0)

    user_vector = pooled(np.stack([encoded(title) for title in history]), 1)
    return [encoded(title) @ user_vector for title in candidates]


def test_their_saved_weights_are_evaluated(module, fake_worker, loaded):
    folder, catalog, splits = loaded
    worker = fake_worker(None, folder, 10, seed=0)
    side = module.Theirs(worker, folder, catalog, splits)
    val_auc, test_auc = side.aucs()
    assert side.train(3) == (3 * 32 / 20, 3 * 32)
    with np.load(folder / "saved" / "weights.npz") as arrays:
        weights = [arrays[f"arr_{number}"].astype(np.float64) for number in range(12)]
    users = pickle.loads((folder / "uid2index.pkl").read_bytes())
    expected = {}
    for split in ("valid", "test"):
        titles, expected[split] = their_titles(folder, split), []
        for row in read_behaviors(folder / split / "behaviors.tsv"):
            history = [titles[news_id] for news_id in row["history"][-5:]]
            history = [[0] * 10] * (5 - len(history)) + history
            candidates = [titles[news_id] for news_id in row["candidates"]["news_id"]]
            scores = their_scores(weights, users.get(row["user_id"], 0), history, candidates)
            expected[split].append(roc_auc_score(row["candidates"]["clicked"], scores))
    np.testing.assert_allclose(test_auc, expected["test"], atol=1e-6)
    assert val_auc == pytest.approx(np.mean(expected["valid"]), abs=1e-6)


def test_their_files(loaded):
    folder, catalog, splits = loaded
    embedding = np.load(folder / "embedding.npy")
    words = pickle.loads((folder / "word_dict.pkl").read_bytes())
    assert embedding.shape == (len(words) + 1, 8) and not embedding[0].any()
    vectors = {}
    for line in (folder / "word_vectors.txt").read_text(encoding="utf-8").splitlines():
        word, *numbers = line.split(" ")
        vectors[word] = [float(number) for number in numbers]
    for word, row in words.items():
        np.testing.assert_allclose(embedding[row], vectors.get(word, np.zeros(8)), rtol=1e-6)
    assert not (folder / "weights.npz").exists()  # they start from their own


def test_their_steps_of_an_epoch(module, fake_worker, loaded):
    """A row of each click, in batches of 32."""
    folder, catalog, splits = loaded
    side = module.Theirs(fake_worker(None, folder, 10, seed=0), folder, catalog, splits)
    rows = read_behaviors(folder / "train" / "behaviors.tsv")
    clicks = sum(sum(row["candidates"]["clicked"]) for row in rows)
    assert side.epoch_steps == int(np.ceil(clicks / 32))


class FakeSide:
    """Gets better at each evaluation."""

    epoch_steps = 7

    def __init__(self):
        self.calls = []

    def train(self, steps):
        self.calls.append(steps)
        return 2.0 * steps, 10 * steps

    def aucs(self):
        self.calls.append("aucs")
        return 0.5 + len(self.calls) / 100, np.array([0.5, 0.7])


def test_checkpoints_are_at_equal_parts(module, capsys):
    side = FakeSide()
    points = module.curve(side, "a side", 2, 3)
    assert [point.steps for point in points] == [0, 2, 5, 7, 9, 12, 14]
    assert [point.cpu_seconds for point in points] == [0, 4, 10, 14, 18, 24, 28]
    assert [point.rows for point in points] == [0, 20, 50, 70, 90, 120, 140]
    assert [point.epochs for point in points][::3] == [0, 1, 2]
    assert side.calls[:4] == ["aucs", 2, "aucs", 3] and side.calls[-1] == "aucs"
    assert "a side: epoch 2 of 2, 28.0 CPU seconds" in capsys.readouterr().err


def points(module, *val_aucs, test=0.6):
    """Checkpoints at 0, 10, 20, ... CPU seconds."""
    return [
        module.Checkpoint(n / 2, 5 * n, 160 * n, 10.0 * n, auc, np.array([test, test]))
        for n, auc in enumerate(val_aucs)
    ]


def test_tables(module):
    curves = {
        "recommenders": points(module, 0.50, 0.52, 0.55, 0.54),
        "small": points(module, 0.54, 0.56, 0.60, 0.60, test=0.65),
        "full": points(module, 0.55, 0.53, test=0.55),
    }
    described = module.describe(curves, {"cosine": np.array([0.5, 0.7])})
    bests, checkpoints = described["tables"]
    training = [["1", "10", "320", "20.0"], ["1", "10", "320", "20.0"], ["0", "0", "0", "0.0"]]
    assert [row[2:6] for row in bests["rows"][:3]] == training
    assert [row[-1] for row in bests["rows"]] == ["20.0", "10.0", "0.0", ""]
    assert bests["rows"][-1][6] == "0.6000" and "to" in bests["rows"][-1][7]
    assert len(checkpoints["rows"]) == 10
    for table in described["tables"]:
        assert {len(row) for row in table["rows"]} == {len(table["headers"])}
    # The untrained model of "full" is as good: there is no ratio.
    values = [(m["value"], m.get("compared", False)) for m in described["measurements"]]
    assert values == [
        (pytest.approx(0.05), False),
        (pytest.approx(2), True),
        (pytest.approx(-0.05), False),
    ]

    curves["small"] = points(module, 0.51, 0.53)
    rows = module.describe(curves, {})["tables"][0]["rows"]
    assert rows[1][-1] == "-"
    alone = module.describe({"small": curves["small"]}, {})
    assert alone["tables"][0]["rows"][0][-1] == "-" and alone["measurements"] == []
    (own,) = module.describe({"small-none": curves["small"]}, {})["measurements"]
    assert (own["value"], own["at_most"]) == (10, 60)


def test_only_dimension_and_seed_differ_from_the_recipe(module):
    full = tfrs_npa.NPAConfig().replace(word_embedding_dim=8, seed=7)
    assert module.config_of("full", 7) == full
    small = tfrs_npa.NPAConfig.preset("small").replace(word_embedding_dim=8, seed=7)
    assert module.config_of("small", 7) == small
    plain = tfrs_npa.NPAConfig.preset("small").replace(seed=7)
    assert module.config_of("small-none", 7) == plain


class FakeIterator:
    """Yields three batches in each pass, the last one smaller."""

    def __init__(self):
        self.read = []

    def init_news(self, path):
        self.read.append(pathlib.Path(path).name)

    init_behaviors = init_news

    def load_data_from_file(self, news, behaviors):
        for labels in ([1, 0], [0, 1], [1]):
            yield {"labels": labels}


def test_the_worker_trains_pass_after_pass(benchmark, tmp_path):
    worker_type = benchmark("against_recommenders.recommenders_worker").Recommenders
    trained = []
    worker = worker_type.__new__(worker_type)
    worker._data = tmp_path
    worker._model = types.SimpleNamespace(train_iterator=FakeIterator(), train=trained.append)
    answers = [worker.continue_training(steps) for steps in (2, 3, 1)]
    assert [answer["rows"] for answer in answers] == [4, 5, 1]
    assert [len(batch["labels"]) for batch in trained] == [2, 2, 1, 2, 2, 1]
    assert all(0 <= answer["cpu_seconds"] for answer in answers)
    assert worker._model.train_iterator.read == ["news.tsv", "behaviors.tsv"]
