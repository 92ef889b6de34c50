"""Reads the docstrings of this project: backticks as in Markdown, and indented code."""

from __future__ import annotations

import re

import sphinx.addnodes
from docutils import nodes
from sphinx.domains.python import PyObject
from sphinx.ext.napoleon import GoogleDocstring


def code(name, rawtext, text, lineno, inliner, options=None, content=None):
    """The role of single backticks: a link if `text` names something public, else code."""
    literal = nodes.literal(rawtext, text)
    target = text.removesuffix("()")
    if not re.fullmatch(r"[A-Za-z_][\w.]*", target):
        return [literal], []
    link = sphinx.addnodes.pending_xref(
        rawtext,
        literal,
        refdomain="py",
        reftype="obj",
        reftarget=target,
        refexplicit=False,
        is_house_code=True,
    )
    link["py:module"] = "tfrs_npa"
    return [link], []


def without_link(app, env, node, contnode):
    """Backticks around anything else stay what they are: code."""
    return contnode if node.get("is_house_code") else None


def mark_code(app, what, name, obj, options, lines):
    """Marks indented blocks, which Markdown takes for code, as code for reStructuredText."""
    marked: list[str] = []
    above = ""  # the last line with text, and outside code
    in_code = False
    for number, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if line.strip():
            text = re.match(r" *(- )?", above).end() if above else 0
            if not in_code and number and not lines[number - 1].strip() and indent >= text + 4:
                if not above.rstrip().endswith("::") and not line.lstrip().startswith(">>>"):
                    in_code = True
                    marked += [" " * text + ".. code-block:: text", ""]
            elif in_code and indent < text + 4:
                in_code = False
            if not in_code:
                above = line
        marked.append(line)
    lines[:] = marked


def returns(self, preprocess_types=False):
    """Takes a section `Returns` as it is, where napoleon takes all up to a colon for a type."""
    return [("", "", self._dedent(self._consume_to_next_section()))]


def attribute(self):
    """Takes the docstring of a property as it is, likewise."""
    return self._consume_to_end()


def setup(app):
    GoogleDocstring._consume_returns_section = returns
    GoogleDocstring._parse_attribute_docstring = attribute
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"
    app.add_role("code_of_docstring", code)
    app.config.default_role = "code_of_docstring"
    app.connect("autodoc-process-docstring", mark_code, priority=400)  # before napoleon
    app.connect("missing-reference", without_link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
