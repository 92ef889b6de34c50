"""`tfrs-npa evaluate`."""

from __future__ import annotations

import json
import os
import shutil
import stat

import pytest
import yaml

from tfrs_npa.config import NPAConfig
from tfrs_npa.data.splits import load_splits
from tfrs_npa.models.npa import NPA
from tfrs_npa.runs.baselines import Baselines
from tfrs_npa.runs.run import Run
from tfrs_npa.settings import TrainingSettings

pytestmark = pytest.mark.usefixtures("untraced")


def test_preprocessed_data_is_kept_on_request(run, cache_folder, tmp_path, in_process):
    shutil.rmtree(cache_folder, ignore_errors=True)
    assert in_process("evaluate", "--run", run, "--no-cache") == 0
    assert not cache_folder.exists()
    assert in_process("evaluate", "--run", run, "--cache-dir", tmp_path / "mine") == 0
    assert any((tmp_path / "mine").iterdir()) and not cache_folder.exists()
    assert in_process("evaluate", "--run", run) == 0
    assert len([*cache_folder.iterdir()]) == len([*(tmp_path / "mine").iterdir()])


def test_other_data_and_splits(run, without_labels, in_process, capsys):
    evaluate = ["evaluate", "--run", run]
    assert in_process(*evaluate, "--split", "train") == 0
    assert "split train: 150 impressions" in capsys.readouterr().out
    evaluate += ["--data", without_labels]
    assert in_process(*evaluate, "--split", "test") == 2
    assert "has no labels" in capsys.readouterr().err
    assert in_process(*evaluate) == 0
    assert "split validation: 40 impressions" in capsys.readouterr().out


def test_the_memory_for_encoded_titles_changes_no_metric(run, tmp_path, in_process, capsys):
    files = [tmp_path / name for name in ("none.json", "all.json")]
    for file, memory in zip(files, (0, "inf")):
        assert (
            in_process("evaluate", "--run", run, "--encoding-memory", memory, "--json", file) == 0
        )
    assert not capsys.readouterr().err
    none, all_ = (json.loads(file.read_text())["metrics"]["npa"] for file in files)
    assert none == pytest.approx(all_, abs=1e-5)


@pytest.fixture
def evaluate(mind_folder, run, ranks, in_process):
    """Evaluates the run, or its predictions, with more options."""
    subjects = {
        "run": ["--run", run],
        "predictions": ["--predictions", ranks, "--truth", mind_folder / "test" / "behaviors.tsv"],
    }
    return lambda subject, *options: in_process("evaluate", *subjects[subject], *options)


@pytest.fixture(scope="session")
def ranks(mind_folder, tmp_path_factory):
    """Predictions for the test split: its candidates in file order."""
    file = tmp_path_factory.mktemp("predictions") / "prediction.txt"
    lines = []
    for line in (mind_folder / "test" / "behaviors.tsv").read_text().splitlines():
        number, *_, candidates = line.split("\t")
        order = ",".join(str(rank + 1) for rank in range(len(candidates.split())))
        lines.append(f"{number} [{order}]\n")
    file.write_text("".join(lines))
    return file


@pytest.mark.parametrize("subject", ["run", "predictions"])
def test_json_goes_to_a_file(evaluate, subject, tmp_path, capsys):
    file = tmp_path / "new" / "metrics.json"
    assert evaluate(subject, "--json", file) == 0
    table, messages = capsys.readouterr()
    assert "nDCG@10" in table and not messages
    metrics = json.loads(file.read_text())
    assert metrics["impressions"]["all"] == 40
    # An earlier file is replaced, also where a link leads to it.
    link = tmp_path / "link.json"
    link.symlink_to(file)
    file.write_text("of yesterday")
    assert evaluate(subject, "--json", link) == 0
    assert link.is_symlink() and json.loads(file.read_text()) == metrics
    assert [path.name for path in file.parent.iterdir()] == ["metrics.json"]


@pytest.mark.parametrize("subject", ["run", "predictions"])
def test_json_alone_on_standard_output(evaluate, subject, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert evaluate(subject, "--json", "-") == 0
    output, messages = capfd.readouterr()
    assert json.loads(output)["impressions"]["all"] == 40
    assert "nDCG@10" in messages
    assert not [*tmp_path.iterdir()]


@pytest.fixture(scope="session")
def other_run(run, mind_folder, tmp_path_factory):
    """A run with other weights, of a preset without the newer hyper-parameters."""
    settings = TrainingSettings(str(mind_folder), epochs=1)
    catalog, splits = load_splits(settings)
    config = NPAConfig.preset("recommenders").replace(
        **{name: 8 for name in ("word_embedding_dim", "num_filters", "user_embedding_dim")}
    )
    model = NPA(config, catalog, splits.users)
    model.compile(optimizer="sgd")
    path = tmp_path_factory.mktemp("runs") / "other"
    baselines = Baselines.of_training(splits.train, catalog, 8)
    run = Run.create(path, model, settings, baselines)
    run.metrics = {}
    return run.path


def auc_row(lines, title):
    """The cells of a row of a table, the title left out."""
    row = next(line for line in lines if line.startswith(f"{title}  "))
    return row.removeprefix(title).split()


@pytest.mark.slow
def test_a_run_against_another(run, other_run, tmp_path, process):
    """As a process: metrics of both on the same impressions, in pairs."""
    file = tmp_path / "metrics.json"
    options = ["evaluate", "--run", run, "--against", other_run, "--json", file]
    code, output, messages = process(*options, untraced=True)
    assert (code, messages) == (0, "")
    found = json.loads(file.read_text())
    against, npa = found["against"], found["metrics"]["npa"]
    assert against["run"] == str(other_run)
    for name in ("auc", "mrr", "ndcg_5", "ndcg_10"):
        difference = npa[name] - against["metrics"][name]
        assert against["difference"][name] == pytest.approx(difference)
        low, high = against["intervals"][name]
        assert low <= difference <= high
    lines = output.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("NPA's AUC is"))
    assert auc_row(lines[start:], str(run))[0] == f"{npa['auc']:.4f}"
    assert auc_row(lines[start:], "difference")[0] == f"{against['difference']['auc']:+.4f}"
    low, high = against["intervals"]["auc"]
    noise = low <= 0 <= high
    verdict = " ".join(auc_row(lines[start:], "verdict"))
    assert verdict.startswith("within noise" if noise else ("better", "worse"))
    assert lines[-1].startswith(f"The AUC of {run} is 0.")
    assert f"that of {other_run} (95 % interval of the difference: {low:+.4f}" in lines[-1]
    assert lines[-1].endswith(": within noise") == noise


def test_a_run_against_itself(run, in_process, capsys):
    assert in_process("evaluate", "--run", run, "--against", run, "--split", "validation") == 0
    output = capsys.readouterr().out
    assert f"The AUC of {run} is 0.0000 above that of {run}" in output
    assert output.splitlines()[-1].endswith("+0.0000 to +0.0000): within noise")


def test_runs_of_different_data(run, mind_folder, tmp_path, in_process, capsys):
    copy = shutil.copytree(run, tmp_path / "copy")
    file = copy / "training.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"data": "mind/small"}))
    options = ["evaluate", "--run", run, "--against", copy]
    assert in_process(*options) == 2
    error = capsys.readouterr().err
    assert f"{run} was trained on {mind_folder} and {copy} on mind/small: name the data" in error
    assert in_process(*options, "--data", mind_folder) == 0
    assert "split test: 40 impressions" in capsys.readouterr().out


@pytest.mark.parametrize("subject", ["run", "predictions"])
def test_against_nothing(evaluate, subject, tmp_path, capsys):
    assert evaluate(subject, "--against", tmp_path / "none") == 2
    assert f"{tmp_path / 'none'}" in capsys.readouterr().err


def test_predictions_against_others(mind_folder, ranks, tmp_path, in_process, capsys):
    """The clicked candidates first, against all in file order."""
    truth = mind_folder / "test" / "behaviors.tsv"
    best, lines = tmp_path / "best.txt", []
    for line in truth.read_text().splitlines():
        number, *_, candidates = line.split("\t")
        clicked = [name.endswith("-1") for name in candidates.split()]
        order = sorted(range(len(clicked)), key=lambda place: not clicked[place])
        places = ",".join(str(order.index(place) + 1) for place in range(len(clicked)))
        lines.append(f"{number} [{places}]\n")
    best.write_text("".join(lines))
    options = ["evaluate", "--predictions", best, "--truth", truth]
    assert in_process(*options, "--against", ranks, "--json", tmp_path / "metrics.json") == 0
    output = capsys.readouterr().out
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert found["metrics"]["predictions"]["auc"] == 1
    assert found["intervals"]["predictions"]["auc"] == [1, 1]
    against = found["against"]
    assert against["predictions"] == str(ranks)
    assert against["difference"]["auc"] == pytest.approx(1 - against["metrics"]["auc"])
    assert against["intervals"]["auc"][0] > 0
    assert auc_row(output.splitlines(), "verdict") == ["better"] * 4
    assert "within noise" not in output

    best.write_text("".join(lines[:-1]))
    assert in_process(*options[:2], ranks, *options[3:], "--against", best) == 2
    assert f"1 of the 40 impressions of {truth} are missing from {best}" in capsys.readouterr().err


def test_a_run_of_an_earlier_version(new_fields, other_run, tmp_path, in_process, capsys):
    """Without vectors of words, and without hyper-parameters that it did not have."""
    copy = shutil.copytree(other_run, tmp_path / "old")
    assert in_process("evaluate", "--run", other_run) == 0
    now = capsys.readouterr().out.splitlines()
    for name in ("word_vectors.npy", "data.json", "checksums.json"):
        (copy / name).unlink(missing_ok=True)
    saved = yaml.safe_load((copy / "config.yaml").read_text())
    for name in new_fields:
        del saved[name]
    (copy / "config.yaml").write_text(yaml.safe_dump(saved))
    assert in_process("evaluate", "--run", copy) == 0
    old = capsys.readouterr().out.splitlines()
    for title in ("random", "popularity", "NPA"):
        assert auc_row(old, title) == auc_row(now, title)
    assert not any(line.startswith(("cosine", "density ratio")) for line in old)
    assert "Without word vectors in the run: no cosine and no density ratio of titles" in old


def test_plots_in_a_folder(run, mind_folder, tmp_path, in_process, snapshot):
    """Whatever the data: the run stays as it is."""
    before, folder = snapshot(run), tmp_path / "new" / "plots"
    options = ["evaluate", "--run", run, "--data", mind_folder, "--split", "validation"]
    assert in_process(*options, "--plots", folder) == 0
    assert {path.name for path in folder.iterdir()} == {"slices.png", "reliability.png"}
    assert snapshot(run) == before


def test_plots_of_the_run(run, tmp_path, in_process):
    """Of one without any so far; never of another split."""
    copy = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("plots"))
    assert in_process("evaluate", "--run", copy, "--split", "test") == 0
    assert not (copy / "plots").exists()
    assert in_process("evaluate", "--run", copy) == 0
    names = {path.name for path in (copy / "plots").iterdir()}
    assert names == {"slices.png", "reliability.png"}
    (copy / "history.csv").write_text("epoch,loss,seconds,val_auc\n0,,1.0,0.5\n1,2.0,1.0,0.6\n")
    assert in_process("evaluate", "--run", copy) == 0
    assert (copy / "plots" / "learning_curves.png").read_bytes().startswith(b"\x89PNG")


def test_plots_that_cannot_be_written(run, tmp_path, in_process, capsys):
    """The metrics are shown all the same."""
    copy = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("plots"))
    (copy / "plots").write_text("no folder")
    assert in_process("evaluate", "--run", copy) == 0
    output = capsys.readouterr()
    assert "no pictures: " in output.err and "another folder with --plots" in output.err
    assert "NPA" in output.out


def test_a_folder_where_a_picture_should_be(run, tmp_path, in_process, monkeypatch, capsys):
    """It refuses before any work."""
    monkeypatch.setattr("tfrs_npa.cli.evaluate.import_tensorflow", None)
    (tmp_path / "slices.png").mkdir()
    assert in_process("evaluate", "--run", run, "--plots", tmp_path) == 2
    assert f"{tmp_path / 'slices.png'} exists and is not a regular file" in capsys.readouterr().err


def test_slices_and_lists(run, mind_folder, tmp_path, in_process, capsys):
    """With values of articles in a file; a second table has the slices."""
    lines = (mind_folder / "test" / "news.tsv").read_text().splitlines()
    values, file = tmp_path / "values.csv", tmp_path / "metrics.json"
    rows = [f"{line.split(chr(9))[0]},{number % 2}" for number, line in enumerate(lines)]
    values.write_text("\n".join(["news_id,alternative_voices", *rows]))
    options = ["evaluate", "--run", run, "--json", file]
    assert in_process(*options, "--lists", "--article-values", values) == 0
    output = capsys.readouterr().out.splitlines()
    found = json.loads(file.read_text())
    new = found["slices"]["users"]["new"]
    assert new["metrics"]["auc"] == found["metrics"]["npa"]["auc_new_users"]
    count, auc = auc_row(output, "users: new")[:2]
    assert (int(count), auc) == (new["impressions"], f"{new['metrics']['auc']:.4f}")
    measured = found["lists"]["measures"]["10"]
    assert set(measured) == {*found["metrics"]}
    assert auc_row(output, "RADio alternative voices")[-1] == (
        f"{found['lists']['measures']['5']['npa']['radio_alternative_voices']:.4f}"
    )
    assert measured["npa"]["title_diversity"] is not None
    assert "radio_activation" not in measured["npa"]

    values.write_text("news_id,colour\nN1,red\n")
    assert in_process(*options, "--lists", "--article-values", values) == 2
    assert f"{values}: the columns are news_id, colour; there must be" in capsys.readouterr().err


def test_off_policy(run, data_copy, tmp_path, in_process, capsys):
    """Estimated where the first candidates are clicked most, with given propensities elsewhere."""
    file, given = tmp_path / "metrics.json", tmp_path / "propensities.txt"
    options = ["evaluate", "--run", run, "--data", data_copy, "--json", file, "--off-policy"]
    assert in_process(*options) == 2
    assert "clicks do not depend on the position of a candidate" in capsys.readouterr().err
    given.write_text("1\n0.5\n0.25\n")
    assert in_process(*options, given) == 0
    output = capsys.readouterr().out
    found = json.loads(file.read_text())["off_policy"]
    assert found["propensities"] == [1, 0.5, 0.25] and not found["estimated"]
    assert found["values"].keys() == {"logged", *json.loads(file.read_text())["metrics"]}
    worth = found["values"]["npa"]["clicks"]["ips"]
    assert auc_row(output[output.index("inverse propensity") :].splitlines(), "NPA")[0] == (
        f"{worth:.4f}"
    )
    assert "Warning: support is thin" in output

    log = data_copy / "test" / "behaviors.tsv"
    lines = []
    for line in log.read_text().splitlines():
        *fields, candidates = line.split("\t")
        names = sorted(candidates.split(), key=lambda name: not name.endswith("-1"))
        lines.append("\t".join([*fields, " ".join(names)]))
    log.write_text("\n".join(lines) + "\n")
    assert in_process(*options) == 0
    found = json.loads(file.read_text())["off_policy"]
    assert found["estimated"] and found["propensities"][0] == 1
    logged = found["values"]["logged"]["clicks"]["ips"]
    assert logged == pytest.approx(found["clicks"] / 40)
    assert "Propensities of the first positions, estimated" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["", "1\n0\n", "1\nmuch\n"])
def test_propensities_that_are_wrong(run, content, tmp_path, in_process, capsys):
    (tmp_path / "p.txt").write_text(content)
    assert in_process("evaluate", "--run", run, "--off-policy", tmp_path / "p.txt") == 2
    assert f"{tmp_path / 'p.txt'}" in capsys.readouterr().err


def test_a_shuffled_log_has_no_ranking(run, in_process, capsys):
    assert in_process("evaluate", "--run", run, "--data", "mind/small", "--off-policy") == 2
    assert "the candidates of mind/small are shuffled: no ranking was" in capsys.readouterr().err


def identity(path):
    status = os.lstat(path)
    return status.st_dev, status.st_ino, status.st_mode


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


@pytest.mark.parametrize("subject", ["run", "predictions"])
@pytest.mark.parametrize("what", ["folder", "fifo", "device", "link to a device", "pipe"])
def test_json_replaces_regular_files_only(
    evaluate, subject, what, pipe, tmp_path, monkeypatch, capsys
):
    """It refuses before any work."""
    monkeypatch.setattr("tfrs_npa.cli.evaluate.import_tensorflow", None)
    path = tmp_path / "there"
    if what == "folder":
        path.mkdir()
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "device":
        path = "/dev/null"
    elif what == "pipe":  # as /dev/stdout often is
        path = f"/dev/fd/{pipe[1]}"
    else:
        path.symlink_to("/dev/null")
    before = identity(path)
    assert evaluate(subject, "--json", path) == 2
    output, messages = capsys.readouterr()
    assert messages.startswith(f"tfrs-npa: error: {path} exists and is not a regular file")
    assert not output and len(messages.splitlines()) == 1
    assert identity(path) == before and stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert len([*tmp_path.iterdir()]) == (what not in ("device", "pipe"))
