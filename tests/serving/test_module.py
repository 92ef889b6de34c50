"""The exported model, where it is made and where TensorFlow is all there is."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import tfrs_npa
from tfrs_npa.models.explanation import explain
from tfrs_npa.serving.module import ServingModule

pytestmark = pytest.mark.slow

TITLES = {
    "N1": "rain in the north",
    "N2": "team wins, team celebrates!",
    "N3": "",
    "N4": "a very long title of more words than are read",
    "N5": "north team",
    "N6": "rain rain Café",
    "N7": "wins the final, 東京 दिल्ली",
}
NEW = {"M1": "north wins again", "M2": "", "M3": "unheard 京東 ＣＡＦＥ\u0301 दिल्ली"}
FORMS = {
    "recipe": {},
    "paper": {"attention": "paper", "mask_padding": False, "unknown_articles": "untitled"},
    "impersonal": {"word_attention": "vanilla", "news_attention": "mean", "mask_padding": False},
}
# A known user, a new one, one without clicks, an anonymous one with more clicks than are read,
# padding on both sides and an article that nobody knows.
USERS = ["U1", "nobody", "U2", ""]
HISTORY = [
    ["N1", "N2", "", "", "", "", ""],
    ["", "N5", "unknown", "N5", "", "", ""],
    ["", "", "", "", "", "", ""],
    ["N6", "N7", "N6", "N4", "N3", "N2", "N1"],
]
CANDIDATES = [["N1", "N4", ""], ["", "N3", "N7"], ["N2", "N2", "unknown"], ["", "", ""]]
NEW_CANDIDATES = [["N1", "M1"], ["M2", "M3"], ["M1", "M1"], ["N6", "N3"]]
EXCLUSIONS = [["N1", "", "N1"], ["unknown", "N7", "N2"], ["", "", ""], ["N3", "[UNK]", "N4"]]
CHOICE = [["N2", "N1", "N5"], ["", "", ""], ["unknown", "[UNK]", ""], ["N6", "N6", "N4"]]
NOT_CHOSEN = [["N3", "N4", "N6", "N7"], [], list(TITLES), ["N1", "N2", "N3", "N5", "N7"]]
CLICKS_READ = [["N1", "N2"], ["N5", "unknown", "N5"], [], ["N4", "N3", "N2", "N1"]]

NOTHING = tf.zeros([4, 0], tf.string)

# Nothing of this project, nor of what it is built on, can be imported.
CLIENT = """
import importlib, json, sys
ABSENT = ("tfrs_npa", "tensorflow_recommenders", "tf_keras")
class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in ABSENT:
            return self.finder.find_spec(name, path, target)
sys.meta_path[:] = map(Without, sys.meta_path)
for name in ABSENT:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        continue
    sys.exit(f"{name} can be imported")
import numpy as np
import tensorflow as tf
answers = []
loaded = {}
for folder, signature, inputs in json.load(sys.stdin):
    if folder not in loaded:
        # Optimizing graphs takes most of the time: those of the first form are.
        options = {"disable_meta_optimizer": bool(loaded)}
        tf.config.optimizer.set_experimental_options(options)
        loaded[folder] = tf.saved_model.load(folder)
    function = loaded[folder].signatures[signature]
    dtypes = {name: spec.dtype for name, spec in function.structured_input_signature[1].items()}
    outputs = function(**{name: tf.constant(inputs[name], dtypes[name]) for name in inputs})
    answers.append({
        name: np.char.decode(value.numpy().astype(bytes), "utf-8").tolist()
        if value.dtype == tf.string else value.numpy().tolist()
        for name, value in outputs.items()
    })
print(json.dumps(answers))
"""


def make_model(changes, titles=TITLES):
    """A model with random weights and no dropout."""
    fields = {
        "title_length": 5,
        "history_length": 4,
        "word_embedding_dim": 5,
        "user_embedding_dim": 3,
        "num_filters": 4,
        "attention_dim": 6,
        "seed": 5,
    }
    config = tfrs_npa.NPAConfig(**fields | changes)
    news = {"news_id": list(titles), "title": list(titles.values())}
    users = tfrs_npa.UserIndex().adapt({"user_id": ["U1", "U2", "U3"]})
    model = tfrs_npa.NPA(config, tfrs_npa.NewsCatalog().adapt(news), users)
    generator = np.random.default_rng(3)
    model.set_weights([generator.normal(0, 0.6, w.shape) for w in model.get_weights()])
    return model


def started(model, dtype="float32", recommendable=None):
    """The module with its articles, not saved."""
    module = ServingModule(model, dtype)
    ids = model.catalog.ids[2:] if recommendable is None else recommendable
    module.articles.start(model.catalog, model.catalog.index(ids))
    return module


class Served:
    """A model, and the same exported."""

    def __init__(self, model, folder):
        self.model = model
        self.folder = str(tfrs_npa.export(model, folder))

    def features(self, candidates=CANDIDATES):
        """What the model takes itself, made by Python's own means."""
        length = self.model.config.history_length
        read = [[id for id in row if id != "unknown" or self.reads_unknown] for row in CLICKS_READ]
        ids = [[*row, *[""] * (length - len(row))] for row in read]
        return {
            "user_id": self.model.users.index(USERS),
            "history": self.model.catalog.index(ids),
            "candidates": self.model.catalog.index(candidates),
        }

    @property
    def reads_unknown(self):
        return self.model.config.unknown_articles == "untitled"

    def scores(self, candidates=CANDIDATES):
        return self.model(self.features(candidates)).numpy()

    def extended(self):
        """The same with new articles, by another model."""
        catalog = tfrs_npa.NewsCatalog(vocabulary=self.model.catalog.vocabulary)
        every = TITLES | NEW
        catalog.extend({"news_id": list(every), "title": list(every.values())})
        model = tfrs_npa.NPA(self.model.config, catalog, self.model.users)
        model.set_weights(self.model.get_weights())
        return Served.of(model)

    @classmethod
    def of(cls, model):
        """A model that is not exported."""
        self = object.__new__(cls)
        self.model = model
        return self


USER = {"user_id": USERS, "history": HISTORY}
ALL = {"k": len(TITLES), "candidates": [[""]] * 4}
TITLES_ASKED = [[(TITLES | NEW).get(i, "") for i in row] for row in NEW_CANDIDATES]
REQUESTS = {
    "score": ("score", USER | {"candidates": CANDIDATES}),
    "default": ("serving_default", USER | {"candidates": CANDIDATES}),
    "score_titles": ("score_titles", USER | {"titles": TITLES_ASKED}),
    "recommend": ("recommend", USER | ALL | {"exclusions": [[""]] * 4}),
    "exclude": ("recommend", USER | ALL | {"exclusions": EXCLUSIONS}),
    "choose": ("recommend", USER | ALL | {"exclusions": EXCLUSIONS, "candidates": CHOICE}),
    "encode": ("encode", USER),
    "encode_articles": ("encode_articles", {"user_id": USERS, "candidates": CANDIDATES}),
    "explain": ("explain", USER | {"candidates": CANDIDATES}),
    "nothing": (
        "score",
        {"user_id": ["U1", "U2"], "history": [[], []], "candidates": [["N1"], ["N2"]]},
    ),
}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Models of all forms, exported."""
    folder = tmp_path_factory.mktemp("exports")
    return {form: Served(make_model(changes), folder / form) for form, changes in FORMS.items()}


@pytest.fixture(scope="module")
def answers(served):
    """What a process with TensorFlow alone is answered, by form and name of the request."""
    keys = [(form, name) for form in FORMS for name in REQUESTS]
    environment = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    process = subprocess.run(
        [sys.executable, "-c", CLIENT],
        input=json.dumps([[served[form].folder, *REQUESTS[name]] for form, name in keys]),
        env=environment | {"PYTHONPATH": ""},
        cwd=os.path.dirname(served["recipe"].folder),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert process.returncode == 0, process.stderr
    assert "custom gradients" not in process.stderr
    found = [
        {name: np.array(value) for name, value in answer.items()}
        for answer in json.loads(process.stdout)
    ]
    return dict(zip(keys, found, strict=True))


@pytest.fixture(params=FORMS)
def form(request):
    return request.param


def assert_close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_score(form, served, answers):
    expected = served[form].scores()
    assert np.ptp(expected[expected > -1e9]) > 0.1
    assert_close(answers[form, "score"]["scores"], expected)
    assert_close(answers[form, "default"]["scores"], expected)


def test_score_without_any_history(form, served, answers):
    history, candidates = np.zeros([2, 4], np.int32), np.array([[2], [3]], np.int32)
    features = {"user_id": [1, 2], "history": history, "candidates": candidates}
    assert_close(answers[form, "nothing"]["scores"], served[form].model(features))


def test_score_titles(form, served, answers):
    expected = served[form].extended().scores(NEW_CANDIDATES)
    # A title that is empty is padding here.
    expected = np.where(np.array(TITLES_ASKED) == "", -1e9, expected)
    assert_close(answers[form, "score_titles"]["scores"], expected)


def ranking(served, left_out):
    """Scores of all articles, by sorting; -1e9 where there are no more."""
    ids = np.array(list(TITLES))
    scores = served.scores([list(TITLES)] * len(USERS))
    scores = np.where([np.isin(ids, row) for row in left_out], -1e9, scores)
    order = np.argsort(-scores, axis=1, kind="stable")
    scores = np.take_along_axis(scores, order, axis=1)
    return scores, np.where(scores > -1e9, ids[order], "")


@pytest.mark.parametrize(
    "name, left_out",
    [
        ("recommend", [[]] * 4),
        ("exclude", EXCLUSIONS),
        ("choose", [[*a, *b] for a, b in zip(EXCLUSIONS, NOT_CHOSEN, strict=True)]),
    ],
)
def test_recommend(name, left_out, form, served, answers):
    scores, ids = ranking(served[form], left_out)
    found = answers[form, name]
    assert_close(found["scores"], scores)
    # Which of two comes first is left open where rounding may decide.
    clear = np.abs(np.diff(scores)) > 1e-5
    clear = np.pad(clear, [(0, 0), (1, 0)], constant_values=True) & np.pad(
        clear, [(0, 0), (0, 1)], constant_values=True
    )
    assert clear.mean() > 0.25
    np.testing.assert_array_equal(found["news_id"][clear], ids[clear])
    for row, without in zip(found["news_id"], left_out, strict=True):
        expected = sorted(set(TITLES) - set(without))
        assert sorted(filter(None, row)) == expected


def test_encode(form, served, answers):
    users = answers[form, "encode"]["user_vectors"]
    articles = answers[form, "encode_articles"]["article_vectors"]
    features = served[form].features()
    assert_close(users, served[form].model.query_tower(features))
    padding = features["candidates"] == 0
    if users.ndim == 3:
        products = tf.reduce_logsumexp(np.einsum("bif,bcf->bci", users, articles), axis=2)
    else:
        products = np.einsum("bf,bcf->bc", users, articles)
    products = served[form].model.with_unknown_articles(products, features["candidates"])
    assert_close(np.where(padding, -1e9, products), served[form].scores())
    assert (articles[padding] == 0).all()


def test_explain(form, served, answers):
    found, features = answers[form, "explain"], served[form].features()
    expected = explain(served[form].model, *features.values())
    assert_close(found["scores"], served[form].scores())
    assert_close(found["candidate_word_weights"], expected.candidate_word_weights)
    # Where in a request the clicks are that are read.
    columns = [[0, 1], [1, 2, 3] if served[form].reads_unknown else [1, 3], [], [3, 4, 5, 6]]
    for row, places in enumerate(columns):
        for name in ("history_weights", "history_word_weights"):
            weights = getattr(expected, name)[row, : len(places)]
            assert_close(found[name][row][places], weights)
            assert not np.delete(found[name][row], places, axis=0).any()
        contributions = found["contributions"][row]
        assert_close(contributions[:, places], expected.contributions[row, :, : len(places)])
        assert not np.delete(contributions, places, axis=1).any()
    assert_close(found["base_scores"], expected.base_scores)


def test_explain_shows_words(form, answers):
    found = answers[form, "explain"]
    assert found["candidate_words"].shape == (4, 3, 5)
    assert found["candidate_words"][0].tolist() == [
        ["rain", "in", "the", "north", ""],
        ["a", "very", "long", "title", "of"],
        [""] * 5,
    ]
    assert found["history_words"][0, 1].tolist() == ["team", "wins", ",", "team", "celebrates"]
    assert found["history_words"][3, 0].tolist() == ["rain", "rain", "café", "", ""]
    assert found["candidate_titles"][0, 0] == TITLES["N1"]
    assert found["history_titles"][0, 1] == TITLES["N2"]
    assert found["known_users"].tolist() == [True, False, True, False]
    if FORMS[form].get("mask_padding", True):
        padding = found["candidate_words"] == ""
        assert not found["candidate_word_weights"][padding].any()


@pytest.fixture(scope="module")
def signatures(served):
    return tf.saved_model.load(served["recipe"].folder).signatures


@pytest.fixture
def optimized_graphs():
    """As users have them: their optimizer is who knows the names of inputs."""
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})
    yield
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def ask(function, **inputs):
    return function(**{name: tf.constant(value) for name, value in inputs.items()})


@pytest.mark.parametrize(
    "k, message",
    [(k, f"k has to be between 1 and the number .*{k}.*of.*7") for k in (0, -3, 8)],
)
def test_wrong_k(k, message, signatures):
    lists = {"history": [["N1"]], "exclusions": [[""]], "candidates": [[""]]}
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        ask(signatures["recommend"], user_id=["U1"], k=k, **lists)


@pytest.mark.parametrize(
    "request_name", ["score", "score_titles", "recommend", "encode", "encode_articles", "explain"]
)
def test_lists_that_are_not_of_the_users(request_name, signatures):
    signature, inputs = REQUESTS[request_name]
    name = [name for name in inputs if name != "k"][-1]
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"{name} needs one row"):
        ask(signatures[signature], **inputs | {name: inputs[name][:1]})


def test_nobody(signatures):
    nobody, nothing = tf.zeros([0], tf.string), tf.zeros([0, 0], tf.string)
    lists = dict.fromkeys(["history", "exclusions", "candidates"], nothing)
    assert ask(signatures["recommend"], user_id=nobody, k=2, **lists)["news_id"].shape == (0, 2)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"history": ["N1"]}, r"history \[1\] is not compatible"),
        ({"history": [[["N1"]]]}, r"history \[1,1,1\] is not compatible"),
        ({"user_id": "U1"}, r"user_id \[\] is not compatible"),
        ({"candidates": [[7]]}, "expected to be a string tensor but is a int32 tensor"),
    ],
    ids=["vector", "cube", "scalar", "numbers"],
)
def test_wrong_rank_or_type(changes, message, signatures, optimized_graphs):
    inputs = {"user_id": ["U1"], "history": [["N1"]], "candidates": [["N1"]]} | changes
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        ask(signatures["score"], **inputs)


def test_bfloat16():
    """Half the space for values, and nearly the same scores; the best ones by these scores."""
    model = make_model({})
    modules = {dtype: started(model, dtype) for dtype in ("float32", "bfloat16")}
    request = [*map(tf.constant, (USERS, HISTORY, CANDIDATES))]
    exact, near = (module.score(*request)["scores"].numpy() for module in modules.values())
    assert 0 < np.abs(exact - near).max() < 0.05
    base = modules["float32"].articles.base
    words, articles = base._words["values"].numpy()[..., 0].size, len(model.catalog)
    difference = base.size - modules["bfloat16"].articles.base.size
    # There are two numbers of each title more.
    assert difference == 2 * words * model.config.num_filters - 2 * 4 * articles

    module, ids = modules["bfloat16"], model.catalog.ids[2:]
    nothing = tf.constant([[""]] * len(USERS))
    best = module.recommend(*request[:2], tf.constant(5), nothing, nothing)
    every = module.score(*request[:2], tf.constant([ids] * len(USERS)))["scores"].numpy()
    expected = -np.sort(-every, axis=1)[:, :5]
    np.testing.assert_allclose(best["scores"], expected, rtol=1e-5, atol=1e-5)
    for row, (scores, names) in enumerate(zip(best["scores"].numpy(), best["news_id"].numpy())):
        own = every[row, [ids.index(name.decode()) for name in names]]
        np.testing.assert_allclose(own, scores, rtol=1e-5, atol=1e-5)


def test_mixed_bfloat16():
    """What the towers compute with, as they do in training."""
    exact = make_model({})
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        near = make_model({})
        request = [*map(tf.constant, (USERS, HISTORY, CANDIDATES))]
        scores = [started(model).score(*request)["scores"].numpy() for model in (exact, near)]
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")
    assert 0 < np.abs(scores[0] - scores[1]).max() < 0.05


def test_catalogue_that_was_extended():
    """An export has its new articles, though the model was not told."""
    model = make_model({})
    model.catalog.extend({"news_id": list(NEW), "title": list(NEW.values())})
    module = started(model)
    request = [*map(tf.constant, (USERS, HISTORY))]
    titles = tf.constant([[(TITLES | NEW)[id] for id in row] for row in NEW_CANDIDATES])
    found = module.score(*request, tf.constant(NEW_CANDIDATES))["scores"].numpy()
    expected = module.score_titles(*request, titles)["scores"].numpy()
    has_title = titles.numpy() != b""
    assert_close(found[has_title], expected[has_title])
    ids = module.recommend(*request, len(TITLES | NEW), NOTHING, NOTHING)["news_id"]
    assert {id.decode() for id in ids[0].numpy()} == {*TITLES, *NEW}


def test_recommendable():
    """Only these come back; histories know the others, which can be scored."""
    model = make_model({})
    module, every = started(model, recommendable=["N2", "N6"]), started(model)
    request = [*map(tf.constant, (USERS, HISTORY))]
    found = module.recommend(*request, 2, NOTHING, tf.constant([["N2", "N1", "N6"]] * 4))
    expected = every.recommend(*request, 2, NOTHING, tf.constant([["N2", "N6"]] * 4))
    np.testing.assert_array_equal(found["news_id"], expected["news_id"])
    assert_close(found["scores"], expected["scores"])
    candidates = tf.constant(CANDIDATES)
    found, expected = (m.score(*request, candidates)["scores"] for m in (module, every))
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(tf.errors.InvalidArgumentError, match="to choose from"):
        module.recommend(*request, 3, NOTHING, NOTHING)


@pytest.mark.parametrize("form", ["recipe", "paper"])
def test_titles_of_unknown_articles(form):
    """They count as if the catalogue had them; an article that it has keeps its own title."""
    model = make_model(FORMS[form])
    module, extended = started(model), started(Served.of(model).extended().model)
    history = tf.constant([["N1", "M1", "", "N2"], ["M3", "unknown", "", ""]])
    history_titles = tf.constant([["M", NEW["M1"], "padding", ""], [NEW["M3"], "", "", ""]])
    users, candidates = tf.constant(["U1", ""]), tf.constant([["N1", "M1", ""], ["M3", "x", "N4"]])
    titles = tf.constant([["", NEW["M1"], "x"], [NEW["M3"], "", NEW["M1"]]])
    request = users, history, history_titles
    found = module.score_with_titles(*request, candidates, titles)["scores"]
    assert_close(found, extended.score(users, history, candidates)["scores"])
    few = [["N1", "N2", "N5", "N6"]] * 2
    found = module.recommend_with_titles(*request, 4, NOTHING[:2], few)
    expected = extended.recommend(users, history, 4, NOTHING[:2], few)
    np.testing.assert_array_equal(found["news_id"], expected["news_id"])
    assert_close(found["scores"], expected["scores"])
    with pytest.raises(tf.errors.InvalidArgumentError, match="candidate_titles needs one title"):
        module.score_with_titles(*request, candidates, titles[:, :2])
