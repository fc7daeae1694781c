"""The page on formats names the endings that are read, and no others; its limits are the code's."""

import re
from pathlib import Path

from ctflow.embeddings.pair_files import ENDINGS
from ctflow.embeddings.readers import READERS, RECIPES
from ctflow.embeddings.rounding import BASE

PAGE = (Path(__file__).parents[2] / "docs" / "formats.md").read_text()


def test_the_table_lists_the_endings_that_are_read():
    first, _, rest = PAGE.partition("Folders are read as well:")
    listed = [
        ending for row in re.findall(r"^\| (`\.[^|]*) \|", first, re.MULTILINE) for ending in row.split(", ")
    ]
    assert [ending.strip("`") for ending in listed] == list(READERS)
    for ending in (*RECIPES, *ENDINGS):
        assert f"`{ending}`" in rest or ending == ".pickle"


def test_the_tolerances_are_those_of_the_code():
    for name, tolerance in (
        ("bfloat16", 0.031),
        ("float16", 0.0039),
        ("float32", 7.6e-6),
        ("float64", 1.4e-14),
    ):
        assert abs(BASE[name] - tolerance) < 0.05 * tolerance
        assert f"1 ± {tolerance:g}".replace("e-06", "e-6") in PAGE
