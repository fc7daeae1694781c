"""The README's Python blocks run as they stand, in JAX's default precision; its commands and links exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def run(block, folder):
    command = [sys.executable, "-W", "error", "-c", block]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_first_block_prints_the_simulated_and_the_exact_mass(tmp_path):
    simulated, exact = map(float, run(BLOCKS[0], tmp_path)[0].split())
    assert abs(simulated - exact) < 4 * (exact * (1 - exact) / 4096) ** 0.5


def test_gap_block_prints_a_gap_and_then_a_smaller_one(tmp_path):
    free, controlled = (float(line.split()[0]) for line in run(BLOCKS[1], tmp_path)[:2])
    assert free > 0.2
    assert controlled < free / 4


@pytest.mark.parametrize("block", BLOCKS[2:], ids=range(2, len(BLOCKS)))
def test_every_other_block_runs(block, tmp_path):
    run(block, tmp_path)


def test_the_page_on_extending_runs_and_prints_what_theory_says(tmp_path):
    page = (ROOT / "docs" / "extending.md").read_text()
    printed = run("\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL)), tmp_path)
    end = printed.index("Solution: finished after 500 steps, time 1")
    first, last = map(float, printed[end - 2].split())
    assert last < first
    assert float(printed[2]) == pytest.approx(0.3, abs=1e-4)
    stein, exact = map(float, printed[end - 1].split())
    assert stein == pytest.approx(exact, abs=2e-3)


@pytest.mark.long
def test_the_page_on_several_devices_runs_on_one(tmp_path):
    page = (ROOT / "docs" / "several-devices.md").read_text()
    run(re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0], tmp_path)


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_links_lead_somewhere():
    for link in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (ROOT / link).exists(), link


@pytest.mark.long
def test_the_page_on_looking_at_a_flow_runs_and_writes_its_pages(tmp_path):
    page = (ROOT / "docs" / "looking-at-a-flow.md").read_text()
    printed = run("\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL)), tmp_path)
    assert printed[0].startswith("View: Two clouds on the sphere S² (0.12 MB)")
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {"view.html", "both.html", "barrier.html", "arrays.html", "flow.pdf"}
