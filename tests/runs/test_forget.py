"""Removing users from a run."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

import tfrs_npa
from tfrs_npa.runs.baselines import Baselines
from tfrs_npa.runs.last_seen import LastSeen
from tfrs_npa.runs.run import Run, load_run
from tfrs_npa.runs.train import resume
from tfrs_npa.settings import TrainingSettings

pytestmark = [
    pytest.mark.usefixtures("eager_functions", "same_picture"),
    pytest.mark.filterwarnings("ignore:Even though the .tf.config"),
]

CONFIG = tfrs_npa.NPAConfig.preset("recommenders").replace(
    word_embedding_dim=4, user_embedding_dim=3, num_filters=5, attention_dim=3, history_length=3
)
USERS = ["reader-ann", "reader-bob", "reader-cy", "reader-dee"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run that started from another one; its best checkpoint is a step behind the last."""
    news = {"news_id": ["N1", "N2", "N3"], "title": ["rain again", "team wins", "final vote"]}
    users = tfrs_npa.UserIndex().adapt({"user_id": USERS})
    model = tfrs_npa.NPA(CONFIG, tfrs_npa.NewsCatalog().adapt(news), users)
    model.compile(tfrs_npa.default_optimizer(CONFIG))
    generator = np.random.default_rng(3)
    model.set_weights([generator.normal(0, 0.4, w.shape) for w in model.get_weights()])
    run = Run.create(
        tmp_path_factory.mktemp("runs") / "run",
        model,
        TrainingSettings("my-log"),
        Baselines({"N1": (1, 3)}),
        data_fingerprint={"users": {"count": 4, "ids": "abc"}},
        last_seen=LastSeen(np.ones(9, int), np.ones(5, int), np.array([0, 1, 2, 3, 4])),
        warm_start={"from": "runs/yesterday", "first_step": 0},
    )
    batch = {
        "user_id": [0, 1, 2, 3, 4],
        "history": [[2, 3, 0], [3, 0, 0], [4, 2, 3], [2, 0, 0], [4, 3, 0]],
        "candidates": [[2, 3, 4]] * 5,
        "clicked": [[0, 1, 0]] * 5,
    }
    batches = tf.data.Dataset.from_tensors({k: np.array(v, np.int32) for k, v in batch.items()})
    for name in ("best", "last"):
        model.fit(batches, verbose=0)
        run.save_checkpoint(model, name, {})
    return run


@pytest.fixture
def run(trained, tmp_path):
    """A copy of it to change."""
    return Run(shutil.copytree(trained.path, tmp_path / "run"))


def state(run, checkpoint):
    """Scores of all users and of an unknown one, and the variables of model and optimizer.

    Those of the users, the table and its moments, are apart.
    """
    model = run.load_model(checkpoint, with_optimizer=True)
    users, five = model.users.index([*USERS, "nobody"]), np.ones((5, 1), np.int32)
    scores = model({"user_id": users, "history": five * [2, 4, 0], "candidates": five * [2, 3, 4]})
    variables = [*model.trainable_weights, *model.optimizer.variables]
    tables = [v.numpy() for v in variables if "user_table" in v.name]
    return scores.numpy(), tables, [v.numpy() for v in variables if "user_table" not in v.name]


@pytest.mark.parametrize("checkpoint", ["best", "last"])
def test_the_others_keep_their_scores_and_moments(run, checkpoint):
    scores, tables, variables = state(run, checkpoint)
    assert not np.array_equal(scores[1], scores[4]) and np.all(tables)
    tfrs_npa.forget_users(run.path, ["reader-bob"])
    new_scores, new_tables, new_variables = state(run, checkpoint)
    np.testing.assert_array_equal(new_scores[[0, 2, 3, 4]], scores[[0, 2, 3, 4]])
    # Rows of a batch are not computed alike to the last bit: it depends on the width of vectors.
    np.testing.assert_allclose(new_scores[1], scores[4], rtol=1e-6)
    np.testing.assert_array_equal(new_tables, np.array(tables)[:, [0, 1, 3, 4]])
    for old, new in zip(variables, new_variables, strict=True):
        np.testing.assert_array_equal(new, old)


def test_no_file_holds_the_id_or_a_row(run):
    (run.path / "checkpoints" / ".1f.tmp.last.weights.h5").write_bytes(b"reader-bob")
    rows = [table[2] for name in ("best", "last") for table in state(run, name)[1]]
    traces = [b"reader-bob", *(row.tobytes() for row in rows)]

    def found():
        contents = [path.read_bytes() for path in run.path.rglob("*") if path.is_file()]
        return {trace for trace in traces if any(trace in content for content in contents)}

    assert len(traces) == 7 and found() == set(traces)
    tfrs_npa.forget_users(run.path, ["reader-bob"])
    assert not found()
    assert [path.name for path in run.path.parent.iterdir()] == ["run"]


def test_everything_else_stays(run):
    (run.path / "notes").mkdir()
    (run.path / "notes" / "users.txt").write_text("mine")
    tfrs_npa.forget_users(run.path, ["reader-ann", "reader-cy", "reader-ann"])
    assert load_run(run.path).users.ids == ["[UNK]", "reader-bob", "reader-dee"]
    assert run.last_seen(run.load_model()).users.tolist() == [0, 2, 4]
    assert run.baselines.popularity == {"N1": (1, 3)} and run.forgotten == 2
    assert (run.path / "notes" / "users.txt").read_text() == "mine"
    tfrs_npa.forget_users(run.path, ["reader-dee"])
    assert run.forgotten == 3


def test_a_bucket_is_emptied_for_all_who_share_it(trained, tmp_path):
    users = tfrs_npa.UserIndex.hashed(2).adapt({"user_id": USERS})
    shared, others = ([user for user in USERS if users.index(user) == bucket] for bucket in (1, 2))
    model = tfrs_npa.NPA(CONFIG, trained.load_model().catalog, users)
    model.compile(tfrs_npa.default_optimizer(CONFIG))
    generator = np.random.default_rng(3)
    model.set_weights([generator.normal(0, 0.4, w.shape) for w in model.get_weights()])
    seen = LastSeen(np.ones(9, int), np.ones(5, int), np.array([0, 1, 2]))
    baselines = Baselines({"N1": (1, 3)})
    run = Run.create(tmp_path / "run", model, TrainingSettings("my-log"), baselines, last_seen=seen)
    with pytest.raises(ValueError, match="does not know ''; its users are in users.npz"):
        tfrs_npa.forget_users(run.path, [""])
    assert len(shared) > 1 and others
    tfrs_npa.forget_users(run.path, [shared[0]])
    after = run.load_model()
    assert not after.users.index(shared).any() and after.users.index(others).all()
    np.testing.assert_array_equal(
        after.user_embedding.table, model.user_embedding.table.numpy()[[0, 0, 2]]
    )
    assert run.last_seen(after).users.tolist() == [0, 0, 2]


def test_it_says_what_remains(run):
    left = run.path.parent / ".1f.tmp.run"
    left.mkdir()
    remains = " ".join(tfrs_npa.forget_users(run.path, ["reader-bob"]))
    for part in ("other weights", "my-log", "runs/yesterday, the run", str(left), "exports"):
        assert part in remains


@pytest.mark.parametrize("user", ["reader-eve", "[UNK]", ""])
def test_a_user_it_does_not_know(run, user):
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=f"does not know {user!r}".replace("[", r"\[")):
        tfrs_npa.forget_users(run.path, ["reader-bob", user])
    (run.path / "checkpoints" / "last.weights.h5").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="is damaged"):
        tfrs_npa.forget_users(run.path, ["reader-bob"])
    after = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    differ = {path.name for path in before if before[path] != after[path]}
    assert before.keys() == after.keys() and differ == {"last.weights.h5"}
    assert os.listdir(run.path.parent) == ["run"]


def test_it_cannot_be_resumed(run):
    tfrs_npa.forget_users(run.path, ["reader-bob"])
    with pytest.raises(ValueError, match="1 of its users were forgotten.*--from"):
        resume(run.path)
