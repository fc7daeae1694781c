"""The README's Python blocks run as they stand, in JAX's default precision; its commands and links exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_block_runs(block, tmp_path):
    command = [sys.executable, "-W", "error", "-c", block]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr


def test_gap_example_prints_a_gap_and_then_a_smaller_one():
    (block,) = [b for b in BLOCKS if "SymmetricDivergence" in b]
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, check=True)
    free, controlled = (float(line.split()[0]) for line in done.stdout.splitlines()[:2])
    assert free > 0.2
    assert controlled < free / 4


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_links_lead_somewhere():
    for link in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (ROOT / link).exists(), link
