"""The notebook as it is kept; `make notebook` runs it."""

from __future__ import annotations

import ast
import importlib
import pathlib

import nbformat
import pytest

import tfrs_npa

PATH = pathlib.Path(__file__).parents[2] / "examples" / "npa_tutorial.ipynb"
# Calls by which a cell shows something; `show` and `show_words` are functions of the notebook.
SHOWING = {"print", "show", "show_words", "Image"}


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(PATH, as_version=nbformat.NO_CONVERT)


@pytest.fixture(scope="module")
def cells(notebook):
    """The cells with code."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_it_is_a_notebook_of_readable_size(notebook):
    nbformat.validate(notebook)
    assert PATH.stat().st_size < 1_500_000
    assert notebook.metadata.keys() == {"kernelspec", "language_info"}
    assert notebook.metadata.language_info == {"name": "python"}


def test_each_cell_that_shows_something_has_an_output(cells):
    for cell in cells:
        statements = [
            node for node in ast.parse(cell.source).body if not isinstance(node, ast.FunctionDef)
        ]
        calls = {
            node.func.id
            for statement in statements
            for node in ast.walk(statement)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert bool(cell.outputs) == bool(calls & SHOWING), cell.source
    assert any("image/png" in output.get("data", {}) for cell in cells for output in cell.outputs)


def test_the_outputs_are_those_of_a_fresh_kernel(notebook, cells, example):
    script = example("run_notebook")
    assert script.complaints(notebook) == []
    assert script.cleaned(notebook) == notebook
    assert [cell.execution_count for cell in cells] == [*range(1, len(cells) + 1)]


def test_the_names_it_uses_exist(cells):
    names = set()
    for node in ast.walk(ast.parse("\n".join(cell.source for cell in cells))):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("tfrs_npa"):
            module = importlib.import_module(node.module)
            assert {alias.name for alias in node.names} <= {*dir(module)}
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == "tfrs_npa":
                assert node.attr in tfrs_npa.__all__
                names.add(node.attr)
    assert {"NPA", "PersonalizedTopK", "export", "evaluate_model", "explain_readers"} <= names


def test_it_loads_the_data_by_one_line(cells):
    (line,) = [line for cell in cells for line in cell.source.splitlines() if "DATA = " in line]
    assert line == 'DATA = "mind/synthetic"'
    assert "mind/" not in "".join(cell.source for cell in cells).replace('"mind/synthetic"', "")
