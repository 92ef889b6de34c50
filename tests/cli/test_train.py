"""`tfrs-npa train`; as processes where the process is what is tested."""

from __future__ import annotations

import json
import re
import shutil
import signal
import zipfile

import numpy as np
import pytest
import yaml

from tfrs_npa.datasets.mind import read_news
from tfrs_npa.models.npa import NPA
from tfrs_npa.runs import cluster
from tfrs_npa.runs.processes import GONE
from tfrs_npa.runs.run import Run, load_run
from tfrs_npa.runs.strategies import TaskGone

SPLIT_FOLDERS = ("train", "dev", "test")
FILES = {
    "config.yaml",
    "training.yaml",
    "data.json",
    "catalog/words.txt",
    "catalog/tokenizer.txt",
    "catalog/articles.jsonl",
    "users.txt",
    "last_seen.npz",
    "popularity.csv",
    "word_vectors.npy",
    "checkpoints/best.weights.h5",
    "checkpoints/last.weights.h5",
    "checkpoints/previous.weights.h5",
    "checksums.json",
    "history.csv",
    "metrics.json",
    "plots/learning_curves.png",
    "plots/reliability.png",
    "plots/slices.png",
}
EPOCHS = 4


@pytest.fixture(scope="session")
def training(mind_folder, tiny):
    """The options of a training of four epochs with all that has to be resumed."""
    options = ["--data", mind_folder, "--config", tiny, "--epochs", EPOCHS, "--patience", EPOCHS]
    options += ["--set", "schedule=linear", "--set", "history_sampling=random", "--seed", 3]
    return ["train", *options]


@pytest.fixture(scope="session")
def trained(training, finish, tmp_path_factory):
    """A run that was not interrupted."""
    run = tmp_path_factory.mktemp("runs") / "trained"
    return finish(run, *training, "--run", run)


def change_line(path, number, change):
    lines = path.read_text().splitlines()
    lines[number - 1] = change(lines[number - 1])
    path.write_text("".join(f"{line}\n" for line in lines))


def lines_of(messages):
    """The lines of a training without the seconds."""
    return [line.rpartition(", ")[0] or line for line in messages.splitlines() if line]


def results(run):
    """All that a run has measured without the seconds."""
    metrics = Run(run).metrics
    history = [{k: v for k, v in row.items() if k != "seconds"} for row in Run(run).history]
    return {k: v for k, v in metrics.items() if k != "seconds"}, history


def test_what_a_run_holds_and_prints(trained):
    run, output, messages = trained
    table = output[output.index(" AUC") : output.index("Run: ")]
    assert [line.split("  ")[0] for line in table.splitlines()[2:8]] == [
        "random",
        "popularity",
        "cosine",
        "density ratio",
        "NPA",
        "± 95 %",
    ]
    assert "split test: 40 impressions" in table
    assert re.search(r"NPA's AUC is 0\.\d{4} (above|below) that of the best baseline, ", table)
    history = Run(run).history
    assert [row["epoch"] for row in history] == [*range(EPOCHS + 1)]
    assert f"Epochs: {EPOCHS}; val_auc " in table
    assert f"{history[0]['val_auc']:.4f} untrained" in table or "not improved it" in table
    patterns = [
        "making word vectors",
        r"\d+ training rows",
        rf"epoch 0 of {EPOCHS} \(untrained\): ",
    ]
    patterns += [f"epoch {epoch + 1} of {EPOCHS}: loss " for epoch in range(EPOCHS)]
    lines = messages.splitlines()
    assert len(lines) == len(patterns) and all(map(re.match, patterns, lines)), messages

    files = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert files > FILES
    assert {name.split("/")[0] for name in files - FILES} == {"tensorboard"}
    logs = {name.split("/")[1] for name in files - FILES}
    articles = {"articles.tsv", "article_metadata.tsv", "projector_config.pbtxt"}
    assert logs == {"train", "validation", "attention", *articles}
    assert len((run / "history.csv").read_text().splitlines()) == 2 + EPOCHS
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["parts"] == {"train": "train", "stopping": "validation", "report": "test"}
    assert (run / "catalog" / "tokenizer.txt").read_text() == "unicode\n"
    assert metrics["seed"] == 3 and metrics["versions"]["tensorflow"]


def test_evaluate_gives_what_train_reported(trained, tmp_path, in_process, capfd):
    run, output, _ = trained
    json_file = tmp_path / "metrics.json"
    assert in_process("evaluate", "--run", run, "--json", json_file) == 0
    again, messages = capfd.readouterr()
    # And, in a table of its own, slices of the impressions.
    table, slices = again.split("\n\n" + " " * 10, maxsplit=1)
    assert output.startswith(table + "\n") and not messages
    assert slices.lstrip().startswith("impressions     AUC")
    metrics = Run(run).metrics
    evaluation = json.loads(json_file.read_text())
    assert evaluation == {name: metrics[name] for name in evaluation}
    assert evaluation["metrics"]["npa"]["auc"] is not None


@pytest.mark.slow
def test_killed_and_resumed_equals_uninterrupted(
    trained, training, tmp_path, end_in_epoch, process
):
    """And processes print what the program prints, without a line of TensorFlow's log."""
    run, expected = tmp_path / "run", lines_of(trained.messages)
    options = [*training, "--run", run]
    code, output, messages = end_in_epoch(3, signal.SIGKILL, *options, TF_CPP_MIN_LOG_LEVEL="3")
    assert code == -signal.SIGKILL and not output
    assert lines_of(messages) == expected[:5]
    assert load_run(run).config == load_run(trained.folder).config

    code, output, messages = process("train", "--run", run, "--resume")
    assert code == 0, messages
    rows, *epochs = expected[1:]
    assert lines_of(messages) == [rows, f"resuming after epoch 2 of {EPOCHS}", *epochs[3:]]
    assert output == trained.output.replace(str(trained.folder), str(run))
    assert results(run) == results(trained.folder)


@pytest.mark.slow
def test_unchanged_data_is_resumed_without_its_fingerprint(run, tmp_path, in_process, untraced):
    """As in the folder of an older version."""
    old = shutil.copytree(run, tmp_path / "run")
    for name in ("data.json", "checksums.json"):
        (old / name).unlink()
    assert in_process("train", "--run", old, "--resume") == 0
    assert [row["epoch"] for row in Run(old).history] == [0, 1]


def resume_with(data, run, tmp_path):
    """A copy of a run to resume with other data."""
    copy = shutil.copytree(run, tmp_path / "run")
    file = copy / "training.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"data": str(data)}))
    return copy


def test_changed_data_is_not_resumed(run, changed_data, tmp_path, in_process, snapshot, capsys):
    data, difference = changed_data
    copy = resume_with(data, run, tmp_path)
    before = snapshot(copy)
    assert in_process("train", "--run", copy, "--resume") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"tfrs-npa: error: {data} has changed since {copy} was started: ")
    assert difference in error
    assert snapshot(copy) == before


@pytest.mark.parametrize(
    "changed_data", ["half of the impressions", "flipped labels", "a title"], indirect=True
)
def test_changed_data_is_not_resumed_without_its_fingerprint(
    run, changed_data, tmp_path, in_process, snapshot, capsys
):
    """The folder of an older version holds articles, users, and clicks of the training articles."""
    copy = resume_with(changed_data[0], run, tmp_path)
    for name in ("data.json", "checksums.json"):
        (copy / name).unlink()
    before = snapshot(copy)
    assert in_process("train", "--run", copy, "--resume") == 2
    assert re.search("other (train impressions|articles or titles)", capsys.readouterr().err)
    assert snapshot(copy) == before


def test_a_run_is_kept_unless_told_otherwise(trained, training, in_process, snapshot, capsys):
    run = trained.folder
    before = snapshot(run)
    assert in_process(*training, "--run", run) == 2
    assert "holds a run already; use --resume, --overwrite or" in capsys.readouterr().err
    assert in_process(*training, "--run", run, "--resume", "--set", "num_filters=9") == 2
    assert "was started with num_filters 8, not 9" in capsys.readouterr().err
    assert in_process("train", "--run", run, "--resume", "--epochs", 9) == 2
    assert "was started with epochs 4, not 9; --resume alone keeps" in capsys.readouterr().err
    assert snapshot(run) == before


@pytest.mark.slow
def test_overwrite_replaces_a_finished_run(trained, training, tmp_path, in_process, untraced):
    run = shutil.copytree(trained.folder, tmp_path / "run")
    (run / "checkpoints" / ".0123456789ab.tmp.last.weights.h5").touch()  # of an interrupted write
    assert in_process(*training, "--epochs", 1, "--run", run, "--overwrite") == 0
    assert [row["epoch"] for row in Run(run).history] == [0, 1]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("foreign", ["thesis.txt", "tensorboard/notes.txt", "link", "links"])
def test_overwrite_keeps_files_of_others(
    trained, training, foreign, tmp_path, in_process, snapshot, capsys
):
    run = shutil.copytree(trained.folder, tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "paper.txt").touch()
    if foreign == "link":
        (run / foreign).symlink_to(tmp_path / "elsewhere" / "paper.txt")
    elif foreign == "links":
        (run / foreign).symlink_to(tmp_path / "elsewhere")
    else:
        (run / foreign).write_text("mine")
    before = snapshot(tmp_path)
    assert in_process(*training, "--run", run, "--overwrite") == 2
    error = capsys.readouterr().err
    assert f"{run} cannot be overwritten: {run / foreign} is not a file of a run" in error
    assert snapshot(tmp_path) == before and (run / foreign).exists()


@pytest.mark.parametrize(
    ("file", "line", "change", "expected"),
    [
        ("train/behaviors.tsv", 3, lambda line: line + "\tmore", "6 columns instead of 5"),
        ("dev/news.tsv", 2, lambda line: line.rsplit("\t", 1)[0], "7 columns instead of 8"),
        ("train/behaviors.tsv", 7, lambda line: line[:-1] + "2", "does not end in -1"),
        ("test/behaviors.tsv", 5, lambda line: line.replace(" AM", "").replace(" PM", ""), "time"),
    ],
)
def test_bad_line(data_copy, tiny, tmp_path, in_process, capsys, file, line, change, expected):
    change_line(data_copy / file, line, change)
    options = ["--data", data_copy, "--config", tiny, "--run", tmp_path / "run"]
    assert in_process("train", *options) == 2
    error = capsys.readouterr().err
    assert f"tfrs-npa: error: {data_copy / file}, line {line}: " in error
    assert expected in error and "Traceback" not in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("what", ["empty", "missing"])
def test_bad_file(data_copy, tmp_path, in_process, capsys, what):
    file = data_copy / "dev" / "behaviors.tsv"
    if what == "empty":
        file.write_text("")
    else:
        file.unlink()
    assert in_process("train", "--data", data_copy, "--run", tmp_path / "run") == 2
    error = capsys.readouterr().err
    assert f"tfrs-npa: error: {file}: " in error and "Traceback" not in error


@pytest.mark.slow
def test_odd_ids_are_counted_warnings(data_copy, tiny, tmp_path, in_process, untraced, capsys):
    for split in SPLIT_FOLDERS:
        news = data_copy / split / "news.tsv"
        lines = news.read_text().splitlines(keepends=True)
        # The first article of each file is gone, and the next two come twice.
        news.write_text("".join([*lines[1:], *lines[1:3]]))
    behaviors = data_copy / "train" / "behaviors.tsv"
    behaviors.write_bytes(b"\xef\xbb\xbf" + behaviors.read_bytes().replace(b"\n", b"\r\n"))
    options = ["--data", data_copy, "--config", tiny, "--epochs", 1, "--run", tmp_path / "run"]
    assert in_process("train", *options) == 0
    warned = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(warned) == len(set(warned))
    assert all(line.startswith("tfrs-npa: warning: ") for line in warned)
    repeated = f"{data_copy / 'train' / 'news.tsv'}: 2 lines repeat a news_id"
    assert len([line for line in warned if repeated in line]) == 1
    assert any("candidate ids are not in the catalogue" in line for line in warned)
    assert not any(".py:" in line for line in warned)


@pytest.mark.slow
def test_zips_without_network(mind_folder, tmp_path, in_process, untraced, capsys):
    manual = tmp_path / "manual"
    manual.mkdir()
    for split in ("train", "dev"):
        with zipfile.ZipFile(manual / f"MINDsmall_{split}.zip", "w") as archive:
            for name in ("news.tsv", "behaviors.tsv"):
                archive.write(mind_folder / split / name, f"MINDsmall_{split}/{name}")
    config = tmp_path / "npa.yaml"
    sections = {
        "data": {"title_size": 9, "his_size": 10},
        "model": {"model_type": "npa", "filter_num": 8, "word_emb_dim": 8, "user_emb_dim": 4},
        "train": {"epochs": 3, "batch_size": 16},
    }
    config.write_text(yaml.safe_dump(sections))
    run = tmp_path / "run"
    options = ["train", "--data", "mind/small", "--manual-dir", manual]
    options += ["--data-dir", tmp_path / "prepared", "--config", config, "--epochs", 1]
    changes = ["--set", "title_length=8", "--set", "dropout=1e-1"]
    assert in_process(*options, *changes, "--run", run) == 0
    saved = yaml.safe_load((run / "config.yaml").read_text())
    assert (saved["title_length"], saved["dropout"], saved["history_length"]) == (8, 0.1, 10)
    assert saved["num_filters"] == 8 and saved["mask_padding"] is False
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["data"] == "mind/small" and metrics["split"] == "validation"
    assert metrics["parts"]["stopping"] == "last day of train"
    assert metrics["impressions_trained_on"] < 150

    # Another folder, with articles that the run does not know.
    capsys.readouterr()
    assert in_process("evaluate", "--run", run, "--data", mind_folder) == 0
    assert "split test: 40 impressions" in capsys.readouterr().out

    zip_file = manual / "MINDsmall_dev.zip"
    zip_file.write_bytes(zip_file.read_bytes()[:1000])
    options[options.index(tmp_path / "prepared")] = tmp_path / "elsewhere"
    assert in_process(*options, "--run", tmp_path / "other") == 2
    error = capsys.readouterr().err
    assert f"tfrs-npa: error: {zip_file}: the zip is truncated" in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--data", "mind/tiny"], "there is no data set mind/tiny"),
        (["--data", "mind/small", "--manual-dir", "no-such"], "manual folder"),
        ([], "--data is missing"),
        (["--data", "FOLDER", "--preset", "huge"], "no preset 'huge'"),
        (["--data", "FOLDER", "--config", "no-such.yaml"], "no-such.yaml: No such file"),
        (["--data", "FOLDER", "--set", "num_filter=3"], "did you mean 'num_filters'"),
        (["--data", "FOLDER", "--set", "dropout"], "expected NAME=VALUE"),
        (["--data", "FOLDER", "--set", "dropout=2"], "dropout is 2"),
        (
            ["--data", "FOLDER", "--set", "dropout=[1"],
            "--set dropout=[1 is not YAML: expected ',' or ']', but got '<stream end>' in line 1",
        ),
        (["--data", "FOLDER", "--seed", "-1"], "seed is -1"),
        (["--data", "FOLDER", "--epochs", "0"], "epochs is 0"),
        (["--data", "FOLDER", "--word-vectors", "no-such.txt"], "no-such.txt: No such file"),
        (["--data", "FOLDER", "--word-vectors", "no-such.npy"], "need a word list"),
        (["--resume"], "does not exist"),
    ],
)
def test_bad_options(mind_folder, tmp_path, in_process, capsys, options, expected):
    options = [mind_folder if option == "FOLDER" else option for option in options]
    assert in_process("train", "--run", tmp_path / "run", *options) == 2
    error = capsys.readouterr().err
    assert "tfrs-npa: error: " in error and expected in error and "Traceback" not in error
    assert not (tmp_path / "run").exists()


def test_an_interrupted_training_says_how_to_resume(
    mind_folder, tiny, tmp_path, in_process, monkeypatch, capsys
):
    def fit(model, *args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(NPA, "fit", fit)
    run = tmp_path / "run"
    assert in_process("train", "--data", mind_folder, "--config", tiny, "--run", run) == 130
    hint = f"tfrs-npa: interrupted; `tfrs-npa train --run {run} --resume` resumes the run"
    assert capsys.readouterr().err.splitlines()[-1] == hint


@pytest.mark.slow
def test_a_terminated_training_says_how_to_resume(mind_folder, tiny, tmp_path, end_in_epoch):
    """Schedulers send SIGTERM."""
    run = tmp_path / "run"
    options = ["train", "--data", mind_folder, "--config", tiny, "--run", run]
    code, _, messages = end_in_epoch(1, signal.SIGTERM, *options, untraced=True)
    hint = f"tfrs-npa: terminated; `tfrs-npa train --run {run} --resume` resumes the run"
    assert (code, messages.splitlines()[-1]) == (143, hint)
    assert not [path for path in run.rglob(".*")] and (run / "config.yaml").exists()


@pytest.mark.slow
def test_article_vectors(mind_folder, tiny, tmp_path, in_process, untraced, capsys):
    """They are in the run, which can be resumed and evaluated without their files."""
    ids = [row["news_id"] for row in read_news(mind_folder / "train" / "news.tsv")][:50]
    np.save(tmp_path / "v.npy", np.random.default_rng(0).normal(size=(50, 3)))
    (tmp_path / "ids.txt").write_text("\n".join(ids))
    options = ["--data", mind_folder, "--config", tiny, "--epochs", 1, "--run", tmp_path / "run"]
    options += ["--article-vectors", tmp_path / "v.npy"]
    assert in_process("train", *options) == 2
    assert "vectors of articles need their ids" in capsys.readouterr().err
    assert in_process("train", *options, "--article-ids", tmp_path / "ids.txt") == 0
    captured = capsys.readouterr()
    assert re.search(r"^50 of \d+ articles have a vector$", captured.err, re.MULTILINE)
    (tmp_path / "v.npy").unlink()
    assert in_process("evaluate", "--run", tmp_path / "run") == 0
    # After two parts that `train` shows too, there are the slices.
    shown = capsys.readouterr().out.split("\n\n")
    assert captured.out.startswith("\n\n".join(shown[:2])) and len(shown) == 3
    assert in_process("train", "--run", tmp_path / "run", "--resume") == 0
    model = Run(tmp_path / "run").load_model("last")
    assert np.abs(model.candidate_tower.vector_kernel).max() > 0
    assert np.count_nonzero(model.catalog.vectors().any(axis=1)) == 50


def test_article_vectors_of_other_articles(mind_folder, tiny, tmp_path, in_process, capsys):
    np.save(tmp_path / "v.npy", np.ones((1, 3)))
    (tmp_path / "ids.txt").write_text("other\n")
    options = ["--article-vectors", tmp_path / "v.npy", "--article-ids", tmp_path / "ids.txt"]
    options += ["--data", mind_folder, "--config", tiny, "--run", tmp_path / "run"]
    assert in_process("train", *options) == 2
    assert "ids.txt holds no id of an article of" in capsys.readouterr().err


@pytest.mark.slow
def test_from_another_run(run, mind_folder, in_process, eager_functions, tmp_path, capsys):
    options = ["--data", mind_folder, "--holdout", "none", "--epochs", 1, "--run", tmp_path / "run"]
    assert in_process("train", "--from", run, "--set", "dropout=0.4", "--no-cache", *options) == 0
    today = Run(tmp_path / "run")
    assert today.config == Run(run).config.replace(dropout=0.4)
    shown = capsys.readouterr().out
    nothing = "; ".join(f"0 {name} added, 0 dropped" for name in ("words", "articles", "users"))
    assert f"Started from {run}: {nothing}\n" in shown


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--drop-unseen", 3], "--drop-unseen needs --from"),
        (["--from", "RUN", "--drop-unseen", 0], "--drop-unseen is 0"),
        (["--from", "RUN", "--word-vectors", "vectors.txt"], "--word-vectors has no effect"),
        (["--from", "RUN", "--tokenizer", "whitespace"], "--tokenizer cannot change"),
        (["--from", "RUN", "--user-buckets", 9], "has a row for each user"),
        (["--user-buckets", 0], "user_buckets is 0; it has to be at least 1"),
        (["--from", "RUN", "--preset", "small"], "not allowed with"),
        (["--from", "nowhere"], "nowhere does not exist"),
        (["--from", "NEW"], "NEW does not exist"),
        (["--from", "RUN", "--resume"], "NEW does not exist"),
    ],
)
def test_options_that_contradict_from(
    options, message, run, mind_folder, in_process, tmp_path, capsys
):
    paths = {"RUN": run, "NEW": tmp_path / "new"}
    options = [paths.get(option, option) for option in options]
    data = [] if "--resume" in options else ["--data", mind_folder]
    assert in_process("train", *data, "--run", tmp_path / "new", *options) == 2
    assert message.replace("NEW", str(tmp_path / "new")) in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_run_does_not_start_from_itself(run, mind_folder, in_process, capsys):
    options = ["--data", mind_folder, "--from", run, "--run", run, "--overwrite"]
    assert in_process("train", *options) == 2
    assert "are both" in capsys.readouterr().err
    assert in_process("train", "--run", run, "--from", run, "--resume") == 2
    assert "without --from" in capsys.readouterr().err


@pytest.fixture
def task(monkeypatch):
    """Makes this process a task of a cluster; returns how often TF_CONFIG was read since."""

    def task(job, index, **tasks):
        monkeypatch.setenv(
            "TF_CONFIG", json.dumps({"cluster": tasks, "task": {"type": job, "index": index}})
        )
        read, parsed = [], cluster._parsed
        monkeypatch.setattr(cluster, "_parsed", lambda name: read.append(name) or parsed(name))
        return read

    return task


def test_the_cluster_is_read_once(task, mind_folder, tmp_path, in_process, monkeypatch, capsys):
    trained = []
    monkeypatch.setattr("tfrs_npa.runs.train.train", lambda *given: trained.append(given))
    read = task("worker", 1, worker=["a:1", "b:2"])
    options = ["--strategy", "multi-worker", "--data", mind_folder, "--run", tmp_path / "run"]
    assert in_process("train", *options) == 0
    assert read == ["multi-worker"]
    ((*_, given, _),) = trained
    assert (given.strategy, given.job, given.index) == ("multi-worker", "worker", 1)
    assert not capsys.readouterr().out  # the first worker prints


def test_a_broken_connection_has_the_exit_code_of_a_lost_process(
    task, mind_folder, tmp_path, in_process, monkeypatch, capsys
):
    def train(*given):
        raise TaskGone("the connection broke")

    monkeypatch.setattr("tfrs_npa.runs.train.train", train)
    task("worker", 0, worker=["a:1", "b:2"])
    options = ["--strategy", "multi-worker", "--data", mind_folder, "--run", tmp_path / "run"]
    assert in_process("train", *options) == GONE
    assert capsys.readouterr().err == "tfrs-npa: error: the connection broke\n"


def test_a_server_reads_no_data(task, tmp_path, in_process, monkeypatch):
    class Served(Exception):
        pass

    def serve(given):
        raise Served(given.job)

    monkeypatch.setattr("tfrs_npa.runs.strategies.serve", serve)
    read = task("ps", 0, chief=["a:1"], worker=["b:2"], ps=["c:3"])
    options = ["--strategy", "parameter-server", "--data", "/nowhere", "--run", tmp_path / "run"]
    with pytest.raises(Served, match="ps"):
        in_process("train", *options)
    assert len(read) == 1
