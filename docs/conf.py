"""Sphinx: pages in MyST, notebooks with their outputs, the reference from docstrings; for `make docs`."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import signatures  # noqa: E402  found by the path above

import ctflow  # noqa: E402

project = "ctflow"
author = "The ctflow developers"
copyright = "the ctflow developers, Apache-2.0"
version = release = ctflow.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "myst_nb",
]
exclude_patterns = ["_build", "**/.ipynb_checkpoints"]
suppress_warnings: list[str] = []

# Notebooks are run by the tests and by `make notebooks`, which keep their outputs.
nb_execution_mode = "off"
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# docs/api lists every public name by hand, in groups; tests/docs/test_reference.py finds what is missing.
autodoc_default_options = {"members": True}
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autosummary_generate = False
toc_object_entries_show_parents = "hide"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Attributes", "params_style")]
default_role = "code"

html_theme = "furo"
html_title = f"ctflow {version}"
html_static_path = [name for name in ["_static"] if (Path(__file__).parent / name).is_dir()]
html_show_sourcelink = False
html_show_sphinx = False


def setup(app):
    """Connect the events that make signatures and docstrings read well."""
    signatures.setup(app)
