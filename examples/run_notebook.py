"""Runs the tutorial in a fresh kernel, and checks the outputs that it is kept with.

Every cell has to run, and to print nothing to standard error. Its output has to be what the file
has: the same text with the same numbers, up to what another machine's rounding changes in a
training. Where rounding may change more, such as which article comes fifth, the cell has the tag
"rounding", and only the kind of its output counts. So it is with pictures.

The file stays as it is; `--write` replaces its outputs.
"""

from __future__ import annotations

import argparse
import itertools
import math
import pathlib
import re
import sys
import time

import nbformat

import tfrs_npa
from tfrs_npa._files import atomic_file
from tfrs_npa.cli.messages import import_tensorflow

NOTEBOOK = pathlib.Path(__file__).parent / "npa_tutorial.ipynb"
DATA = "mind/synthetic"
ROUNDING = "rounding"
"""The tag of cells whose text differs from machine to machine."""
# Metrics of the same training on another machine, or with another version of TensorFlow.
_RELATIVE, _ABSOLUTE = 0.02, 0.005
_NUMBER = re.compile(r"[+-]?\d(?:[\d,]*\d)?(?:\.\d+)?")
_SECONDS = 600


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="replace the outputs in the file")
    args = parser.parse_args()
    import_tensorflow()
    # TensorFlow Datasets tells where it prepares data, which is not for the outputs.
    tfrs_npa.load_mind(DATA)
    kept = nbformat.read(NOTEBOOK, as_version=4)
    start = time.monotonic()
    made = cleaned(execute(kept))
    print(f"{NOTEBOOK.name} ran in {time.monotonic() - start:.0f} s")
    errors = complaints(made)
    if args.write and not errors:
        with atomic_file(NOTEBOOK) as temporary:
            nbformat.write(made, temporary)
    elif not args.write:
        errors += differences(kept, made)
        if errors:
            errors.append("`python examples/run_notebook.py --write` replaces the outputs")
    for error in errors:
        print(error, file=sys.stderr)
    return bool(errors)


def execute(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Returns a copy of a notebook with the outputs of a fresh kernel.

    Raises:
        nbclient.exceptions.CellExecutionError: if a cell fails; shows it and the traceback.
    """
    from nbclient import NotebookClient

    copy = nbformat.from_dict(notebook)
    return NotebookClient(copy, timeout=_SECONDS, record_timing=False).execute()


def cleaned(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Returns a notebook without what differs from run to run: versions, and how text arrived."""
    notebook = nbformat.from_dict(notebook)
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in code_cells(notebook):
        outputs = []
        for output in cell.outputs:
            last = outputs[-1] if outputs else {}
            if output.output_type == "stream" and last.get("name") == output.name:
                last.text += output.text
            else:
                outputs.append(output)
        cell.outputs = outputs
    return notebook


def complaints(notebook: nbformat.NotebookNode) -> list[str]:
    """Returns what is wrong with the outputs of a notebook, whatever they were before."""
    found = []
    for number, cell in enumerate(code_cells(notebook), 1):
        if cell.execution_count != number:
            found.append(f"code cell {number} was run as number {cell.execution_count}")
        for output in cell.outputs:
            if output.get("name") == "stderr":
                found.append(f"code cell {number} printed to standard error: {output.text.strip()}")
            if "application/vnd.jupyter.widget-view+json" in output.get("data", {}):
                found.append(f"code cell {number} has a widget, which nothing shows later")
            if path := re.search(r"/(?:home|root|tmp|Users|work)/\S*", text_of(output)):
                found.append(f"code cell {number} names a path of this machine: {path[0]}")
    return found


def differences(kept: nbformat.NotebookNode, made: nbformat.NotebookNode) -> list[str]:
    """Returns how the outputs of a notebook differ from those it was kept with."""
    found = []
    pairs = zip(code_cells(kept), code_cells(made), strict=True)
    for number, (before, after) in enumerate(pairs, 1):
        if [kind_of(output) for output in before.outputs] != [
            kind_of(output) for output in after.outputs
        ]:
            found.append(f"code cell {number} has outputs of another kind")
        elif ROUNDING not in before.metadata.get("tags", []):
            for old, new in zip(before.outputs, after.outputs):
                lines = itertools.zip_longest(
                    text_of(old).splitlines(), text_of(new).splitlines(), fillvalue=""
                )
                found += [
                    f"code cell {number} printed {one!r}, and now {other!r}"
                    for one, other in lines
                    if not same_text(one, other)
                ]
    return found


def same_text(one: str, other: str) -> bool:
    """Whether two texts are the same but for blanks, with numbers that are close."""
    if _NUMBER.sub("0", one).split() != _NUMBER.sub("0", other).split():
        return False
    numbers = ([float(n.replace(",", "")) for n in _NUMBER.findall(text)] for text in (one, other))
    return all(
        math.isclose(a, b, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE)
        for a, b in zip(*numbers, strict=True)
    )


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """Returns the cells with code."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kind_of(output: nbformat.NotebookNode) -> tuple[str, ...]:
    """Returns what an output is: a stream, or formats of the same thing."""
    return (output.output_type, output.get("name", ""), *sorted(output.get("data", {})))


def text_of(output: nbformat.NotebookNode) -> str:
    """Returns the text of an output; `""` for a picture alone."""
    return output.get("text", "") or output.get("data", {}).get("text/plain", "")


if __name__ == "__main__":
    sys.exit(main())
