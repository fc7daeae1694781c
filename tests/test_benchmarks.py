"""Every benchmark runs at its smoke preset as a user would call it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bench_partition", "bench_flow", "bench_paper", "bench_checkpoint"])
def test_a_benchmark_writes_its_numbers_and_its_figure(name, tmp_path):
    command = [sys.executable, f"benchmarks/{name}.py", "--preset", "smoke", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {f"{name}.csv", f"{name}.png", "run.json"} <= {path.name for path in (tmp_path / name).iterdir()}


@pytest.mark.slow
def test_hostile_clouds_do_not_break_the_certificate(tmp_path):
    """A part of the search: no error above what is allowed, nor above the bound that was claimed."""
    script = "benchmarks/search_certificate.py"
    command = [sys.executable, script, "--preset", "smoke", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "search_certificate" / "run.json").read_text())["facts"]
    ratios = {name: value for name, value in facts.items() if "_over_" in name or "over allowed" in name}
    assert len(ratios) >= 20
    assert facts["proven_float32"] > 5
    assert facts["proven_backward_float64"] > 2
    assert all(value <= 1 for value in ratios.values()), ratios
