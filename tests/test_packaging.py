"""A wheel, as it is built and installed."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import zipfile

import pytest
import yaml

import tfrs_npa

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel that `python -m build` makes, of a copy: a build leaves folders in its source."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for path in files_of(ROOT) | {"setup.cfg", "pyproject.toml", "README.md", "LICENSE"}:
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_bytes((ROOT / path).read_bytes())
    # Without isolation, which would download setuptools.
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", target, "."]
    process = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr
    (path,) = target.iterdir()
    return path


def files_of(root):
    return {
        path.relative_to(root).as_posix()
        for path in (root / "tfrs_npa").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_it_has_every_file_of_the_package_and_no_other(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == files_of(ROOT)
    assert "tfrs_npa/datasets/mind/dummy_data/MINDsmall_dev/news.tsv" in names
    assert "tfrs_npa/py.typed" in names
    assert "tfrs_npa/data/unicode-14.0.0.npz" in names
    assert wheel.name.startswith(f"tfrs_npa-{tfrs_npa.__version__}-")


def test_the_registry_would_take_it(wheel):
    command = [sys.executable, "-m", "twine", "check", "--strict", wheel]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr
    assert "PASSED" in process.stdout


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == tfrs_npa.__version__


@pytest.mark.slow
def test_it_works_where_no_checkout_is_on_the_path(wheel, tmp_path):
    """Its dependencies come from this environment; it comes before the checkout installed there."""
    site = tmp_path / "site"
    command = ["-m", "pip", "install", "-q", "--no-deps", "--target", site, wheel]
    subprocess.run([sys.executable, *command], check=True, capture_output=True)
    environment = {**os.environ, "PYTHONPATH": str(site)}
    environment.pop("TF_USE_LEGACY_KERAS", None)

    def run(*arguments):
        process = subprocess.run(
            [*map(str, arguments)], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert process.returncode == 0, process.stderr
        return process.stdout

    assert "evaluate a trained model" in run(sys.executable, site / "bin" / "tfrs-npa", "--help")
    code = f"""
import pathlib, tfrs_npa
assert pathlib.Path(tfrs_npa.__file__).is_relative_to({str(site)!r}), tfrs_npa.__file__
import functools, tensorflow_datasets as tfds
from tfrs_npa.datasets.mind import synthetic
synthetic.SyntheticWorld = functools.partial(
    synthetic.SyntheticWorld, users=30, articles=100, impressions=(20, 10, 10)
)
rows = tfds.load("mind/synthetic-behaviors", split="train", data_dir={str(tmp_path / "data")!r})
print(len(rows))
"""
    assert run(sys.executable, "-c", code).split()[-1] == "20"
