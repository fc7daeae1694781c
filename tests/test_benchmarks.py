"""Every benchmark runs at its smoke preset as a user would call it."""

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
