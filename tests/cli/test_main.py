"""What all commands have in common: help, versions, errors and interruptions."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest

import tfrs_npa
from tfrs_npa.cli import COMMANDS

ROOT = pathlib.Path(tfrs_npa.__file__).parents[1]
# Some options of each command.
OPTIONS = {
    "train": "--data --preset --set --word-vectors --holdout --resume --precision --cache-dir",
    "evaluate": "--run --predictions --truth --split --json --encoding-memory",
    "predict": "--to --split --no-cache",
    "recommend": "--user --history --include-clicked --k --json",
    "explain": "--export --user --history --news --k --to --format --articles",
    "tune": "--space --tuner --max-trials --epochs --resume --wait-for-chief",
    "export": "--to --version --dtype serving_default",
    "forget": "--run --user",
}
# Each with a part of its message.
ERRORS = {
    "export --to A": "give --run and --to, or --refresh",
    "export --run A": "give --run and --to, or --refresh",
    "recommend --run A --user U --trade-off 0.5": "--trade-off needs --rerank",
    "recommend --run A --user U --rerank mmr --trade-off 2": "has to be from 0 to 1",
    "evaluate --run A --article-values B": "--article-values needs --lists",
    "evaluate --run A --lists --article-values no-such.csv": "no-such.csv: No such file",
    "evaluate --run A --off-policy no-such.txt": "no-such.txt: No such file",
    "evaluate --predictions A --truth B --lists": "--lists can only be used with --run",
    "train --data mind/demo --run NEW --set dropout=2": "dropout is 2",
    "train --data mind/demo --run NEW --set num_filter=2": "did you mean 'num_filters'",
    "train --data mind/demo --run NEW --epochs 0": "epochs is 0; it has to be at least 1",
    "train --data mind/demo --run NEW --preset huge": "no preset 'huge'",
    "train --data mind/demo --run NEW --config no-such.yaml": "no-such.yaml: No such file",
    "train --data mind/demo --run NEW --word-vectors v.npy": "need a word list",
    "train --run NEW": "--data is missing",
    "train --data D --run NEW": "there is no file or folder D; give a folder in MIND's format",
    "train --data mind/tiny --run NEW": "there is no data set mind/tiny",
    "train --data mind/demo --manual-dir D --run NEW": "the manual folder D does not exist",
    "train --data mind/demo --run NEW --word-vectors D": "D: No such file",
    "tune --data mind/tiny --run NEW": "there is no data set mind/tiny",
    "evaluate --run RUN --data mind/tiny": "there is no data set mind/tiny",
    "train --data mind/demo --run RUN": "holds a run already",
    "train --data mind/demo --run OTHER --overwrite": "exists and is not the folder of a run",
    "train --run RUN --resume --epochs 9": "was started with epochs 1, not 9",
    "train --run NEW --resume": "NEW does not exist; `tfrs-npa train",
    "tune --data mind/demo --run NEW --space SPACE": "bad.yaml: 'num_filtres' is not a hyper-",
    "tune --data mind/demo --run NEW --max-trials 0": "max_trials is 0",
    "tune --run NEW": "--data is missing",
    "tune --data mind/demo --run OTHER": "exists and is not the folder of a search",
    "tune --run NEW --resume": "NEW does not exist; `tfrs-npa tune",
    "evaluate --predictions P": "--truth is missing",
    "evaluate --run RUN --truth T": "--truth needs --predictions",
    "evaluate --run RUN --json OTHER": "OTHER exists and is not a regular file",
    "evaluate --run NEW": "NEW does not exist",
    "predict --run NEW --to OTHER": "NEW does not exist",
    "predict --run RUN --to SPACE": "bad.yaml is not a folder",
    "recommend --run RUN": "--user is missing",
    "recommend --run RUN --user U1 --k 0": "--k is 0",
    "recommend --run NEW --user U1": "NEW does not exist",
    "explain --run RUN --to NEW --k 0": "--k is 0",
    "explain --run RUN --to NEW --user A --user B --history C": "there are 1 --history for 2 --us",
    "explain --run RUN --to NEW --history A --history B": "several --history need a --user each",
    "explain --run RUN --to NEW --user A --user A": "a --user is given twice",
    "explain --run RUN --to OTHER": "OTHER exists and is not a regular file",
    "explain --run RUN --to NEW --data mind/tiny": "there is no data set mind/tiny",
    "explain --run NEW --to NEW": "NEW does not exist",
    "explain --export NEW --to NEW": "--export needs readers",
    "explain --export NEW --to NEW --user A": "--export needs --data, or a --history",
    "export --run RUN --to NEW --version 0": "--version is 0; it has to be at least 1",
    "export --run NEW --to OTHER": "NEW does not exist",
}
# What argparse refuses.
REFUSED = {
    "": "required: COMMAND",
    "fly": "invalid choice: 'fly'",
    "train": "required: --run",
    "train --run NEW --overwrite --resume": "not allowed with argument --overwrite",
    "train --run NEW --data mind/demo --precision float16": "invalid choice: 'float16'",
    "tune --run NEW --data mind/demo --holdout none": "invalid choice: 'none'",
    "tune --run NEW --data mind/demo --tuner genetic": "invalid choice: 'genetic'",
    "evaluate": "one of the arguments --run --predictions is required",
    "evaluate --run A --predictions B": "not allowed with argument --run",
    "evaluate --run A --encoding-memory -1": "-1 is not a number of at least 0",
    "evaluate --run A --encoding-memory much": "much is not a number of at least 0",
    "explain --to A": "one of the arguments --run --export is required",
    "explain --run A --to B --format pdf": "invalid choice: 'pdf'",
    "recommend --run A --user U --rerank best": "invalid choice: 'best'",
    "predict --run A --to B --split train": "invalid choice: 'train'",
    "export --run A --to B --dtype int8": "invalid choice: 'int8'",
}
PROGRAM = """
import contextlib, io, json, sys
from tfrs_npa.cli import main
answers = []
for arguments in json.loads(sys.argv[1]):
    with (
        contextlib.redirect_stdout(io.StringIO()) as output,
        contextlib.redirect_stderr(io.StringIO()) as messages,
    ):
        try:
            code = main(arguments)
        except SystemExit as error:
            code = error.code
    slow = {"tensorflow", "tf_keras", "keras_tuner", "tensorflow_datasets"} & {*sys.modules}
    answers.append((code, output.getvalue(), messages.getvalue(), sorted(slow)))
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def answer(run, tmp_path_factory):
    """What the commands of this file answer, each the first of its process as far as it matters."""
    folder = tmp_path_factory.mktemp("answers")
    (folder / "OTHER").mkdir()
    (folder / "OTHER" / "thesis.txt").touch()
    (folder / "bad.yaml").write_text("space: {num_filtres: 8}")
    names = {"RUN": run, "NEW": folder / "NEW", "OTHER": folder / "OTHER"}
    names |= {"SPACE": folder / "bad.yaml"}
    lines = [f"{command} --help" for command in COMMANDS]
    lines += ["--help", "--version", *ERRORS, *REFUSED]
    commands = [[str(names.get(word, word)) for word in line.split()] for line in lines]
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(commands)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    # Nothing is written, and the other folder is left alone.
    assert sorted(path.name for path in folder.rglob("*")) == ["OTHER", "bad.yaml", "thesis.txt"]
    return dict(zip(lines, json.loads(process.stdout), strict=True))


@pytest.mark.parametrize("command", COMMANDS)
def test_help(answer, command):
    code, output, messages, slow = answer[f"{command} --help"]
    assert code == 0 and not messages and not slow
    assert f"usage: tfrs-npa {command}" in output and "examples:\n" in output
    for option in OPTIONS[command].split():
        assert option in output
    assert command in answer["--help"][1]


def test_version(answer):
    assert answer["--version"] == [0, f"tfrs-npa {tfrs_npa.__version__}\n", "", []]


@pytest.mark.parametrize("line", ERRORS)
def test_an_error_in_an_option_needs_no_tensorflow(answer, line):
    code, output, messages, slow = answer[line]
    assert code == 2 and not output and not slow
    assert messages.startswith("tfrs-npa: error: ") and len(messages.splitlines()) == 1
    assert ERRORS[line] in messages


@pytest.mark.parametrize("line", REFUSED)
def test_an_unknown_option_needs_no_tensorflow(answer, line):
    code, output, messages, slow = answer[line]
    assert code == 2 and not output and not slow
    assert REFUSED[line] in messages.splitlines()[-1]


@pytest.mark.slow
def test_tensorflows_log_is_there_for_those_who_ask_for_it(tmp_path, process):
    (tmp_path / "empty").mkdir()  # what is in it is read by what needs TensorFlow
    options = ["train", "--data", tmp_path / "empty", "--run", tmp_path / "run"]
    code, output, messages = process(*options, TF_CPP_MIN_LOG_LEVEL="0")
    *log, error = messages.splitlines()
    assert code == 2 and not output and log
    assert error.startswith(f"tfrs-npa: error: {tmp_path / 'empty'}: no train split")


def test_an_interruption_has_its_exit_code(in_process, monkeypatch, capsys):
    def interrupt(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(COMMANDS["evaluate"], "run", interrupt)
    assert in_process("evaluate", "--run", "anywhere") == 130
    assert capsys.readouterr().err == "\ntfrs-npa: interrupted\n"
