"""Settings of the documentation site; `make docs` builds it.

The source folder is the root of the repository, so that pages link to each other, and to code, as
they do on the repository's own web page.
"""

import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "docs" / "_ext"), str(ROOT)]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tfrs_npa  # noqa: E402

project = "tfrs-npa"
author = "the authors of tfrs-npa"
copyright = "the authors of tfrs-npa, Apache-2.0"
release = version = tfrs_npa.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "hyper_parameters",
    "mathml",
    "docstrings",
    "site_pages",
]
root_doc = "docs/index"
include_patterns = [
    "docs/*.md",
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "benchmarks/README.md",
    "benchmarks/results/README.md",
    "examples/*.ipynb",
    "tests/oracle/README.md",
    "tfrs_npa/datasets/mind/README.md",
    "tuning/README.md",
]
exclude_patterns = [".*", "build", "dist", "runs", "data", "exports", "**/.ipynb_checkpoints"]

nitpicky = True
# Types of Python and of other packages, whose documentation is not looked up: the site is built
# without a network.
nitpick_ignore_regex = [
    (r"py:.*", r"(collections\.abc|os|pathlib|typing|datetime)\..*"),
    (r"py:.*", r"(tf|tensorflow|keras|tf_keras|tfrs|keras_tuner|np|numpy|pd|pa|pyarrow)\..*"),
    # Types in signatures that are no part of the public interface, and one exception.
    (r"py:class", r"tfrs_npa(\.\w+){3,}|Baselines|LastSeen"),
    (r"py:exc", r"TaskGone"),
]

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = "off"  # the notebook keeps its outputs; `make notebook` runs it

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_inherit_docstrings = False
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = [("Call arguments", "params_style")]

highlight_language = "bash"

html_theme = "furo"
html_title = f"tfrs-npa {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
copybutton_exclude = ".linenos, .gp, .go"
