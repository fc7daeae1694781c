"""Every experiment runs at its smoke preset as a user would call it, and its claims hold even there."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ctflow import io

ROOT = Path(__file__).resolve().parents[2]
FIGURES = {
    "unimodal_gibbs": {"cap_mass.png", "clouds.png", "relaxation.png", "unimodal_gibbs.gif"},
    "gap_formation": {
        "gap_against_heterogeneity.png",
        "energy_against_bound.png",
        "terms.png",
        "clouds.png",
        "gap_formation.gif",
    },
}


@pytest.fixture(scope="module", params=FIGURES)
def experiment(request, tmp_path_factory):
    """Name and folder of a finished smoke run."""
    out = tmp_path_factory.mktemp("runs")
    command = [sys.executable, f"experiments/{request.param}.py", "--preset", "smoke", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return request.param, out / request.param


def test_writes_figures_tables_and_their_provenance(experiment):
    name, folder = experiment
    written = {path.name for path in folder.iterdir()}
    assert written >= FIGURES[name] | {"runs.csv", "summary.csv", "arrays.npz", "run.json"}
    assert not [path for path in written if "part" in path or path.startswith(".")]
    record = json.loads((folder / "run.json").read_text())
    assert record["preset"] == "smoke"
    assert {"config", "seconds", "versions", "device", "facts"} <= set(record)


def test_the_claims_hold_at_the_smoke_preset_too(experiment):
    name, folder = experiment
    runs = io.read_csv(folder / "runs.csv")
    if name == "gap_formation":
        assert (runs["decomposition_error"] < 1e-10).all()
        assert (runs["lowest_energy_above_bound"] > 0).all()
        same = (runs["d"] == 3) & (runs["start"] == "same place")
        gap = {sigma: runs["energy_distance"][same & (runs["sigma"] == sigma)] for sigma in (0, 0.5)}
        assert np.median(gap[0]) < 0.02
        assert np.median(gap[0.5]) > 0.3
        return
    summary = io.read_csv(folder / "summary.csv")
    langevin = summary["method"] == "Langevin"
    exact, n = summary["exact"], 3 * 256
    error = np.sqrt(exact * (1 - exact) / n)
    assert (np.abs(summary["cap_mass"] - exact) < 4 * error)[langevin].all()
    assert (np.abs(summary["first_well"] - 0.5) < 4 * 0.5 / np.sqrt(n))[langevin].all()


@pytest.mark.parametrize("name", FIGURES)
def test_unknown_presets_get_one_line(name):
    command = [sys.executable, f"experiments/{name}.py", "--preset", "huge"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: --preset must be one of paper, smoke; got 'huge'\n"


@pytest.mark.parametrize("name", FIGURES)
def test_importable_as_a_module(name):
    module = __import__(f"experiments.{name}", fromlist=["Config"])
    assert module.PRESETS["paper"] == module.Config()
    assert callable(module.run)
    assert callable(module.plot)
