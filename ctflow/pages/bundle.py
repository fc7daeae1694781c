"""The drawing library that a page embeds: plotly.js, as the Python package Plotly ships it."""

from functools import cache
from importlib.resources import files
from importlib.util import find_spec

HOW_TO_GET = "run pip install 'ctflow[html]'"
"""Ends a sentence that says that pages cannot be made."""


def can_be_made() -> bool:
    """Whether pages with figures can be made: whether Plotly is installed."""
    return find_spec("plotly") is not None


@cache
def plotly_js() -> str:
    """The source of plotly.js, to be embedded once per page.

    Raises:
        ValueError: Plotly is not installed.
    """
    if not can_be_made():
        raise ValueError(f"a page needs Plotly, which is not installed; {HOW_TO_GET}")
    return (files("plotly") / "package_data" / "plotly.min.js").read_text(encoding="utf-8")
