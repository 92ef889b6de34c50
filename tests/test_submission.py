from __future__ import annotations

import itertools
import json
import tracemalloc
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

import tfrs_npa.submission
from tfrs_npa.config import NPAConfig
from tfrs_npa.data.batches import impression_batches
from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.data.impressions import Impressions
from tfrs_npa.data.users import UserIndex
from tfrs_npa.datasets.mind import MindFileError, SyntheticWorld, write_behaviors
from tfrs_npa.metrics.table import metrics_table
from tfrs_npa.models.npa import NPA
from tfrs_npa.submission import (
    evaluate_predictions,
    ranks_of,
    read_predictions,
    write_predictions,
)

WIDTHS = [3, 2, 5, 4, 2, 3]
CLICKED = [1, 0, 0, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 0, 1, 1, 0, 0, 0]


def pack(clicked=CLICKED, widths=WIDTHS, ids=None):
    rows = len(widths)
    return Impressions(
        impression_id=np.arange(rows) + 11 if ids is None else np.array(ids),
        user_id=np.zeros(rows, np.int32),
        history_values=np.zeros(0, np.int32),
        history_splits=np.zeros(rows + 1, np.int64),
        candidate_values=np.arange(2, sum(widths) + 2, dtype=np.int32),
        candidate_splits=np.cumsum([0, *widths]),
        clicked=np.array(clicked, np.int8),
    )


def batches_of(values, widths=WIDTHS, size=2):
    """Ragged batches of `size` impressions."""
    ragged = tf.RaggedTensor.from_row_lengths(tf.constant(values, tf.float32), widths)
    return (ragged[first : first + size] for first in range(0, len(widths), size))


def write_truth(path, clicked=CLICKED, widths=WIDTHS, ids=None):
    """A `behaviors.tsv` of the impressions of `pack`."""
    labels = [labels.tolist() for labels in np.split(np.array(clicked), np.cumsum(widths)[:-1])]
    rows = [
        {
            "impression_id": impression_id,
            "user_id": "U1",
            "time": 0,
            "history": [],
            "candidates": {"news_id": [f"N{i}" for i in range(len(clicked))], "clicked": clicked},
        }
        for impression_id, clicked in zip(ids or range(11, 11 + len(widths)), labels, strict=True)
    ]
    write_behaviors(path, rows)
    return path


def official(ranks, clicked):
    """The means that the leaderboard gives, from 1 / rank, of impressions with both labels."""
    aucs, mrrs, ndcgs = [], [], {5: [], 10: []}
    for row, labels in zip(ranks, clicked, strict=True):
        if len(set(labels)) == 1:
            continue
        scores, labels = 1 / np.array(row), np.array(labels)
        order = np.argsort(-scores)
        aucs.append(roc_auc_score(labels, scores))
        places = np.arange(1, len(labels) + 1)
        mrrs.append((labels[order] / places).sum() / labels.sum())
        for k, values in ndcgs.items():
            discounts = np.log2(places + 1)[:k]
            best = (np.sort(labels)[::-1][:k] / discounts).sum()
            values.append((labels[order][:k] / discounts).sum() / best)
    return {
        "auc": np.mean(aucs),
        "mrr": np.mean(mrrs),
        "ndcg_5": np.mean(ndcgs[5]),
        "ndcg_10": np.mean(ndcgs[10]),
    }


ROWS = st.lists(
    st.lists(st.sampled_from([-np.inf, -2.5, -0.0, 0.0, 1e-30, 1.0, 3.0]), min_size=1, max_size=9),
    min_size=1,
    max_size=6,
)


@settings(deadline=None)
@given(ROWS)
def test_ranks(rows):
    splits = np.cumsum([0, *map(len, rows)])
    ranks, tied = ranks_of(np.concatenate(rows).astype(np.float32), splits)
    for row, found in zip(rows, np.split(ranks, splits[1:-1]), strict=True):
        # `sorted` is stable.
        best_first = sorted(range(len(row)), key=lambda place: -row[place])
        assert [best_first.index(place) + 1 for place in range(len(row))] == found.tolist()
    assert tied == sum(len(set(row)) < len(row) for row in rows)


@pytest.mark.parametrize("size", [1, 4, 6])
def test_the_files(tmp_path, monkeypatch, size):
    monkeypatch.setattr(tfrs_npa.submission, "_BLOCK", 3)
    values = np.linspace(5, -5, 19)
    values[5:10] = [0.5, 0.25, 2, 0.5, 0.25]  # ties
    folder = tmp_path / "new" / "folder"
    metrics = write_predictions(folder, pack(), batches_of(values, size=size))
    text = folder / "prediction.txt"
    assert text.read_bytes() == (
        b"11 [1,2,3]\n12 [1,2]\n13 [2,4,1,3,5]\n14 [1,2,3,4]\n15 [1,2]\n16 [1,2,3]\n"
    )
    assert sorted(path.name for path in folder.iterdir()) == ["prediction.txt", "prediction.zip"]
    with zipfile.ZipFile(folder / "prediction.zip") as archive:
        assert archive.namelist() == ["prediction.txt"]
        assert archive.read("prediction.txt") == text.read_bytes()
    assert (metrics["impressions"], metrics["candidates"]) == (6, 19)
    assert metrics["tied_impressions"] == 1
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


def test_ties_show_in_the_auc_alone(tmp_path):
    """A tie counts one half in the AUC of scores; the file has put it right or wrong."""
    clicked, widths = [1, 0, 0, 0, 1, 1, 0], [3, 2, 2]
    scores = [1, 1, 0, 2, 2, 0.5, 0.2]
    metrics = write_predictions(tmp_path, pack(clicked, widths), batches_of(scores, widths))
    assert metrics["tied_impressions"] == 2
    of_scores, of_file = metrics["metrics"]["scores"], metrics["metrics"]["predictions"]
    assert of_scores["auc"] == pytest.approx((0.75 + 0.5 + 1) / 3)
    assert of_file["auc"] == pytest.approx((1 + 0 + 1) / 3)
    for name in ("mrr", "ndcg_5", "ndcg_10", "impressions", "skipped_impressions"):
        assert of_scores[name] == of_file[name]
    truth = write_truth(tmp_path / "behaviors.tsv", clicked, widths)
    assert evaluate_predictions(tmp_path / "prediction.txt", truth) == of_file


def test_without_labels_there_is_nothing_to_measure(tmp_path):
    metrics = write_predictions(tmp_path, pack([-1] * 19), batches_of(np.arange(19)))
    assert metrics["metrics"] == {} and metrics["tied_impressions"] == 0
    assert len([*read_predictions(tmp_path / "prediction.txt")]) == 6
    truth = write_truth(tmp_path / "behaviors.tsv", [-1] * 19)
    with pytest.raises(ValueError, match=r"no labels to evaluate on \(impression 11\)"):
        evaluate_predictions(tmp_path / "prediction.txt", truth)


def test_memory_does_not_grow_with_the_log(tmp_path, monkeypatch):
    monkeypatch.setattr(tfrs_npa.submission, "_BLOCK", 50)

    def peak(rows):
        impressions = pack([-1] * 100 * rows, [100] * rows)
        batch = tf.RaggedTensor.from_tensor(tf.random.uniform([10, 100]))
        tracemalloc.start()
        try:
            write_predictions(tmp_path, impressions, itertools.repeat(batch, rows // 10))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(100)  # what stays from the first time
    assert peak(1600) < 1.3 * peak(400)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda batches: batches[:-1], "scores of 4 impressions, not 6"),
        (lambda batches: [], "scores of 0 impressions, not 6"),
        (lambda batches: [*batches, batches[0]], "more than 6 impressions"),
        (lambda batches: [*batches, batches[0], *batches], "more than 6 impressions"),
        (lambda batches: batches[::-1], "impression 11 has 3 candidates and 2 scores"),
        (
            lambda batches: [
                *batches[:-1],
                tf.ragged.map_flat_values(lambda x: tf.where(x == 17, np.nan, x), batches[-1]),
            ],
            "a score of impression 16 is not a number",
        ),
    ],
)
@pytest.mark.parametrize("block", [2, 4, 1000])
def test_scores_that_do_not_fit(tmp_path, monkeypatch, block, change, expected):
    monkeypatch.setattr(tfrs_npa.submission, "_BLOCK", block)
    batches = change([*batches_of(np.arange(19))])
    (tmp_path / "prediction.txt").write_text("of another model")
    with pytest.raises(ValueError, match=expected):
        write_predictions(tmp_path, pack(), batches)
    assert [path.name for path in tmp_path.iterdir()] == ["prediction.txt"]
    assert (tmp_path / "prediction.txt").read_text() == "of another model"


def test_impressions_have_to_have_ids_of_their_own(tmp_path):
    with pytest.raises(ValueError, match="impression 7 is repeated"):
        impressions = pack(ids=[7, 8, 9, 10, 7, 11])
        write_predictions(tmp_path, impressions, batches_of(np.arange(19)))
    assert not [*tmp_path.iterdir()]


@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_measured_by_the_official_definitions(tmp_path_factory, data):
    widths = data.draw(st.lists(st.integers(1, 14), min_size=1, max_size=6))
    clicked = [
        data.draw(st.lists(st.integers(0, 1), min_size=width, max_size=width)) for width in widths
    ]
    clicked[0] = [0, 1]
    widths[0] = 2
    ranks = [data.draw(st.permutations(range(1, width + 1))) for width in widths]
    folder = tmp_path_factory.getbasetemp()
    lines = [
        f"{11 + row} {json.dumps(list(ranks), separators=(',', ':'))}\n"
        for row, ranks in enumerate(ranks)
    ]
    (folder / "prediction.txt").write_text("".join(lines))
    truth = write_truth(folder / "behaviors.tsv", np.concatenate(clicked), widths)
    metrics = evaluate_predictions(folder / "prediction.txt", truth)
    assert metrics.pop("impressions") == len(widths)
    skipped = sum(len(set(labels)) == 1 for labels in clicked)
    assert metrics.pop("skipped_impressions") == skipped
    assert metrics == pytest.approx(official(ranks, clicked), abs=1e-6)


def test_nothing_to_measure(tmp_path):
    (tmp_path / "prediction.txt").write_text("11 [2,1]\n")
    truth = write_truth(tmp_path / "behaviors.tsv", [0, 0], [2])
    metrics = evaluate_predictions(tmp_path / "prediction.txt", truth)
    assert metrics["auc"] is None and metrics["skipped_impressions"] == 1
    assert metrics_table({"file": metrics}).splitlines()[-1].split() == ["file", *"----"]


@pytest.mark.parametrize(
    ("predictions", "expected"),
    [
        (
            "11 [1,2]\n13 [1]\n",
            "1 of the 3 impressions of TRUTH are missing from FILE (for example 12)",
        ),
        (
            "11 [1,2]\n12 [1,2,3]\n13 [1]\n14 [1]\n15 [1]\n",
            "2 of the 5 impressions of FILE are not in TRUTH (for example 14)",
        ),
        (
            "1 [1,2]\n12 [1,2,3]\n",
            "2 of the 3 impressions of TRUTH are missing from FILE (for example "
            "11); 1 of the 2 impressions of FILE are not in TRUTH (for example 1)",
        ),
        ("11 [1,2]\n13 [1]\n12 [1,2,3]\n", "FILE, line 2: the order of the impressions is another"),
        (
            "11 [1,2]\n12 [1,2]\n13 [1]\n",
            "FILE, line 2: impression 12 has 2 ranks, and 3 candidates in TRUTH",
        ),
        ("11 [1,2]\n12 [1,2,2]\n13 [1]\n", "FILE, line 2: rank 2 is there twice"),
    ],
)
def test_predictions_of_other_impressions(tmp_path, predictions, expected):
    path = tmp_path / "prediction.txt"
    path.write_text(predictions)
    truth = write_truth(tmp_path / "behaviors.tsv", [0, 1, 0, 1, 0, 1], [2, 3, 1])
    with pytest.raises(ValueError) as caught:
        evaluate_predictions(path, truth)
    expected = expected.replace("FILE", str(path)).replace("TRUTH", str(truth))
    assert expected in str(caught.value)


def test_a_bad_line_of_the_truth(tmp_path):
    path = tmp_path / "prediction.txt"
    path.write_text("11 [1,2]\n12 [1,2]\n")
    truth = write_truth(tmp_path / "behaviors.tsv", [0, 1, 1, 0], [2, 2])
    truth.write_text(truth.read_text().replace("N1-0", "N1-7"))
    with pytest.raises(MindFileError, match=r"behaviors\.tsv, line 2: candidate 'N1-7'"):
        evaluate_predictions(path, truth)


def test_same_as_the_model_is_evaluated(tmp_path):
    """From a data set to the file and back; no two scores of random weights are the same."""
    world = SyntheticWorld(users=60, articles=150, impressions=(150, 80, 40))
    config = NPAConfig(
        word_embedding_dim=8, user_embedding_dim=4, num_filters=8, attention_dim=4, batch_size=32
    )
    write_behaviors(tmp_path / "behaviors.tsv", world.behaviors("validation"))
    rows = [*world.behaviors("validation")]
    ragged = [
        tf.ragged.constant([row["candidates"][name] for row in rows])
        for name in ("news_id", "clicked")
    ]
    behaviors = tf.data.Dataset.from_tensor_slices(
        {
            "impression_id": [row["impression_id"] for row in rows],
            "user_id": [row["user_id"] for row in rows],
            "history": tf.ragged.constant([row["history"] for row in rows], tf.string),
            "candidates": dict(zip(("news_id", "clicked"), ragged, strict=True)),
        }
    )
    catalog = NewsCatalog().adapt(world.news("train")).extend(world.news("validation"))
    model = NPA(config, catalog, UserIndex().adapt({"user_id": ["U1"]}))
    generator = np.random.default_rng(0)
    model.set_weights([generator.normal(0, 0.4, w.shape) for w in model.get_weights()])
    model.compile(run_eagerly=True)
    impressions = Impressions.from_dataset(behaviors, catalog, model.users)
    batches = impression_batches(impressions, catalog, model.users, config)
    evaluated = model.evaluate(batches, verbose=0, return_dict=True)
    metrics = write_predictions(tmp_path, impressions, model.predict_batches(batches))
    assert metrics["tied_impressions"] == 0
    for truth in (tmp_path / "behaviors.tsv", str(tmp_path / "behaviors.tsv"), behaviors):
        again = evaluate_predictions(tmp_path / "prediction.txt", truth)
        assert again == pytest.approx({name: evaluated[name] for name in again}, abs=1e-6)
        assert again == pytest.approx(metrics["metrics"]["predictions"], abs=1e-12)
        assert again["impressions"] == 80
