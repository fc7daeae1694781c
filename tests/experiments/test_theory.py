"""The theory script draws a figure per claim and writes every number."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ctflow import io
from experiments import theory

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.long
def test_writes_a_table_of_numbers_and_a_figure_a_claim(tmp_path):
    command = [sys.executable, "experiments/theory.py", "--preset", "smoke", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "theory"
    assert {path.name for path in folder.glob("*.png")} == {"convexity.png", "sharpening.png"}
    table = io.read_csv(folder / "claims.csv")
    assert set(table["verdict"]) == {"holds"}
    facts = json.loads((folder / "run.json").read_text())["facts"]
    assert sum(claim["numbers"] for claim in facts.values()) == len(table["verdict"])


def test_unknown_claims_are_named():
    with pytest.raises(ValueError, match="claim must be one of consistency"):
        theory.Config(claims=("luck",))
    with pytest.raises(ValueError, match="claims must not be empty"):
        theory.Config(claims=())
    assert theory.PRESETS["quick"] == theory.Config()
    assert theory.PRESETS["paper"] == theory.Config(quick=False)
