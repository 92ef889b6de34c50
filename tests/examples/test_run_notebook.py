"""What `make notebook` finds wrong with the outputs of a notebook."""

from __future__ import annotations

import nbformat
import pytest
from nbformat import v4


@pytest.fixture(scope="module")
def script(example):
    return example("run_notebook")


def notebook(*outputs, tags=(), count=1):
    """A notebook with one code cell."""
    cell = v4.new_code_cell("code", outputs=[*outputs], execution_count=count)
    if tags:
        cell.metadata["tags"] = [*tags]
    return v4.new_notebook(cells=[v4.new_markdown_cell("prose"), cell])


def printed(text, name="stdout"):
    return v4.new_output("stream", name=name, text=text)


def shown(**formats):
    data = {name.replace("_", "/"): value for name, value in formats.items()}
    return v4.new_output("display_data", data=data)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("AUC 0.6736 (+0.0138 to +0.0286)", "AUC  0.6801 (+0.0150 to +0.0311)"),
        ("24,851 articles, 72%", "24,851 articles, 73%"),
        ("no number", "no  number"),
    ],
)
def test_close_numbers_are_the_same(script, before, after):
    assert script.same_text(before, after)
    assert script.differences(notebook(printed(before)), notebook(printed(after))) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("AUC 0.6736", "AUC 0.6536"),
        ("AUC 0.0214 above cosine", "AUC 0.0214 below cosine"),
        ("24,851 articles", "248 articles"),
        ("a gain of +0.02", "a gain of -0.02"),
        ("one line", "one line\nand another"),
        ("0.5 0.6", "0.5"),
    ],
)
def test_other_text_is_found(script, before, after):
    (found,) = script.differences(notebook(printed(before)), notebook(printed(after)))
    assert found.startswith("code cell 1 printed ")


def test_where_rounding_decides_only_the_kind_counts(script):
    before = notebook(printed("N1 is the best"), tags=[script.ROUNDING])
    assert script.differences(before, notebook(printed("N2 is the best"))) == []
    assert script.differences(before, notebook()) == ["code cell 1 has outputs of another kind"]


def test_pictures_are_not_compared(script):
    before = notebook(shown(image_png="AAAA", text_plain="<Image>"))
    assert script.differences(before, notebook(shown(image_png="BBBB", text_plain="<Image>"))) == []
    assert script.differences(before, notebook(shown(text_plain="<Image>")))


@pytest.mark.parametrize(
    ("made", "complaint"),
    [
        (notebook(printed("careful", "stderr")), "printed to standard error: careful"),
        (notebook(printed("saved in /tmp/x")), "names a path of this machine: /tmp/x"),
        (notebook(printed("fine"), count=7), "was run as number 7"),
        (
            notebook(
                v4.new_output("display_data", {"application/vnd.jupyter.widget-view+json": {}})
            ),
            "has a widget",
        ),
    ],
)
def test_complaints(script, made, complaint):
    (found,) = script.complaints(made)
    assert complaint in found
    assert script.complaints(notebook(printed("fine"))) == []


def test_cleaned(script):
    made = notebook(printed("one\n"), printed("two\n"), shown(text_plain="x"), printed("three"))
    made.metadata["language_info"] = {"name": "python", "version": "3.11.7"}
    made.metadata["widgets"] = {}
    cleaned = script.cleaned(made)
    outputs = cleaned.cells[1].outputs
    assert [script.text_of(output) for output in outputs] == ["one\ntwo\n", "x", "three"]
    assert "version" not in str(cleaned.metadata) and "widgets" not in cleaned.metadata
    assert len(made.cells[1].outputs) == 4 and script.cleaned(cleaned) == cleaned
    nbformat.validate(cleaned)
