"""Mutation testing of a fixed random sample, by Cosmic Ray: `make mutation`.

Changes one place after the other in a copy of the package (`+` for `-`, `<` for `<=`, a number, a
condition), and runs the tests of the changed module, and those of its folder, and quick ones of the
folder that uses it most, that reach the place: a mutant that none of them notices has survived.
Which tests reach which lines is found out first, by coverage. What runs on import is held against
all of them. Annotations are left out, since nothing reads them. What is done is kept: after an
interruption, the same command continues. Ends with an error if fewer than 90 % are killed.

The counts and the survivors are in build/mutation/report.md.
"""

from __future__ import annotations

import argparse
import ast
import functools
import itertools
import os
import pathlib
import random
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]
WORK = ROOT / "build" / "mutation"
# The copy that is changed, and one that is not.
COPY, PRISTINE = WORK / "copy", WORK / "pristine"
SESSION, CONFIG = WORK / "session.sqlite", WORK / "config.toml"
# Which tests reach which lines.
COVERAGE = WORK / "coverage.sqlite"
ARGUMENTS = WORK / "tests.txt"
MUTATED = ("layers", "metrics", "models", "data", "retrieval")
# Tests of many processes, whose minutes tell nothing of a module that others do not.
SLOW = ("test_strategies.py", "test_two_builds.py")
# Folders whose tests are those of another one, too.
USERS = {"layers": "models", "models": "retrieval"}
# Most mutants are noticed by quick tests.
MARKS, NO_TESTS = ("not slow", "slow"), 5
# Seconds after which a test does not end.
ENDLESS = 600
SEED, LEAST = 1, 0.9


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sample", type=int, default=300, metavar="N", help="default: 300")
    parser.add_argument("--test", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.test:
        sys.exit(tested())
    if not SESSION.exists():
        prepare(options.sample)
    # An interrupted run leaves a mutant there.
    shutil.rmtree(COPY, ignore_errors=True)
    shutil.copytree(PRISTINE, COPY)
    subprocess.run(["cosmic-ray", "exec", str(CONFIG), str(SESSION)], cwd=COPY, check=True)
    sys.exit(report())


def prepare(number: int) -> None:
    """Copies what git knows, runs the tests, and makes a session of some of the mutants."""
    shutil.rmtree(WORK, ignore_errors=True)
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True)
    for name in filter(None, names.stdout.decode().split("\0")):
        (PRISTINE / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, PRISTINE / name)
    folders = sorted({"tests/" + name for name in [*MUTATED, *USERS.values()]})
    options = ["-m", "", "--cov-context=test", "--cov-report=", "--cov-fail-under=0"]
    ignored = [f"--ignore-glob=*/{name}" for name in SLOW]
    if code := pytest([*options, "--cov=tfrs_npa", *ignored, *folders], PRISTINE):
        sys.exit(code)
    modules = ", ".join(f'"tfrs_npa/{name}"' for name in MUTATED)
    CONFIG.write_text(
        "[cosmic-ray]\n"
        f"module-path = [{modules}]\n"
        "timeout = 86400\n"  # see ENDLESS
        "excluded-modules = []\n"
        f'test-command = "{sys.executable} {pathlib.Path(__file__).resolve()} --test"\n'
        "[cosmic-ray.distributor]\n"
        'name = "local"\n'
    )
    session = SESSION.with_suffix(".all")
    subprocess.run(["cosmic-ray", "init", str(CONFIG), str(session)], cwd=PRISTINE, check=True)
    sample(session, number)
    session.replace(SESSION)  # now it is complete


def sample(path: pathlib.Path, number: int) -> None:
    """Keeps some of the mutants of a session."""
    from cosmic_ray.work_db import WorkDB, use_db

    with use_db(path, WorkDB.Mode.open) as session:
        items = [item for item in session.work_items if not is_annotation(item.mutations[0])]
        items.sort(key=lambda item: str(item.mutations[0]))
        chosen = random.Random(SEED).sample(items, min(number, len(items)))
        session.clear()
        session.add_work_items(chosen)
    print(f"{len(chosen):,} of {len(items):,} mutants")


def is_annotation(mutation) -> bool:
    """Whether a mutant changes an annotation, or a decorator, as those of AutoGraph."""
    spans = annotations(PRISTINE / mutation.module_path)
    return any(first <= mutation.start_pos and mutation.end_pos <= last for first, last in spans)


@functools.cache
def annotations(path: pathlib.Path) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Returns the places of annotations and of decorators, from the start to the end of each."""
    places = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        found = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        for part in filter(None, [*found, *getattr(node, "decorator_list", [])]):
            # A decorator starts at its sign.
            start, end = (part.lineno, part.col_offset - 1), (part.end_lineno, part.end_col_offset)
            places.append((start, end))
    return places


def tested() -> int:
    """Runs the tests of the place that differs from the original; returns the exit code."""
    for name in MUTATED:
        for path in sorted(pathlib.Path("tfrs_npa", name).glob("*.py")):
            lines = path.read_text(encoding="utf-8").splitlines()
            originals = (PRISTINE / path).read_text(encoding="utf-8").splitlines()
            for number, pair in enumerate(itertools.zip_longest(lines, originals), 1):
                if len(set(pair)) > 1:
                    return run(tests_of_line(path, number), f"tests/{name}/")
    return 0


def run(tests: list[str], folder: str) -> int:
    """Runs tests, the quick ones, then the slow ones of a folder; returns the exit code."""
    own = [test for test in tests if test.startswith(folder)]
    for marks, some in zip(MARKS, (tests, own), strict=True):
        if not some:
            continue
        ARGUMENTS.write_text("\n".join(some), encoding="utf-8")
        code = pytest(["-x", "-m", marks, f"@{ARGUMENTS}"], pathlib.Path.cwd())
        if code not in (0, NO_TESTS):
            return code
    return 0


def pytest(arguments: list[str], folder: pathlib.Path) -> int:
    """Runs pytest in a folder; returns the exit code."""
    limit = ["-o", f"faulthandler_timeout={ENDLESS}", "-o", "faulthandler_exit_on_timeout=true"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *limit, *arguments]
    environment = os.environ | {"PYTHONPATH": str(folder), "COVERAGE_FILE": str(COVERAGE)}
    if folder != PRISTINE:
        # Bytecode is taken for that of any source of equal size from the same second.
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
    return subprocess.run(command, cwd=folder, env=environment).returncode


def tests_of_line(path: pathlib.Path, line: int) -> list[str]:
    """Returns the tests of a module's own file, and others that reach a line of it.

    If it is not known which do, all, as for what runs on import, whichever test comes first; those
    of a file whose fixtures reach it all do. Graphs that AutoGraph makes of a function reach it
    unseen, hence the own file.
    """
    from coverage import CoverageData

    data, files = CoverageData(str(COVERAGE)), tests_of(path)
    tree = ast.parse((PRISTINE / path).read_text(encoding="utf-8"))
    if not in_function(tree, line):
        return files
    data.read()
    contexts = data.contexts_by_lineno(str(PRISTINE / path))
    reached = set()
    for number in statement(tree, line):
        for context in contexts.get(number, []):
            test, _, phase = context.rpartition("|")
            reached.add(test if phase == "run" else test.split("::")[0])
    if not reached:
        return files
    whole = {own_tests(path), *reached}.intersection(files)
    file_of = {test: test.split("::")[0] for test in sorted(whole | reached)}
    parts = [test for test, file in file_of.items() if file in files and file not in whole]
    return sorted([*whole, *parts], key=lambda test: files.index(file_of[test]))


def in_function(tree: ast.AST, line: int) -> bool:
    """Whether a line is in the body of a function."""
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return any(node.body[0].lineno <= line <= node.end_lineno for node in functions)


def statement(tree: ast.AST, line: int) -> range:
    """Returns the lines of the innermost statement at a line, without those of its body."""
    lines = range(line, line + 1)
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt) and node.lineno <= line <= node.end_lineno:
            body = getattr(node, "body", None)
            last = max(node.lineno, body[0].lineno - 1) if body else node.end_lineno
            if line <= last:
                lines = range(node.lineno, last + 1)
    return lines


def tests_of(path: pathlib.Path) -> list[str]:
    """Returns the tests of a module: its own, then those of its folder, then those of its users."""
    name = path.parent.name
    folders = [pathlib.Path("tests", folder) for folder in (name, USERS.get(name)) if folder]
    files = [file for folder in folders for file in sorted(folder.glob("test_*.py"))]
    quick = [file for file in files if file.name not in SLOW]
    return sorted(map(str, quick), key=lambda file: file != own_tests(path))


def own_tests(path: pathlib.Path) -> str:
    """Returns the file of tests of a module, which may not exist."""
    return f"tests/{path.parent.name}/test_{path.stem}.py"


def report() -> int:
    """Writes the counts and the survivors; returns the exit code."""
    from cosmic_ray.work_db import WorkDB, use_db

    with use_db(SESSION, WorkDB.Mode.open) as session:
        results = list(session.completed_work_items)
    killed = sum(result.is_killed for _, result in results)
    share = killed / max(1, len(results))
    lines = [f"{killed} of {len(results)} mutants killed, {share:.1%}", ""]
    for item, result in results:
        if not result.is_killed:
            mutation = item.mutations[0]
            lines += [f"## {mutation.module_path}:{mutation.start_pos[0]}", "", "```diff"]
            lines += [result.diff or "", "```", ""]
    (WORK / "report.md").write_text("\n".join(lines), encoding="utf-8")
    print(lines[0], WORK / "report.md", sep="; ")
    return int(share < LEAST)


if __name__ == "__main__":
    main()
