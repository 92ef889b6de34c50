"""The fields of `NPAConfig` and its presets as tables, made from the class."""

from __future__ import annotations

import dataclasses
import inspect
import re
import textwrap

from sphinx.util.docutils import SphinxDirective

import tfrs_npa
from tfrs_npa import config as npa_config


def descriptions() -> dict[str, str]:
    """What the docstring of `NPAConfig` says about each field, as Markdown."""
    section = inspect.getdoc(tfrs_npa.NPAConfig).split("Attributes:\n")[1].split("\n\n")[0]
    found = re.split(r"^(\w+): ", textwrap.dedent(section), flags=re.MULTILINE)[1:]
    return {name: " ".join(text.split()) for name, text in zip(found[::2], found[1::2])}


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines]


def fields() -> list[str]:
    """Each field: its value in `NPAConfig()`, its type, and what it means."""
    texts = descriptions()
    rows = [
        [f"`{field.name}`", f"`{field.default!r}` ({field.type})", texts.pop(field.name)]
        for field in dataclasses.fields(tfrs_npa.NPAConfig)
    ]
    if texts:
        raise ValueError(
            f"NPAConfig has no field {', '.join(texts)}, which its docstring describes"
        )
    return table(["field", "default (type)", "meaning"], rows)


def presets() -> list[str]:
    """The values of each preset; those in bold differ from `NPAConfig()`."""
    default = tfrs_npa.NPAConfig()
    others = [tfrs_npa.NPAConfig.preset(name) for name in npa_config.PRESETS]
    rows = []
    for name, value in default.to_dict().items():
        values = [getattr(other, name) for other in others]
        cells = [f"`{v!r}`" if v == value else f"**`{v!r}`**" for v in values]
        rows.append([f"`{name}`", f"`{value!r}`", *cells])
    return table(["field", "`NPAConfig()`", *(f"`{name}`" for name in npa_config.PRESETS)], rows)


class HyperParameters(SphinxDirective):
    """`{hyper-parameters} fields` or `{hyper-parameters} presets`: a table."""

    required_arguments = 1
    has_content = True  # what is read where the site is not built

    def run(self):
        """Returns the table."""
        make = {"fields": fields, "presets": presets}[self.arguments[0]]
        self.env.note_dependency(inspect.getfile(tfrs_npa.NPAConfig))
        return self.parse_text_to_nodes("\n".join(make()))


def setup(app):
    app.add_directive("hyper-parameters", HyperParameters)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
