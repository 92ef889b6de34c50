"""Pages for users: their links, their commands, and a README of a readable length."""

import functools
import importlib
import pathlib
import re
import shlex

import nbformat
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

import tfrs_npa
from tfrs_npa.cli import main, parser
from tfrs_npa.datasets.mind import SyntheticWorld, synthetic
from tfrs_npa.runs.baselines import Baselines
from tfrs_npa.runs.run import Run
from tfrs_npa.settings import TrainingSettings

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "tuning" / "README.md",
    ROOT / "benchmarks" / "README.md",
    ROOT / "examples" / "npa_tutorial.ipynb",
]
IDS = [str(path.relative_to(ROOT)) for path in PAGES]


def text_of(path):
    """The text of a page; of a notebook, that between the code."""
    if path.suffix != ".ipynb":
        return path.read_text("utf-8")
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def commands(path):
    """The arguments of each `tfrs-npa` command in a page's indented blocks."""
    text = re.sub(r" \\\n +", " ", text_of(path))
    lines = re.findall(r"^    .*?\btfrs-npa ([a-z].*)$", text, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


def blocks(path):
    """The code blocks of a page: language, text, and the text that is around each.

    That is the page up to its first section, and the section that the block is in.
    """
    sections = re.split(r"^(?=## )", path.read_text("utf-8"), flags=re.MULTILINE)
    for section in sections:
        fenced = re.findall(r"^(?:```|:::)(\S*)[^\n]*\n(.*?)^(?:```|:::)$", section, re.M | re.S)
        rest = re.sub(r"^(```|:::).*?^(```|:::)$", "", section, flags=re.M | re.S)
        indented = re.findall(r"(?<=\n\n)(?: {4}[^\n]*\n)+", rest)
        around = sections[0] + section
        yield from ((language, text, around) for language, text in fenced)
        yield from (("", text, around) for text in indented)


def anchors(path):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.MULTILINE)
    return {
        re.sub(r"[^\w -]", "", heading).lower().strip().replace(" ", "-") for heading in headings
    }


def test_the_readme_is_short():
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.splitlines()) <= 160
    assert text.count("```python") == 1 and text.count("![") == 2


def test_the_readme_links_every_page():
    text = (ROOT / "README.md").read_text("utf-8")
    assert {path for path in IDS if path.startswith("docs/")} <= set(
        re.findall(r"\]\((.*?)\)", text)
    )


@pytest.mark.parametrize("path", PAGES, ids=IDS)
def test_links_lead_somewhere(path):
    for link in re.findall(r"\]\((?!https?:)(.*?)\)", text_of(path)):
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("path", PAGES, ids=IDS)
def test_commands_are_accepted(path):
    for arguments in commands(path):
        assert parser().parse_args(arguments).command == arguments[0]


@pytest.mark.parametrize("path", PAGES, ids=IDS)
def test_scripts_exist(path):
    scripts = re.findall(
        r"\bpython ((?:benchmarks|examples|tuning)/[\w/]+(?:\.py)?)", text_of(path)
    )
    for script in scripts:
        assert (ROOT / script).exists(), script


def python_of(page):
    """The Python blocks of a page."""
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)


# Pages whose Python is run: here, in test_readme.py and in test_migrating.py, all of their blocks.
RUN_HERE = {
    "data",
    "distributed",
    "evaluating",
    "explaining",
    "getting_started",
    "hyper_parameters",
    "training",
}
RUN_ELSEWHERE = {"searching", "serving", "migrating"}
# Pages whose commands are run.
COMMANDS_RUN = {"getting_started"}
# What no code is: output, and what Sphinx makes of other files.
NO_CODE = re.compile(r"text|\{.*\}")


@pytest.mark.parametrize("path", [path for path in PAGES if path.parent.name == "docs"])
def test_each_block_is_run_or_labelled(path):
    for language, text, around in blocks(path):
        run = RUN_HERE | RUN_ELSEWHERE if language == "python" else COMMANDS_RUN
        if path.stem not in run and not NO_CODE.fullmatch(language):
            assert re.search(r"\bnot run\b", around, re.IGNORECASE), text


def test_the_snippets_of_data(mind_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    site, load_mind, from_pandas, hashed, own_words, vectors = python_of("docs/data.md")
    names = {}
    sizes = {"2_000": "30", "10_000": "90", "(8_000, 1_000, 1_000)": "(20, 10, 10)", "=300": "=4"}
    for size, small in sizes.items():
        assert size in site
        site = site.replace(size, small)
    exec(compile(site, "docs/data.md", "exec"), names)
    assert (tmp_path / "my-site" / "word_vectors.txt").exists()

    exec(compile(load_mind.replace("my-folder", str(mind_folder)), "docs/data.md", "exec"), names)
    article = next(names["train_news"].as_numpy_iterator())
    impression = next(names["train"].as_numpy_iterator())
    assert article["title"] and impression["user_id"]

    columns = {
        "user_id": ["U1", "U2"],
        "history": [["N1"], []],
        "candidates": [["N2", "N1"]] * 2,
        "clicked": [[1, 0]] * 2,
    }
    names["log"] = pd.DataFrame(columns)
    names["news"] = pd.DataFrame({"id": ["N1", "N2"], "title": ["Rain", "Team wins"]})
    names["config"] = names["tfrs_npa"].NPAConfig.preset("small")
    exec(compile(from_pandas, "docs/data.md", "exec"), names)
    assert next(iter(names["batches"]))["candidates"].shape[0] == 2

    exec(compile(hashed, "docs/data.md", "exec"), names)
    assert (names["users"].index(["U1", "U2", "U9"]) > 0).tolist() == [True, True, False]

    exec(compile(own_words, "docs/data.md", "exec"), names)
    assert names["catalog"].vocabulary.words[2:] == ["新桥", "今日", "开通"]

    given = tfrs_npa.ArticleVectors(["N1"], np.ones((1, 3)))
    catalog = tfrs_npa.NewsCatalog(article_vectors=given).adapt(
        {"news_id": ["N1"], "title": ["Rain"]}
    )
    users = tfrs_npa.UserIndex().adapt({"user_id": ["U1"]})
    names["model"] = tfrs_npa.NPA(names["config"], catalog, users)
    names["vectors"] = np.ones((1, 3))
    exec(compile(vectors, "docs/data.md", "exec"), names)
    assert catalog.index(["N9"])[0] > 1


def test_the_snippet_of_hyper_parameters():
    (code,) = python_of("docs/hyper_parameters.md")
    names = {}
    exec(compile(code, "docs/hyper_parameters.md", "exec"), names)
    assert names["config"].dropout == 0.1


@pytest.fixture
def eagerly():
    """Tracing takes longer than all the steps."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.slow
def test_the_snippet_of_training(mind_folder, tmp_path, monkeypatch, eagerly):
    (code,) = python_of("docs/training.md")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    names = {}
    exec(compile(code.replace("my-folder", str(mind_folder)), "docs/training.md", "exec"), names)
    assert names["model"].config == tfrs_npa.NPAConfig.preset("small")


@pytest.mark.slow
def test_getting_started(monkeypatch, tmp_path, eagerly):
    """Its Python, then its commands, on a site that trains in seconds."""
    world = functools.partial(SyntheticWorld, users=60, articles=150, impressions=(150, 40, 40))
    monkeypatch.setattr(synthetic, "SyntheticWorld", world)
    monkeypatch.setattr(tfds, "load", functools.partial(tfds.load, data_dir=tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    load, fit, top_k = python_of("docs/getting_started.md")
    names = {}
    for snippet in (load, fit, top_k):
        exec(compile(snippet, "docs/getting_started.md", "exec"), names)
    assert len(names["titles"]) == 5 and all(names["titles"])

    for arguments in commands(ROOT / "docs/getting_started.md"):
        arguments = [names["users"].ids[2] if part == "U4413" else part for part in arguments]
        data = ["--data-dir", str(tmp_path / "data"), "--no-cache"]
        assert main(arguments + ([] if arguments[0] == "export" else data)) == 0
    assert (tmp_path / "exports" / "npa" / "1" / "saved_model.pb").exists()


def test_every_public_name_is_in_the_reference():
    text = (ROOT / "docs/reference.md").read_text("utf-8")
    shown = set(re.findall(r"^\.\. auto\w+:: (?:tfrs_npa\.\w+\.)?(\w+)$", text, re.MULTILINE))
    public = set(tfrs_npa.__all__)
    for name in ("data", "datasets.mind", "layers", "metrics", "models", "retrieval", "serving"):
        public |= set(importlib.import_module(f"tfrs_npa.{name}").__all__)
    assert public <= shown


@pytest.mark.slow
def test_the_snippets_of_distributed(eagerly):
    training, own_loop = python_of("docs/distributed.md")
    names = {"tf": tf, "tfrs_npa": tfrs_npa, "config": tfrs_npa.NPAConfig.preset("small")}
    news = {"news_id": ["N1", "N2", "N3"], "title": ["Rain", "Team wins", "Vote"]}
    log = {
        "user_id": ["U1", "U2"],
        "history": [["N1"], []],
        "candidates": [["N2", "N1"], ["N3", "N1"]],
        "clicked": [[1, 0]] * 2,
    }
    names["catalog"] = tfrs_npa.NewsCatalog().adapt(news)
    names["users"] = tfrs_npa.UserIndex().adapt(log)
    made_of = names["catalog"], names["users"], names["config"]
    log = tfrs_npa.Impressions.from_pandas(pd.DataFrame(log), *made_of[:2])
    names["batches"] = tfrs_npa.training_batches(log, *made_of)
    names["validation"] = tfrs_npa.impression_batches(log, *made_of)
    for snippet in (training, own_loop):
        exec(compile(snippet, "docs/distributed.md", "exec"), names)
    assert float(names["loss"]) > 0
    assert names["model"].optimizer.iterations.numpy() == 2


def test_the_snippets_of_explaining():
    tensors, report = python_of("docs/explaining.md")
    config = tfrs_npa.NPAConfig.preset("small").replace(num_filters=8, attention_dim=4)
    news = {"news_id": ["N1", "N2", "N3"], "title": ["Rain", "Team wins", "Vote"]}
    log = {
        "user_id": ["U1", "U2"],
        "history": [["N1"], []],
        "candidates": [["N2", "N1"], ["N3", "N1"]],
        "clicked": [[1, 0]] * 2,
    }
    catalog, users = tfrs_npa.NewsCatalog().adapt(news), tfrs_npa.UserIndex().adapt(log)
    names = {"tfrs_npa": tfrs_npa, "config": config, "catalog": catalog, "users": users}
    names["valid"] = tfrs_npa.Impressions.from_pandas(pd.DataFrame(log), catalog, users)
    names["model"] = tfrs_npa.NPA(config, catalog, users)
    for snippet in (tensors, report):
        exec(compile(snippet, "docs/explaining.md", "exec"), names)
    assert names["found"].contributions.shape == (2, 2, 1)
    assert names["words"].keys() <= {"rain", "team", "wins", "vote"}
    assert names["html"].startswith("<!doctype html>")


def test_the_snippets_of_evaluating(tmp_path, eagerly):
    on_lists, reranking, off_policy = python_of("docs/evaluating.md")
    names = {}
    exec(compile(on_lists, "docs/evaluating.md", "exec"), names)
    assert names["shown"].tolist() == [[2, 4], [4, 2]] and names["gini"] == 0.5
    assert names["diversity"].tolist() == [1, 1]
    assert 0 < names["kl"][0] < names["kl"][1] and 0 < names["distance"][0] < 1

    sizes = ("word_embedding_dim", "num_filters", "user_embedding_dim", "attention_dim")
    ids = [f"N{number}" for number in range(50)]
    titles = [f"{'rain sun wind'.split()[n % 3]} {n % 5} {n % 7}" for n in range(50)]
    catalog = tfrs_npa.NewsCatalog().adapt({"news_id": ids, "title": titles})
    users = tfrs_npa.UserIndex().adapt({"user_id": ["U13"]})
    config = tfrs_npa.NPAConfig(**dict.fromkeys(sizes, 4))
    model = tfrs_npa.NPA(config, catalog, users)
    model.compile(optimizer="sgd")
    vectors = catalog.word_embeddings(4, seed=0, from_titles=True, centered=True)
    Run.create(tmp_path / "run", model, TrainingSettings("D"), Baselines({}, vectors))
    run = reranking.replace("runs/mine", str(tmp_path / "run"))
    exec(compile(run, "docs/evaluating.md", "exec"), names)
    assert len({*names["ids"][0].tolist()}) == 5 and names["scores"].shape == (1, 5)

    exec(compile(off_policy, "docs/evaluating.md", "exec"), names)
    assert abs(names["propensity"] - names["seen"]).max() < 0.05
    assert 0.06 < names["more"] < 0.1


def test_the_performance_tables_agree():
    readme, page = (
        {
            tuple(cell.strip() for cell in line.strip("|").split("|"))
            for line in (ROOT / path).read_text("utf-8").splitlines()
            if re.match(r"\|.*`python benchmarks/", line)
        }
        for path in ("README.md", "docs/performance.md")
    )
    assert len(readme) == 6 and readme <= page
