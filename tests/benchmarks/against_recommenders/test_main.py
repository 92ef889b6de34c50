"""The command line of the comparison with Microsoft Recommenders."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[3]


@pytest.fixture
def parse(benchmark):
    return benchmark("against_recommenders.__main__").parse_arguments


def test_defaults(parse):
    usual, quick = parse([]), parse(["--quick", "--rounds", "1"])
    assert (usual.rounds, usual.batch_sizes, usual.title_lengths) == (5, [32, 256], [10, 30])
    assert usual.json == ROOT / "benchmarks" / "results" / "against_recommenders.json"
    assert (quick.rounds, quick.batch_sizes, quick.title_lengths) == (1, [32], [10])
    assert quick.json is None


def test_bad_options(parse, capsys):
    with pytest.raises(SystemExit):
        parse(["--rounds", "0"])
    assert "--rounds has to be at least 1" in capsys.readouterr().err


def test_the_folder_is_a_command(tmp_path):
    options = ["--recommenders-python", "no-such-python", "--recommenders-venv", tmp_path / "venv"]
    process = subprocess.run(
        [sys.executable, "benchmarks/against_recommenders", *options],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert process.returncode == 1
    assert process.stderr.startswith("no-such-python is missing; Recommenders 1.2.1 needs Python")
