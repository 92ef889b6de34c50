"""docs/troubleshooting.md has the messages of the code, each of them and no other."""

from __future__ import annotations

import ast
import pathlib
import re

ROOT = pathlib.Path(__file__).parents[1]
HOLE = "…"
# Raised for the package itself, which catches them.
INTERNAL = {
    "… is not of the size it was written with",
    "… is not what was written",
    "seen is … of shape …",
    "… examples instead of …",
    "… is missing or no file",
}
# Not about input: how Python says that a name is missing, and a hint after Ctrl-C.
OTHERS = ("AttributeError", "KeyboardInterrupt", "SystemExit")


def text_of(node):
    """The text of an expression, with `…` for what is not known before it runs."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr():
            return "".join(text_of(part) for part in node.values)
        case ast.BinOp(op=ast.Add()):
            return text_of(node.left) + text_of(node.right)
        case ast.Call(func=ast.Attribute(attr="format")):
            return re.sub(r"\{.*?\}", HOLE, text_of(node.func.value))
    return HOLE


def raised():
    """The messages that the code raises, which have words of their own."""
    found = set()
    for path in (ROOT / "tfrs_npa").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
                text = " ".join(text_of(node.exc.args[0]).split())
                if ast.unparse(node.exc.func) not in OTHERS and len(re.sub(r"\W", "", text)) > 8:
                    found.add(text)
    return found - INTERNAL


def listed():
    """The messages of the page."""
    page = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
    rows = re.findall(r"^\| (?:`` (.*?) ``|`(.*?)`) \| .+ \|$", page, re.MULTILINE)
    return [(double or single).replace(r"\|", "|") for double, single in rows]


def test_each_message_is_raised():
    assert set(listed()) <= raised()


def test_each_that_is_raised_is_listed():
    assert raised() <= set(listed())


def test_none_is_listed_twice():
    assert len(listed()) == len(set(listed()))


def test_the_internal_ones_exist():
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "tfrs_npa").rglob("*.py"))
    assert all(max(re.split(HOLE, text), key=len).strip() in sources for text in INTERNAL)
