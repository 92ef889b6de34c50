"""Logs scored on Apache Beam, against `write_predictions` of the model itself."""

from __future__ import annotations

import collections
import functools
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tfrs_npa
from tfrs_npa.data import ragged
from tfrs_npa.datasets.mind import MindFileError, SyntheticWorld, write_behaviors
from tfrs_npa.serving import log_parts, module
from tfrs_npa.serving import score_log as scoring
from tfrs_npa.serving.score_log import Scorer, score_log
from tfrs_npa.submission import DivergedError, ranks_of

SIZES = {"word_embedding_dim": 8, "num_filters": 8, "attention_dim": 4, "user_embedding_dim": 4}
Predictions = collections.namedtuple("Predictions", ["lines", "summary"])
PROCESSES = ["direct_running_mode=multi_processing", "direct_num_workers=2"]
# Otherwise it first looks for another runner on the network.
DIRECT = ["runner=DirectRunner", "update_compatibility_version=2.77.0"]


@pytest.fixture(scope="module")
def rows():
    """Impressions with histories and without, of unknown users and with unknown articles."""
    world = SyntheticWorld(users=60, articles=150, impressions=(300, 1, 1))
    found = list(world.behaviors("train"))
    for number, row in enumerate(found[::3]):
        row["candidates"]["news_id"][0] = f"X{number}"
        row["history"] = [["X0", *row["history"]], [], row["history"]][number % 3]
    found[5]["candidates"] = {"news_id": ["X1", "X2"], "clicked": np.array([1, 0])}
    return found


@pytest.fixture(scope="module")
def model(rows):
    ids = sorted({news_id for row in rows for news_id in row["candidates"]["news_id"]})
    ids = [news_id for news_id in ids if news_id.startswith("N")]
    news = {
        "news_id": ids,
        "title": [f"word{i % 7} of word{i % 11} in {i}" for i in range(len(ids))],
    }
    users = tfrs_npa.UserIndex().adapt({"user_id": [row["user_id"] for row in rows[:100]]})
    config = tfrs_npa.NPAConfig(**SIZES, batch_size=64)
    model = tfrs_npa.NPA(config, tfrs_npa.NewsCatalog().adapt(news), users)
    generator = np.random.default_rng(3)
    model.set_weights([generator.normal(0, 0.4, w.shape) for w in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def export(model, tmp_path_factory):
    """The folder of versions; the last has `score` alone, which is quicker to make."""
    folder = tmp_path_factory.mktemp("exports")
    (folder / "1").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_SIGNATURES", {"score": module._SIGNATURES["score"]})
        return tfrs_npa.export(model, folder).parent


@pytest.fixture(scope="module")
def tsv(rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "behaviors.tsv"
    write_behaviors(path, rows)
    return path


@pytest.fixture(scope="module")
def table(rows):
    names = ("impression_id", "user_id", "history")
    columns = {name: [row[name] for row in rows] for name in names}
    columns["candidates"] = [row["candidates"]["news_id"] for row in rows]
    columns["clicked"] = [row["candidates"]["clicked"].tolist() for row in rows]
    return pa.table(columns)


@pytest.fixture(scope="module")
def parquet(table, tmp_path_factory):
    """The log in two files, the first in three groups of rows."""
    folder = tmp_path_factory.mktemp("log")
    pq.write_table(table.slice(0, 200), folder / "a.parquet", row_group_size=70)
    pq.write_table(table.slice(200), folder / "b.parquet")
    return folder / "*.parquet"


@pytest.fixture(scope="module")
def predictions(model, table, tmp_path_factory):
    """What one machine writes without Beam."""
    folder = tmp_path_factory.mktemp("plain")
    with pytest.warns(UserWarning, match="not in the catalogue"):
        impressions = tfrs_npa.Impressions.from_arrow(table, model.catalog, model.users)
    batches = tfrs_npa.impression_batches(impressions, model.catalog, model.users, model.config)
    summary = tfrs_npa.write_predictions(folder, impressions, model.predict_batches(batches))
    return Predictions((folder / "prediction.txt").read_bytes(), summary)


@pytest.fixture(scope="module", autouse=True)
def loaded_once():
    """In this process; loading takes longer than all else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "Scorer", functools.cache(Scorer))
        yield


@pytest.fixture
def in_small_parts(monkeypatch):
    """Eleven parts of a `behaviors.tsv` or so, and three or four of Parquet files."""
    monkeypatch.setattr(log_parts, "_BYTES", 20_000)
    monkeypatch.setattr(log_parts, "_ROWS", 90)
    monkeypatch.setattr(log_parts, "CHUNK", 16)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.usefixtures("in_small_parts")
@pytest.mark.parametrize("log", ["tsv", "parquet"])
def test_lines_are_those_of_predict(log, request, export, predictions, tmp_path):
    summary = score_log(export, request.getfixturevalue(log), tmp_path / "prediction.txt")
    assert (tmp_path / "prediction.txt").read_bytes() == predictions.lines
    assert summary["tied_impressions"] > 0
    assert summary.items() <= predictions.summary.items()
    assert names_in(tmp_path) == ["prediction.txt"]


@pytest.mark.slow
@pytest.mark.usefixtures("in_small_parts")
def test_several_processes(export, tsv, predictions, tmp_path):
    score_log(export, tsv, tmp_path / "prediction.txt", [*DIRECT, *PROCESSES])
    assert (tmp_path / "prediction.txt").read_bytes() == predictions.lines


@pytest.mark.usefixtures("in_small_parts")
def test_scores_in_parquet(export, parquet, table, predictions, tmp_path):
    """Scores do not depend on the file format, and ranks are theirs."""
    file = tmp_path / "new" / "scores.parquet"
    score_log(export, parquet, file)
    found = pq.read_table(file)
    for name in ("impression_id", "user_id", "candidates"):
        assert found[name].to_pylist() == table[name].to_pylist()
    rows = found.to_pylist()
    lines = [f"{row['impression_id']} {row['ranks']}\n".replace(", ", ",") for row in rows]
    assert "".join(lines).encode() == predictions.lines
    packed = np.concatenate([row["scores"] for row in rows])
    ranks, _ = ranks_of(packed, ragged.splits_of([len(row["scores"]) for row in rows]))
    assert ranks.tolist() == [rank for row in rows for rank in row["ranks"]]


def test_empty_ids_and_lists(export, model, tmp_path):
    known = model.catalog.ids[2]
    columns = {
        "user_id": ["U", "U", "U"],
        "history": [["", known], [], None],
        "candidates": [["", known, ""], [], [known]],
        "clicked": [[0, 1, 0], [], [1]],
    }
    pq.write_table(pa.table(columns), tmp_path / "log.parquet")
    score_log(export / "2", tmp_path / "log.parquet", tmp_path / "scores.parquet")
    found = pq.read_table(tmp_path / "scores.parquet")
    # The rows are numbered.
    assert found["impression_id"].to_pylist() == [0, 1, 2]
    assert found["candidates"].to_pylist() == [[known], [], [known]]
    assert found["ranks"].to_pylist() == [[1], [], [1]]


def test_a_log_without_rows(export, table, tmp_path):
    """A table without rows is one; `predict`, too, writes no lines of nothing."""
    log = tmp_path / "log.parquet"
    pq.write_table(table.slice(0, 0), log)
    summary = score_log(export, log, tmp_path / "scores.parquet")
    found = pq.read_table(tmp_path / "scores.parquet")
    assert summary == {"impressions": 0, "candidates": 0, "tied_impressions": 0}
    assert found.num_rows == 0 and found.schema.equals(scoring._SCHEMA)
    with pytest.raises(MindFileError, match=f"^{log}: holds no impressions"):
        score_log(export, log, tmp_path / "prediction.txt")
    assert names_in(tmp_path) == ["log.parquet", "scores.parquet"]


@pytest.mark.usefixtures("in_small_parts")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[250].replace("\t", " ", 1), "LOG, line 251: 4 columns instead of 5"),
        (lambda lines: lines[3], "LOG: impression 4 is repeated, and a file of predictions"),
    ],
)
def test_bad_lines(change, message, export, tsv, tmp_path):
    lines = tsv.read_text().splitlines(keepends=True)
    lines[250] = change(lines)
    log, file = tmp_path / "log.tsv", tmp_path / "prediction.txt"
    log.write_text("".join(lines))
    file.write_text("of yesterday")
    with pytest.raises(ValueError, match="^" + message.replace("LOG", str(log))) as raised:
        score_log(export, log, file)
    assert "while running" not in str(raised.value)
    assert names_in(tmp_path) == ["log.tsv", "prediction.txt"]
    assert file.read_text() == "of yesterday"


def test_scores_that_are_no_numbers(export, tsv, tmp_path, monkeypatch):
    def diverged(version):
        return lambda chunk: scored._replace(scores=scored.scores * np.nan)

    scored = scoring.Scorer(str(export / "2"))(next(log_parts.parts_of(str(tsv))[0].chunks()))
    monkeypatch.setattr(scoring, "Scorer", diverged)
    message = "^a score of impression 1 is not a number: the model has diverged$"
    with pytest.raises(DivergedError, match=message):
        score_log(export, tsv, tmp_path / "prediction.txt")


def test_errors_of_the_program_stay_what_they_are(export, tsv, tmp_path, monkeypatch):
    def wrong(version):
        return lambda chunk: np.zeros(2).reshape(3)

    monkeypatch.setattr(scoring, "Scorer", wrong)
    with pytest.raises(ValueError, match="cannot reshape") as raised:
        score_log(export, tsv, tmp_path / "prediction.txt")
    assert not isinstance(raised.value, MindFileError)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("runner=Foo", "Unexpected pipeline runner: Foo"),
        ("runner=nowhere.Foo", "runner nowhere.Foo: No module named 'nowhere'"),
        ("runer=FnApiRunner", "Apache Beam has no option runer; "),
        ("direct_running_mode=threads", "invalid choice: 'threads'"),
    ],
)
def test_wrong_options_of_beam(option, message, export, tsv, tmp_path):
    with pytest.raises(ValueError, match=message):
        score_log(export, tsv, tmp_path / "prediction.txt", [option])
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"to": "x.csv"}, ValueError, "x.csv does not end in one of .txt, .parquet"),
        ({"export": "none"}, ValueError, "none is no export; `tfrs-npa export` writes one"),
        ({"log": "none.tsv"}, OSError, "none.tsv: no such file"),
        ({"log": "none/*.parquet"}, OSError, r"none/\*.parquet: no such file"),
        ({"log": "empty.tsv"}, ValueError, "empty.tsv: the file is empty"),
        ({"log": "other.parquet"}, ValueError, "other.parquet: the impressions lack user_id"),
        ({"log": "torn.parquet"}, ValueError, "torn.parquet: "),
        ({"to": "folder.txt"}, ValueError, "folder.txt exists and is not a regular file"),
    ],
)
def test_what_is_refused(changes, error, message, export, tsv, tmp_path):
    (tmp_path / "empty.tsv").touch()
    (tmp_path / "folder.txt").mkdir()
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and no more")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "other.parquet")
    before = names_in(tmp_path)
    given = {"export": export, "log": tsv, "to": tmp_path / "prediction.txt"}
    given |= {name: tmp_path / value for name, value in changes.items()}
    with pytest.raises(error, match=message):
        score_log(**given)
    assert names_in(tmp_path) == before


def test_without_beam(monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    for name in ("datasets.mind.on_beam", "serving.score_log"):
        monkeypatch.delitem(sys.modules, f"tfrs_npa.{name}")
    monkeypatch.delattr(tfrs_npa.datasets.mind, "on_beam")
    monkeypatch.delitem(vars(tfrs_npa), "score_log", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'tfrs-npa\[beam\]'"):
        tfrs_npa.score_log  # noqa: B018
