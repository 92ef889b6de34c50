"""Imports point down, and there is no circle among them."""

from __future__ import annotations

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
# From the top to the bottom; a module may import from its own layer and from those after it.
LAYERS = (
    "cli",
    "search explaining",
    "serving",
    "runs",
    "retrieval",
    "models",
    "submission",
    "data",
    "datasets",
    "layers metrics",
    "optimizers",
    "config",
    "recommenders settings _figures _files _hdf5 _keras _lock _numbers _quoting _shards _yaml",
)
FILES = sorted((ROOT / "tfrs_npa").rglob("*.py"))


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def imports(path):
    """The modules of the package that a file imports, wherever it does so."""
    found = set()
    package = module_of(path) if path.name == "__init__.py" else module_of(path).rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([package, base]).rstrip(".")
            names = {f"{base}.{alias.name}" for alias in node.names}
            # A package that a module of it is taken from is not itself needed.
            found |= names if names <= MODULES.keys() else {*names, base}
    return {name for name in found if name in MODULES} - {module_of(path)}


def layer_of(module):
    top = module.split(".")[1]
    return next(number for number, layer in enumerate(LAYERS) if top in layer.split())


INNER = [module for module in MODULES if module.count(".") and module != "tfrs_npa.__main__"]


@pytest.mark.parametrize("module", INNER)
def test_imports_point_down(module):
    for imported in imports(MODULES[module]) - {"tfrs_npa"}:
        assert layer_of(imported) >= layer_of(module), f"{module} imports {imported}"


def test_no_circle():
    graph = {module: imports(MODULES[module]) & set(INNER) for module in INNER}
    while leaves := {module for module in graph if not graph[module] & graph.keys()}:
        graph = {module: graph[module] for module in graph.keys() - leaves}
    assert not graph


def test_only_the_command_line_reads_argparse():
    users = {module for module, path in MODULES.items() if "import argparse" in path.read_text()}
    assert users and all(module.startswith("tfrs_npa.cli") for module in users)


def test_the_data_set_knows_nothing_else_of_the_package():
    """`tfds build` imports its folder under another name."""
    for module in INNER:
        if module.startswith("tfrs_npa.datasets.mind."):
            others = {name for name in imports(MODULES[module]) if "datasets" not in name}
            assert others <= {"tfrs_npa._files", "tfrs_npa._quoting"}, module
