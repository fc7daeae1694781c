"""Sphinx: pages in MyST, notebooks with the outputs they hold, the reference from the docstrings."""

import re
import shutil
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import claim_pages
import signatures

import ctflow
from ctflow.claims import CLAIMS

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
myst_enable_extensions = ["colon_fence", "deflist"]
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

smartquotes = False  # they turn the primes of formulas into quotes
html_theme = "furo"
html_title = f"ctflow {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_show_search_summary = False  # browsers do not let a page read its neighbours on disk
html_show_sphinx = False

STANDING_FOR = {"changelog": "CHANGELOG.md", "contributing": "CONTRIBUTING.md", "security": "SECURITY.md"}


def _on_the_site(app, docname, source):
    """A page that stands for a file at the top of the repository holds its text, and links lead to it."""
    top = Path(__file__).parents[1]
    if docname in STANDING_FOR:
        text = (top / STANDING_FOR[docname]).read_text(encoding="utf-8")
        source[0] = re.sub(r"\]\((?!http|#)(?!docs/)", "](../", text).replace("](docs/", "](")
    for page, name in STANDING_FOR.items():
        source[0] = source[0].replace(f"](../{name})", f"]({page}.md)")
    if docname == "claims":
        source[0] = re.sub(r"^\| `(\w+)` \|", _claim, source[0], flags=re.MULTILINE)


def _claim(found):
    return f"| [`{found[1]}`](claims/{claim_pages.file_name(found[1])}) |" if found[1] in CLAIMS else found[0]


def _copy_views(app, failed):
    """Put the interactive pages of figures/ where docs/gallery.md shows them."""
    (Path(app.outdir) / "views").mkdir(exist_ok=True)
    for page in (Path(__file__).parents[1] / "figures").glob("*/view.html"):
        shutil.copyfile(page, Path(app.outdir) / "views" / f"{page.parent.name}.html")


def setup(app):
    """Connect the hooks and write the pages of the claims."""
    signatures.setup(app)
    claim_pages.write_pages(Path(__file__).parent / "claims")
    app.connect("source-read", _on_the_site)
    app.connect("build-finished", _copy_views)
