"""`tfrs-npa recommend`."""

from __future__ import annotations

import functools
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tfrs_npa.config import NPAConfig
from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.data.users import UserIndex
from tfrs_npa.datasets.mind import write_behaviors, write_news
from tfrs_npa.models.npa import NPA
from tfrs_npa.runs.baselines import Baselines
from tfrs_npa.runs.run import Run, load_run
from tfrs_npa.settings import TrainingSettings

CONFIG = NPAConfig(
    word_embedding_dim=8, user_embedding_dim=4, num_filters=8, attention_dim=4, title_length=5
)
TITLES = {
    "N1": "Rain in the north",
    "N2": "Team wins final",
    "N3": "Poll before the vote",
    "N4": "Bank raises rate",
    "N5": "Film star sings",
    "N6": "Song of the sun",
    "N7": "1",  # a title that looks like a number stays what it is
    "N8": "Café at the north road",
}
CATEGORIES = dict(
    zip(TITLES, ["weather", "sports", "news", "money", "movies", "music", "", "food"])
)
# Split, user, time, history.
IMPRESSIONS = [
    ("train", "U1", 100, ["N1"]),
    ("train", "U2", 100, ["N2"]),
    ("train", "U1", 300, ["N1", "N2", "N3"]),
    ("train", "U1", 300, ["N1", "N2", "N3", "N1"]),
    ("train", "U1", 200, ["N1", "N2"]),
    ("train", "U3", 100, []),
    ("dev", "U2", 400, ["N2", "N99"]),
    ("dev", "U9", 400, ["N4"]),
    ("dev", "U8", 400, ["N98", "N99"]),
]


def write_split(path, names, impressions):
    columns = ("abstract", "url", "title_entities", "abstract_entities")
    write_news(
        path / "news.tsv",
        [
            dict.fromkeys(columns, "")
            | {
                "news_id": name,
                "title": TITLES.get(name, "Of today"),
                "category": CATEGORIES.get(name, "late"),
                "subcategory": "",
            }
            for name in names
        ],
    )
    candidates = {"news_id": ["N1", "N5"], "clicked": [1, 0]}
    write_behaviors(
        path / "behaviors.tsv",
        [
            {
                "impression_id": number,
                "user_id": user,
                "time": 1573776000 + time,
                "history": history,
                "candidates": candidates,
            }
            for number, (_, user, time, history) in enumerate(impressions)
        ],
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("mind-format")
    write_split(path / "train", [*TITLES][:6], [row for row in IMPRESSIONS if row[0] == "train"])
    write_split(path / "dev", [*TITLES][4:], [row for row in IMPRESSIONS if row[0] == "dev"])
    return path


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """A run of this data that has ended, with random weights."""
    catalog = NewsCatalog().adapt({"news_id": [*TITLES], "title": [*TITLES.values()]})
    model = NPA(CONFIG, catalog, UserIndex().adapt({"user_id": ["U1", "U2", "U3"]}))
    generator = np.random.default_rng(3)
    model.set_weights([generator.normal(0, 0.4, w.shape) for w in model.get_weights()])
    path = tmp_path_factory.mktemp("runs") / "run"
    run = Run.create(path, model, TrainingSettings(str(data)), Baselines({}))
    run.metrics = {}
    return run.path


@pytest.fixture
def recommend(run, in_process, capfd):
    """Runs the command, op by op unless `traced`; returns what it prints, or the parsed JSON."""

    def recommend(*options, traced=False):
        tf.config.run_functions_eagerly(not traced)
        try:
            assert in_process("recommend", "--run", run, *options) == 0
        finally:
            tf.config.run_functions_eagerly(False)
        output, messages = capfd.readouterr()
        assert not messages
        return json.loads(output) if "--json" in options else output

    return recommend


def ids(answer):
    return [article["news_id"] for article in answer["articles"]]


load = functools.lru_cache(load_run)


def ranked(run, user, history):
    """All articles by falling score, as the model gives it for them as candidates."""
    model = load(run)
    features = {
        "user_id": model.users.index([user]),
        "history": model.catalog.index([history]) if history else np.zeros([1, 1], np.int32),
        "candidates": model.catalog.index([[*TITLES]]),
    }
    scores = model(features)[0].numpy()
    return [([*TITLES][index], scores[index]) for index in np.argsort(-scores, kind="stable")]


@pytest.mark.parametrize(
    ("user", "history"),
    [("U1", ["N1", "N2", "N3", "N1"]), ("U9", ["N4"]), ("U77", [])],
    ids=["latest of four", "new", "neither in the run nor in the data"],
)
def test_all_articles_in_the_order_of_the_model(run, recommend, user, history):
    answer = recommend("--user", user, "--json", "--include-clicked", traced=True)
    assert answer["user_id"] == user and answer["known_user"] == (user == "U1")
    assert answer["history"] == history and answer["unknown_history"] == []
    expected = ranked(run, user, history)
    assert ids(answer) == [name for name, _ in expected]
    for rank, (article, (name, score)) in enumerate(
        zip(answer["articles"], expected, strict=True), 1
    ):
        assert article["score"] == pytest.approx(score, abs=1e-5)
        fields = {"rank": rank, "title": TITLES[name], "category": CATEGORIES[name]}
        assert fields.items() <= article.items()


def test_clicked_articles_are_left_out(run, recommend):
    answer = recommend("--user", "U1", "--json")
    best = [name for name, _ in ranked(run, "U1", ["N1", "N2", "N3", "N1"])]
    assert ids(answer) == [name for name in best if name not in ("N1", "N2", "N3")]
    assert [article["rank"] for article in answer["articles"]] == [1, 2, 3, 4, 5]


def test_a_history_of_ones_own(run, recommend):
    """It is used instead of the one in the data, which is not read."""
    answer = recommend("--user", "U1", "--history", "N5, N6", "--json", "--include-clicked")
    assert answer["history"] == ["N5", "N6"]
    assert ids(answer) == [name for name, _ in ranked(run, "U1", ["N5", "N6"])]
    assert "category" not in answer["articles"][0]
    empty = recommend("--user", "U1", "--history", "", "--json", "--k", 2)
    assert empty["history"] == []
    assert ids(empty) == [name for name, _ in ranked(run, "U1", [])][:2]


def test_what_people_read(data, recommend):
    """A table with titles and categories."""
    lines = recommend("--user", "U1", "--k", 3).splitlines()
    assert lines[0] == f"The history in {data} has 4 clicks."
    assert lines[2].split() == ["rank", "score", "news_id", "title", "category"]
    assert len(lines) == 7
    for rank, line in enumerate(lines[4:], 1):
        assert line.split()[0] == str(rank)
        name = line.split()[2]
        assert f"{name}" in line and TITLES[name] in line and CATEGORIES[name] in line


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            ["--user", "U77"],
            [
                "U77 is a new user: the run was not trained on any of their clicks",
                "There is no history in DATA, where U77 has no impression.",
                "There are only 8 articles that are not in the history.",
            ],
        ),
        (["--user", "U3", "--k", 8, "--include-clicked"], ["There is no history in DATA."]),
        (
            ["--user", "U2"],
            [
                "The history in DATA has 2 clicks.",
                "The run does not know 1 of the articles (for example N99)",
                "There are only 7 articles that are not in the history.",
            ],
        ),
        (
            ["--history", "N1,NX,NY", "--k", 8, "--include-clicked"],
            [
                "An anonymous visitor",
                "The history in --history has 3 clicks.",
                "The run does not know 2 of the articles (for example NX)",
            ],
        ),
    ],
)
def test_lines_about_the_user(data, recommend, options, expected):
    """All of them, and no others."""
    lines = recommend(*options).split("\n\n")[0].splitlines()
    for line, words in zip(lines, expected, strict=True):
        assert words.replace("DATA", str(data)) in line


def test_unknown_articles_are_listed(run, recommend):
    answer = recommend("--user", "U2", "--json", "--include-clicked")
    assert answer["history"] == ["N2", "N99"] and answer["unknown_history"] == ["N99"]
    assert ids(answer) == [name for name, _ in ranked(run, "U2", ["N2", "N99"])]


def test_unknown_articles_are_left_out_of_the_history(recommend):
    known, fresh = (
        recommend("--history", history, "--json", "--include-clicked", "--k", len(TITLES))
        for history in ("N1", "N1,NX,NY")
    )
    assert fresh["unknown_history"] == ["NX", "NY"]
    assert ids(fresh) == ids(known)
    scores = ([article["score"] for article in answer["articles"]] for answer in (fresh, known))
    np.testing.assert_allclose(*scores, rtol=1e-5)


def test_nothing_is_left(recommend):
    assert recommend("--history", ",".join(TITLES), "--json")["articles"] == []


def test_other_data_has_other_articles(data, run, recommend, tmp_path):
    other = shutil.copytree(data, tmp_path / "today")
    shutil.rmtree(other / "dev")
    write_split(other / "dev", ["N98", "N99"], [("dev", "U8", 900, ["N98", "N1"])])
    answer = recommend("--user", "U8", "--data", other, "--json")
    assert answer["history"] == ["N98", "N1"] and answer["unknown_history"] == []
    assert sorted(ids(answer)) == ["N2", "N3", "N4", "N5", "N6", "N7", "N8", "N99"]
    titles = {article["news_id"]: article["title"] for article in answer["articles"]}
    assert titles == {name: TITLES.get(name, "Of today") for name in titles}
    # The run itself has learned nothing of them.
    assert "N99" not in load_run(run).catalog.ids


def test_titles_are_printed_as_they_are(recommend):
    rows = recommend("--history", "N1").splitlines()[-7:]
    assert sorted(row.split()[2] for row in rows) == [name for name in TITLES if name != "N1"]
    assert any("Café at the north road" in row for row in rows)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "--user is missing"),
        (["--user", "U1", "--k", "0"], "--k is 0; it has to be at least 1"),
        (["--history", "NX,NY"], "knows none of the 2 articles of the history in --history"),
        (["--user", "U8"], "knows none of the 2 articles of the history in"),
        (["--user", "U1", "--data", "mind/tiny"], "there is no data set mind/tiny"),
        (["--user", "U1", "--run", "no-such"], "no-such does not exist"),
    ],
)
def test_bad_options(run, in_process, capsys, options, expected):
    assert in_process("recommend", "--run", run, *options) == 2
    error = capsys.readouterr().err
    assert error.startswith("tfrs-npa: error: ") and expected in error
    assert len(error.splitlines()) == 1


def test_reranked(run, recommend, tmp_path, in_process, capfd):
    """With categories of the run's data; a run of before has no vectors to compare titles by."""
    options = ["--history", "N1,N2", "--json"]
    plain = recommend(*options)
    assert "rerank" not in plain
    answer = recommend(*options, "--rerank", "calibrated", "--trade-off", "0")
    assert answer["rerank"] == {"method": "calibrated", "trade_off": 0}
    assert ids(answer) == ids(plain) and answer["articles"][0]["category"]
    assert in_process("recommend", "--run", run, *options, "--rerank", "mmr") == 2
    assert f"{run} holds no word vectors" in capfd.readouterr().err

    now = shutil.copytree(run, tmp_path / "now")
    catalog = load_run(run).catalog
    vectors = np.random.default_rng(0).normal(size=(len(catalog.vocabulary), 4))
    np.save(now / "word_vectors.npy", vectors.astype(np.float16))
    assert in_process("recommend", "--run", now, *options, "--rerank", "mmr") == 0
    answer = json.loads(capfd.readouterr().out)
    assert answer["rerank"] == {"method": "mmr", "trade_off": 0.3}
    assert {*ids(answer)} == {*ids(plain)} and ids(answer)[0] == ids(plain)[0]
    scores = [article["score"] for article in answer["articles"]]
    assert ids(answer) != ids(plain) and scores != sorted(scores, reverse=True)
