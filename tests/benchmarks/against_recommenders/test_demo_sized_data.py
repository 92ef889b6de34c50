import pickle

import numpy as np
import pytest
import yaml

import tfrs_npa
from tfrs_npa.datasets.mind import read_behaviors, read_news


@pytest.fixture(scope="module")
def demo_sized_data(benchmark):
    return benchmark("against_recommenders.demo_sized_data")


@pytest.fixture(scope="module")
def size(demo_sized_data):
    return demo_sized_data.Size(60, 300, 80, 40, words=500, scored_candidates=100, seed=3)


@pytest.fixture(scope="module")
def folder(demo_sized_data, size, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    demo_sized_data.write(folder, size, [10, 30])
    return folder


def _load(path):
    return pickle.loads(path.read_bytes())


def test_the_yaml_is_the_preset(folder):
    preset = tfrs_npa.NPAConfig.preset("recommenders")
    assert tfrs_npa.NPAConfig.from_yaml(folder / "npa_10.yaml") == preset
    longer = tfrs_npa.NPAConfig.from_yaml(folder / "npa_30.yaml")
    assert longer == preset.replace(title_length=30)


def test_splits(folder, size):
    train, valid, scored = (
        list(read_behaviors(folder / split / "behaviors.tsv"))
        for split in ("train", "valid", "scored")
    )
    assert (len(train), len(valid)) == (size.training_impressions, size.impressions)
    assert scored == valid[: len(scored)]
    lengths = [len(row["candidates"]["news_id"]) for row in scored]
    assert sum(lengths) >= size.scored_candidates > sum(lengths[:-1])
    assert tfrs_npa.load_mind(folder).news["train"].cardinality() > 0


def test_titles_agree_between_splits_and_use_many_words(folder):
    train, valid = (
        {row["news_id"]: row["title"] for row in read_news(folder / split / "news.tsv")}
        for split in ("train", "valid")
    )
    common = train.keys() & valid.keys()
    assert common and all(train[news_id] == valid[news_id] for news_id in common)
    words = _load(folder / "word_dict.pkl")
    used = [word for title in (train | valid).values() for word in title.split()]
    assert set(used) <= words.keys()
    assert len(set(used)) > 250
    frequent = used.count("w1") / len(used)
    assert 0.5 < frequent * (1 / np.arange(1, 501)).sum() < 1.5  # Zipf's law


def test_rows_of_their_tables(folder, size):
    words, users = _load(folder / "word_dict.pkl"), _load(folder / "uid2index.pkl")
    embedding = np.load(folder / "embedding.npy")
    assert embedding.shape == (size.words + 1, 300) and embedding.dtype == np.float32
    assert sorted(words.values()) == list(range(1, size.words + 1))
    # Their user table has len(users) rows, and the largest index has to be in it.
    assert sorted(users.values()) == list(range(len(users)))
    index = tfrs_npa.UserIndex().adapt(tfrs_npa.load_mind(folder).behaviors["train"])
    assert [users[user_id] for user_id in index.ids[1:]] == list(range(1, len(index)))


def test_weights_fit_the_model(demo_sized_data, folder):
    weights = demo_sized_data.read_weights(folder)
    np.testing.assert_array_equal(weights[0], np.load(folder / "embedding.npy"))
    words, users = _load(folder / "word_dict.pkl"), _load(folder / "uid2index.pkl")
    catalog = tfrs_npa.NewsCatalog(vocabulary=tfrs_npa.Vocabulary.from_words(words))
    catalog.extend({"news_id": ["N1", "N2"], "title": ["w1 w2 w3", "w4 w5"]})
    users = tfrs_npa.UserIndex().adapt({"user_id": list(users)})
    model = tfrs_npa.NPA(tfrs_npa.NPAConfig.from_yaml(folder / "npa_10.yaml"), catalog, users)
    tfrs_npa.load_recommenders_weights(model, weights)
    np.testing.assert_array_equal(model.user_embedding.table, weights[1])
    logits = model({"user_id": [1, 2], "history": [[2, 3]] * 2, "candidates": [[2, 3]] * 2})
    # Which article a user prefers depends on the user.
    assert np.ptp(logits[0] - logits[1]) > 0.01


def test_kept_data_is_used_again(demo_sized_data, folder, size):
    before = (folder / "train" / "news.tsv").stat().st_mtime_ns
    demo_sized_data.write(folder, size, [20])
    assert (folder / "train" / "news.tsv").stat().st_mtime_ns == before
    assert yaml.safe_load((folder / "npa_20.yaml").read_text())["data"]["title_size"] == 20
    with pytest.raises(ValueError, match="another size"):
        demo_sized_data.write(folder, demo_sized_data.Size(), [10])
