"""Pages for users: their links, their commands, and a README of a readable length."""

import pathlib
import re
import shlex

import nbformat
import pandas as pd
import pytest
import tensorflow as tf

import tfrs_npa
from tfrs_npa.cli import parser

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


def anchors(path):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.MULTILINE)
    return {
        re.sub(r"[^\w -]", "", heading).lower().strip().replace(" ", "-") for heading in headings
    }


def test_the_readme_is_short():
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.splitlines()) <= 160
    assert text.count("```python") == 1 and text.count("![") == 1


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


def test_the_snippets_of_data(mind_folder):
    load_mind, from_pandas, hashed, own_words = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs/data.md").read_text("utf-8"), re.DOTALL
    )
    names = {}
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


def test_the_snippets_of_distributed(mind_folder):
    training, own_loop = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs/distributed.md").read_text("utf-8"), re.DOTALL
    )
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
    tf.config.run_functions_eagerly(True)  # tracing takes longer than all the steps
    try:
        for snippet in (training, own_loop):
            exec(compile(snippet, "docs/distributed.md", "exec"), names)
    finally:
        tf.config.run_functions_eagerly(False)
    assert float(names["loss"]) > 0
    assert names["model"].optimizer.iterations.numpy() == 2


def test_the_snippets_of_explaining():
    tensors, report = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs/explaining.md").read_text("utf-8"), re.DOTALL
    )
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
