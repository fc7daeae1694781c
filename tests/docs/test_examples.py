"""Examples in docstrings give what they print, in a user's settings: float32, and any warning is an error."""

import subprocess
import sys
from pathlib import Path

import pytest

import ctflow as ct
from tests.docs.examples import PACKAGE, collect

# The names of which users need an example most.
EXPECTED = {
    "": "solve evolve sweep log_partition diagnose why track Pair WeightedCloud",
    "claims": "verify",
    "corrections": "fit",
    "couplings": "paired misaligned from_pairs",
    "diagnostics": "centroid_gap energy_distance",
    "energies": "unimodal symmetric Potential SymmetricDivergence",
    "flows": "GradientFlow Langevin",
    "gibbs": "GibbsMeasure",
    "kernels": "Exponential",
    "partition": "explain",
    "potentials": "Linear",
    "sphere": "uniform",
    "stability": "critical_temperature least_control",
}
# Their programs take more than ten seconds of processor time to compile.
SLOW = {"why", "critical_temperature", "least_control"}


def check(names):
    command = [sys.executable, "-W", "error", str(Path(__file__).with_name("examples.py")), *sorted(names)]
    done = subprocess.run(
        command, cwd=PACKAGE.parent, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 failed" in done.stdout


def test_names_that_users_need_most_have_an_example():
    listed = [
        (getattr(ct, module) if module else ct, name)
        for module in EXPECTED
        for name in EXPECTED[module].split()
    ]
    assert len(listed) >= 20
    assert not [name for place, name in listed if ">>>" not in (getattr(place, name).__doc__ or "")]


def test_examples_are_short_and_name_what_they_import():
    for test in collect():
        source = "".join(example.source for example in test.examples)
        assert "import ctflow as ct\n" in source, test.name
        assert any(example.want for example in test.examples), f"the example of {test.name} prints nothing"
        assert len(source.splitlines()) <= 11, f"the example of {test.name} is long"
        widest = max(source.splitlines(), key=len)
        assert len(widest) <= 75, f"a page scrolls sideways for {widest!r}"


def test_quick_examples():
    check({test.name for test in collect()} - SLOW)


@pytest.mark.long
def test_slow_examples():
    check(SLOW)
