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


BAD_WORDS = {
    "--preset huge": "--preset must be one of paper, smoke; got 'huge'",
    "--num-particles 0": "num_particles must be an integer >= 1, got 0",
    "--out /dev/null": "--out must be a folder that can be written to, got '/dev/null' (File exists); "
    "choose another",
}


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("words", BAD_WORDS)
def test_bad_words_are_named_and_nothing_is_written(name, words, tmp_path):
    command = [sys.executable, ROOT / "experiments" / f"{name}.py", *words.split()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert BAD_WORDS[words] in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("unimodal_gibbs", {"temperatures": (0.1, -1.0)}),
        ("unimodal_gibbs", {"temperatures": ()}),
        ("unimodal_gibbs", {"max_step_size": float("nan")}),
        ("gap_formation", {"dims": (1,)}),
        ("gap_formation", {"sigmas": (-0.1,)}),
        ("gap_formation", {"num_steps": 150}),
    ],
)
def test_settings_are_checked_before_anything_is_run(name, wrong):
    module = __import__(f"experiments.{name}", fromlist=["Config"])
    with pytest.raises(ValueError, match=next(iter(wrong))):
        module.Config(**wrong)


@pytest.mark.parametrize("name", FIGURES)
def test_importable_as_a_module(name):
    module = __import__(f"experiments.{name}", fromlist=["Config"])
    assert module.PRESETS["paper"] == module.Config()
    assert callable(module.run)
    assert callable(module.plot)
