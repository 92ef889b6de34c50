from __future__ import annotations

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]


def files_of(root):
    return {
        str(path.relative_to(root))
        for package in ("tfrs_npa", "tfrs_npa_cli")
        for path in (root / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_a_build_has_every_file_of_the_packages(tmp_path):
    command = ["-c", "import setuptools; setuptools.setup(script_name='setup.py')"]
    command += ["build_py", "--build-lib", str(tmp_path)]
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True, capture_output=True)
    assert "tfrs_npa/datasets/mind/dummy_data/MINDsmall_dev/news.tsv" in files_of(ROOT)
    assert files_of(tmp_path) == files_of(ROOT)
