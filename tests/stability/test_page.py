"""The page on the theory: its code prints its numbers, and what it refers to is there."""

import re
from importlib import import_module
from pathlib import Path

import pytest

import ctflow as ct
from tests.test_readme import run

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "theory.md").read_text()


def test_the_code_prints_what_the_page_says(tmp_path):
    printed = run(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0], tmp_path)
    star = re.search(r"τ\* on S² is (\S+)\. ", PAGE)[1]
    (found,) = (line for line in printed if line.startswith("critical temperature"))
    assert float(found.split()[2]) == pytest.approx(float(star), abs=1.5e-3)
    strength = re.search(r"`SymmetricDivergence` \| (\S+) \|", PAGE)[1]
    (found,) = (line for line in printed if line.startswith("least strength"))
    assert float(found.split()[2]) == pytest.approx(float(strength), abs=1e-3)
    assert any(line.startswith("no strength suffices: along one mode") for line in printed)


def test_every_function_and_test_that_the_page_names_exists():
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 10
    for name in named:
        assert f"def {name}(" in tests, name
    dotted = set(re.findall(r"`((?:[a-z_]+\.)+\w+)`", PAGE))
    assert len(dotted) > 10
    for name in dotted:
        module, _, attribute = name.removeprefix("ct.").rpartition(".")
        assert hasattr(import_module(f"ctflow.{module}".rstrip(".")), attribute), name
    for claim in re.findall(r"claim `(\w+)`", PAGE):
        assert claim in ct.claims.CLAIMS
