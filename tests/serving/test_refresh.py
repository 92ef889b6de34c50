"""Versions of an export with other articles, against the module of a model that has them."""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import tfrs_npa
import tfrs_npa.serving.checkpoint
from tfrs_npa._files import is_temporary
from tfrs_npa._lock import locked
from tfrs_npa.serving import module
from tfrs_npa.serving.refresh import export_again

WORDS = "rain sun north team wins final vote poll bank rate".split()
IDS = [f"N{i}" for i in range(40)]
CONFIG = tfrs_npa.NPAConfig(
    title_length=6,
    history_length=4,
    word_embedding_dim=5,
    user_embedding_dim=3,
    num_filters=8,
    attention_dim=6,
)
VECTORS = np.random.default_rng(5).normal(0, 1, (60, 3))
QUERY = {"user_id": ["U1", "nobody"], "history": [["N1", "A1", "N7"], ["B2", "unknown", ""]]}
CANDIDATES = [["N1", "A1", "A4", "unknown"], ["B2", "N7", "N3", ""]]


def make_news(ids, seed=0):
    generator = np.random.default_rng(seed)
    titles = [" ".join(generator.choice(WORDS, generator.integers(0, 8))) for _ in ids]
    return {"news_id": list(ids), "title": titles}


def vectors_of(ids):
    return tfrs_npa.ArticleVectors(ids, VECTORS[: len(ids)])


def make_model(vectors=False, users=None, **changes):
    users = (users or tfrs_npa.UserIndex()).adapt({"user_id": ["U1", "U2"]})
    vocabulary = tfrs_npa.Vocabulary.from_words(WORDS[:-1])
    vectors = vectors_of(IDS) if vectors else None
    catalog = tfrs_npa.NewsCatalog(vocabulary=vocabulary, article_vectors=vectors)
    model = tfrs_npa.NPA(CONFIG.replace(**changes), catalog.extend(make_news(IDS)), users)
    generator = np.random.default_rng(3)
    model.set_weights([generator.normal(0, 0.6, w.shape) for w in model.get_weights()])
    return model


@pytest.fixture(scope="module", autouse=True)
def some_signatures():
    """Tracing the others would take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        names = ("score", "recommend", "score_with_titles")
        signatures = {name: module._SIGNATURES[name] for name in names}
        patch.setattr(module, "_SIGNATURES", signatures)
        yield


@pytest.fixture(scope="module")
def exported(tmp_path_factory, some_signatures):
    """An export of which some articles may be recommended."""
    folder = tmp_path_factory.mktemp("exports") / "npa"
    tfrs_npa.export(make_model(), folder, recommendable=IDS[5:])
    return folder


@pytest.fixture
def folder(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "npa")


def started(model, recommendable, dtype="float32"):
    """What `export` saves of a model, not saved: its methods run op by op."""
    served = module.ServingModule(model, dtype)
    served.articles.start(model.catalog, model.catalog.index(list(recommendable)))
    return served


def score(version, **request):
    """The scores of `CANDIDATES`, or those of another request, by a version."""
    request = {"candidates": CANDIDATES} | QUERY | request
    function = tf.saved_model.load(str(version)).signatures["score"]
    return function(**{name: tf.constant(value) for name, value in request.items()})["scores"]


def answers(served, k):
    """What a version, or a module, answers to several requests, and the titles that it shows."""
    if isinstance(served, module.ServingModule):
        functions = {name: getattr(served, name) for name in module._SIGNATURES}
    else:
        served = tf.saved_model.load(str(served))
        functions = served.signatures
    best = {"k": k, "exclusions": [["N9"]] * 2, "candidates": [["", ""], ["A1", "N2"]]}
    found = {"titles": served.articles.titles.numpy()}
    scores = {"candidates": CANDIDATES}
    titles = {
        "history_titles": [[""] * 3, ["", "team wins", ""]],
        "candidate_titles": [["", "", "", "rain sun"], [""] * 4],
    }
    asked = {"score": scores, "recommend": best, "score_with_titles": scores | titles}
    for name, inputs in asked.items():
        inputs = {key: tf.constant(value) for key, value in (QUERY | inputs).items()}
        outputs = functions[name](**inputs)
        found |= {f"{name}: {key}": value.numpy() for key, value in outputs.items()}
    # By ids: which of two equal titles comes first is left to rounding.
    order = np.argsort(found["recommend: news_id"], axis=1)
    for name in ("recommend: news_id", "recommend: scores"):
        found[name] = np.take_along_axis(found[name], order, axis=1)
    return found


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if name.endswith("scores"):
            np.testing.assert_allclose(found[name], value, rtol=1e-6, atol=1e-6, err_msg=name)
        else:
            np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.mark.slow
def test_users_in_buckets(tmp_path, monkeypatch):
    """The export finds the row of a user, and whether there is one, as the model does."""
    monkeypatch.setattr(module, "_SIGNATURES", {"score": module._SIGNATURES["score"]})
    model = make_model(users=tfrs_npa.UserIndex.hashed(50))
    new = make_news(["A1"], seed=1)
    tfrs_npa.export(model, tmp_path / "npa")
    version = tfrs_npa.refresh_export(tmp_path / "npa", new)
    model.add_articles(new)
    rows = model.users.index(["U1", "nobody"])
    assert rows[0] > 0 and rows[1] == 0
    history, candidates = ["N1", "N2", "N3", "N4"], ["N5", "A1", "N9"]
    found = score(version, history=[history] * 2, candidates=[candidates] * 2)
    expected = model(
        {
            "user_id": rows,
            "history": model.catalog.index([history] * 2),
            "candidates": model.catalog.index([candidates] * 2),
        }
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert np.abs(found[0] - found[1]).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes, dtype",
    [
        ({"vectors": True}, "float32"),
        ({"attention": "paper", "user_interest": "mean", "item_bias": False}, "bfloat16"),
    ],
    ids=["recipe", "no terms"],
)
def test_as_an_export_from_scratch(changes, dtype, tmp_path):
    model, folder = make_model(**changes), tmp_path / "npa"
    tfrs_npa.export(model, folder, dtype=dtype, recommendable=IDS[5:])
    first = make_news([f"A{i}" for i in range(7)], seed=1)
    vectors = vectors_of(first["news_id"]) if model.catalog.article_vectors else None
    tfrs_npa.refresh_export(folder, first, withdraw=["N8", "N9"], article_vectors=vectors)
    # N2 and N8 come, for the first time and again; A3 goes.
    titles = dict(zip(IDS, model.catalog.titles[2:]))
    second = make_news([f"B{i}" for i in range(3)], seed=2)
    second = {
        "news_id": [*second["news_id"], "N2", "N8", "A1"],
        "title": [*second["title"], titles["N2"], titles["N8"], first["title"][1]],
    }
    version = tfrs_npa.refresh_export(folder, second, withdraw=["A3", "N9", "N10"])
    assert version == folder / "3"

    if vectors is not None:
        model.catalog.article_vectors.extend(*vectors.items())
    model.add_articles(first)
    model.add_articles(second)
    there = {*IDS[5:], *first["news_id"], *second["news_id"]} - {"A3", "N9", "N10"}
    expected = started(model, there, dtype)
    assert_same(answers(version, len(there)), answers(expected, len(there)))


@pytest.mark.slow
def test_words_in_the_type_of_an_earlier_version(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_SIGNATURES", {"score": module._SIGNATURES["score"]})
    model, earlier = make_model(), tmp_path / "earlier"
    own = model.candidate_tower._untracked
    own.tokens = tf.Variable(tf.cast(own.tokens, tf.int32), trainable=False, shape=[None, None])
    tfrs_npa.export(model, earlier, recommendable=IDS[5:])
    news = make_news(["A1", "A2"], seed=1)
    version = tfrs_npa.refresh_export(earlier, news)
    expected = make_model()
    expected.add_articles(news)
    request = {name: tf.constant(value) for name, value in QUERY.items()}
    scores = started(expected, IDS).score(**request, candidates=tf.constant(CANDIDATES))["scores"]
    np.testing.assert_allclose(score(version), scores, rtol=1e-5, atol=1e-6)


def test_only_new_titles_are_encoded(folder, monkeypatch):
    encoded = []
    title_features = tfrs_npa.NewsEncoder.title_features

    def note(self, articles, *args):
        encoded.append(articles)
        return title_features(self, articles, *args)

    tfrs_npa.refresh_export(folder, make_news(["A1", "A2"]))
    monkeypatch.setattr(tfrs_npa.NewsEncoder, "title_features", note)
    tf.config.run_functions_eagerly(True)
    try:
        tfrs_npa.refresh_export(folder, make_news(["A1", "A2", "A3"]))
    finally:
        tf.config.run_functions_eagerly(False)
    assert [articles.numpy().tolist() for articles in encoded] == [[2 + 40 + 2]]


def test_a_session_of_tensorflow_1_reads_it(folder):
    """As TensorFlow Serving does."""
    version = tfrs_npa.refresh_export(folder, make_news(["A1"]), withdraw=["N7"])
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], str(version))
        signature = meta.signature_def["score"]
        feed = {signature.inputs[name].name: value for name, value in QUERY.items()}
        feed[signature.inputs["candidates"].name] = CANDIDATES
        scores = session.run(signature.outputs["scores"].name, feed)
    np.testing.assert_allclose(scores, score(version), rtol=1e-5)


def test_versions_that_are_kept(folder):
    """Only those that are ours are removed, and the last ones are not."""
    (folder / "1").rename(folder / "9")
    for name in ("3", "notes", ".5.tmp"):
        (folder / name).mkdir()
    assert tfrs_npa.refresh_export(folder, withdraw=["N7"], keep=2) == folder / "10"
    assert tfrs_npa.refresh_export(folder, withdraw=["N8"], keep=2) == folder / "11"
    names = sorted(path.name for path in folder.iterdir())
    assert names == [".5.tmp", "10", "11", "3", "notes"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"withdraw": ["N1", "X1", "X2"]}, "2 of the 3 articles to withdraw are not in .*'X1'"),
        ({"withdraw": IDS}, "there would be none to recommend"),
        ({"withdraw": IDS, "keep": 0}, "keep is 0"),
        ({"news": {"news_id": ["A1"]}}, "lacks the feature title"),
        ({"news": {"news_id": [""], "title": ["rain"]}}, "'' is reserved"),
    ],
)
def test_wrong_input(arguments, message, folder):
    before = sorted(folder.rglob("*"))
    with pytest.raises(ValueError, match=message):
        tfrs_npa.refresh_export(folder, **arguments)
    assert sorted(folder.rglob("*")) == before


def test_a_file_that_is_no_news(folder, tmp_path):
    (tmp_path / "news.tsv").write_text("A1\tsport\n")
    with pytest.raises(ValueError, match="news.tsv.*2 columns instead of 8"):
        tfrs_npa.refresh_export(folder, tmp_path / "news.tsv")


def test_another_title(folder):
    with pytest.warns(UserWarning, match="1 articles came again with another title .*N7"):
        version = tfrs_npa.refresh_export(folder, {"news_id": ["N7"], "title": ["other words"]})
    reader = tf.train.load_checkpoint(str(version / "variables" / "variables"))
    titles = reader.get_tensor("articles/titles/.ATTRIBUTES/VARIABLE_VALUE")
    assert titles[2 + 7].decode() == make_news(IDS)["title"][7]


def test_nothing_to_refresh(tmp_path, folder):
    with pytest.raises(ValueError, match="holds no version of an export"):
        tfrs_npa.refresh_export(tmp_path / "nowhere")
    (folder / "1" / "assets.extra" / "npa" / "export.json").unlink()
    with pytest.raises(ValueError, match="1 was written by another version .* export again"):
        tfrs_npa.refresh_export(folder)


@pytest.mark.parametrize("step", ["copytree", "link", "_save", "_combine"])
def test_failure_at_any_step(step, folder, monkeypatch):
    """The old version stays as it is, and no half one appears."""
    before = {path: path.stat().st_ino for path in folder.rglob("*")}

    def fail(*args, **keywords):
        raise OSError("no space left")

    module = shutil if step == "copytree" else tfrs_npa.serving.checkpoint
    monkeypatch.setattr(module, step, fail)
    with pytest.raises(OSError, match="no space left"):
        tfrs_npa.refresh_export(folder, make_news(["A1"]))
    assert {path: path.stat().st_ino for path in folder.rglob("*")} == before


@pytest.mark.slow
def test_killed(folder):
    """A process that is killed while it writes leaves the old version, and can be run again."""
    before = {path: path.stat().st_ino for path in folder.rglob("*")}
    program = (
        "import os, signal, sys, tfrs_npa, tfrs_npa.serving.checkpoint as checkpoint\n"
        "combine = checkpoint._combine\n"
        "def killed(*arguments):\n"
        "    combine(*arguments)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "checkpoint._combine = killed\n"
        "tfrs_npa.refresh_export(sys.argv[1], {'news_id': ['A1'], 'title': ['rain']})\n"
    )
    environment = os.environ | {"PYTHONPATH": str(pathlib.Path(tfrs_npa.__file__).parents[1])}
    process = subprocess.run([sys.executable, "-c", program, folder], env=environment)
    assert process.returncode == -signal.SIGKILL
    assert [path.name for path in folder.iterdir() if path.name.isdecimal()] == ["1"]
    assert {
        path: path.stat().st_ino for path in (folder / "1").rglob("*")
    }.items() <= before.items()
    assert np.isfinite(score(folder / "1")).all()
    (left,) = [path for path in folder.iterdir() if is_temporary(path)]
    os.utime(left, (0, 0))  # long ago
    assert tfrs_npa.refresh_export(folder, make_news(["A1"])).name == "2"
    assert not left.exists()


@pytest.mark.parametrize(
    "write",
    [
        lambda folder: tfrs_npa.export(make_model(), folder),
        lambda folder: tfrs_npa.refresh_export(folder, withdraw=["N7"]),
        lambda folder: export_again(make_model(), folder),
    ],
    ids=["export", "refresh", "again"],
)
def test_one_writes_at_a_time(write, folder):
    """What another process reads, writes and removes meanwhile could bring back what is gone."""
    before = sorted(folder.iterdir())
    with locked(folder, "export"), pytest.raises(ValueError, match="is in use by process"):
        write(folder)
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("has_checksums", [True, False])
def test_a_damaged_version(has_checksums, folder):
    """Nothing is written or removed, and without it the one before is refreshed."""
    tfrs_npa.refresh_export(folder, make_news(["A1"]))
    if not has_checksums:
        (folder / "2" / "assets.extra" / "npa" / "checksums.json").unlink()
    index = folder / "2" / "variables" / "variables.index"
    index.write_bytes(index.read_bytes()[:100])
    before = sorted(folder.rglob("*"))
    with pytest.raises(ValueError, match="2.* is damaged: .*remove this version if"):
        tfrs_npa.refresh_export(folder, make_news(["A2"]), keep=1)
    assert sorted(folder.rglob("*")) == before
    shutil.rmtree(folder / "2")
    assert np.isfinite(score(tfrs_npa.refresh_export(folder, make_news(["A2"])))).all()


def test_vectors_of_a_model_that_has_none(folder):
    with pytest.raises(ValueError, match="trained without vectors of articles"):
        tfrs_npa.refresh_export(folder, make_news(["A1"]), article_vectors=vectors_of(["A1"]))
    assert [path.name for path in folder.iterdir()] == ["1"]


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"vectors": True, "users": 50}], ids=["", "vectors"])
def test_an_export_of_an_earlier_format(changes, tmp_path):
    """It is exported again, with the model that it holds."""
    if "users" in changes:
        changes = changes | {"users": tfrs_npa.UserIndex.hashed(changes["users"])}
    model, folder = make_model(**changes), tmp_path / "npa"
    tfrs_npa.export(model, folder, recommendable=IDS[5:])
    file = folder / "1" / "assets.extra" / "npa" / "export.json"
    file.write_text(file.read_text().replace('"format": 2', '"format": 1'))
    (file.parent / "checksums.json").unlink()  # there were none
    news = make_news(["A1", "A2", "A3", "A4"], seed=1)
    vectors = vectors_of(news["news_id"]) if model.catalog.article_vectors else None
    version = tfrs_npa.refresh_export(folder, news, withdraw=["N7"], article_vectors=vectors)
    assert version == folder / "2"
    if vectors is not None:
        model.catalog.article_vectors.extend(*vectors.items())
    model.add_articles(news)
    there = {*IDS[5:], *news["news_id"]} - {"N7"}
    expected = tfrs_npa.export(model, tmp_path / "other", recommendable=there)
    assert_same(answers(version, len(there)), answers(expected, len(there)))
    # From now on it is as any other.
    tfrs_npa.refresh_export(folder, make_news(["B1"], seed=2))
    file.write_text(file.read_text().replace('"format": 1', '"format": 9'))
    for newer in ("2", "3"):
        shutil.rmtree(folder / newer)
    with pytest.raises(ValueError, match="1 was written by another version .* export again"):
        tfrs_npa.refresh_export(folder)


@pytest.mark.slow
def test_an_export_of_another_model(folder):
    """As after a user has been forgotten: the same articles, other weights, and nothing earlier."""
    tfrs_npa.refresh_export(folder, make_news(["A1"]), withdraw=["N7"])
    (folder / ".x.tmp.3").mkdir()
    model = make_model()
    model.set_weights([weight + 0.1 for weight in model.get_weights()])
    assert export_again(model, folder) == folder / "3"
    assert [path.name for path in folder.iterdir()] == ["3"]
    there = {*IDS[5:], "A1"} - {"N7"}
    expected = started(model, there)
    assert_same(answers(folder / "3", len(there)), answers(expected, len(there)))
    with pytest.raises(ValueError, match="another configuration"):
        export_again(make_model(num_filters=6), folder)
