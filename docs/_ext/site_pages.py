"""The page at the root of the site, and titles of pages that have none."""

from __future__ import annotations

import pathlib


def lead_to_start(app, exception):
    """Writes `index.html`, since pages keep the folders that they have in the repository."""
    if exception is None and app.builder.format == "html":
        page = (
            '<!doctype html><meta http-equiv="refresh" content="0; url={0}"><a href="{0}">{1}</a>\n'
        )
        text = page.format(f"{app.config.root_doc}.html", app.config.html_title)
        pathlib.Path(app.outdir, "index.html").write_text(text, encoding="utf-8")


def add_title(app, docname, source):
    """TensorFlow Datasets shows the data set's README below a title of its own."""
    if docname == "tfrs_npa/datasets/mind/README":
        source[0] = "# The data set mind\n\n" + source[0]


def setup(app):
    app.connect("source-read", add_title)
    app.connect("build-finished", lead_to_start)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
